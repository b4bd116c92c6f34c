"""Measures of single queries, from ranks and distances, under the names that tell them apart.

Where sources differ each reading is a measure of its own. U1652 is University-1652's own code
(evaluate_gpu.py), GTA-UAV Game4Loc's (game4loc/evaluate/gta.py), VIGOR its train_overall.py, GeoLoc
the release of GeoBridge (test.py), DenseUAV its evaluateDistance.py.
"""

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

OnePerCent = Literal["round+1", "int+1", "floor", "floor, at least 1"]
"""How many references R@1% looks at among N: round(N / 100) + 1 to even (U1652, SUES-200, DenseUAV,
GTA-UAV), int(N / 100) + 1 (VIGOR, OriCNN), N // 100 (Sample4Geo and TransGeo on CVUSA, CVACT and
VIGOR; none among fewer than 100), max(1, N // 100) (GeoLoc)."""

AveragePrecision = Literal["trapezoid", "plain", "reciprocal"]
"""`trapezoid` is the mean of the precisions before and at each positive (U1652), `plain` that at
each positive (GTA-UAV, scikit-learn), `reciprocal` 1 / rank of the first positive (GeoLoc)."""

ONE_PER_CENT: tuple[OnePerCent, ...] = get_args(OnePerCent)
AVERAGE_PRECISIONS: tuple[AveragePrecision, ...] = get_args(AveragePrecision)


def one_per_cent(count: Integers, definition: OnePerCent) -> Integers:
    """How many references R@1% looks at, int64 of the shape of `count`, the size of the gallery."""
    if definition == "round+1":
        return np.asarray(np.rint(0.01 * count), np.int64) + 1
    if definition == "int+1":
        return (0.01 * count).astype(np.int64) + 1
    whole = count // 100
    return whole if definition == "floor" else np.maximum(whole, 1)


def average_precision(starts: Integers, ranks: Integers, definition: AveragePrecision) -> Floats:
    """Average precision of each query.

    Args:
        starts: int64 (Q + 1,), `ranks[starts[q] : starts[q + 1]]` are those of query q.
        ranks: int64, 1-based ranks of the positives, ascending within a query.
        definition: which.

    Returns:
        float64 (Q,), 0..1; NaN without positives.
    """
    counts = np.diff(starts)
    found = np.full(len(counts), np.nan)
    held = counts > 0
    if definition == "reciprocal":
        found[held] = 1 / ranks[starts[:-1][held]]
        return found
    before = np.arange(len(ranks)) - np.repeat(starts[:-1], counts)
    precision = (before + 1) / ranks
    if definition == "trapezoid":
        earlier = np.where(ranks > 1, before / np.maximum(ranks - 1, 1), 1.0)
        precision = (precision + earlier) / 2
    query = np.repeat(np.arange(len(counts)), counts)
    total = np.bincount(query, precision, minlength=len(counts))
    found[held] = total[held] / counts[held]
    return found


def sdm(distance: Floats, k: int, scale: float, float32: bool = False) -> Floats:
    """Spatial distance metric SDM@K (M. Dai et al., DenseUAV, IEEE TIP 2024, eq. 3).

    The mean of exp(-scale * d) over the first K references, weighted by K, K - 1, ..., 1.

    Args:
        distance: float64 (Q, at least K or all that compete), of the first references; NaN for
            one without a position, which counts 0. Infinite where no more
            compete.
        k: K.
        scale: per unit of `distance`.
        float32: exponentials in float32, as DenseUAV's code comes to have them.

    Returns:
        float64 (Q,), 0..1; over the references there are where fewer than K compete, NaN where
        none does.
    """
    near: NDArray[Any] = distance[:, :k].astype(np.float32 if float32 else np.float64)
    score = np.exp(-near * near.dtype.type(scale)).astype(np.float64)
    weight = np.where(np.isposinf(near), 0.0, np.arange(k, k - near.shape[1], -1))
    return _mean(np.nan_to_num(score) * weight, weight)


def mean_distance(distance: Floats, k: int) -> Floats:
    """Dis@K: mean distance of the first K references (GTA-UAV); arguments as for `sdm`.

    Returns:
        float64 (Q,); NaN where one of them has no position.
    """
    near = distance[:, :k]
    exists = ~np.isposinf(near)
    return _mean(np.where(exists, near, 0), exists.astype(np.float64))


def _mean(weighted: Floats, weight: Floats) -> Floats:
    total = weight.sum(axis=1)
    # Nothing competes where the weights are 0.
    mean = np.full(len(total), np.nan)
    np.divide(weighted.sum(axis=1), total, out=mean, where=total > 0)
    return mean


def recall_by_chance(gallery: Integers, positives: Integers, k: Integers) -> Floats:
    """Probability that a positive is among the first k of an order drawn by lot.

    Args:
        gallery: int64 (Q,), how many references compete.
        positives: int64 (Q,), how many of them are right.
        k: int64 (Q,).

    Returns:
        float64 (Q,), 1 - C(gallery - positives, k) / C(gallery, k).
    """
    # One after the other each of the first k misses all positives, or the other way round, which
    # has fewer steps if k is larger.
    k = np.minimum(k, gallery)
    fewer, more = np.minimum(positives, k), np.maximum(positives, k)
    missed = np.ones(len(gallery))
    for step in range(int(fewer.max(initial=0))):
        left = np.where(step < fewer, gallery - step, 1)
        missed *= np.where(step < fewer, np.maximum(left - more, 0) / left, 1)
    return 1 - missed
