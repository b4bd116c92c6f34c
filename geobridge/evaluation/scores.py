"""What a ranking comes to: every measure under its own name, with an interval, and by chance.

    R@k                        share of queries with a positive among the first k
    R@1% (round+1) ...         the same with k about one per cent of the gallery, four readings
    AP (trapezoid) ...         average precision, three readings
    mean rank, median rank     of the first positive
    hit rate (code), (top-1)   R@1 that forgives semipositives, two readings
    SDM@K                      distances of the first K as a score
    Dis@K                      mean distance of the first K in metres
    MA@d, L@d                  share of queries whose first reference is less than, or at most, d
                               metres away
    mean error, median error, error q75, error q90
                               metres to the first reference

All that a task allows are computed; `Task.headline` says which its data set's rules ask for.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from geobridge.errors import EvaluationError
from geobridge.evaluation.confidence import (
    bootstrap_means,
    bootstrap_quantile,
    groups_of,
    wilson_interval,
)
from geobridge.evaluation.distances import (
    have_positions,
    is_known,
    separation_degrees,
    separation_m,
)
from geobridge.evaluation.metrics import (
    AVERAGE_PRECISIONS,
    ONE_PER_CENT,
    average_precision,
    mean_distance,
    one_per_cent,
    recall_by_chance,
    sdm,
)
from geobridge.evaluation.ranking import Ranking
from geobridge.evaluation.tasks import Items, Sdm, Task

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

RANK, ERROR_M = "rank", "error_m"
"""Names of the rank of the first positive and the metres to the first reference, by query."""

_MA_M = (5, 10, 20, 50)
_SDM_AT = (1, 3, 5, 10)
_DIS_AT = (1, 3, 5)
# Measures that are 0 or 1 for each query.
_SHARES = ("R@", "hit rate", "MA@", "L@")
_OF_RANK = {"median rank": 0.5}
_OF_ERROR = {"median error": 0.5, "error q75": 0.75, "error q90": 0.9}

_AP_TEXTS = {
    "trapezoid": "Mean over right references of the precisions before and at each",
    "plain": "Mean over right references of the precision at each",
    "reciprocal": "1 / rank of the first right reference",
}
_PER_CENT_TEXTS = {
    "round+1": "round(N / 100) + 1",
    "int+1": "int(N / 100) + 1",
    "floor": "N // 100",
    "floor, at least 1": "max(1, N // 100)",
}


@dataclass(frozen=True)
class Value:
    """A measured number and its 95 % interval: bootstrap over places, Wilson's for all or none."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Score:
    """What one model came to on one task.

    Attributes:
        task: its name.
        direction: short, such as `D2S`.
        queries: how many were asked.
        without_positive: for how many of them no reference is right; wrong in every recall.
        gallery: how many references compete for a query, the most for any.
        chance: recalls where the order is drawn by lot.
        values: every measure that the task allows, by name.
        per_query: float64 (Q,) of every measure that is a mean over queries, and `rank` (of the
            first positive) and `error_m` (of the first reference); NaN where undefined.
        definitions: one sentence for each measure.
        headline: the measures that the data set's own rules ask for.
        remarks: what a reader must know beside, in whole sentences.
    """

    task: str
    direction: str
    queries: int
    without_positive: int
    gallery: int
    chance: Mapping[str, float]
    values: Mapping[str, Value]
    per_query: Mapping[str, Floats] = field(repr=False)
    definitions: Mapping[str, str] = field(repr=False)
    headline: tuple[str, ...]
    remarks: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """All but the values of single queries, as plain values."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        del plain["per_query"]
        plain["values"] = {name: asdict(value) for name, value in self.values.items()}
        return plain | {name: list(plain[name]) for name in ("headline", "remarks")}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """What `to_json` gave; `per_query` is empty.

        Raises:
            KeyError, TypeError, AttributeError: it is something else.
        """
        given = dict(plain) | {
            "values": {name: Value(**value) for name, value in plain["values"].items()},
            "headline": tuple(plain["headline"]),
            "remarks": tuple(plain["remarks"]),
        }
        return cls(per_query={}, **given)


@dataclass
class _Measured:
    """Measures as they are gathered: means over queries by name, and what each is."""

    means: dict[str, Floats] = field(default_factory=dict)
    definitions: dict[str, str] = field(default_factory=dict)
    chance: dict[str, float] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def add(self, name: str, values: NDArray[Any], definition: str) -> None:
        self.means[name] = values.astype(np.float64)
        self.definitions[name] = definition


def score(
    task: Task,
    ranking: Ranking,
    queries: Items,
    references: Items,
    resamples: int = 1000,
    seed: int = 0,
) -> Score:
    """All measures of a ranking.

    A query without a positive is wrong in every recall and hit rate and has no rank; it counts 0
    in average precision, or nothing where the task is `matched_only`. Where positions are known,
    one whose own is not is left out of every distance; a first reference without one is not near.

    Args:
        task: what is right, and by which rules.
        ranking: of the task, by `ranking.rank`.
        queries: the whole set the task's queries are of; `task.query_rows` says which.
        references: the whole set that its gallery is of.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        EvaluationError: the ranking is of another task, or the task's rules ask for a measure
            that needs something the sets do not have.
    """
    asked = np.arange(len(queries)) if task.query_rows is None else task.query_rows
    if not len(asked) == len(ranking) == len(task.positives):
        raise EvaluationError(
            f"{task.name} asks {len(asked)} queries, positives are given for "
            f"{len(task.positives)} and ranks for {len(ranking)}: rank this very task."
        )
    found = _Measured(remarks=list(task.remarks))
    best = ranking.best
    _recalls(found, task, ranking, best)
    _precisions(found, task, ranking)
    _hit_rates(found, ranking)
    ranks = np.where(best > 0, best.astype(np.float64), np.nan)
    error = None
    if ranking.top.shape[1] and have_positions(task.geodesy, queries, references):
        error = _errors(found, task, ranking, queries, asked, references)
    _count_remarks(found, task, ranking)
    places = None if queries.places is None else [queries.places[row] for row in asked.tolist()]
    groups = groups_of(places)
    if groups is not None:
        found.remarks.append(
            f"The {len(ranking):,} queries are of {int(groups.max()) + 1:,} places, and intervals "
            f"are over places."
        )
    values = _values(found, ranks, error, resamples, seed, groups)
    lacking = [name for name in task.headline if name not in values]
    if lacking:
        raise EvaluationError(
            f"{task.name} asks for {', '.join(lacking)}, which cannot be had from its data (they "
            f"may need positions, semipositives or a longer list of first references): leave "
            f"them out of its headline, or give what they need."
        )
    return Score(
        task=task.name,
        direction=task.direction.short,
        queries=len(ranking),
        without_positive=int((best == 0).sum()),
        gallery=int(ranking.gallery.max()),
        chance=found.chance,
        values=values,
        per_query=found.means | {RANK: ranks} | ({} if error is None else {ERROR_M: error}),
        definitions=found.definitions,
        headline=task.headline,
        remarks=tuple(found.remarks),
    )


def _recalls(found: _Measured, task: Task, ranking: Ranking, best: Integers) -> None:
    gallery, held = ranking.gallery, best > 0

    def add(name: str, k: Integers, definition: str) -> None:
        found.add(name, held & (best <= k), definition)
        by_lot = recall_by_chance(gallery, task.positives.counts, k)
        found.chance[name] = float(by_lot.mean())

    for k in task.recall_at:
        text = f"Share of queries with a right one among the {_first(k)}."
        if k == 1:
            text = "Share of queries whose first reference is right."
        add(f"R@{k}", np.full(len(best), k), text)
    of = gallery if task.percent_of is None else np.full(len(best), task.percent_of)
    for definition in ONE_PER_CENT:
        few = one_per_cent(of, definition)
        text = (
            f"Share of queries with a right reference among the first {_range(few)}: "
            f"{_PER_CENT_TEXTS[definition]} of N = {_range(of)}."
        )
        add(f"R@1% ({definition})", few, text)


def _precisions(found: _Measured, task: Task, ranking: Ranking) -> None:
    over = "queries that have a right reference" if task.matched_only else "all queries"
    for definition in AVERAGE_PRECISIONS:
        values = average_precision(ranking.starts, ranking.ranks, definition)
        text = f"{_AP_TEXTS[definition]}, averaged over {over}."
        found.add(
            f"AP ({definition})", values if task.matched_only else np.nan_to_num(values), text
        )


def _hit_rates(found: _Measured, ranking: Ranking) -> None:
    if ranking.hit is not None and ranking.hit_top1 is not None:
        found.add(
            "hit rate (code)",
            ranking.hit,
            "Share of queries for which nothing but semipositives comes before the positive.",
        )
        found.add(
            "hit rate (top-1)",
            ranking.hit_top1,
            "Share of queries whose first reference is the positive or a semipositive.",
        )


def _errors(
    found: _Measured,
    task: Task,
    ranking: Ranking,
    queries: Items,
    asked: Integers,
    references: Items,
) -> Floats:
    """Adds the measures of distance; gives metres to the first reference, float64 (Q,)."""
    ranked = np.arange(len(references)) if task.gallery_rows is None else task.gallery_rows
    used = max(_DIS_AT if task.sdm is None else _SDM_AT)
    first = ranking.top[:, :used]
    top = np.where(first < 0, -1, ranked[first])
    in_metres = top if task.sdm and task.sdm.unit == "metres" else top[:, : max(_DIS_AT)]
    distance = separation_m(task.geodesy, queries, asked[:, None], references, in_metres)
    error = distance[:, 0].copy()
    known = is_known(task.geodesy, queries, asked)
    # Beyond the last that competes; not to be taken for one without a position.
    distance[in_metres < 0] = np.inf

    def near(is_near: NDArray[np.bool_]) -> Floats:
        return np.where(known, is_near, np.nan)

    for metres in _MA_M:
        text = f"Share of queries whose first reference is less than {metres} m away."
        found.add(f"MA@{metres}", near(error < metres), text)
    for radius in task.radii_m:
        text = f"Share of queries whose first reference is at most {radius:g} m away."
        found.add(f"L@{radius:g}", near(error <= radius), text)
    # A list that is shorter than asked for is whole where no more compete.
    reach = used if (ranking.gallery <= top.shape[1]).all() else top.shape[1]
    for k in _DIS_AT:
        if k <= reach:
            text = f"Mean distance of the {_first(k)} in metres."
            found.add(f"Dis@{k}", mean_distance(distance, k), text)
    if task.sdm is not None:
        apart = distance
        if task.sdm.unit == "degrees":
            apart = separation_degrees(queries, asked[:, None], references, top, task.sdm.float32)
            apart[top < 0] = np.inf
        for k in (k for k in _SDM_AT if k <= reach):
            values = sdm(apart, k, task.sdm.scale, task.sdm.float32)
            found.add(f"SDM@{k}", np.where(known, values, np.nan), _sdm_text(task.sdm, k))
    if not known.all():
        found.remarks.append(
            f"{(~known).sum():,} of {len(known):,} queries have no position and are left out of "
            f"every distance."
        )
    lost = known & np.isnan(error)
    if lost.any():
        found.remarks.append(
            f"The first reference of {lost.sum():,} queries has no position: it is not within any "
            f"distance and is left out of errors."
        )
    return error


def _sdm_text(rule: Sdm, k: int) -> str:
    precision = " with coordinates in float32" if rule.float32 else ""
    return (
        f"Mean of exp(-{rule.scale:g} d) over the {_first(k)}, weighted {k} down to 1, "
        f"d in {rule.unit}{precision}."
    )


def _count_remarks(found: _Measured, task: Task, ranking: Ranking) -> None:
    without = int((task.positives.counts == 0).sum())
    if without:
        precision = "are left out of" if task.matched_only else "count 0 in"
        found.remarks.append(
            f"{without:,} of {len(ranking):,} queries have no right reference: they are wrong in "
            f"every recall, {precision} average precision and have no rank."
        )
    if task.candidates is not None:
        found.remarks.append(
            f"Each query is compared with {_range(ranking.gallery)} candidates only, so that "
            f"recall is far above that in a whole gallery."
        )


def _values(
    found: _Measured,
    ranks: Floats,
    error: Floats | None,
    resamples: int,
    seed: int,
    groups: Integers | None,
) -> dict[str, Value]:
    means = found.means | {"mean rank": ranks}
    quantiles = {name: (ranks, share) for name, share in _OF_RANK.items()}
    found.definitions["mean rank"] = "Mean rank of the first right reference."
    found.definitions["median rank"] = "Median rank of the first right reference."
    if error is not None:
        means = means | {"mean error": error}
        quantiles |= {name: (error, share) for name, share in _OF_ERROR.items()}
        found.definitions["mean error"] = "Mean distance of the first reference in metres."
        for name, share in _OF_ERROR.items():
            text = f"Metres within which the first reference lies for {100 * share:g} % of queries."
            found.definitions[name] = text
    low, high = bootstrap_means(np.stack(list(means.values()), axis=1), resamples, seed, groups)
    values = {
        name: _value(
            name, column, (float(low[place]), float(high[place])), found.chance.get(name), groups
        )
        for place, (name, column) in enumerate(means.items())
        if not np.isnan(column).all()
    }
    for name, (column, share) in quantiles.items():
        if not np.isnan(column).all():
            middle = float(np.nanquantile(column, share))
            interval = bootstrap_quantile(column, share, resamples, seed, groups)
            values[name] = Value(middle, *interval)
    return values


def _value(
    name: str,
    column: Floats,
    interval: tuple[float, float],
    by_chance: float | None,
    groups: Integers | None,
) -> Value:
    """A mean over queries and its interval, which no resampling gives where all values agree."""
    mean = float(np.nanmean(column))
    # What can be nothing else, such as a share among the first 0, is sure.
    if name.startswith(_SHARES) and mean in {0.0, 1.0} and mean != by_chance:
        held = ~np.isnan(column)
        count = held.sum() if groups is None else len(np.unique(groups[held]))
        interval = wilson_interval(mean, int(count))
    return Value(mean, *interval)


def _first(k: int) -> str:
    return "first reference" if k == 1 else f"first {k} references"


def _range(numbers: Integers) -> str:
    low, high = int(numbers.min()), int(numbers.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
