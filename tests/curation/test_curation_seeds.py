import math
from datetime import date

import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from ground_stage import (
    LAT,
    LON,
    ImageryServer,
    ignore,
    middle,
    north_up,
    offsets,
    paint,
    write_raster,
)
from pydantic import ValidationError
from rasterio import Affine
from rasterio.enums import ColorInterp

from geobridge.curation.rasters import RasterFacts, list_rasters, opened, parse_date
from geobridge.curation.seeds import SeedsConfig, run
from geobridge.curation.stac import Catalogue, address_fault
from geobridge.curation.workspace import Workspace
from geobridge.errors import CurationError, PositionError, RasterError
from geobridge.geo.distance import distance_m
from geobridge.geo.footprint import size_m


def seeds_of(tmp_path, *rasters, **settings):
    """Workspace and seeds of rasters, 100 m footprints every 100 m."""
    workspace = Workspace(tmp_path / "work")
    known = {"side_m": 100.0, "stride_m": 100.0, "max_gsd_m": 2.0, **settings}
    config = SeedsConfig(rasters=tuple(str(raster) for raster in rasters), **known)
    return workspace, run(workspace, config, ignore)


def test_windows_with_enough_pixels_become_seeds(tmp_path):
    # 600 m with a frame of 50 m: of 6 x 6 windows the inner 4 x 4 are whole, edges half valid.
    path = paint(tmp_path / "town.tif", frame=50)

    _, seeds = seeds_of(tmp_path, path)

    assert len(seeds) == 16
    assert seeds["valid"].tolist() == [1.0] * 16
    assert isinstance(seeds, geopandas.GeoDataFrame)
    assert seeds["seed_id"].is_unique
    first = seeds[seeds["seed_id"].str.endswith("_100_100")].iloc[0]
    # The window from 100 to 200 m lies 150 m west and north of the middle.
    (lat, lon), *_ = offsets([(-150, 150)])
    assert distance_m(first["lat"], first["lon"], lat, lon) < 1
    assert size_m(first["footprint"]) == pytest.approx(100, abs=0.5)
    assert first["gsd_m"] == pytest.approx(1.0, rel=1e-3)
    assert first["raster"] == str(path)


def test_fewer_pixels_are_enough_where_they_are(tmp_path):
    path = paint(tmp_path / "town.tif", frame=50)

    _, seeds = seeds_of(tmp_path, path, min_valid=0.4)

    # The windows at the edges have half, those in the corners a quarter.
    assert len(seeds) == 32
    assert sorted(set(seeds["valid"].round(1))) == [0.5, 1.0]


def test_the_same_rasters_give_the_same_bytes_and_are_read_once(tmp_path, monkeypatch):
    path = paint(tmp_path / "town.tif")
    workspace, _ = seeds_of(tmp_path, path)
    first = [workspace.path(name).read_bytes() for name in ("seeds", "rasters")]
    anew, _ = seeds_of(tmp_path / "other", path)

    assert [anew.path(name).read_bytes() for name in ("seeds", "rasters")] == first
    # A run that was killed before its table goes on from the journal.
    workspace.path("seeds").unlink()
    monkeypatch.setattr("geobridge.curation.seeds.Coverage", None)
    seeds_of(tmp_path, path)
    assert [workspace.path(name).read_bytes() for name in ("seeds", "rasters")] == first


def test_another_raster_of_the_same_name_is_read_anew(tmp_path):
    path = paint(tmp_path / "town.tif")
    seeds_of(tmp_path, path)
    paint(path, px=300)

    _, seeds = seeds_of(tmp_path, path)

    assert len(seeds) == 9


def test_rasters_of_one_name_have_seeds_of_their_own(tmp_path):
    paths = [paint(tmp_path / folder / "odm_orthophoto.tif", px=100) for folder in ("a", "b")]

    _, seeds = seeds_of(tmp_path, *paths)

    assert seeds["seed_id"].is_unique
    assert sorted(seeds["raster"]) == [str(path) for path in paths]


