import numpy as np
import pytest

from geobridge.geo.distance import LocalFrame, distance_m
from geobridge.localization.position import (
    Hypotheses,
    arc_m,
    earth_centred,
    find_mode,
    weigh,
    weighted_quantile,
)


def hypotheses_at(east_north_m, similarity, size_m=100.0, lat=48.0, lon=11.0):
    """Hypotheses at metric offsets from one position, all with footprints of one size."""
    east, north = np.array(east_north_m, float).T
    lons, lats = LocalFrame(lat, lon).to_lonlat(east, north)
    return Hypotheses.of(similarity, lats, lons, np.full(len(east), size_m))


def test_weights_are_the_softmax_over_the_temperature():
    # exp((0.3 - 0.1) / 0.1) = e^2 times as much weight.
    first, second = weigh(np.array([0.3, 0.1]), 0.1)
    assert first / second == pytest.approx(np.e**2)
    assert first + second == pytest.approx(1)


def test_weights_survive_a_tiny_temperature():
    assert weigh(np.array([0.9, 0.1]), 1e-6).tolist() == [1.0, 0.0]


def test_two_overlapping_footprints_of_equal_similarity_meet_half_way():
    mode = find_mode(hypotheses_at([(0, 0), (50, 0)], [0.5, 0.5]), 0.05, 0.9)
    lon, lat = LocalFrame(48.0, 11.0).to_lonlat(25.0, 0.0)
    assert distance_m(mode.lat, mode.lon, lat, lon) < 0.01
    assert mode.mass == pytest.approx(1)
    assert mode.agrees.tolist() == [True, True]


def test_the_more_similar_of_two_pulls_by_its_weight():
    # Weights 3 to 1: a quarter of the way from the first to the second.
    similarity = [0.5, 0.5 - 0.1 * np.log(3)]
    mode = find_mode(hypotheses_at([(0, 0), (40, 80)], similarity), 0.1, 0.9)
    east, north = LocalFrame(48.0, 11.0).to_metric(mode.lon, mode.lat)
    assert (east, north) == pytest.approx((10, 20), abs=0.01)


def test_a_far_outlier_does_not_pull():
    mode = find_mode(hypotheses_at([(0, 0), (50, 0), (9000, 0)], [0.5, 0.5, 0.5]), 0.05, 0.5)
    lon, lat = LocalFrame(48.0, 11.0).to_lonlat(25.0, 0.0)
    assert distance_m(mode.lat, mode.lon, lat, lon) < 0.01
    assert mode.agrees.tolist() == [True, True, False]
    assert mode.mass == pytest.approx(2 / 3)


def test_several_that_agree_outvote_one_that_is_more_similar():
    mode = find_mode(hypotheses_at([(5000, 0), (0, 0), (30, 0), (60, 0)], [0.5, 0.48, 0.48, 0.48]),
                     0.05, 0.5)  # fmt: skip
    assert mode.agrees.tolist() == [False, True, True, True]
    assert mode.similarity == pytest.approx(0.48)


def test_footprints_that_only_touch_at_a_distance_of_one_footprint_agree():
    near = find_mode(hypotheses_at([(0, 0), (99.9, 0)], [0.5, 0.5]), 0.05, 0.9)
    far = find_mode(hypotheses_at([(0, 0), (100.1, 0)], [0.5, 0.5]), 0.05, 0.9)
    assert near.agrees.all()
    assert far.agrees.tolist() == [True, False]


def test_footprints_of_two_sizes_agree_within_their_mean():
    frame = LocalFrame(48.0, 11.0)
    lon, lat = frame.to_lonlat(np.array([0.0, 190.0]), np.array([0.0, 0.0]))
    both = Hypotheses.of([0.5, 0.5], lat, lon, [100.0, 300.0])
    assert find_mode(both, 0.05, 0.9).agrees.all()


def test_the_mean_is_right_across_the_antimeridian():
    frame = LocalFrame(-17.0, 180.0)
    lon, lat = frame.to_lonlat(np.array([-40.0, 40.0]), np.array([0.0, 0.0]))
    assert lon[0] > 0 > lon[1]
    mode = find_mode(Hypotheses.of([0.5, 0.5], lat, lon, [100.0, 100.0]), 0.05, 0.9)
    assert distance_m(mode.lat, mode.lon, -17.0, 180.0) < 0.01
    assert -180 <= mode.lon < 180


def test_one_hypothesis_is_its_own_answer():
    mode = find_mode(Hypotheses.of(0.3, 48.0, 11.0, 100.0), 0.05, 0.9)
    assert (mode.lat, mode.lon, mode.mass) == pytest.approx((48.0, 11.0, 1.0))
    # The circle that covers nine tenths of a 100 m square: pi r^2 = 9000.
    assert mode.spread_m == pytest.approx(53.52, abs=0.01)


def test_identical_hypotheses_agree_with_themselves():
    same = Hypotheses.of(np.full(7, 0.2), np.full(7, 48.0), np.full(7, 11.0), np.full(7, 80.0))
    mode = find_mode(same, 0.05, 0.9)
    assert mode.agrees.all()
    assert (mode.lat, mode.lon) == pytest.approx((48.0, 11.0))


def test_equal_groups_are_decided_by_rank():
    mode = find_mode(hypotheses_at([(0, 0), (3000, 0), (6000, 0)], [0.2, 0.2, 0.2]), 0.05, 0.5)
    assert mode.agrees.tolist() == [True, False, False]


def test_the_spread_holds_the_asked_share_of_all_weight_rivals_included():
    # Ten of equal weight: eight on the spot, two 3 km away. Eight tenths need no rival, nine do.
    spots = [(0, 0)] * 8 + [(3000, 0)] * 2
    even = hypotheses_at(spots, [0.5] * 10)
    assert find_mode(even, 0.05, 0.8).spread_m < 60
    assert find_mode(even, 0.05, 0.9).spread_m == pytest.approx(3000, rel=0.01)


def test_weighted_quantile_is_the_first_value_that_reaches_the_share():
    values, weight = np.array([3.0, 1.0, 2.0]), np.array([0.2, 0.5, 0.3])
    assert weighted_quantile(values, weight, 0.5) == 1.0
    assert weighted_quantile(values, weight, 0.51) == 2.0
    assert weighted_quantile(values, weight, 0.81) == 3.0


def test_arcs_are_geodesics_to_within_a_hundredth():
    places = np.array([[48.0, 11.0], [48.001, 11.001], [-33.9, 151.2], [89.9, -40.0]])
    points = earth_centred(places[:, 0], places[:, 1])
    exact = distance_m(48.0, 11.0, places[:, 0], places[:, 1])
    assert arc_m(points, points[:1]) == pytest.approx(exact, rel=0.01)


@pytest.mark.parametrize(
    "columns",
    [
        ([], [], [], []),
        ([0.1], [48.0, 49.0], [11.0], [100.0]),
        ([np.nan], [48.0], [11.0], [100.0]),
        ([0.1], [48.0], [np.inf], [100.0]),
    ],
)
def test_hypotheses_must_be_there_and_finite(columns):
    with pytest.raises(ValueError, match=r"rows of equal length|finite"):
        Hypotheses.of(*columns)


def test_hypotheses_come_best_first():
    found = Hypotheses.of([0.1, 0.9, 0.5], [1, 2, 3], [4, 5, 6], [10, 20, 30])
    assert found.lat.tolist() == [2, 3, 1]
    assert found.size_m.tolist() == [20, 30, 10]
