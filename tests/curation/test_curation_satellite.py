import io
from datetime import date

import numpy as np
import pandas as pd
import pytest
import rasterio
from ground_stage import (
    LAT,
    LON,
    ImageryServer,
    expected_crop,
    ignore,
    north_up,
    offsets,
    paint,
    put_panoramas,
    write_raster,
    write_tiles,
)
from PIL import Image
from pydantic import ValidationError
from rasterio import Affine

from geobridge.curation import crop, satellite, seeds
from geobridge.curation.crop import CropConfig
from geobridge.curation.rasters import RasterFacts
from geobridge.curation.satellite import SatelliteConfig
from geobridge.curation.stac import StacConfig
from geobridge.curation.tiles import TilesConfig
from geobridge.curation.workspace import Workspace
from geobridge.errors import CurationError, RasterError
from geobridge.imagery.decode import read_image

PNG = {"format": "png", "gsd_m": 1.0, "max_upsampling": 1.2}


@pytest.fixture
def workspace(tmp_path):
    """Two places of 100 m cropped out of a drone raster of 2020-07-01 in UTM 32."""
    return cropped(tmp_path, [(-60.3, 10.8), (90.1, -40.2)])


def cropped(tmp_path, positions):
    workspace = Workspace(tmp_path / "work")
    drone = paint(tmp_path / "drone.tif", tags={"TIFFTAG_DATETIME": "2020:07:01 10:00:00"})
    found = seeds.run(workspace, seeds.SeedsConfig(rasters=(str(drone),), max_gsd_m=2), ignore)
    put_panoramas(workspace, offsets(positions), found["seed_id"][0])
    crop.run(workspace, CropConfig(**PNG, sides_m=(100,)), ignore)
    return workspace


def pictures_of(workspace, view, table=None):
    table = workspace.read("crops" if view == "drone" else "satellite") if table is None else table
    return [read_image(workspace.folder / path) for path in table.sort_values("place_id")[view]]


def difference(one, other):
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


def shifted(picture, x, y):
    return np.roll(picture, (y, x), axis=(0, 1))


def check_same_ground(workspace, limit=4.0):
    """The satellite pictures show what the drone's do, to less than a pixel."""
    for drone, above in zip(
        pictures_of(workspace, "drone"), pictures_of(workspace, "satellite"), strict=True
    ):
        assert above.shape == drone.shape
        inner = (slice(10, -10), slice(10, -10))
        apart = {
            (x, y): difference(shifted(above, x, y)[inner], drone[inner])
            for x in (-1, 0, 1)
            for y in (-1, 0, 1)
        }
        assert min(apart, key=apart.get) == (0, 0)
        assert apart[0, 0] < limit


@pytest.mark.parametrize("crs", ["EPSG:32631", "EPSG:3857", "EPSG:4326", "EPSG:3035"])
def test_a_raster_in_another_coordinate_system_shows_the_same_ground(tmp_path, workspace, crs):
    x, y = {"EPSG:3857": (1.494, 1.494), "EPSG:4326": (1.343e-5, 0.8993e-5)}.get(crs, (1.0, 1.0))
    above = paint(tmp_path / "above.tif", crs=crs, transform=north_up(crs, 600, 600, x, y))

    table = satellite.run(workspace, SatelliteConfig(rasters=(str(above),), **PNG), ignore)

    assert table["kept"].all()
    check_same_ground(workspace)
    assert table["gsd_m"].tolist() == pytest.approx([1.0, 1.0], rel=0.02)
    names = [f"pictures/satellite/{place_id}.png" for place_id in table["place_id"]]
    assert table["satellite"].tolist() == names
    assert table["place_id"].tolist() == sorted(table["place_id"])


