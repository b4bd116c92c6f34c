"""Mosaics of tiles against the whole picture they were cut from, placed by Mercator's formula."""

import math

import numpy as np
import pytest
from PIL import Image

import geobridge.imagery.mosaics as mosaics
from geobridge.errors import RasterError
from geobridge.geo.distance import distance_m
from geobridge.geo.tiles import Tile, corner_of, finest_tiles, tile_groups
from geobridge.imagery.mosaics import TileMap

WEST, NORTH, Z = 156704, 106359, 18


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def cut(folder, picture, side, missing=(), west=WEST, north=NORTH, z=Z):
    """Tiles of a picture; the files by the tile they show."""
    files = {}
    for row in range(picture.shape[0] // side):
        for column in range(picture.shape[1] // side):
            if (column, row) not in missing:
                tile = Tile(west + column, north + row, z)
                part = picture[row * side : (row + 1) * side, column * side : (column + 1) * side]
                files[tile] = folder / f"{z}_{tile.x % 2**z}_{tile.y}.png"
                Image.fromarray(part).save(files[tile])
    return files


def position(column_px, row_px, side, west=WEST, north=NORTH, z=Z):
    """Latitude and longitude of a pixel: the slippy map's formula, one number at a time."""
    x, y = (west + column_px / side) / 2**z, (north + row_px / side) / 2**z
    return math.degrees(math.atan(math.sinh(math.pi * (1 - 2 * y)))), x * 360 - 180


@pytest.mark.parametrize("side", [256, 512])
def test_windows_show_the_pixels_at_their_place(tmp_path, side):
    picture = noise(2 * side, 3 * side)
    with TileMap(cut(tmp_path, picture, side), tmp_path) as tiles:
        # 0.51 m a pixel of 256 at this latitude: Mercator's scale at its cosine.
        lat, _ = position(1.5 * side, side, side)
        gsd_m = 2 * math.pi * 6378137 / (2**Z * side) * math.cos(math.radians(lat))
        assert tiles.gsd_m == pytest.approx(gsd_m, rel=0.005)
        windows = list(tiles.windows(60, 40))
        assert len(windows) > 50
        for window in windows:
            rows = slice(window.row_off, window.row_off + window.height)
            columns = slice(window.col_off, window.col_off + window.width)
            middle = (columns.start + columns.stop) / 2, (rows.start + rows.stop) / 2
            assert distance_m(window.lat, window.lon, *position(*middle, side)) < 0.01
            pixels, valid = tiles.read(window)
            assert valid == 1
            np.testing.assert_array_equal(pixels, picture[rows, columns])
            for (lon, lat), corner in zip(
                window.footprint.exterior.coords[:4],
                [(columns.start, rows.start), (columns.stop, rows.start),
                 (columns.stop, rows.stop), (columns.start, rows.stop)],
                strict=True,
            ):  # fmt: skip
                assert distance_m(lat, lon, *position(*corner, side)) < 0.01


def test_a_missing_tile_has_no_data(tmp_path):
    picture = noise(96, 96)
    with TileMap(cut(tmp_path, picture, 32, missing={(1, 1)}), tmp_path) as tiles:
        lat, lon = position(32, 32, 32)
        # Around the hole's corner a quarter is missing: 40 pixels, 20 of them on each side.
        window = tiles.window_at(lat, lon, 40 * tiles.gsd_m)
        assert (window.col_off, window.row_off, window.width) == (12, 12, 40)
        pixels, valid = tiles.read(window)
        assert valid == 0.75
        assert not pixels[20:, 20:].any()
        np.testing.assert_array_equal(pixels[:20], picture[12:32, 12:52])
        np.testing.assert_array_equal(pixels[20:, :20], picture[32:52, 12:32])
        mask = tiles.read_mask(8)
    expected = np.ones((12, 12), bool)
    expected[4:8, 4:8] = False
    np.testing.assert_array_equal(mask, expected)


def test_only_the_tiles_of_a_window_are_read_and_none_twice(tmp_path, monkeypatch):
    files = cut(tmp_path, noise(128, 128), 32)
    read = []
    tile_reader = mosaics._read_tile

    def counted(file):
        read.append(file)
        return tile_reader(file)

    with TileMap(files, tmp_path) as tiles:
        monkeypatch.setattr(mosaics, "_read_tile", counted)
        lat, lon = position(64, 16, 32)
        for _ in range(3):
            tiles.read(tiles.window_at(lat, lon, 20 * tiles.gsd_m))
    assert sorted(read) == sorted(
        [files[Tile(WEST + 1, NORTH, Z)], files[Tile(WEST + 2, NORTH, Z)]]
    )


def test_what_is_kept_of_tiles_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(mosaics, "_KEPT_PX", 8 * 32**2)
    with TileMap(cut(tmp_path, noise(128, 128), 32), tmp_path) as tiles:
        for window in tiles.windows(20 * tiles.gsd_m, 20 * tiles.gsd_m):
            tiles.read(window)
        assert tiles._tile.cache_info().currsize == 8
    assert tiles._tile.cache_info().currsize == 0


def test_a_wide_window_is_averaged_part_by_part(tmp_path, monkeypatch):
    monkeypatch.setattr(mosaics, "_PART_PX", 24)
    picture = noise(128, 128)
    with TileMap(cut(tmp_path, picture, 32), tmp_path) as tiles:
        window = tiles.window_at(*position(64, 64, 32), 128 * tiles.gsd_m)
        # A fourth of the side is read at half of it, eighths of the parts at a factor of 3.
        reduced = [tiles._read_pixels(mosaics.Window(1, 2, 127, 121), factor) for factor in (2, 5)]
        small, valid = tiles.read(window, 16)
    for factor, pixels in zip((2, 5), reduced, strict=True):
        part = picture[2:123, 1:128].astype(float)
        for y, x in ((0, 0), (7, 11), (23, 24)):
            mean = part[y * factor : (y + 1) * factor, x * factor : (x + 1) * factor]
            assert np.abs(pixels[y, x] - mean.mean(axis=(0, 1))).max() < 1
        assert pixels.shape == (-(-121 // factor), -(-127 // factor), 3)
    assert valid == 1
    assert small.shape == (16, 16, 3)
    assert np.abs(small.mean(axis=(0, 1)) - picture.mean(axis=(0, 1))).max() < 2


def _grey():
    return Image.new("L", (16, 16), 90)


def _grey_with_alpha():
    picture = Image.new("LA", (16, 16), (90, 255))
    picture.paste((90, 0), (0, 0, 16, 8))
    return picture


def _rgba():
    picture = Image.new("RGBA", (16, 16), (10, 20, 30, 255))
    picture.paste((10, 20, 30, 0), (0, 0, 16, 8))
    return picture


def _palette():
    picture = Image.new("P", (16, 16), 1)
    picture.putpalette([0, 0, 0, 10, 20, 30, 200, 0, 0])
    return picture


def _palette_with_alpha():
    picture = _palette()
    picture.paste(2, (0, 0, 16, 8))
    picture.info["transparency"] = bytes([255, 255, 0])
    return picture


def _finer():
    return _rgba().resize((32, 32), Image.Resampling.NEAREST)


@pytest.mark.parametrize(
    ("make", "color", "is_clear"),
    [
        (_grey, (90, 90, 90), False),
        (_grey_with_alpha, (90, 90, 90), True),
        (_rgba, (10, 20, 30), True),
        (_palette, (10, 20, 30), False),
        (_palette_with_alpha, (10, 20, 30), True),
        (_finer, (10, 20, 30), True),
    ],
)
def test_tiles_of_every_kind_lie_beside_each_other(tmp_path, make, color, is_clear):
    files = {Tile(WEST + n, NORTH, Z): tmp_path / f"{Z}_{WEST + n}_{NORTH}.png" for n in range(2)}
    Image.new("RGB", (16, 16), (1, 2, 3)).save(files[Tile(WEST, NORTH, Z)])
    odd = make()
    odd.save(files[Tile(WEST + 1, NORTH, Z)], **{
        key: odd.info[key] for key in ("transparency",) if key in odd.info
    })  # fmt: skip
    with TileMap(files, tmp_path) as tiles:
        window = tiles.window_at(*position(16, 8, 16), 16 * tiles.gsd_m)
        pixels, valid = tiles.read(window)
    assert (pixels[:, :8] == (1, 2, 3)).all()
    # Where a tile is resized, its colours blend beside the edge.
    assert (pixels[11:, 8:] == color).all()
    assert (pixels[:8, 8:] == ((0, 0, 0) if is_clear else color)).all()
    assert valid == (0.75 if is_clear else 1.0)


def test_transparency_lies_where_it_is_in_a_tile(tmp_path):
    has_data = np.random.default_rng(1).integers(0, 2, (32, 32)).astype(bool)
    alpha = np.where(has_data, 255, 0).astype(np.uint8)
    file = tmp_path / f"{Z}_{WEST}_{NORTH}.png"
    Image.fromarray(np.dstack([noise(32, 32), alpha])).save(file)
    with TileMap({Tile(WEST, NORTH, Z): file}, tmp_path) as tiles:
        window = tiles.window_at(*position(20, 16, 32), 16 * tiles.gsd_m)
        assert (window.col_off, window.row_off) == (12, 8)
        pixels, valid = tiles.read(window)
    expected = has_data[8:24, 12:28]
    assert valid == expected.mean()
    np.testing.assert_array_equal(pixels, noise(32, 32)[8:24, 12:28] * expected[..., None])


def test_a_damaged_tile_is_named_and_harms_no_other_window(tmp_path):
    files = cut(tmp_path, noise(64, 64), 32)
    damaged = files[Tile(WEST, NORTH, Z)]
    damaged.write_bytes(damaged.read_bytes()[:60])
    with TileMap(files, tmp_path) as tiles:
        assert (tiles.width, tiles.height) == (64, 64)
        with pytest.raises(RasterError, match=damaged.name):
            tiles.read(tiles.window_at(*position(16, 16, 32), 10 * tiles.gsd_m))
        _, valid = tiles.read(tiles.window_at(*position(48, 48, 32), 10 * tiles.gsd_m))
    assert valid == 1
    for file in files.values():
        file.write_bytes(b"")
    with pytest.raises(RasterError, match=r"no tile of .* can be read"):
        TileMap(files, tmp_path)


def test_a_picture_that_is_no_square_is_no_tile(tmp_path):
    Image.new("RGB", (16, 8)).save(tmp_path / "wide.png")
    with pytest.raises(RasterError, match="16 x 8 pixels: a tile has to be a square"):
        TileMap({Tile(WEST, NORTH, Z): tmp_path / "wide.png"}, tmp_path)


def test_a_place_across_the_antimeridian_is_one(tmp_path):
    picture = noise(32, 64)
    files = cut(tmp_path, picture, 32, west=2**Z - 1, north=2**17)
    assert {path.name for path in files.values()} == {
        f"18_{2**Z - 1}_131072.png",
        "18_0_131072.png",
    }
    [group] = tile_groups(finest_tiles(sorted(files.values())))
    assert group == files
    with TileMap(group, tmp_path) as tiles:
        [window] = [w for w in tiles.windows(32 * tiles.gsd_m, 16 * tiles.gsd_m) if w.col_off == 16]
        pixels, valid = tiles.read(window)
    assert valid == 1
    np.testing.assert_array_equal(pixels, picture[:, 16:48])
    assert window.lon == pytest.approx(-180, abs=1e-9)
    west, _, east, _ = window.footprint.bounds
    assert east - west < 0.002


def test_places_far_apart_are_parted_and_neighbours_are_not():
    def tile(x, y):
        return Tile(x, y, 18)

    near = [tile(1000, 1000), tile(1015, 1015), tile(1016, 1000), tile(1001, 985)]
    far = [tile(1000, 1100), tile(1001, 1101)]
    groups = tile_groups(dict.fromkeys(far + near))
    assert [set(group) for group in groups] == [set(near), set(far)]
    assert corner_of(groups[0]) == tile(1000, 985)
    assert tile_groups({}) == []


def test_tiles_around_the_earth_begin_at_its_edge():
    files = {Tile(x, y, 2): None for x in range(4) for y in range(4)}
    [group] = tile_groups(files)
    assert group == files


def test_the_finest_zoom_counts_and_the_first_file_of_a_tile(tmp_path):
    names = ["17_5_6.png", "18/10/12.jpg", "18_10_12.png", "legend.png"]
    assert finest_tiles([tmp_path / name for name in names]) == {
        Tile(10, 12, 18): tmp_path / "18" / "10" / "12.jpg"
    }
