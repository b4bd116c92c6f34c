"""Distances, frames and positions against published and closed-form values."""

import math

import numpy as np
import pytest

from geobridge.errors import PositionError
from geobridge.geo.distance import (
    LocalFrame,
    check_position,
    distance_m,
    earth_centred_m,
    offset_m,
    unwrap_lon,
    wrap_lon,
)


def dms(degrees, minutes, seconds):
    return math.copysign(abs(degrees) + minutes / 60 + seconds / 3600, degrees)


def test_the_line_from_flinders_peak_to_buninyong_has_its_published_length():
    # Geocentric Datum of Australia Technical Manual: 54 972.271 m.
    flinders = dms(-37, 57, 3.72030), dms(144, 25, 29.52440)
    buninyong = dms(-37, 39, 10.15610), dms(143, 55, 35.38390)

    assert distance_m(*flinders, *buninyong) == pytest.approx(54972.271, abs=0.001)


@pytest.mark.parametrize(
    ("start", "end", "kilometres"),
    [
        ((51.5074, -0.1278), (40.7128, -74.0060), 5585),  # London - New York
        ((52.5200, 13.4050), (48.8566, 2.3522), 879),  # Berlin - Paris
        ((-33.8688, 151.2093), (-36.8485, 174.7633), 2156),  # Sydney - Auckland
    ],
)
def test_cities_are_as_far_apart_as_atlases_say(start, end, kilometres):
    assert distance_m(*start, *end) / 1000 == pytest.approx(kilometres, rel=0.003)


def test_a_degree_along_the_equator_is_its_share_of_the_circumference():
    assert distance_m(0, 10, 0, 11) == pytest.approx(2 * math.pi * 6378137 / 360, abs=1e-6)


def test_from_the_equator_to_the_pole_is_the_quarter_meridian():
    assert distance_m(0, 0, 90, 0) == pytest.approx(10_001_965.729, abs=0.001)


def test_the_short_way_is_taken_across_the_antimeridian():
    assert distance_m(0, 179.5, 0, -179.5) == pytest.approx(distance_m(0, 0, 0, 1))
    assert distance_m(0, 180.5, 0, -179.5) == pytest.approx(0)


def test_distances_broadcast_like_numpy():
    to_lat = np.zeros((3, 1))
    to_lon = np.array([0.0, 1.0])

    distances = distance_m(0, 0, to_lat, to_lon)

    assert distances.shape == (3, 2)
    assert distances.dtype == np.float64
    np.testing.assert_allclose(distances[:, 1], distance_m(0, 0, 0, 1))


def test_arguments_are_left_as_they_were():
    lat, lon = np.array([10.0, 20.0]), np.array([30.0, 40.0])

    distance_m(lat, lon, lat[::-1], lon)

    np.testing.assert_array_equal(lat, [10, 20])
    np.testing.assert_array_equal(lon, [30, 40])


def test_an_unknown_position_has_an_unknown_distance():
    assert np.isnan(distance_m([np.nan, 0], [0, 0], 0, 1)).tolist() == [True, False]


def test_offsets_point_east_and_north():
    east, north = offset_m(0, 0, [1e-3, 0], [0, 1e-3])

    assert east[0] == pytest.approx(111.3195, abs=1e-3)
    assert east[1] == pytest.approx(0, abs=1e-6)
    assert north[1] == pytest.approx(110.5743, abs=1e-3)


def test_longitudes_wrap_into_the_half_open_circle():
    np.testing.assert_allclose(
        wrap_lon([180, -180, 190, -190, 540, 12.5]), [-180, -180, -170, 170, -180, 12.5]
    )


def test_a_longitude_a_hair_below_the_antimeridian_stays_in_range():
    assert -180 <= wrap_lon(np.nextafter(-180, -181)) < 180


def test_longitudes_unwrap_around_a_centre():
    np.testing.assert_allclose(unwrap_lon([-179.9, 179.9], 179.95), [180.1, 179.9])
    np.testing.assert_allclose(unwrap_lon([-179.9, 179.9], -179.95), [-179.9, -180.1])


@pytest.mark.parametrize(
    ("lat", "lon"), [(0, 0.5), (48.1, 11.5), (-17, 179.9999), (78, -180), (89.999, 45), (-90, 0)]
)
def test_a_local_frame_goes_there_and_back(lat, lon):
    frame = LocalFrame(lat, lon)
    x, y = np.array([0.0, 300.0, -70.0]), np.array([0.0, -40.0, 1000.0])

    there_lon, there_lat = frame.to_lonlat(x, y)
    back_x, back_y = frame.to_metric(there_lon, there_lat)

    assert np.all((there_lon >= -180) & (there_lon < 180))
    np.testing.assert_allclose(back_x, x, atol=1e-6)
    np.testing.assert_allclose(back_y, y, atol=1e-6)
    np.testing.assert_allclose(
        distance_m(lat, lon, there_lat, there_lon), np.hypot(x, y), atol=1e-6
    )


def test_the_axes_of_a_local_frame_are_east_and_north():
    x, y = LocalFrame(45.0, 7.0).to_metric(7.001, 45.001)

    # 1e-3 degrees at 45 north: N cos(lat) and M of WGS-84 give 78.847 m and 111.132 m.
    assert x == pytest.approx(78.85, abs=0.02)
    assert y == pytest.approx(111.13, abs=0.02)


@pytest.mark.parametrize("position", [(0.0, 1e-9), (90, 180), (-90, -180), (48, 11)])
def test_positions_on_earth_pass(position):
    check_position(*position, "it")


@pytest.mark.parametrize(
    ("lat", "lon", "hint"),
    [
        (math.nan, 11, "finite"),
        (48, math.inf, "finite"),
        (120.7, 24.3, "swapped"),
        (-95, 120, "within"),
        (48, 181, "within"),
        (0, 0, "no position"),
    ],
)
def test_impossible_positions_are_refused_by_name(lat, lon, hint):
    with pytest.raises(PositionError, match=hint) as error:
        check_position(lat, lon, "the position in a.jpg")

    assert str(error.value).startswith("the position in a.jpg")


def test_straight_lines_are_as_long_as_geodesics_up_to_a_few_kilometres():
    rng = np.random.default_rng(0)
    lat, lon = rng.uniform(-89, 89, 50), rng.uniform(-180, 180, 50)
    lat2, lon2 = lat + rng.uniform(-0.05, 0.05, 50), lon + rng.uniform(-0.05, 0.05, 50)

    straight = np.linalg.norm(earth_centred_m(lat, lon) - earth_centred_m(lat2, lon2), axis=1)

    np.testing.assert_allclose(straight, distance_m(lat, lon, lat2, lon2), atol=1e-3)


def test_points_in_space_by_hand():
    points = earth_centred_m([0.0, 0.0, 90.0, np.nan], [0.0, 90.0, 7.0, 0.0])

    # The semi-axes of WGS-84.
    np.testing.assert_allclose(points[0], [6_378_137, 0, 0], atol=1e-6)
    np.testing.assert_allclose(points[1], [0, 6_378_137, 0], atol=1e-6)
    np.testing.assert_allclose(points[2], [0, 0, 6_356_752.314245], atol=1e-6)
    assert np.isnan(points[3]).any()
