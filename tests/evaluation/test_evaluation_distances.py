import math

import numpy as np
import pytest

from geobridge.evaluation.distances import (
    have_positions,
    is_known,
    separation_degrees,
    separation_m,
)
from geobridge.evaluation.tasks import Items


def placed(*positions, xy=None):
    count = len(positions) if xy is None else len(xy)
    lat, lon = np.array(positions, np.float64).reshape(-1, 2).T if positions else (None, None)
    return Items(
        modality="drone",
        names=[str(row) for row in range(count)],
        contents=["-"] * count,
        lat=lat,
        lon=lon,
        xy_m=None if xy is None else np.array(xy, np.float64),
    )


ONE = np.array([0])


@pytest.mark.parametrize(
    ("geodesy", "metres"),
    [
        # A degree along a meridian is pi R / 180; on the ellipsoid at the equator 110,574 m.
        ("haversine-6371", math.pi * 6_371_000 / 180),
        ("haversine-6378.137", math.pi * 6_378_137 / 180),
        ("cosines-6371.004", math.pi * 6_371_004 / 180),
        ("wgs84", 110_574.4),
    ],
)
def test_a_degree_of_latitude(geodesy, metres):
    found = separation_m(geodesy, placed((0, 11)), ONE, placed((1, 11)), ONE)

    assert found[0] == pytest.approx(metres, abs=0.5 if geodesy == "wgs84" else 1e-6)


def test_a_degree_of_longitude_shrinks_with_latitude_on_every_earth():
    first, second = placed((60, 10)), placed((60, 10.001))

    found = [
        separation_m(geodesy, first, ONE, second, ONE)[0]
        for geodesy in ("wgs84", "haversine-6371", "cosines-6371.004")
    ]

    # cos 60 = 1/2, so 55.6 m for a thousandth.
    assert found == pytest.approx([55.8, 55.6, 55.6], abs=0.1)


def test_metres_on_a_map():
    first, second = placed(xy=[(0, 0)]), placed(xy=[(3, 4), (0, -2), (math.nan, 1)])

    found = separation_m("plane", first, ONE[:, None], second, np.array([[0, 1, 2, -1]]))

    np.testing.assert_equal(found, [[5.0, 2.0, math.nan, math.nan]])


def test_the_farthest_points_and_equal_points_stay_in_range():
    first, second = placed((0, 0), (45, 9)), placed((0, 180), (45, 9))

    for geodesy in ("haversine-6371", "cosines-6371.004"):
        radius_m = 1000 * float(geodesy.split("-")[1])
        found = separation_m(geodesy, first, np.arange(2), second, np.arange(2))
        # The law of cosines cannot tell a tenth of a metre from nothing.
        assert found == pytest.approx([math.pi * radius_m, 0], abs=0.2)


def test_degrees_are_euclidean_over_longitude_and_latitude():
    first, second = placed((30, 120)), placed((30.0003, 120.0004))

    assert separation_degrees(first, ONE, second, ONE)[0] == pytest.approx(0.0005)
    assert np.isnan(separation_degrees(first, ONE, second, ONE - 1)[0])


def test_float32_moves_a_position_by_up_to_half_its_step():
    # Longitude 120.38 lies in 64..128, where float32 has steps of 2^-17 degrees (0.73 m here).
    step = 2.0**-17
    first, second = placed((30.3, 120.0)), placed((30.3, 120.0 + 1.4 * step))

    exact = separation_degrees(first, ONE, second, ONE)[0]
    rounded = separation_degrees(first, ONE, second, ONE, float32=True)[0]

    assert exact == pytest.approx(1.4 * step)
    assert rounded == step


def test_sets_without_positions_have_none():
    nowhere, somewhere = placed(xy=[(0, 0)]), placed((1, 2), (math.nan, 2))

    assert not have_positions("wgs84", nowhere, somewhere)
    assert have_positions("plane", nowhere)
    assert have_positions("wgs84", somewhere)
    assert is_known("wgs84", somewhere, np.arange(2)).tolist() == [True, False]
    assert is_known("wgs84", nowhere, ONE).tolist() == [False]
    assert is_known("plane", nowhere, ONE).tolist() == [True]
    assert np.isnan(separation_m("wgs84", nowhere, ONE, somewhere, ONE)).all()
