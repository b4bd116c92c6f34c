import math
from itertools import product

import numpy as np
import pytest

from geobridge.errors import EvaluationError
from geobridge.evaluation import confidence
from geobridge.evaluation.confidence import (
    bootstrap_interval,
    bootstrap_means,
    bootstrap_quantile,
    compare_paired,
    coverage,
    groups_of,
    wilson_interval,
)


def test_the_interval_of_a_share_is_that_of_the_binomial():
    hits = np.repeat([1.0, 0.0], [300, 100])

    low, high = bootstrap_interval(hits, resamples=4000)

    # 0.75 -+ 1.96 sqrt(0.75 * 0.25 / 400)
    assert (low, high) == pytest.approx((0.7076, 0.7924), abs=0.006)
    assert bootstrap_interval(hits, resamples=4000) == (low, high)
    assert bootstrap_interval(hits, resamples=4000, seed=1) != (low, high)


def test_columns_share_their_draws_and_leave_out_what_is_undefined(monkeypatch):
    monkeypatch.setattr(confidence, "_DRAWN", 1000)  # several parts
    rng = np.random.default_rng(0)
    values = rng.normal(size=(200, 2))
    partly = np.where(np.arange(200) < 50, values[:, 0], np.nan)

    low, high = bootstrap_means(
        np.stack([values[:, 0], 2 * values[:, 0], partly, np.full(200, np.nan)], axis=1)
    )

    assert low[1] == pytest.approx(2 * low[0])
    assert high[1] == pytest.approx(2 * high[0])
    half = 1.96 * partly[:50].std() / math.sqrt(50)
    middle = partly[:50].mean()
    assert (low[2], high[2]) == pytest.approx((middle - half, middle + half), abs=0.2 * half)
    assert math.isnan(low[3])
    assert math.isnan(high[3])


def test_a_single_value_and_equal_values_have_no_width():
    assert bootstrap_interval([3.0]) == (3.0, 3.0)
    assert bootstrap_interval([0.0] * 9) == (0.0, 0.0)
    assert bootstrap_quantile([3.0], 0.9) == (3.0, 3.0)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.75, 0.9, 1.0])
@pytest.mark.parametrize("count", [1, 2, 9, 20])
def test_the_interval_of_a_quantile_is_that_of_resampling(share, count):
    rng = np.random.default_rng(1)
    values = rng.normal(size=count)
    drawn = values[rng.integers(0, count, (20_000, count))]
    expected = np.quantile(np.quantile(drawn, share, axis=1), [0.025, 0.975])

    found = bootstrap_quantile([*values, math.nan], share, resamples=20_000)

    # The bounds are themselves drawn: between neighbours of the sample they may differ a little.
    assert found == pytest.approx(expected, abs=0.15)


def test_queries_of_one_place_count_as_one():
    # 40 places with 25 queries each, which all agree: as much as 40 queries tell, not 1,000.
    hits = np.repeat([1.0, 0.0], [30, 10])
    many, groups = np.repeat(hits, 25), np.repeat(np.arange(40), 25)

    assert bootstrap_interval(many, groups=groups) == bootstrap_interval(hits)
    alone = bootstrap_interval(many)
    assert alone[1] - alone[0] < 0.25 * np.subtract(*bootstrap_interval(hits)[::-1])


def test_groups_of_different_sizes_weigh_what_they_hold():
    values = np.array([1.0, 0.0, 0.0, 0.0, np.nan, 1.0])
    groups = np.array([0, 0, 0, 1, 1, 2])
    rng = np.random.default_rng(3)
    expected = []
    for drawn in rng.integers(0, 3, (20_000, 3)):
        held = np.concatenate([values[groups == group] for group in drawn])
        expected.append(np.nanmean(held))

    found = bootstrap_interval(values, resamples=20_000, groups=groups)

    assert found == pytest.approx(tuple(np.quantile(expected, [0.025, 0.975])), abs=0.02)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 1.0])
