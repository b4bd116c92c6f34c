"""What turns similarities into honest numbers: temperature, radius and confidence.

All are fitted on queries the model did not see, with known positions, and travel in the
checkpoint (`config.calibration`), one set per kind of query:

    {"drone": {"temperature": 0.06, ...}, "drone+heading": {...}, "drone+text": {...}}

They hold for galleries like the one they were fitted on: the same sort of imagery, footprint
and overlap, and an area of the same order. A larger area has more rivals, so the stated numbers
turn optimistic; `reliability` says by how much.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from geobridge.errors import ModelError, QueryError
from geobridge.localization.position import (
    Floats,
    Hypotheses,
    Mode,
    arc_m,
    earth_centred,
    errors_m,
    find_mode,
    weigh,
)
from geobridge.model.geobridge import GeoBridge
from geobridge.views import MODALITIES

MINIMUM_QUERIES = 10
"""Fewer held-out queries than this cannot place the nine-in-ten point of a distribution."""

_TEMPERATURES = np.geomspace(0.002, 0.5, 60)
# A mass of exactly 0 or 1 has no log-odds, and no finite number of hypotheses earns either.
_MASS_LIMIT = 0.01
# Density, per square metre, of a truth that no hypothesis explains: one in a 100 km square. It
# keeps one hopeless query from deciding the temperature alone.
_ELSEWHERE = 1e-10


@dataclass(frozen=True)
class Calibration:
    """Parameters of an honest estimate; the defaults are a guess, fitted ones have `queries`.

    Attributes:
        temperature: of the softmax over similarities; smaller trusts the best more.
        probability: with which the stated radius holds the truth.
        radius_scale: factor on the spread of the hypotheses that makes the radius hold it.
        bias: constant term of the confidence's log-odds.
        mass_slope: log-odds of confidence per log-odds of the winning group's weight.
        similarity_slope: log-odds of confidence per unit of the group's best similarity.
        ceiling: the largest confidence that held-out queries bore out; none beyond is stated.
        queries: held-out queries this was fitted on; 0 means it was not.
    """

    temperature: float = 0.05
    probability: float = 0.9
    radius_scale: float = 1.0
    # Unfitted, agreement alone proves little: one that is unanimous states 0.79, one of half 0.27.
    bias: float = -1.0
    mass_slope: float = 0.5
    similarity_slope: float = 0.0
    ceiling: float = 1.0
    queries: int = 0

    def __post_init__(self) -> None:
        numbers = asdict(self)
        if not all(math.isfinite(number) for number in numbers.values()):
            raise ModelError(f"a calibration must be finite, got {numbers}: fit it again.")
        if not (self.temperature > 0 and self.radius_scale > 0 and 0 < self.probability < 1):
            raise ModelError(
                f"a calibration needs temperature > 0, radius_scale > 0 and a probability "
                f"between 0 and 1, got {numbers}: fit it again."
            )

    def confidence(self, mass: float, similarity: float) -> float:
        """Probability in (0, 1) that the truth is within one footprint of the position."""
        log_odds = (
            self.bias + self.mass_slope * log_odds_of(mass) + self.similarity_slope * similarity
        )
        return min(self.ceiling, 1 / (1 + math.exp(-min(max(log_odds, -30.0), 30.0))))

    def to_dict(self) -> dict[str, float]:
        """A dictionary of plain numbers, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, numbers: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote.

        Raises:
            ModelError: a key is unknown or a value is not a usable number.
        """
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(numbers) - known):
            raise ModelError(
                f"a calibration does not have {', '.join(unknown)}: it has {sorted(known)}."
            )
        if not all(isinstance(value, int | float) for value in numbers.values()):
            raise ModelError(f"a calibration holds numbers only, got {dict(numbers)}.")
        return cls(**numbers)


def query_kind(modalities: Iterable[str], heading_known: bool = False) -> str:
    """Name of a kind of query: its modalities in their usual order, such as `drone+text`.

    A drone photo of known heading is a kind of its own, `drone+heading`: of one that is asked in
    several directions the best similarity counts, which is higher and proves less.
    """
    given = set(modalities)
    words = [modality for modality in MODALITIES if modality in given]
    return "+".join([*words, "heading"] if heading_known else words)


def calibration_for(
    stored: Mapping[str, Mapping[str, Any]] | None,
    modalities: Iterable[str],
    temperature: float | None = None,
    heading_known: bool = False,
) -> Calibration:
    """The calibration of a kind of query, or an unfitted one where the checkpoint has none.

    Args:
        stored: the checkpoint's `config.calibration`.
        modalities: what the query consists of.
        temperature: for the unfitted one; the temperature the model was trained with is the
            natural choice, since its similarities were made to be softmaxed at it.
        heading_known: whether the heading of its drone photo is given; where nothing was fitted
            for that, what was fitted without a heading is taken, which is the more cautious.
    """
    given = tuple(modalities)
    for kind in (query_kind(given, heading_known), query_kind(given)):
        if stored and kind in stored:
            return Calibration.from_dict(stored[kind])
    return Calibration() if temperature is None else Calibration(temperature=temperature)


def keep_calibrations(model: GeoBridge, fitted: Mapping[str, Calibration]) -> None:
    """Give a model the calibrations of kinds of queries; those of other kinds stay.

    They travel with it once it is saved, and its fingerprint does not change.
    """
    stored = (model.config.calibration or {}) | {
        kind: calibration.to_dict() for kind, calibration in fitted.items()
    }
    model.config = model.config.model_copy(update={"calibration": stored})


def calibrate(
    results: Sequence[Hypotheses], truths: ArrayLike, probability: float = 0.9
) -> Calibration:
    """Fit a calibration on held-out queries of one kind.

    Temperature: the one under which the true positions are most likely, each hypothesis being a
    round blob as wide as its footprint. Radius: the factor that makes `probability` of the truths
    fall inside (split conformal: right for any model, as long as later queries are like these).
    Confidence: a logistic fit of "truth within one footprint" on the group's weight and best
    similarity.

    Args:
        results: N searches, each with its hypotheses (take `HYPOTHESES` of them).
        truths: (N, 2), latitude and longitude in degrees.
        probability: with which the radius should hold the truth, in (0, 1).

    Raises:
        QueryError: fewer than `MINIMUM_QUERIES`, or not one truth per search.
    """
    truth = np.asarray(truths, float).reshape(-1, 2)
    if len(results) < MINIMUM_QUERIES or len(truth) != len(results):
        raise QueryError(
            f"calibration needs at least {MINIMUM_QUERIES} queries with one true position each, "
            f"got {len(results)} queries and {len(truth)} positions: add held-out queries."
        )
    temperature = fit_temperature(results, truth)
    modes = [find_mode(hypotheses, temperature, probability) for hypotheses in results]
    error_m = errors_m(modes, truth)
    ratio = error_m / np.array([mode.spread_m for mode in modes])
    found = error_m <= np.array([mode.size_m for mode in modes])
    features = [[log_odds_of(mode.mass), mode.similarity] for mode in modes]
    bias, mass_slope, similarity_slope = fit_rising_logistic(np.array(features), found)
    fitted = Calibration(
        temperature=temperature,
        probability=probability,
        radius_scale=max(conformal_quantile(ratio, probability), 1e-3),
        bias=bias,
        mass_slope=mass_slope,
        similarity_slope=similarity_slope,
        queries=len(results),
    )
    stated = [fitted.confidence(mode.mass, mode.similarity) for mode in modes]
    return replace(fitted, ceiling=max(stated))


def log_odds_of(mass: float) -> float:
    """Log-odds of a share of weight, kept away from certainty."""
    inside = min(max(mass, _MASS_LIMIT), 1 - _MASS_LIMIT)
    return math.log(inside / (1 - inside))


def fit_temperature(results: Sequence[Hypotheses], truth: Floats) -> float:
    """The temperature, from a fixed grid, with the highest mean log-likelihood of the truths."""
    density = [_densities(hypotheses, at) for hypotheses, at in zip(results, truth, strict=True)]
    likelihood = [
        np.mean(
            [
                np.log(weigh(hypotheses.similarity, temperature) @ blobs + _ELSEWHERE)
                for hypotheses, blobs in zip(results, density, strict=True)
            ]
        )
        for temperature in _TEMPERATURES
    ]
    return float(_TEMPERATURES[int(np.argmax(likelihood))])


def _densities(hypotheses: Hypotheses, truth: Floats) -> Floats:
    """Density (K,) per square metre of the truth under a blob around each hypothesis.

    A Gaussian with a standard deviation of half the footprint.
    """
    points = earth_centred(hypotheses.lat, hypotheses.lon)
    away_m = arc_m(points, earth_centred(truth[:1], truth[1:]))
    sigma_m = np.maximum(hypotheses.size_m / 2, 1.0)
    return np.asarray(np.exp(-0.5 * (away_m / sigma_m) ** 2) / (2 * np.pi * sigma_m**2))


def conformal_quantile(values: Floats, probability: float) -> float:
    """Bound that a further value like these N stays below with at least `probability`.

    The k-th smallest of N with k = ceil((N + 1) probability); the largest where N is too small
    to promise more.
    """
    k = math.ceil((len(values) + 1) * probability)
    return float(np.sort(values)[min(k, len(values)) - 1])


def fit_rising_logistic(features: Floats, outcome: ArrayLike) -> tuple[float, ...]:
    """As `fit_logistic`, with no slope below zero.

    More agreement or similarity never speaks against a position; where a small sample says so, it
    is chance, and far from the sample it would state near certainty. A feature whose slope comes
    out negative is left out.
    """
    used = np.ones(features.shape[1], bool)
    while True:
        bias, *slopes = fit_logistic(np.where(used, features, 0.0), outcome)
        falling = used & (np.array(slopes) < 0)
        if not falling.any():
            return (bias, *slopes)
        used &= ~falling


def fit_logistic(features: Floats, outcome: ArrayLike) -> tuple[float, ...]:
    """Bias and slopes of P(outcome) = sigmoid(bias + features @ slopes), by Newton's method.

    A weak ridge on the slopes of the standardised features (as if one more query spoke for no
    slope at all) keeps a perfectly separable or constant sample finite, and outcomes are drawn
    in by Platt's correction (Platt 1999, eq. 2.2), so that a hundred successes in a hundred do
    not state certainty.

    Args:
        features: (N, F).
        outcome: (N,) bool.
    """
    happened = np.asarray(outcome, bool)
    yes, no = happened.sum(), (~happened).sum()
    target = np.where(happened, (yes + 1) / (yes + 2), 1 / (no + 2))
    mean, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    design = np.column_stack([np.ones(len(features)), (features - mean) / scale])
    ridge = np.diag([1e-9] + [1.0] * features.shape[1])
    weights = np.zeros(design.shape[1])
    for _ in range(100):
        p = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
        gradient = design.T @ (target - p) - ridge @ weights
        curvature = (design * (p * (1 - p))[:, None]).T @ design + ridge
        step = np.linalg.solve(curvature, gradient)
        # A full Newton step can overshoot where the sigmoid is flat.
        weights += step * min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-9:
            break
    slopes = weights[1:] / scale
    return (float(weights[0] - slopes @ mean), *map(float, slopes))


@dataclass(frozen=True)
class ReliabilityRow:
    """One group of held-out queries: what was stated of them, and what was observed.

    Attributes:
        what: `confidence` or `radius`.
        low: smallest value in the group: of the confidence, or of the radius in metres.
        high: largest value in the group.
        stated: mean stated probability.
        observed: share of queries for which it came true.
        queries: how many there are.
    """

    what: str
    low: float
    high: float
    stated: float
    observed: float
    queries: int


def reliability(
    results: Sequence[Hypotheses], truths: ArrayLike, calibration: Calibration, groups: int = 5
) -> list[ReliabilityRow]:
    """Stated against observed, on queries the calibration was not fitted on.

    The queries are sorted into `groups` of equal count, once by confidence and once by radius:
    a calibration can be right on average and wrong for all that look certain. For confidence,
    observed is the share whose truth lies within one footprint; for radius, within the radius.

    Args:
        results: N searches.
        truths: (N, 2), latitude and longitude in degrees.
        calibration: the one to judge.
        groups: how many rows for each of the two.

    Returns:
        Rows for confidence, then for radius, each from the lowest group to the highest.
    """
    modes = [
        find_mode(found, calibration.temperature, calibration.probability) for found in results
    ]
    error_m = errors_m(modes, truths)
    confidence = np.array([calibration.confidence(mode.mass, mode.similarity) for mode in modes])
    radius_m = np.array([radius_of(mode, calibration) for mode in modes])
    near = error_m <= np.array([mode.size_m for mode in modes])
    held = error_m <= radius_m
    promised = np.full(len(modes), calibration.probability)
    return [
        *_rows("confidence", confidence, confidence, near, groups),
        *_rows("radius", radius_m, promised, held, groups),
    ]


def radius_of(mode: Mode, calibration: Calibration) -> float:
    """Radius in metres that holds the truth with the calibration's probability."""
    half_way_round_m = 20_004_000.0
    return min(mode.spread_m * calibration.radius_scale, half_way_round_m)


def _rows(
    what: str, value: Floats, stated: Floats, observed: ArrayLike, groups: int
) -> list[ReliabilityRow]:
    came_true = np.asarray(observed, bool)
    members = np.array_split(np.argsort(value, kind="stable"), min(groups, len(value)))
    return [
        ReliabilityRow(
            what=what,
            low=float(value[m].min()),
            high=float(value[m].max()),
            stated=float(stated[m].mean()),
            observed=float(came_true[m].mean()),
            queries=len(m),
        )
        for m in members
    ]