def test_rasters_without_seeds_and_facts_without_rasters_are_told(tmp_path):
    paths = [paint(tmp_path / "town.tif", px=100), paint(tmp_path / "tiny.tif", px=20)]
    told = []

    def step(what):
        told.append(what)
        return lambda *_: None

    facts = {"twon.tif": RasterFacts(source="us"), "t*y.tif": RasterFacts(source="them")}
    config = SeedsConfig(
        rasters=tuple(map(str, paths)), side_m=100, stride_m=100, max_gsd_m=2, facts=facts
    )
    run(Workspace(tmp_path / "work"), config, step)

    assert told[1:] == [
        f"1 of 2 rasters gave no seeds: see {tmp_path / 'work' / 'rasters.parquet'}",
        "the facts of 'twon.tif' are of no raster; the closest name is town.tif",
    ]


def test_a_pattern_names_the_files_that_fit_it(tmp_path):
    paths = [paint(tmp_path / "flights" / name, px=100) for name in ("b.tif", "a.tif", "c.png")]
    odd = paint(tmp_path / "[1].tif", px=100)

    listed = list_rasters([str(tmp_path / "f*" / "*.tif"), str(odd)])

    assert [entry.raster for entry in listed] == [str(paths[1]), str(paths[0]), str(odd)]
    assert all(entry.is_named for entry in listed)
    with pytest.raises(CurationError, match=r"\*\.jp2 is neither .* no file fits it as a pattern"):
        list_rasters([str(tmp_path / "*.jp2")])


def test_dates_and_licences_come_from_the_configuration_then_from_tags(tmp_path):
    tags = {"TIFFTAG_DATETIME": "2020:03:04 11:00:00", "TIFFTAG_COPYRIGHT": "Town survey"}
    tagged = paint(tmp_path / "flights" / "tagged.tif", px=100, tags=tags)
    plain = paint(tmp_path / "plain.tif", px=100)
    facts = {
        "tagged*": RasterFacts(licence="CC-BY-4.0"),
        "*/plain.tif": RasterFacts(date=date(2019, 1, 2), source="us"),
        "*": RasterFacts(licence="not the first that fits"),
    }

    workspace, seeds = seeds_of(tmp_path, tagged, plain, facts=facts)

    row = seeds.set_index("raster").loc[str(tagged)]
    assert row[["date", "licence", "attribution"]].tolist() == [
        "2020-03-04",
        "CC-BY-4.0",
        "Town survey",
    ]
    row = seeds.set_index("raster").loc[str(plain)]
    assert row[["date", "source"]].tolist() == ["2019-01-02", "us"]
    assert pd.isna(row["licence"])
    assert workspace.read("rasters")["date"].tolist() == ["2020-03-04", "2019-01-02"]


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2020:03:04 11:00:00", date(2020, 3, 4)),
        ("2021-06-01T10:00:00.5Z", date(2021, 6, 1)),
        ("2020:13:04", None),
        ("0000:00:00 00:00:00", None),
        ("20200304", None),
        ("", None),
        (None, None),
    ],
)
def test_dates_of_tags_and_catalogues(text, day):
    assert parse_date(text) == day


def test_files_of_a_folder_that_cannot_be_used_are_rows(tmp_path):
    folder = tmp_path / "flights"
    paint(folder / "good.tif", px=100)
    paint(folder / "coarse.tif", px=50, transform=north_up("EPSG:32632", 50, 50, 4.0, 4.0))
    paint(folder / "empty.tif", px=100, frame=49)
    bare = np.full((100, 100, 3), 90, np.uint8)
    write_raster(folder / "nowhere.tif", bare, None, Affine(1, 0, 5e5, 0, -1, 5e6))
    (folder / "notes.txt").write_text("flown on a sunny day")
    (folder / "torn.tif").write_bytes(b"II*\x00 and then nothing")

    workspace, seeds = seeds_of(tmp_path, folder)

    assert len(seeds) == 1
    rasters = workspace.read("rasters").set_index("raster")
    assert rasters["seeds"].sum() == 1
    reasons = {name.rpartition("/")[2]: reason for name, reason in rasters["reason"].items()}
    assert pd.isna(reasons["good.tif"])
    assert reasons["coarse.tif"] == "its pixels are 4.0016 m wide, more than max_gsd_m = 2"
    assert reasons["empty.tif"] == "no footprint of 100 m has 90% of data"
    assert "no coordinate reference system" in reasons["nowhere.tif"]
    assert reasons["notes.txt"] == "its name is not one of a georeferenced raster"
    assert "cannot be opened" in reasons["torn.tif"]


