"""How sure a measured number is: intervals over queries, two models compared, radii that hold.

Queries that show the same place are not independent, so that places are drawn, with all their
queries (the cluster bootstrap: A. C. Davison, D. V. Hinkley, Bootstrap Methods and their
Application, 1997, section 3.8). `groups` says which place each query is of.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geobridge.errors import EvaluationError

Floats = NDArray[np.float64]
Groups = NDArray[np.int64]
"""int64 (Q,): the group of each query, 0 to G - 1."""

LEVEL = 0.95
_TAILS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
# Numbers drawn at a time: 8 MiB of them.
_DRAWN = 1 << 20


def groups_of(names: Sequence[str] | None) -> Groups | None:
    """Numbers of the groups that names stand for; None where every query is a group of its own."""
    if names is None:
        return None
    groups: Groups = np.unique(np.asarray(names, dtype=object).astype(str), return_inverse=True)[1]
    return None if len(groups) == 0 or groups.max() + 1 == len(groups) else groups.astype(np.int64)


def bootstrap_interval(
    values: ArrayLike, resamples: int = 1000, seed: int = 0, groups: Groups | None = None
) -> tuple[float, float]:
    """95 % percentile interval of a mean over queries (B. Efron, R. Tibshirani, 1993, ch. 13).

    Args:
        values: (Q,), NaN for queries that are left out.
        resamples: how many samples of as many groups as there are, drawn with replacement.
        seed: of the draws; the same seed gives the same interval.
        groups: of the queries; None where each is one of its own.

    Returns:
        Its ends; NaN where every value is.
    """
    low, high = bootstrap_means(np.asarray(values, np.float64)[:, None], resamples, seed, groups)
    return float(low[0]), float(high[0])


def bootstrap_means(
    values: Floats, resamples: int = 1000, seed: int = 0, groups: Groups | None = None
) -> tuple[Floats, Floats]:
    """The same for the means of M columns (Q, M), of the same draws: both ends, float64 (M,)."""
    held = ~np.isnan(values)
    whole = groups is None and bool(held.all())
    filled = values if whole else np.where(held, values, 0)
    weights = held.astype(np.float64)
    if groups is not None:
        filled, weights = _group_sums(filled, groups), _group_sums(weights, groups)
    means = []
    for counts in _draws(len(filled), resamples, np.random.default_rng(seed)):
        total = counts @ filled
        weight = len(values) if whole else counts @ weights
        # A draw may miss all the queries that have a value.
        with np.errstate(invalid="ignore"):
            means.append(total / weight)
    return _ends(np.concatenate(means))


def bootstrap_quantile(
    values: ArrayLike,
    share: float,
    resamples: int = 1000,
    seed: int = 0,
    groups: Groups | None = None,
) -> tuple[float, float]:
    """95 % percentile interval of a quantile over queries, as `numpy.quantile` interpolates it.

    Without groups nothing is resampled: of Q draws with replacement the k-th smallest is the value
    in the place that the k-th smallest of Q uniform numbers names, which has a beta distribution.

    Args:
        values: (Q,), NaN for queries that are left out.
        share: which quantile, 0..1.
        resamples: how many are drawn.
        seed: of the draws.
        groups: of the queries; None where each is one of its own.

    Returns:
        Its ends; NaN where every value is.
    """
    given = np.asarray(values, np.float64)
    held = ~np.isnan(given)
    if not held.any():
        return math.nan, math.nan
    generator = np.random.default_rng(seed)
    if groups is not None:
        samples = _group_quantiles(given[held], share, groups[held], resamples, generator)
    else:
        samples = _quantiles(np.sort(given[held]), share, resamples, generator)
    low, high = _ends(samples[:, None])
    return float(low[0]), float(high[0])


def _quantiles(
    ordered: Floats, share: float, resamples: int, generator: np.random.Generator
) -> Floats:
    count = len(ordered)
    fraction, below = math.modf(share * (count - 1))
    k = int(below) + 1
    lower = generator.beta(k, count + 1 - k, resamples)
    # The next of those above it; behind the last one there is none.
    upper = lower + (1 - lower) * (generator.beta(1, count - k, resamples) if k < count else 0)
    one, other = (
        ordered[np.minimum((count * place).astype(np.int64), count - 1)] for place in (lower, upper)
    )
    found: Floats = one + fraction * (other - one)
    return found


def _group_quantiles(
    values: Floats, share: float, groups: Groups, resamples: int, generator: np.random.Generator
) -> Floats:
    """The quantile of each sample of groups, values counted as often as their group is drawn."""
    order = values.argsort(kind="stable")
    ordered, of = values[order], np.unique(groups[order], return_inverse=True)[1]
    found = []
    for counts in _draws(int(of.max()) + 1, resamples, generator):
        for drawn in counts:
            reached = drawn[of].cumsum()
            fraction, below = math.modf(share * (reached[-1] - 1))
            places = reached.searchsorted([below, below + 1], side="right")
            one, other = ordered[np.minimum(places, len(ordered) - 1)]
            found.append(one + fraction * (other - one))
    return np.array(found)


def _group_sums(values: Floats, groups: Groups) -> Floats:
    """Sums (G, M) of the rows (Q, M) of each group."""
    sums = np.zeros((int(groups.max()) + 1, values.shape[1]))
    np.add.at(sums, groups, values)
    return sums


@dataclass(frozen=True)
class Comparison:
    """Two models on the same queries.

    Attributes:
        difference: mean of the second model's values less that of the first's.
        low, high: 95 % bootstrap interval of the difference.
        p_value: how often a difference as large would come of changing the two models' places
            group by group by lot, 0..1.
        better, worse, equal: queries whose value is higher, lower, or the same in the second.
        queries: that were compared: both models have a value.
    """

    difference: float
    low: float
    high: float
    p_value: float
    better: int
    worse: int
    equal: int
    queries: int


def compare_paired(
    first: ArrayLike,
    second: ArrayLike,
    resamples: int = 1000,
    seed: int = 0,
    groups: Groups | None = None,
) -> Comparison:
    """Compare two models query by query; queries that either has no value for are left out.

    The p-value is of the randomisation test of paired values: every sign of a difference is as
    likely as the other (R. A. Fisher, The Design of Experiments, 1935, section 21).

    Args:
        first: (Q,), a measure of one model, such as 1 for a hit and 0 for a miss; NaN for none.
        second: (Q,), the same measure of the other model on the same queries.
        resamples: draws behind the interval; ten times as many are behind the p-value.
        seed: of the draws.
        groups: of the queries, whose models change places together; None where each is one.

    Raises:
        EvaluationError: the two have different lengths, or no query has a value in both.
    """
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if one.shape != other.shape or one.ndim != 1:
        raise EvaluationError(
            f"Values of shapes {one.shape} and {other.shape} cannot be compared query by query: "
            f"evaluate both models on the same data."
        )
    differences = other - one
    held = ~np.isnan(differences)
    differences = differences[held]
    if not len(differences):
        raise EvaluationError(
            "No query has a value in both evaluations: compare a measure that both have."
        )
    if groups is not None:
        groups = np.unique(groups[held], return_inverse=True)[1].astype(np.int64)
    low, high = bootstrap_interval(differences, resamples, seed, groups)
    sums = differences if groups is None else _group_sums(differences[:, None], groups)[:, 0]
    better, worse = int((differences > 0).sum()), int((differences < 0).sum())
    return Comparison(
        difference=float(differences.mean()),
        low=low,
        high=high,
        p_value=_randomisation(sums[sums != 0], 10 * resamples, seed),
        better=better,
        worse=worse,
        equal=len(differences) - better - worse,
        queries=len(differences),
    )


@dataclass(frozen=True)
class Coverage:
    """Whether stated radii hold the truth as often as they promise.

    Attributes:
        stated: mean of the probabilities stated, 0..1.
        observed: share of the queries whose truth lies within the radius.
        low, high: 95 % interval of the observed share.
        queries: with a known error.
    """

    stated: float
    observed: float
    low: float
    high: float
    queries: int

    @property
    def is_honest(self) -> bool:
        """Whether what was stated lies within the interval of what was observed."""
        return self.low <= self.stated <= self.high


def coverage(error_m: ArrayLike, radius_m: ArrayLike, probability: ArrayLike) -> Coverage:
    """Compare the radius of estimates with their errors.

    The interval is E. B. Wilson's (1927): unlike a bootstrap's it has a width where all or none
    are held.

    Args:
        error_m: (Q,), metres from the estimate to the truth; NaN where the truth is unknown.
        radius_m: (Q,), metres within which the truth was said to lie.
        probability: 0..1, with which it was said to lie there; one for all or (Q,).

    Raises:
        EvaluationError: no error is known, or a radius is not a number for one that is.
    """
    error = np.asarray(error_m, np.float64)
    radius, stated = (
        np.broadcast_to(np.asarray(part, np.float64), error.shape)
        for part in (radius_m, probability)
    )
    known = ~np.isnan(error)
    if not known.any():
        raise EvaluationError(
            "No estimate has a known error: give queries whose true position is known."
        )
    if np.isnan(radius[known]).any() or np.isnan(stated[known]).any():
        raise EvaluationError(
            "An estimate states no radius or no probability: give both for every query."
        )
    count = int(known.sum())
    observed = float((error[known] <= radius[known]).mean())
    low, high = wilson_interval(observed, count)
    return Coverage(float(stated[known].mean()), observed, low, high, count)


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """95 % interval of a share of `count` independent trials."""
    z = NormalDist().inv_cdf(_TAILS[1])
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count**2)) / (1 + z * z / count)
    return max(0.0, centre - half), min(1.0, centre + half)


def _draws(count: int, resamples: int, generator: np.random.Generator) -> Iterator[Floats]:
    """How often each of `count` groups is drawn: (some, count), `resamples` rows in all."""
    at_once = max(1, _DRAWN // count)
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        drawn = generator.integers(0, count, (rows, count), dtype=np.int32)
        drawn += (np.arange(rows, dtype=np.int32) * count)[:, None]
        found = np.bincount(drawn.ravel(), minlength=rows * count)
        yield found.reshape(rows, count).astype(np.float64)


def _ends(samples: Floats) -> tuple[Floats, Floats]:
    """Both ends of the interval of each column; NaN for a column without a number."""
    undefined = np.isnan(samples).all(axis=0)
    low, high = np.nanquantile(np.where(undefined, 0, samples), _TAILS, axis=0)
    low[undefined] = high[undefined] = np.nan
    return low, high


def _randomisation(differences: Floats, draws: int, seed: int) -> float:
    """Share of the draws of signs whose sum is at least as far from 0; the one that is counts."""
    count = len(differences)
    if not count:
        return 1.0
    generator = np.random.default_rng(seed)
    reached = abs(differences.sum()) * (1 - 1e-12)
    as_far = 0
    at_once = max(1, _DRAWN // count)
    for start in range(0, draws, at_once):
        rows = min(at_once, draws - start)
        signs = generator.integers(0, 2, (rows, count), dtype=np.int8)
        sums = 2 * (signs.astype(np.float64) @ differences) - differences.sum()
        as_far += int((np.abs(sums) >= reached).sum())
    return (1 + as_far) / (1 + draws)