def test_only_places_that_were_kept_get_a_picture(tmp_path, workspace):
    above = paint(tmp_path / "above.tif")
    config = SatelliteConfig(rasters=(str(above),), **PNG)
    ids = workspace.read("crops")["place_id"]
    workspace.write("clean", pd.DataFrame({"place_id": ids, "kept": [False, True]}))

    table = satellite.run(workspace, config, ignore)

    assert table["place_id"].tolist() == [ids[1]]


def test_of_several_rasters_the_nearest_in_time_and_then_the_finest_shows_it(tmp_path, workspace):
    folder = tmp_path / "above"
    paint(folder / "late.tif", tags={"TIFFTAG_DATETIME": "2023:07:01 10:00:00"})
    paint(folder / "fine.tif", px=1200, transform=north_up("EPSG:32632", 1200, 1200, 0.5, 0.5))
    paint(folder / "rough.tif")
    paint(folder / "torn.tif", tags={"TIFFTAG_DATETIME": "2020:07:02 10:00:00"}, frame=299)
    (folder / "notes.txt").write_text("")
    facts = {"fine.tif": RasterFacts(date=date(2020, 8, 1), licence="CC0-1.0", attribution="Us"),
             "rough.tif": RasterFacts(date=date(2020, 8, 1))}  # fmt: skip

    config = SatelliteConfig(rasters=(str(folder),), facts=facts, **PNG)
    table = satellite.run(workspace, config, ignore)

    columns = ["date", "licence", "attribution"]
    assert table[columns].values.tolist() == [["2020-08-01", "CC0-1.0", "Us"]] * 2
    listed = workspace.read("satellite_rasters").set_index("raster")["reason"]
    assert len(listed) == 5
    assert listed[f"{folder}/notes.txt"] == "its name is not one of a georeferenced raster"


def test_a_damaged_raster_leaves_its_places_to_the_next_one(tmp_path, workspace):
    folder = tmp_path / "above"
    damaged = paint(
        folder / "a.tif", tags={"TIFFTAG_DATETIME": "2020:07:02 10:00:00"}, compress="deflate"
    )
    whole = paint(folder / "b.tif")
    # Its directory, at the end, is whole, so that it is listed; its pixels are not.
    data = damaged.read_bytes()
    fifth = len(data) // 5
    damaged.write_bytes(data[:fifth] + bytes(3 * fifth) + data[4 * fifth :])
    facts = {"b.tif": RasterFacts(date=date(1999, 1, 1))}

    config = SatelliteConfig(rasters=(str(folder),), facts=facts, **PNG)
    table = satellite.run(workspace, config, ignore)
    assert table["raster"].tolist() == [str(whole)] * 2
    check_same_ground(workspace)

    config = SatelliteConfig(rasters=(str(damaged),), **PNG)
    table = satellite.run(workspace, config, ignore)
    assert table["reason"].str.contains(r"a\.tif").all()


def test_places_no_raster_shows_are_rows(tmp_path, workspace):
    # 100 m around the middle: neither place.
    small = paint(tmp_path / "small.tif", px=100)
    table = satellite.run(workspace, SatelliteConfig(rasters=(str(small),), **PNG), ignore)
    assert not table["kept"].any()
    reasons = set(table["reason"])
    assert all(reason.endswith("% of the picture has data") for reason in reasons)

    far = paint(tmp_path / "far.tif", transform=north_up("EPSG:32632", 600, 600, 1, 1, LAT + 1))
    table = satellite.run(workspace, SatelliteConfig(rasters=(str(far),), **PNG), ignore)
    assert table["reason"].tolist() == ["no raster reaches there"] * 2

    coarse = paint(
        tmp_path / "coarse.tif", px=100, transform=north_up("EPSG:32632", 100, 100, 10, 10)
    )
    table = satellite.run(workspace, SatelliteConfig(rasters=(str(coarse),), **PNG), ignore)
    reason = "the raster's pixels are 10.00 m, 10.0 times those asked for"
    assert table["reason"].tolist() == [reason] * 2


