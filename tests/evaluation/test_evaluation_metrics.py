import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geobridge.evaluation.distances import separation_degrees
from geobridge.evaluation.metrics import (
    AVERAGE_PRECISIONS,
    ONE_PER_CENT,
    average_precision,
    mean_distance,
    one_per_cent,
    recall_by_chance,
    sdm,
)
from geobridge.evaluation.tasks import Items


def precision(ranks, definition):
    ranks = np.array(ranks, np.int64)
    return average_precision(np.array([0, len(ranks)]), ranks, definition)[0]


@pytest.mark.parametrize(
    ("rank", "trapezoid", "plain"),
    [(1, 1, 1), (2, 0.25, 0.5), (3, 1 / 6, 1 / 3), (5, 0.1, 0.2), (10, 0.05, 0.1)],
)
def test_average_precision_of_one_positive(rank, trapezoid, plain):
    assert precision([rank], "trapezoid") == pytest.approx(trapezoid)
    assert precision([rank], "plain") == pytest.approx(plain)
    assert precision([rank], "reciprocal") == pytest.approx(plain)


def test_average_precision_of_several_positives():
    # Plain (1/1 + 2/3 + 3/6) / 3; trapezoid ((1 + 1)/2 + (1/2 + 2/3)/2 + (2/5 + 3/6)/2) / 3.
    assert precision([1, 3, 6], "plain") == pytest.approx(0.722222, abs=1e-6)
    assert precision([1, 3, 6], "trapezoid") == pytest.approx(0.677778, abs=1e-6)
    assert precision([2, 3, 6], "reciprocal") == 0.5


def walked(ranks, definition):
    """Down the list of references, one after the other."""
    right = set(ranks)
    seen, before, total = 0, 1.0, 0.0
    for rank in range(1, max(ranks) + 1):
        seen += rank in right
        if rank in right:
            total += seen / rank if definition == "plain" else (before + seen / rank) / 2
        before = seen / rank
    return total / len(ranks)


@given(st.lists(st.sets(st.integers(1, 40), max_size=8), min_size=1, max_size=6))
@settings(deadline=None, derandomize=True, database=None)
def test_average_precision_agrees_with_a_walk_down_the_list(queries):
    lists = [sorted(ranks) for ranks in queries]
    starts = np.cumsum([0, *map(len, lists)])
    ranks = np.array([rank for ranks in lists for rank in ranks], np.int64)

    for definition in AVERAGE_PRECISIONS:
        found = average_precision(starts, ranks, definition)
        for value, one in zip(found, lists, strict=True):
            if not one:
                assert math.isnan(value)
            elif definition == "reciprocal":
                assert value == 1 / one[0]
            else:
                assert value == pytest.approx(walked(one, definition))


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (951, (11, 10, 9, 9)),
        (8884, (90, 89, 88, 88)),
        (50, (1, 1, 0, 1)),
        # round() goes to the even one: 0.5 to 0, 1.5 to 2, 2.5 to 2.
        (150, (3, 2, 1, 1)),
        (250, (3, 3, 2, 2)),
        (51_355, (515, 514, 513, 513)),
    ],
)
def test_the_four_readings_of_one_per_cent(count, expected):
    found = tuple(int(one_per_cent(np.array([count]), way)[0]) for way in ONE_PER_CENT)

    assert found == expected


def at(lat, lon):
    return Items("drone", ["-"], ["-"], lat=np.array([lat]), lon=np.array([lon]))


@pytest.mark.parametrize(
    ("metres", "score"),
    [(1, 0.9561), (5, 0.7989), (10, 0.6382), (20, 0.4073), (50, 0.1058), (100, 0.0112)],
)
def test_sdm_of_denseuav_to_the_north(metres, score):
    # A degree of latitude at 30.3 north is 110,857 m on the ellipsoid; the golden values are of a
    # sphere's 111,320 m, which is less than their last digit away but for the farthest.
    degrees = metres / 111_320
    row = np.array([0])
    distance = separation_degrees(at(30.3, 120.38), row, at(30.3 + degrees, 120.38), row)

    assert sdm(distance[:, None], 1, 5e3)[0] == pytest.approx(score, abs=1e-4)


def test_sdm_of_denseuav_to_the_east_counts_degrees_that_are_shorter():
    # 10 m east at 30.3 north are 10 / (111,320 cos 30.3) degrees.
    degrees = 10 / (111_320 * math.cos(math.radians(30.3)))

    assert sdm(np.array([[degrees]]), 1, 5e3)[0] == pytest.approx(0.594, abs=5e-4)


def test_sdm_of_gta_uav():
    found = [sdm(np.array([[metres]]), 1, 1e-3)[0] for metres in (10.0, 100.0)]

    assert found == pytest.approx([0.9900, 0.9048], abs=5e-5)


def test_sdm_weighs_the_first_most():
    distance = np.array([[0.0, 10.0, 20.0, 5.0]])

    # Weights 3, 2, 1 of 6; the fourth does not count.
    expected = (3 + 2 * math.exp(-1) + math.exp(-2)) / 6
    assert sdm(distance, 3, 0.1)[0] == pytest.approx(expected)


def test_sdm_where_fewer_compete_or_one_has_no_position():
    distance = np.array([[0.0, math.inf, math.inf], [math.nan, 0.0, 0.0], [math.inf] * 3])

    # Only the first counts; the one without a position scores 0 of its weight 3 of 6; nothing.
    np.testing.assert_allclose(sdm(distance, 3, 1.0), [1, 0.5, math.nan])
    np.testing.assert_allclose(sdm(distance, 3, 1.0, float32=True), [1, 0.5, math.nan])


def test_mean_distance_of_the_first():
    distance = np.array([[1.0, 3.0, 8.0], [2.0, 4.0, math.inf], [math.nan, 1.0, 1.0]])

    np.testing.assert_allclose(mean_distance(distance, 1), [1, 2, math.nan])
    np.testing.assert_allclose(mean_distance(distance, 2), [2, 3, math.nan])
    np.testing.assert_allclose(mean_distance(distance, 3), [4, 3, math.nan])


def test_recall_by_chance():
    gallery = np.array([50, 50, 20, 20, 5, 5])
    positives = np.array([1, 0, 3, 2, 4, 2])
    k = np.array([5, 5, 2, 3, 2, 9])

    found = recall_by_chance(gallery, positives, k)

    # 5 of 50; none; 1 - (17/20)(16/19); 1 - (18/20)(17/19)(16/18); one of two must be; all.
    expected = [0.1, 0, 1 - 17 * 16 / (20 * 19), 1 - 17 * 16 / (20 * 19), 1, 1]
    np.testing.assert_allclose(found, expected, atol=1e-12)