def test_a_named_raster_without_a_place_is_an_error(tmp_path):
    bare = np.full((100, 100, 3), 90, np.uint8)
    path = write_raster(tmp_path / "a.tif", bare, None, Affine(1, 0, 5e5, 0, -1, 5e6))

    with pytest.raises(RasterError, match="no coordinate reference system"):
        seeds_of(tmp_path, path)


def test_a_raster_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(CurationError, match="neither a file, a folder nor an address"):
        seeds_of(tmp_path, tmp_path / "none.tif")


def test_no_seed_at_all_is_an_error_that_says_where_to_look(tmp_path):
    path = paint(tmp_path / "a.tif", px=100, frame=40)

    with pytest.raises(CurationError, match=r"none of 1 rasters gave a seed: .*rasters\.parquet"):
        seeds_of(tmp_path, path)

    (reason,) = Workspace(tmp_path / "work").read("rasters")["reason"]
    assert reason == "no footprint of 100 m has 90% of data"


def test_an_empty_folder_is_an_error(tmp_path):
    (tmp_path / "empty").mkdir()

    with pytest.raises(CurationError, match="none of 0 rasters gave a seed"):
        seeds_of(tmp_path, tmp_path / "empty")


def test_a_raster_smaller_than_a_footprint_is_one_window_that_lacks_data(tmp_path):
    small = paint(tmp_path / "small.tif", px=70)
    large = paint(tmp_path / "large.tif", px=100)

    workspace, seeds = seeds_of(tmp_path, small, large, min_valid=0.4)

    # 70 x 70 of 100 x 100 m.
    rasters = workspace.read("rasters").set_index("raster")
    assert rasters.loc[str(small), "windows"] == 1
    found = seeds.set_index("raster")["valid"]
    assert found[str(small)] == pytest.approx(0.49, abs=0.02)
    assert found[str(large)] == 1.0


def test_16_bits_and_four_bands_are_slid_over(tmp_path):
    deep = write_raster(
        tmp_path / "deep.tif",
        np.full((200, 200, 4), 3000, np.uint16),
        "EPSG:32632",
        north_up("EPSG:32632", 200, 200, 1.0, 1.0),
    )
    alpha = np.full((200, 200, 4), 90, np.uint8)
    alpha[:, :, 3] = 255
    alpha[:, 100:, 3] = 0
    clear = write_raster(
        tmp_path / "clear.tif", alpha, "EPSG:32632", north_up("EPSG:32632", 200, 200, 1.0, 1.0)
    )
    with rasterio.open(clear, "r+") as dataset:
        colors = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
        dataset.colorinterp = colors

    _, seeds = seeds_of(tmp_path, deep, clear)

    counts = seeds["raster"].value_counts()
    assert counts[str(deep)] == 4
    # Half of it is transparent.
    assert counts[str(clear)] == 2


def test_a_turned_raster_gives_north_up_footprints_inside_it(tmp_path):
    turned = (
        Affine.translation(*middle("EPSG:32632")) @ Affine.rotation(30)
        @ Affine.scale(1, -1) @ Affine.translation(-300, -300)
    )  # fmt: skip
    path = paint(tmp_path / "a.tif", transform=turned)

    _, seeds = seeds_of(tmp_path, path, min_valid=1.0)

    assert len(seeds) > 8
    for footprint in seeds["footprint"]:
        west, south, east, north = footprint.bounds
        # North up: as large as the box around it.
        assert footprint.area == pytest.approx((east - west) * (north - south), rel=1e-3)
        assert size_m(footprint) == pytest.approx(100, abs=0.1)


def test_footprints_near_a_pole_lie_there_and_the_pole_itself_is_left_out(tmp_path):
    # EPSG:3413, north polar stereographic: the pole is 0, 0.
    pixels = np.full((600, 600, 3), 90, np.uint8)
    pole = write_raster(tmp_path / "pole.tif", pixels, "EPSG:3413", Affine(1, 0, -300, 0, -1, 300))
    far = write_raster(
        tmp_path / "far.tif", pixels, "EPSG:3413", Affine(1, 0, 100_000, 0, -1, -100_000)
    )

    _, seeds = seeds_of(tmp_path, pole, far)

    assert seeds.geometry.is_valid.all()
    at_pole = seeds[seeds["raster"] == str(pole)]
    assert len(at_pole) > 4
    assert at_pole["lat"].max() < 90
    for row in seeds.itertuples():
        assert size_m(row.footprint) == pytest.approx(100, abs=0.5)
        assert shapely.Point(row.lon, row.lat).within(row.footprint.buffer(1e-9))
        apart = distance_m(row.lat, row.lon, 90.0, 0.0)
        assert apart > 50 * math.sqrt(2)


