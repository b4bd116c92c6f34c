"""Footprints: true metres, turned by yaw, whole across the antimeridian."""

import json
import math

import numpy as np
import pytest
from shapely.geometry import Polygon, box, shape

from geobridge.geo.distance import distance_m
from geobridge.geo.footprint import (
    center,
    footprint_around,
    footprint_from_bounds,
    size_m,
    to_geojson,
)


def corners(footprint):
    return np.array(footprint.exterior.coords)[:4]


def side_lengths(footprint):
    lon, lat = np.array(footprint.exterior.coords).T
    return distance_m(lat[:-1], lon[:-1], lat[1:], lon[1:])


@pytest.mark.parametrize(("lat", "lon"), [(0, 10), (47, 8), (-54, -68), (78, 15), (10, 179.9999)])
@pytest.mark.parametrize("yaw_deg", [0, 30, 275])
def test_a_footprint_has_its_size_wherever_it_lies(lat, lon, yaw_deg):
    footprint = footprint_around(lat, lon, 120, 80, yaw_deg)

    np.testing.assert_allclose(side_lengths(footprint), [120, 80, 120, 80], rtol=1e-4)
    assert size_m(footprint) == pytest.approx(math.sqrt(120 * 80), rel=1e-4)
    center_lat, center_lon = center(footprint)
    assert distance_m(lat, lon, center_lat, center_lon) < 0.05


def test_the_first_corner_is_the_top_left_of_the_picture():
    # Looking east, the picture's top left is north east.
    (north_lon, north_lat), (south_lon, south_lat) = corners(
        footprint_around(10, 20, 100, 100, 90)
    )[:2]

    assert north_lat > 10 > south_lat
    assert north_lon > 20
    assert south_lon > 20


def test_north_up_corners_run_clockwise_from_the_north_west():
    lon, lat = corners(footprint_around(10, 20, 100, 100)).T

    assert (lon > 20).tolist() == [False, True, True, False]
    assert (lat > 10).tolist() == [True, True, False, False]


def test_longitudes_stay_continuous_across_the_antimeridian():
    west_side = footprint_around(-17, 179.9999, 100, 100)
    east_side = footprint_around(-17, -179.9999, 100, 100)

    assert west_side.bounds[2] > 180
    assert east_side.bounds[0] < -180
    assert west_side.bounds[2] - west_side.bounds[0] < 0.01


def test_centres_beyond_the_antimeridian_come_back_wrapped():
    _, lon = center(box(179.9, 0, 180.3, 1))

    assert lon == pytest.approx(-179.9)


def test_bounds_with_east_smaller_than_west_cross_the_antimeridian():
    footprint = footprint_from_bounds(179, -18, -179, -17)

    assert footprint.bounds == (179, -18, 181, -17)
    assert center(footprint) == (-17.5, -180)


def test_geojson_of_a_plain_footprint_is_one_counter_clockwise_polygon():
    geometry = to_geojson(footprint_around(48, 11, 100, 100))

    assert geometry["type"] == "Polygon"
    assert Polygon(geometry["coordinates"][0]).exterior.is_ccw
    assert json.loads(json.dumps(geometry))["type"] == "Polygon"


def test_geojson_is_cut_at_the_antimeridian():
    geometry = to_geojson(box(179.5, -18, 181, -17))

    assert geometry["type"] == "MultiPolygon"
    parts = sorted(shape(geometry).geoms, key=lambda part: part.bounds[0])
    assert [part.bounds for part in parts] == [(-180, -18, -179, -17), (179.5, -18, 180, -17)]
    assert all(part.exterior.is_ccw for part in parts)


@pytest.mark.parametrize("bounds", [(179, 0, 180, 1), (180, 0, 181, 1), (-181, 0, -180, 1)])
def test_a_footprint_that_only_touches_the_antimeridian_stays_whole(bounds):
    geometry = to_geojson(box(*bounds))

    assert geometry["type"] == "Polygon"
    west, _, east, _ = shape(geometry).bounds
    assert west >= -180
    assert east <= 180
    assert east - west == 1