def test_the_quantile_of_groups_is_that_of_resampling_them(share):
    rng = np.random.default_rng(4)
    groups = rng.integers(0, 12, 60)
    values = groups + rng.normal(size=60)
    expected = []
    for drawn in rng.integers(0, 12, (4000, 12)):
        held = np.concatenate([values[groups == group] for group in drawn])
        expected.append(np.quantile(held, share))

    found = bootstrap_quantile(values, share, resamples=4000, groups=groups)

    assert found == pytest.approx(tuple(np.quantile(expected, [0.025, 0.975])), abs=0.3)


def test_models_change_places_group_by_group():
    rng = np.random.default_rng(5)
    groups = np.repeat(np.arange(8), 50)
    better = np.repeat(rng.normal(0.1, 1, 8), 50)

    alone = compare_paired(np.zeros(400), better)
    together = compare_paired(np.zeros(400), better, groups=groups)

    assert alone.difference == together.difference
    assert together.high - together.low > 3 * (alone.high - alone.low)
    assert together.p_value > alone.p_value
    assert (together.better, together.worse) == (alone.better, alone.worse)


def test_groups_are_only_where_a_name_comes_twice():
    assert groups_of(None) is None
    assert groups_of([]) is None
    assert groups_of(["b", "a"]) is None
    assert groups_of(["b", "a", "b"]).tolist() == [1, 0, 1]


def test_a_quantile_of_nothing():
    assert all(map(math.isnan, bootstrap_quantile([math.nan], 0.5)))
    assert all(map(math.isnan, bootstrap_interval([math.nan, math.nan])))


def test_two_models_are_compared_query_by_query():
    first = [1, 0, 0, 1, 0, math.nan, 1]
    second = [1, 1, 1, 0, 1, 1, math.nan]

    found = compare_paired(first, second)

    # Of five with both: equal, better, better, worse, better.
    assert (found.better, found.worse, found.equal, found.queries) == (3, 1, 1, 5)
    assert found.difference == pytest.approx(0.4)
    assert found.low <= 0.4 <= found.high
    # Of 16 ways to give four differences signs, 10 have a sum of at least 2 either way.
    ways = [abs(sum(signs)) >= 2 for signs in product([-1, 1], repeat=4)]
    assert found.p_value == pytest.approx(sum(ways) / 16, abs=0.02)


def test_a_clear_difference_and_none():
    rng = np.random.default_rng(0)
    first = rng.normal(size=300)

    clear = compare_paired(first, first + 1 + rng.normal(size=300))
    assert clear.low > 0.8
    assert clear.p_value < 0.001
    assert compare_paired(first, first).p_value == 1.0
    assert compare_paired(first, first).equal == 300


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(EvaluationError, match=r"shapes \(2,\) and \(3,\)"):
        compare_paired([1, 2], [1, 2, 3])
    with pytest.raises(EvaluationError, match="No query has a value in both"):
        compare_paired([1, math.nan], [math.nan, 1])


def test_a_radius_that_holds_as_often_as_stated():
    error = np.concatenate([np.full(90, 5.0), np.full(10, 50.0), [math.nan]])

    found = coverage(error, 10.0, 0.9)

    assert (found.stated, found.observed, found.queries) == (pytest.approx(0.9), 0.9, 100)
    # Wilson's interval of 90 of 100.
    assert (found.low, found.high) == pytest.approx((0.8256, 0.9448), abs=1e-4)
    assert found.is_honest
    assert not coverage(error, 1.0, 0.9).is_honest


def test_probabilities_may_differ_by_query_and_a_radius_is_held_at_its_edge():
    found = coverage([10.0, 20.0], [10.0, 5.0], [0.4, 0.8])

    assert (found.stated, found.observed) == (pytest.approx(0.6), 0.5)


def test_wilson_has_a_width_where_all_are_held():
    low, high = wilson_interval(1.0, 20)

    # n / (n + z^2) and 1
    assert (low, high) == pytest.approx((20 / (20 + 1.959964**2), 1.0))
    assert wilson_interval(0.0, 20) == pytest.approx((0.0, 1 - low))


def test_coverage_of_nothing_is_refused():
    with pytest.raises(EvaluationError, match="No estimate has a known error"):
        coverage([math.nan], 1.0, 0.9)
    with pytest.raises(EvaluationError, match="states no radius"):
        coverage([1.0], math.nan, 0.9)