def test_footprints_across_the_antimeridian_are_continuous(tmp_path):
    pixel = 1e-5
    pixels = np.full((300, 300, 3), 90, np.uint8)
    transform = Affine(pixel, 0, 180 - 150 * pixel, 0, -pixel, -17.0)
    path = write_raster(tmp_path / "fiji.tif", pixels, "EPSG:4326", transform)

    _, seeds = seeds_of(tmp_path, path)

    assert (seeds["lon"].abs() > 179.99).all()
    assert {-1.0, 1.0} == set(np.sign(seeds["lon"]))
    widths = seeds.geometry.bounds["maxx"] - seeds.geometry.bounds["minx"]
    assert widths.max() < 0.0011


# The catalogue


def box_of(half_deg=0.01):
    return (LON - half_deg, LAT - half_deg, LON + half_deg, LAT + half_deg)


def catalogue(server, **others):
    known = {"url": f"{server.origin}/stac", "collections": ("pictures",), "bounds": box_of()}
    return Catalogue(**{"allow_private": True, "requests_per_second": 1000, **known, **others})


@pytest.fixture
def server(tmp_path):
    paint(tmp_path / "served" / "a.tif", px=100)
    paint(tmp_path / "served" / "b.tif", px=200)
    with ImageryServer(tmp_path / "served") as server:
        yield server


def of_catalogue(tmp_path, found):
    workspace = Workspace(tmp_path / "work")
    config = SeedsConfig(catalogue=found, side_m=100.0, stride_m=100.0, max_gsd_m=2.0)
    return workspace, config


def test_rasters_of_a_catalogue_are_found_page_by_page(tmp_path, server):
    people = [{"name": "A. Pilot", "roles": ["producer", "licensor"]}, {"name": "Host"}]
    server.item("one", "a.tif", box_of(), license="CC-BY-4.0", providers=people)
    server.item("two", "b.tif", box_of(), date="2022-02-03T00:00:00Z", gsd=2.9e-7)
    server.item("coarse", "c.tif", box_of(), gsd=30)
    server.item("bare", "d.tif", box_of(), asset="thumbnail")
    server.item("gone", "e.tif", box_of())
    server.item("elsewhere", "a.tif", (LON + 1, LAT, LON + 1.1, LAT + 0.1))
    workspace, config = of_catalogue(tmp_path, catalogue(server))

    seeds = run(workspace, config, ignore)

    assert len(seeds) == 5
    first = seeds.set_index("raster").loc[f"{server.origin}/files/a.tif"]
    assert first[["date", "licence", "attribution", "source"]].tolist() == [
        "2021-06-01",
        "CC-BY-4.0",
        "A. Pilot",
        "pictures/one",
    ]
    rasters = workspace.read("rasters").set_index("raster")["reason"]
    assert len(rasters) == 5
    assert rasters["pictures/bare"] == "the catalogue gives no asset 'visual or image' for it"
    assert rasters[f"{server.origin}/files/c.tif"] == "the catalogue says its pixels are 30 m"
    assert "gave status 404" in rasters[f"{server.origin}/files/e.tif"]
    assert len([path for path in server.asked if path.startswith("/stac")]) == 3


def test_a_search_is_asked_once(tmp_path, server):
    server.item("one", "a.tif", box_of())
    workspace, config = of_catalogue(tmp_path, catalogue(server))
    run(workspace, config, ignore)
    first = workspace.path("seeds").read_bytes()
    asked = len(server.asked)

    run(workspace, config, ignore)

    assert len(server.asked) == asked
    assert workspace.path("seeds").read_bytes() == first


def test_a_raster_that_did_not_answer_is_tried_again(tmp_path, server, monkeypatch):
    server.item("one", "a.tif", box_of())
    server.item("two", "b.tif", box_of())
    workspace, config = of_catalogue(tmp_path, catalogue(server))

    def silent(raster, files):
        if raster.endswith("b.tif"):
            raise RasterError(f"{raster} cannot be opened as a raster")
        return opened(raster, files)

    with monkeypatch.context() as patch:
        patch.setattr("geobridge.curation.seeds.opened", silent)
        assert len(run(workspace, config, ignore)) == 1
    assert "cannot be opened" in workspace.read("rasters")["reason"][1]

    assert len(run(workspace, config, ignore)) == 5


