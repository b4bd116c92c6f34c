"""Footprints of small painted maps: where they lie, what they show, which are left out."""

import numpy as np
import pytest
import rasterio
import torch
from PIL import Image
from pyproj import Transformer
from rasterio.transform import Affine

pytest.importorskip("kornia", reason="needs geobridge[train]")

from geobridge.errors import RasterError, TrainingError
from geobridge.geo.distance import distance_m
from geobridge.imagery.preprocess import Preprocess
from geobridge.training import maps as maps_module
from geobridge.training.config import SourceSettings
from geobridge.training.looks import LooksConfig
from geobridge.training.maps import MapSource

PREPROCESS = {"drone": Preprocess(32, 32), "satellite": Preprocess(32, 32)}
STILL = {
    "heading_known": 1.0, "heading_error_deg": 0.0, "scale": (1.0, 1.0), "shift": 0.0,
    "north_error_deg": 0.0, "skew": 0.0, "tilt_share": 0.0, "season": 0.0, "sensor": 0.0,
}  # fmt: skip
# On the central meridian of UTM 32N grid north is north, and a metre there is 0.9996 grid metres.
EAST_M, NORTH_M, SCALE = 500_000.0, 5_300_000.0, 0.9996


def write(path, pixels, **options):
    """A GeoTIFF of 1 m pixels (on the ground) whose top left is EAST_M, NORTH_M."""
    crs = options.pop("crs", "EPSG:32632")
    with rasterio.open(
        path, "w", driver="GTiff", width=pixels.shape[1], height=pixels.shape[0], count=3,
        dtype="uint8", crs=crs, transform=Affine(SCALE, 0, EAST_M, 0, -SCALE, NORTH_M), **options,
    ) as raster:  # fmt: skip
        raster.write(pixels.transpose(2, 0, 1))
    return path


def ramps(height=120, width=160):
    """Red grows by 1 a metre eastwards, green by 1 a metre southwards."""
    pixels = np.full((height, width, 3), 50, np.uint8)
    pixels[..., 0] = np.arange(width)[None, :]
    pixels[..., 1] = np.arange(height)[:, None]
    return pixels


def source(*paths, seed=0, pixels=None, footprint_m=40.0, **looks):
    settings = SourceSettings(
        maps=list(paths), pixels=pixels, footprint_m=footprint_m, looks=LooksConfig(**looks)
    )
    return MapSource(settings, PREPROCESS, seed)


def to_pixel(lat, lon):
    x, y = Transformer.from_crs("EPSG:4326", "EPSG:32632", always_xy=True).transform(lon, lat)
    return (x - EAST_M) / SCALE, (NORTH_M - y) / SCALE


def middle(pictures):
    """Red and green in the middle of pictures (n, 3, 32, 32), as column and row of `ramps`."""
    inside = pictures[:, :2, 15:17, 15:17].double().mean(dim=(2, 3)).numpy()
    # A pixel's middle is half a pixel beyond its number.
    return inside[:, 0] + 0.5, inside[:, 1] + 0.5


@pytest.mark.parametrize("held", [True, False])
def test_what_a_footprint_shows_is_what_lies_at_its_position(tmp_path, held):
    town = source(write(tmp_path / "town.tif", ramps()), **STILL)
    if held:
        town.cache(tmp_path)

    batch = town.draw(range(60), torch.Generator().manual_seed(1))
    plain = town.draw(range(60), None)

    col, row = to_pixel(batch.lat.numpy(), batch.lon.numpy())
    for pictures in (batch.pictures["satellite"], batch.pictures["drone"],
                     plain.pictures["satellite"], plain.pictures["drone"]):  # fmt: skip
        red, green = middle(pictures)
        # To half a pixel of cutting, and the grey levels that reading and looking round.
        np.testing.assert_allclose(red, col, atol=1.3)
        np.testing.assert_allclose(green, row, atol=1.3)
        # 40 m on 32 pixels: 1.25 m each, north up.
        steps = pictures[:, 0, 16].double().diff(dim=1)[:, 4:-4].mean(dim=1)
        np.testing.assert_allclose(steps, 1.25, atol=0.06)
    assert torch.equal(batch.rows["drone"], torch.arange(60))
    assert batch.names[0].endswith("town.tif")


def test_footprints_lie_within_the_map_and_everywhere_in_it(tmp_path):
    town = source(write(tmp_path / "town.tif", ramps()))

    col, row = to_pixel(town.lat, town.lon)

    # Centres from 20 m inside each edge; the grid they begin on is 1.25 m fine.
    assert 19.9 < col.min() < 22
    assert 19.9 < row.min() < 22
    assert 138 < col.max() < 140.1
    assert 98 < row.max() < 100.1
    assert len({(round(x, 3), round(y, 3)) for x, y in zip(col, row, strict=True)}) == len(town)
    assert len(set(town.text_key.tolist())) == len(town)
    assert town.has("drone").all()
    assert town.has("satellite").all()
    assert not town.has("street").any()
    assert town.texts == []