def test_a_folder_without_rasters_and_a_raster_without_a_place_are_errors(tmp_path, workspace):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CurationError, match="is a raster with a place on the ground"):
        satellite.run(workspace, SatelliteConfig(rasters=(str(tmp_path / "empty"),)), ignore)
    bare = write_raster(
        tmp_path / "bare.tif", np.zeros((9, 9, 3), np.uint8), None,
        north_up("EPSG:32632", 9, 9, 1, 1),
    )  # fmt: skip
    with pytest.raises(RasterError, match="no coordinate reference system"):
        satellite.run(workspace, SatelliteConfig(rasters=(str(bare),)), ignore)


def test_a_second_run_cuts_nothing_again_and_has_the_same_bytes(tmp_path, workspace, monkeypatch):
    above = paint(tmp_path / "above.tif")
    config = SatelliteConfig(rasters=(str(above),), **PNG)
    satellite.run(workspace, config, ignore)
    first = workspace.path("satellite").read_bytes()
    monkeypatch.setattr("geobridge.curation.satellite.cut", None)

    satellite.run(workspace, config, ignore)

    assert workspace.path("satellite").read_bytes() == first


# Tiles


@pytest.fixture
def server(tmp_path):
    (tmp_path / "served").mkdir()
    with ImageryServer(tmp_path / "served") as server:
        yield server


def tiles(server, **others):
    known = {
        "url": f"{server.origin}/files/{{z}}/{{x}}/{{y}}.png",
        "allow_private": True,
        "requests_per_second": 10_000,
        "facts": RasterFacts(date=date(2022, 5, 1), licence="ours", attribution="Us", source="map"),
    }
    return TilesConfig(**{**known, **others})


def test_tiles_become_pictures_of_the_same_ground(workspace, server):
    # At 48 degrees a pixel of zoom 17 is 0.80 m.
    write_tiles(server.folder, 17)

    table = satellite.run(workspace, SatelliteConfig(tiles=tiles(server), **PNG), ignore)

    assert table["kept"].all()
    check_same_ground(workspace)
    assert table[["date", "source", "licence", "attribution"]].values.tolist() == [
        ["2022-05-01", "map", "ours", "Us"],
        ["2022-05-01", "map", "ours", "Us"],
    ]
    assert len(set(server.asked)) == len(server.asked)


@pytest.mark.parametrize(
    "template",
    [
        "{z}/{x}/{y}.png?layer=sat",
        "{TileMatrix}/{TileCol}/{TileRow}.png",
    ],
)
def test_templates_of_xyz_and_wmts(workspace, server, template):
    write_tiles(server.folder, 17)
    config = tiles(server, url=f"{server.origin}/files/{template}")

    satellite.run(workspace, SatelliteConfig(tiles=config, **PNG), ignore)

    check_same_ground(workspace)


def test_rows_counted_from_the_south_and_wrapped_columns():
    config = TilesConfig(url="https://tiles.test/{z}/{x}/{-y}.jpg")

    assert config.address(3, 1, 2) == "https://tiles.test/3/1/5.jpg"
    assert config.address(3, 8, 0) == "https://tiles.test/3/0/7.jpg"
    assert config.address(3, -1, 7) == "https://tiles.test/3/7/0.jpg"


@pytest.mark.parametrize("mode", ["RGBA", "L", "P"])
def test_tiles_of_any_bands(workspace, server, mode):
    write_tiles(server.folder, 17, mode=mode)

    table = satellite.run(workspace, SatelliteConfig(tiles=tiles(server), **PNG), ignore)

    assert table["kept"].all()
    drone = pictures_of(workspace, "drone")[0]
    above = pictures_of(workspace, "satellite")[0]
    if mode == "L":
        drone = np.array(Image.fromarray(drone).convert("L").convert("RGB"))
    assert difference(above, drone) < 20


