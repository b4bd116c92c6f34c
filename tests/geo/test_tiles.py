"""Tile arithmetic against the slippy-map formula written out."""

import math
from pathlib import Path

import numpy as np
import pytest
from rasterio.warp import transform_bounds

from geobridge.errors import SourceError
from geobridge.geo.distance import distance_m
from geobridge.geo.footprint import footprint_from_bounds
from geobridge.geo.tiles import (
    Tile,
    parse_tile_path,
    tile_bounds,
    tiles_over,
    tiles_transform,
    zoom_for,
)


def corner_by_formula(x, y, z):
    lon = x / 2**z * 360 - 180
    lat = math.degrees(math.atan(math.sinh(math.pi * (1 - 2 * y / 2**z))))
    return lon, lat


@pytest.mark.parametrize(
    ("x", "y", "z"), [(0, 0, 0), (1, 1, 1), (2**18 - 1, 5, 18), (156704, 106359, 18), (0, 511, 9)]
)
def test_bounds_follow_the_slippy_map_formula(x, y, z):
    west, north = corner_by_formula(x, y, z)
    east, south = corner_by_formula(x + 1, y + 1, z)

    np.testing.assert_allclose(tile_bounds(x, y, z), (west, south, east, north), atol=1e-9)


def test_the_whole_world_ends_where_web_mercator_does():
    np.testing.assert_allclose(
        tile_bounds(0, 0, 0), (-180, -85.0511287798, 180, 85.0511287798), atol=1e-9
    )


def test_a_tile_of_zoom_18_at_the_equator_is_153_metres():
    west, south, east, _ = tile_bounds(2**17, 2**17 - 1, 18)

    # 2 pi 6378137 / 2^18
    assert distance_m(south, west, south, east) == pytest.approx(152.874, abs=0.001)


@pytest.mark.parametrize(
    "path",
    [
        "18_156704_106359.jpg",
        "satellite/18_156704_106359.png",
        "18/156704/106359.webp",
        Path("/maps/town/18/156704/106359.jpg"),
        "12/34/5/18_156704_106359.jpg",
    ],
)
def test_tiles_are_known_by_both_ways_of_naming_them(path):
    assert parse_tile_path(path) == Tile(x=156704, y=106359, z=18)


@pytest.mark.parametrize(
    "path",
    [
        "photo.jpg",
        "2024/10/30.jpg",  # a date: no zoom 2024
        "1/2/0.jpg",  # zoom 1 has x 0 and 1
        "1_0_2.jpg",
        "18_156704.jpg",
        "a18_156704_106359.jpg",
        "18/156704/106359",
        "18/156704/y106359.jpg",
    ],
)
def test_other_files_are_no_tiles(path):
    assert parse_tile_path(path) is None


@pytest.mark.parametrize(("x", "y", "z"), [(2, 0, 1), (0, -1, 3), (0, 0, 31), (0, 0, -1)])
def test_tiles_that_do_not_exist_have_no_bounds(x, y, z):
    with pytest.raises(SourceError, match=f"x={x}, y={y} at zoom {z}"):
        tile_bounds(x, y, z)


@pytest.mark.parametrize("z", [3, 12, 18])
def test_the_tiles_over_a_footprint_hold_its_corners_and_no_more(z):
    footprint = footprint_from_bounds(11.56, 48.13, 11.58, 48.14)

    tiles = tiles_over(footprint, z)

    west = min(corner_by_formula(tile.x, 0, z)[0] for tile in tiles)
    east = max(corner_by_formula(tile.x + 1, 0, z)[0] for tile in tiles)
    north = max(corner_by_formula(0, tile.y, z)[1] for tile in tiles)
    south = min(corner_by_formula(0, tile.y + 1, z)[1] for tile in tiles)
    assert west <= 11.56 < west + 360 / 2**z
    assert east - 360 / 2**z < 11.58 <= east
    assert south <= 48.13 < 48.14 <= north
    columns = {tile.x for tile in tiles}
    assert len(tiles) == len(columns) * len({tile.y for tile in tiles})
    assert tiles == sorted(tiles, key=lambda tile: (tile.y, tile.x))


def test_tiles_across_the_antimeridian_go_on():
    tiles = tiles_over(footprint_from_bounds(179.9, 10.0, -179.9, 10.1), 8)

    assert [tile.x for tile in tiles] == [255, 256]


def test_there_are_no_tiles_beyond_the_web_map():
    with pytest.raises(SourceError, match=r"web maps end at 85\.05 degrees"):
        tiles_over(footprint_from_bounds(10, 85.0, 11, 85.2), 5)


def test_a_zoom_is_the_coarsest_that_is_fine_enough():
    # 40,075,017 m around the equator, 256 pixels a tile: 0.597 m at zoom 18.
    assert zoom_for(0.0, 0.598, 256) == 18
    assert zoom_for(0.0, 0.597, 256) == 19
    assert zoom_for(0.0, 0.597 / 2, 512) == 19
    # At 60 degrees a pixel is half as wide.
    assert zoom_for(60.0, 0.2987, 256) == 18
    assert zoom_for(0.0, 1e9, 256) == 0
    assert zoom_for(0.0, 1e-9, 256) == 30


def test_pixels_of_tiles_lie_where_the_tiles_do():
    tile = Tile(156704, 106359, 18)

    corner = tiles_transform(tile, 256)

    left, bottom, right, top = transform_bounds(
        "EPSG:4326", "EPSG:3857", *tile_bounds(tile.x, tile.y, tile.z)
    )
    np.testing.assert_allclose(corner @ (0, 0), (left, top), atol=1e-6)
    np.testing.assert_allclose(corner @ (256, 256), (right, bottom), atol=1e-6)