def test_the_seed_decides_where_and_the_generator_how(tmp_path):
    path = write(tmp_path / "town.tif", ramps())
    first, same, other = source(path), source(path), source(path, seed=1)

    def look(town, seed):
        return town.draw([3, 5], torch.Generator().manual_seed(seed)).pictures["drone"]

    assert np.array_equal(first.lat, same.lat)
    assert not np.array_equal(first.lat, other.lat)
    assert torch.equal(look(first, 1), look(same, 1))
    assert not torch.equal(look(first, 1), look(first, 2))


def test_no_footprint_lies_over_what_has_no_data(tmp_path):
    pixels = ramps() // 2 + 100
    pixels[:, 70:90] = 0
    town = source(write(tmp_path / "town.tif", pixels, nodata=0))

    col, _ = to_pixel(town.lat, town.lon)

    # 2 % of 40 m may be missing, and the cells are 1.25 m.
    gap = np.abs(col - 80)
    assert gap.min() > 10 + 20 - 0.02 * 40 - 1.3
    assert col.min() < 25
    assert col.max() > 135


def test_the_drone_may_look_at_another_date_of_the_same_ground(tmp_path):
    before = np.full((100, 100, 3), 60, np.uint8)
    after = np.full((100, 100, 3), 200, np.uint8)
    town = source(
        write(tmp_path / "2016.tif", before), write(tmp_path / "2020.tif", after), **STILL
    )
    town.cache(tmp_path)

    batch = town.draw(range(80), torch.Generator().manual_seed(0))

    drone, satellite = (batch.pictures[view][:, 0, 16, 16] for view in ("drone", "satellite"))
    pairs = set(zip(satellite.tolist(), drone.tolist(), strict=True))
    assert pairs == {(60, 60), (60, 200), (200, 60), (200, 200)}


def test_ground_beyond_the_map_is_its_reflection(tmp_path):
    town = source(write(tmp_path / "town.tif", ramps(42, 42)), shift=0.5, **{
        key: value for key, value in STILL.items() if key != "shift"
    })  # fmt: skip
    town.cache(tmp_path)

    drone = town.draw(range(4), torch.Generator().manual_seed(0)).pictures["drone"]

    # Nothing black comes in: 50 is the blue of all ground, but for what resampling overshoots.
    assert int(drone[:, 2].min()) >= 45


def outside_a_diamond():
    away = np.abs(np.arange(160) - 79.5)
    return away[:, None] + away[None, :] > 80


def outside_an_l():
    outside = np.zeros((160, 160), bool)
    outside[:110, 50:] = True
    return outside


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("outside", [outside_a_diamond(), outside_an_l()], ids=["diamond", "L"])
def test_a_map_that_does_not_fill_its_rectangle_shows_what_lies_there(tmp_path, outside, held):
    pixels = ramps(160, 160)
    pixels[..., :2] += 40
    pixels[outside] = 0
    path = write(tmp_path / "town.tif", pixels, nodata=0)
    town, tilted = source(path, **STILL), source(path, shift=0.5, tilt_share=1.0, sensor=0.0)
    if held:
        town.cache(tmp_path)
        tilted.cache(tmp_path)
    every = range(0, len(town), 1 if held else 40)

    batch = town.draw(every, None)

    col, row = to_pixel(batch.lat.numpy(), batch.lon.numpy())
    for view in ("satellite", "drone"):
        red, green = middle(batch.pictures[view])
        np.testing.assert_allclose(red, col + 40, atol=1.3)
        np.testing.assert_allclose(green, row + 40, atol=1.3)
    # Beyond its ground it is mirrored: 50 is the blue of all of it, but for single pixels at the
    # edge that reading blends with what has no data.
    drone = tilted.draw(range(20), torch.Generator().manual_seed(0)).pictures["drone"]
    assert (drone[:, 2] < 45).double().mean() < 0.001


def test_ground_is_mirrored_about_its_nearest_edge():
    def mirrored(values):
        pixels = np.stack([np.array(values, np.uint8)] * 3)
        maps_module._mirror(pixels, pixels[0] > 0)
        assert (pixels == pixels[0]).all()
        return pixels[0].tolist()

    # Rightwards of 3 there are only three pixels to mirror, and then they come again.
    assert mirrored([[0, 0, 1, 2, 3, 0, 0, 0, 0, 0]]) == [[2, 1, 1, 2, 3, 3, 2, 1, 1, 2]]
    # Between two runs each pixel takes the nearer one.
    assert mirrored([[1, 2, 0, 0, 0, 5, 6]]) == [[1, 2, 2, 1, 5, 5, 6]]
    # So it does between its row and its column, the row where both are as near.
    assert mirrored([[0, 0, 7], [0, 0, 8], [4, 5, 6]]) == [[7, 7, 7], [4, 8, 8], [4, 5, 6]]
    # Corners with nothing in their row and column look at what was filled.
    assert mirrored([[0, 0, 0], [0, 9, 0]]) == [[9, 9, 9], [9, 9, 9]]
    assert mirrored([[0, 0]]) == [[0, 0]]