def test_transparent_tiles_have_no_data(workspace, server):
    write_tiles(server.folder, 17, mode="RGBA")
    for path in server.folder.rglob("*.png"):
        pixels = read_rgba(path)
        pixels[:, np.arange(256) % 64 < 8, 3] = 0
        Image.fromarray(pixels).save(path)

    table = satellite.run(workspace, SatelliteConfig(tiles=tiles(server), **PNG), ignore)

    assert not table["kept"].any()
    assert table["reason"].str.endswith("% of the picture has data").all()


def read_rgba(path):
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        return np.array(image.convert("RGBA"))


@pytest.mark.parametrize("gsd_m", [0.004, 1e-6])
def test_a_picture_of_too_many_tiles_is_refused_before_any_is_asked_for(workspace, server, gsd_m):
    # Zoom 30 has pixels of about 0.1 mm: 80 m are many thousand tiles across.
    config = SatelliteConfig(tiles=tiles(server, max_zoom=30), gsd_m=gsd_m, format="png")

    table = satellite.run(workspace, config, ignore)

    assert table["reason"].str.contains("tiles, more than 1,024: ask for coarser pixels").all()
    assert server.asked == []


def test_tiles_of_a_picture_are_bounded_by_their_pixels_too(workspace, server):
    # 2^27 pixels are 32 tiles of 2048: 80 m at 8 mm are 5 tiles across, or 10.
    config = SatelliteConfig(
        tiles=tiles(server, max_zoom=30, tile_px=2048), gsd_m=0.008, format="png"
    )

    assert satellite.run(workspace, config, ignore)["reason"].str.contains("more than 32:").all()


def test_the_largest_zoom_is_kept_to(workspace, server):
    # Zoom 16 has 1.6 m a pixel: the pictures stay at that.
    write_tiles(server.folder, 16)
    config = SatelliteConfig(tiles=tiles(server, max_zoom=16), **{**PNG, "max_upsampling": 2})

    table = satellite.run(workspace, config, ignore)

    assert table["gsd_m"].tolist() == pytest.approx([1.6, 1.6], rel=0.02)


def test_tiles_that_are_not_there_or_of_another_size_are_rows(workspace, server):
    config = SatelliteConfig(tiles=tiles(server), **PNG)
    table = satellite.run(workspace, config, ignore)
    assert table["reason"].str.contains("gave status 404: check the address").all()

    write_tiles(server.folder, 17, px=512)
    other = SatelliteConfig(tiles=tiles(server, max_zoom=18), **PNG)
    table = satellite.run(workspace, other, ignore)
    assert table["reason"].str.contains("is 512 x 512 pixels: set tile_px").all()


def test_pictures_that_did_not_come_are_tried_again(workspace, server, monkeypatch):
    monkeypatch.setattr("geobridge.curation.http.ATTEMPTS", 1)
    write_tiles(server.folder, 17)
    config = SatelliteConfig(tiles=tiles(server), **PNG)
    server.status["/files"] = 503
    table = satellite.run(workspace, config, ignore)
    assert table["reason"].str.contains("run again later").all()
    server.status.clear()

    table = satellite.run(workspace, config, ignore)

    assert table["kept"].all()
    assert table["reason"].isna().all()


@pytest.mark.parametrize("status", [401, 403])
def test_another_key_gives_the_pictures_that_a_wrong_one_did_not(
    workspace, server, monkeypatch, status
):
    monkeypatch.setenv("SOME_KEY", "right")
    write_tiles(server.folder, 17)
    config = SatelliteConfig(tiles=tiles(server, key_variable="SOME_KEY"), **PNG)
    server.status["/files"] = status
    if status == 401:
        with pytest.raises(CurationError, match="not accept the secret in SOME_KEY"):
            satellite.run(workspace, config, ignore)
    else:
        table = satellite.run(workspace, config, ignore)
        assert table["reason"].str.contains("status 403: check the secret in SOME_KEY").all()
    server.status.clear()

    assert satellite.run(workspace, config, ignore)["kept"].all()