def test_dates_and_both_sides_of_the_antimeridian_are_asked_for(tmp_path, server):
    server.item("old", "a.tif", (179.9, -17.1, 179.95, -17.0), date="2019-06-01T00:00:00Z")
    server.item("new", "a.tif", (-179.95, -17.1, -179.9, -17.0), date="2021-12-31T20:00:00Z")
    found = catalogue(
        server, bounds=(179.8, -18, -179.8, -16), after=date(2020, 1, 1), before=date(2021, 12, 31)
    )
    workspace, config = of_catalogue(tmp_path, found)

    seeds = run(workspace, config, ignore)

    assert seeds["source"].tolist() == ["pictures/new"]
    assert sum("bbox=" in path for path in server.asked) == 2


def test_addresses_of_this_machine_are_not_read_unless_they_may_be(tmp_path, server):
    server.item("one", "a.tif", box_of())
    found = catalogue(server)
    rows = []
    for url in (f"{server.origin}/files/a.tif", "http://[::1]/a.tif", "http://169.254.169.254/a"):
        assert address_fault(url, True) is None
        rows.append(address_fault(url, False))
    assert all("machine or its networks" in row for row in rows)
    for url in ("file:///etc/passwd", "/vsizip/a.zip", "s3://bucket/a.tif", "http://u:p@host/a"):
        assert address_fault(url, True) == "its address is not of http or https"
    workspace, config = of_catalogue(tmp_path, found.model_copy(update={"allow_private": False}))
    with pytest.raises(CurationError, match="allow_private"):
        run(workspace, config, ignore)


def test_a_format_that_leads_elsewhere_is_not_opened(tmp_path, server):
    (tmp_path / "served" / "trap.tif").write_text(
        f'<VRTDataset rasterXSize="10" rasterYSize="10"><SRS>EPSG:32632</SRS><VRTRasterBand '
        f'dataType="Byte" band="1"><SimpleSource><SourceFilename>{tmp_path}/secret.tif'
        f"</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    server.item("trap", "trap.tif", box_of())
    workspace, config = of_catalogue(tmp_path, catalogue(server))

    with pytest.raises(CurationError, match="gave a seed"):
        run(workspace, config, ignore)

    assert "is no GeoTIFF" in workspace.read("rasters")["reason"][0]


@pytest.mark.parametrize("link", [{"method": "POST"}, {"href": "again"}])
def test_pages_that_cannot_be_followed_are_named(tmp_path, server, monkeypatch, link):
    server.item("one", "a.tif", box_of())
    plain = ImageryServer._search

    def linked(self, parts):
        href = f"{server.origin}{parts.path}?{parts.query}"
        return {**plain(self, parts), "links": [{"rel": "next", **link, "href": href}]}

    monkeypatch.setattr(ImageryServer, "_search", linked)
    workspace, config = of_catalogue(tmp_path, catalogue(server))

    with pytest.raises(CurationError, match=r"by POST|in a circle"):
        run(workspace, config, ignore)


def test_too_many_items_are_refused(tmp_path, server):
    for index in range(5):
        server.item(str(index), "a.tif", box_of())
    workspace, config = of_catalogue(tmp_path, catalogue(server, max_items=3))

    with pytest.raises(CurationError, match="more than 3 items there: narrow"):
        run(workspace, config, ignore)


def test_settings_that_cannot_be():
    with pytest.raises(ValidationError, match="there are no rasters"):
        SeedsConfig()
    with pytest.raises(ValidationError, match="did you mean 'stride_m'"):
        SeedsConfig(rasters=("a.tif",), stride=3)
    with pytest.raises(PositionError, match="swapped"):
        Catalogue(bounds=(48.0, 121.0, 49.0, 122.0))
    with pytest.raises(ValidationError, match="no extent"):
        Catalogue(bounds=(9.0, 48.0, 9.1, 48.0))
    with pytest.raises(ValidationError, match="later than"):
        Catalogue(bounds=box_of(), after=date(2021, 1, 1), before=date(2020, 1, 1))
    assert Catalogue(bounds=box_of()).collections == ("openaerialmap",)