def test_maps_without_a_footprint_are_left_out_and_named(tmp_path):
    good = write(tmp_path / "good.tif", ramps())
    small = write(tmp_path / "small.tif", ramps(30, 30))
    empty = write(tmp_path / "empty.tif", ramps() * 0, nodata=0)

    town, alone = source(small, good, empty, **STILL), source(good, **STILL)
    town.cache(tmp_path)
    alone.cache(tmp_path)

    assert town.left_out == [str(small), str(empty)]
    assert alone.left_out == []
    assert f"without {small}, {empty} (no whole footprint" in town.name
    assert np.array_equal(town.lat, alone.lat)
    one, other = (
        given.draw(range(20), torch.Generator().manual_seed(0)) for given in (town, alone)
    )
    assert torch.equal(one.pictures["drone"], other.pictures["drone"])


def test_plain_places_are_photos_that_stay_the_same(tmp_path):
    path = write(tmp_path / "town.tif", ramps())
    town, again, other = source(path), source(path), source(path, seed=1)

    first, same = town.draw([3, 5], None).pictures, again.draw([3, 5], None).pictures

    assert torch.equal(first["drone"], same["drone"])
    assert torch.equal(first["satellite"], same["satellite"])
    # A model is not asked whether a picture is itself.
    assert not torch.equal(first["drone"], first["satellite"])
    # The gallery's picture hangs on nothing; the photo on the seed, here on the same ground.
    other.lat, other.lon, other._layer = town.lat, town.lon, town._layer
    seeded = other.draw([3, 5], None).pictures
    assert torch.equal(first["satellite"], seeded["satellite"])
    assert not torch.equal(first["drone"], seeded["drone"])


def test_a_map_too_large_for_memory_is_read_footprint_by_footprint(tmp_path, monkeypatch):
    path = write(tmp_path / "town.tif", ramps())
    held, read = source(path, **STILL), source(path, **STILL)
    held.cache(tmp_path)
    monkeypatch.setattr(maps_module, "MAX_BYTES", 1000)
    read.cache(tmp_path)

    assert held._layers[0].pixels is not None
    assert read._layers[0].pixels is None
    one, other = (town.draw(range(20), None).pictures["satellite"] for town in (held, read))
    assert (one.int() - other.int()).abs().double().mean() < 1


def test_reading_is_counted(tmp_path):
    first, second = write(tmp_path / "1.tif", ramps()), write(tmp_path / "2.tif", ramps())
    told = []

    source(first, second).cache(tmp_path, lambda done, total: told.append((done, total)))

    assert told == [(1, 2), (2, 2)]


def test_a_folder_of_maps_and_one_of_tiles(tmp_path):
    (tmp_path / "maps").mkdir()
    write(tmp_path / "maps" / "a.tif", ramps())
    write(tmp_path / "maps" / "b.tif", ramps())
    (tmp_path / "maps" / "notes.txt").write_text("no map")
    (tmp_path / "tiles").mkdir()
    # Zoom 18 at the equator: 152.87 m a tile. Red left, blue right.
    for x, color in ((131072, (200, 0, 0)), (131073, (0, 0, 200))):
        Image.new("RGB", (64, 64), color).save(tmp_path / "tiles" / f"18_{x}_131071.png")
        Image.new("RGB", (64, 64)).save(tmp_path / "tiles" / f"17_{x // 2}_65535.png")

    assert len(source(tmp_path / "maps")._layers) == 2
    tiles = source(tmp_path / "tiles", **STILL)
    tiles.cache(tmp_path)

    batch = tiles.draw(range(50), None)
    seam_lon = 360 / 2**18
    away_m = distance_m(0, seam_lon, 0, batch.lon.numpy())
    left = batch.lon.numpy() < seam_lon
    color = batch.pictures["satellite"][:, :, 16, 16]
    assert (color[left & (away_m > 5), 0] > 190).all()
    assert (color[~left & (away_m > 5), 2] > 190).all()
    # Some footprints lie across the seam.
    assert (away_m < 15).any()


def test_bad_maps_are_refused_in_a_sentence(tmp_path):
    with pytest.raises(RasterError, match=r"nowhere\.tif cannot be opened"):
        source(tmp_path / "nowhere.tif")
    with pytest.raises(RasterError, match="no coordinate reference system"):
        source(write(tmp_path / "bare.tif", ramps(), crs=None))
    with pytest.raises(TrainingError, match="no whole footprint of 500 m"):
        source(write(tmp_path / "small.tif", ramps()), footprint_m=500.0)
    with pytest.raises(TrainingError, match="no whole footprint of 40 m"):
        source(write(tmp_path / "empty.tif", ramps() * 0, nodata=0))
    (tmp_path / "empty").mkdir()
    with pytest.raises(RasterError, match="empty holds no georeferenced raster"):
        source(tmp_path / "empty")


def test_a_model_that_sees_its_views_at_other_sizes_is_refused(tmp_path):
    path = write(tmp_path / "town.tif", ramps())
    preprocess = PREPROCESS | {"drone": Preprocess(16, 16)}

    with pytest.raises(TrainingError, match="squares of one size"):
        MapSource(SourceSettings(maps=[path]), preprocess, 0)