def test_tiles_across_the_antimeridian_fit_together(tmp_path, server):
    write_tiles(server.folder, 17, lon=180.0)
    place = Workspace(tmp_path / "work")
    pixel = 1.343e-5
    drone = write_raster(
        tmp_path / "drone.tif", np.full((300, 300, 3), 90, np.uint8), "EPSG:4326",
        north_up("EPSG:4326", 300, 300, pixel, 0.8993e-5, lon=0),
    )  # fmt: skip
    with rasterio.open(drone, "r+") as dataset:
        a, b, c, d, e, f = dataset.transform[:6]
        dataset.transform = Affine(a, b, c + 180, d, e, f)
    found = seeds.run(place, seeds.SeedsConfig(rasters=(str(drone),), max_gsd_m=2), ignore)
    put_panoramas(place, [(LAT, -179.9999)], found["seed_id"][0])
    crops = crop.run(place, CropConfig(**PNG, sides_m=(100,)), ignore)
    assert crops["kept"].all()

    table = satellite.run(place, SatelliteConfig(tiles=tiles(server), **PNG), ignore)

    (picture,) = pictures_of(place, "satellite", table)
    # As if the middle of the world's colours lay on the antimeridian.
    assert difference(picture, expected_crop(LAT, LON + 0.0001, 100, 100)) < 4


def test_a_key_is_sent_and_written_nowhere(workspace, server, monkeypatch):
    monkeypatch.setenv("TOWN_MAP_KEY", "s3cret-value")
    write_tiles(server.folder, 17)
    config = SatelliteConfig(tiles=tiles(server, key_variable="TOWN_MAP_KEY"), **PNG)

    table = satellite.run(workspace, config, ignore)

    assert table["kept"].all()
    assert all(path.endswith("?key=s3cret-value") for path in server.asked)
    for path in workspace.folder.rglob("*"):
        assert "s3cret" not in path.name
        assert not path.is_file() or b"s3cret" not in path.read_bytes()


# Catalogues


def box_of(half_deg=0.01):
    return (LON - half_deg, LAT - half_deg, LON + half_deg, LAT + half_deg)


def catalogue(server, **others):
    known = {"url": f"{server.origin}/stac", "collections": ("pictures",)}
    return StacConfig(**{"allow_private": True, "requests_per_second": 1000, **known, **others})


def test_the_clearest_and_then_nearest_item_is_read(workspace, server):
    paint(server.folder / "above.tif", crs="EPSG:32631")
    for item_id, cloud, day in [
        ("cloudy", 15, "2020-07-01"),
        ("far", 0.2, "2018-07-01"),
        ("near", 0.4, "2020-07-20"),
        ("overcast", 60, "2020-07-01"),
    ]:
        server.item(
            item_id, "above.tif", box_of(), date=f"{day}T10:00:00Z", license="CC-BY-4.0",
            **{"eo:cloud_cover": cloud},
        )  # fmt: skip
    server.item("broken", "none.tif", box_of(), date="2020-07-01T10:00:00Z")
    server.item("beside", "above.tif", (LON + 0.005, LAT, LON + 0.01, LAT + 0.01))

    table = satellite.run(workspace, SatelliteConfig(stac=catalogue(server), **PNG), ignore)

    check_same_ground(workspace)
    assert table[["date", "source", "licence"]].values.tolist() == [
        ["2020-07-20", "pictures/near", "CC-BY-4.0"],
        ["2020-07-20", "pictures/near", "CC-BY-4.0"],
    ]
    searches = [path for path in server.asked if path.startswith("/stac")]
    # The places lie in two cells at most, of three pages each.
    assert len(set(searches)) == len(searches) <= 6


def test_places_without_a_clear_item_are_rows(workspace, server):
    config = SatelliteConfig(stac=catalogue(server), **PNG)
    table = satellite.run(workspace, config, ignore)
    assert table["reason"].tolist() == ["the catalogue has nothing there"] * 2


def test_clouds_and_assets_that_rule_all_items_out_are_named(workspace, server):
    server.item("overcast", "above.tif", box_of(), **{"eo:cloud_cover": 60})
    table = satellite.run(workspace, SatelliteConfig(stac=catalogue(server), **PNG), ignore)
    assert table["reason"].tolist() == ["all pictures have more than 20 % of clouds"] * 2

    other = SatelliteConfig(stac=catalogue(server, asset="nir"), **PNG)
    table = satellite.run(workspace, other, ignore)
    assert table["reason"].tolist() == ["the catalogue gives no asset 'nir' for it"] * 2


def test_an_item_whose_address_holds_a_secret_is_left_out(workspace, server):
    server.item("signed", "above.tif?sig=SECRET", box_of())

    table = satellite.run(workspace, SatelliteConfig(stac=catalogue(server), **PNG), ignore)

    reason = "its address is not open: it holds a secret in its parameter 'sig'"
    assert table["reason"].tolist() == [reason] * 2


def test_a_catalogue_that_is_none_is_an_error(workspace, server):
    config = SatelliteConfig(stac=catalogue(server, url=f"{server.origin}/files"), **PNG)

    with pytest.raises(CurationError, match="gave status 404: check the address"):
        satellite.run(workspace, config, ignore)


def test_an_item_that_cannot_be_read_is_tried_again(workspace, server, monkeypatch):
    paint(server.folder / "above.tif")
    server.item("one", "above.tif", box_of())
    config = SatelliteConfig(stac=catalogue(server), **PNG)

    def silent(raster, _files):
        raise RasterError(f"{raster} cannot be opened as a raster")

    with monkeypatch.context() as patch:
        patch.setattr(satellite, "opened", silent)
        table = satellite.run(workspace, config, ignore)
    assert table["reason"].str.contains("cannot be opened").all()

    table = satellite.run(workspace, config, ignore)

    assert table["kept"].all()


def test_settings_that_cannot_be():
    with pytest.raises(ValidationError, match="none is given: name one"):
        SatelliteConfig()
    with pytest.raises(ValidationError, match="rasters and stac is given"):
        SatelliteConfig(rasters=("a",), stac=StacConfig(url="https://x.test", collections=("a",)))
    with pytest.raises(ValidationError, match="is no template of tiles"):
        TilesConfig(url="https://tiles.test/{z}/{x}.jpg")
    with pytest.raises(ValidationError, match="is no template of tiles"):
        TilesConfig(url="https://tiles.test/{z}/{x}/{y}.jpg?style={style}")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"facts": {"*": {"licence": "CC0-1.0"}}}, "put those of tiles into `tiles.facts`"),
        ({"max_cloud": 5}, "`max_cloud` is for catalogues"),
        ({"allow_private": True}, "`allow_private` is for addresses in `rasters`"),
    ],
)
def test_settings_that_would_do_nothing_with_tiles(settings, reason):
    tiles = {"url": "https://tiles.test/{z}/{x}/{y}.jpg"}
    with pytest.raises(ValidationError, match=reason):
        SatelliteConfig.model_validate({"tiles": tiles, **settings})
    config = SatelliteConfig.model_validate({"tiles": tiles})
    assert SatelliteConfig.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize("settings", [{"max_cloud": 5}, {"allow_private": True}])
def test_settings_that_would_do_nothing_with_files(settings):
    with pytest.raises(ValidationError, match=f"`{next(iter(settings))}` is for"):
        SatelliteConfig.model_validate({"rasters": ["a.tif"], **settings})


def test_private_addresses_of_rasters_may_be_allowed():
    rasters = ["a.tif", "http://localhost/b.tif"]
    assert SatelliteConfig.model_validate({"rasters": rasters, "allow_private": True}).allow_private
