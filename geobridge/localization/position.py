"""From scored hypotheses on the ground to one position: weights, agreement, spread.

A search hands over the references most similar to a query. Each is a hypothesis "the query is
here". Their similarities become weights, neighbours that say the same thing are added up, and
the strongest group wins. Nothing here is fitted; `calibration.py` does that.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geobridge.geo.distance import LocalFrame

HYPOTHESES = 100
"""How many of the most similar references an estimate is made of.

Enough to hold every overlapping footprint around the truth (100 m footprints every 25 m: about
50 within one footprint) and the strongest rivals; the rest has next to no weight.
"""

_WGS84_RADIUS_M = 6_378_137.0
_WGS84_ECCENTRICITY_SQUARED = 6.694379990141e-3
_MEAN_RADIUS_M = 6_371_008.8

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Hypotheses:
    """The references most similar to one query, best first.

    Attributes:
        similarity: (K,) cosine similarities, descending.
        lat: (K,) degrees, centre of each footprint.
        lon: (K,) degrees.
        size_m: (K,) side of the square as large as each footprint.
    """

    similarity: Floats
    lat: Floats
    lon: Floats
    size_m: Floats

    @classmethod
    def of(
        cls, similarity: ArrayLike, lat: ArrayLike, lon: ArrayLike, size_m: ArrayLike
    ) -> "Hypotheses":
        """Sort any K hypotheses, best first; ties keep the order they came in.

        Raises:
            ValueError: there are none, the lengths differ, or a number is not finite.
        """
        columns = [np.atleast_1d(np.asarray(c, float)) for c in (similarity, lat, lon, size_m)]
        if not columns[0].size or len({column.shape for column in columns}) > 1:
            raise ValueError(f"need K >= 1 rows of equal length, got {[c.shape for c in columns]}")
        if not all(np.isfinite(column).all() for column in columns):
            raise ValueError("similarities, positions and sizes of hypotheses must be finite")
        best_first = np.argsort(-columns[0], kind="stable")
        return cls(*(column[best_first] for column in columns))

    def __len__(self) -> int:
        return len(self.similarity)


@dataclass(frozen=True)
class Mode:
    """The strongest group of hypotheses that agree on one position.

    Attributes:
        lat: degrees, weighted mean of the group.
        lon: degrees in [-180, 180).
        mass: share of all weight that the group holds, in (0, 1].
        spread_m: radius around the position that holds the asked-for share of *all* weight, the
            rivals' included, and never less than that share of the winning footprint.
        size_m: footprint size of the hypothesis the group formed around.
        similarity: the best similarity within the group.
        agrees: (K,) bool, which hypotheses the group consists of.
    """

    lat: float
    lon: float
    mass: float
    spread_m: float
    size_m: float
    similarity: float
    agrees: NDArray[np.bool_]


def weigh(similarity: Floats, temperature: float) -> Floats:
    """Weights (K,) that sum to one: softmax of similarity over `temperature`."""
    exponent = (similarity - similarity.max()) / temperature
    weight = np.exp(exponent)
    return np.asarray(weight / weight.sum())


def find_mode(hypotheses: Hypotheses, temperature: float, probability: float) -> Mode:
    """Let hypotheses vote, and return the strongest group that agrees.

    Two hypotheses agree when their centres are within one footprint of each other (the mean of
    both sizes, where they differ). Each one's support is the weight of all that agree with it;
    the best supported gathers the group, and among equals the most similar one does.

    Args:
        hypotheses: K of them.
        temperature: of the softmax that turns similarities into weights.
        probability: share of the weight that `spread_m` has to hold, in (0, 1).
    """
    weight = weigh(hypotheses.similarity, temperature)
    points = earth_centred(hypotheses.lat, hypotheses.lon)
    apart_m = np.linalg.norm(points[:, None] - points[None, :], axis=-1)
    reach_m = (hypotheses.size_m[:, None] + hypotheses.size_m[None, :]) / 2
    agree = apart_m <= reach_m + 1e-6
    # Rounded, so that equal support is decided by rank and not by the last bit of a sum.
    support = np.round(agree @ weight, 9)
    center = int(np.argmax(support))
    agrees = agree[center]

    lat, lon = _weighted_mean(hypotheses, weight, agrees, center)
    away_m = arc_m(points, earth_centred(np.array([lat]), np.array([lon])))
    size_m = float(hypotheses.size_m[center])
    # The circle that covers this share of a square footprint: the truth is somewhere in it even
    # where every hypothesis agrees.
    least_m = size_m * np.sqrt(probability / np.pi)
    return Mode(
        lat=lat,
        lon=lon,
        mass=float(min(weight[agrees].sum(), 1.0)),
        spread_m=float(np.hypot(weighted_quantile(away_m, weight, probability), least_m)),
        size_m=size_m,
        similarity=float(hypotheses.similarity[agrees].max()),
        agrees=agrees,
    )


def _weighted_mean(
    hypotheses: Hypotheses, weight: Floats, agrees: NDArray[np.bool_], center: int
) -> tuple[float, float]:
    """Latitude and longitude of the group's weighted mean, taken in metres on the ground."""
    frame = LocalFrame(float(hypotheses.lat[center]), float(hypotheses.lon[center]))
    x_m, y_m = frame.to_metric(hypotheses.lon[agrees], hypotheses.lat[agrees])
    share = weight[agrees] / weight[agrees].sum()
    lon, lat = frame.to_lonlat(share @ np.asarray(x_m), share @ np.asarray(y_m))
    return float(lat), (float(lon) + 180.0) % 360.0 - 180.0


def weighted_quantile(values: Floats, weight: Floats, probability: float) -> float:
    """The smallest of `values` (K,) below or at which `probability` of the weight lies."""
    order = np.argsort(values)
    held = np.cumsum(weight[order])
    reached = np.searchsorted(held, probability * held[-1] - 1e-12)
    return float(values[order[min(int(reached), len(values) - 1)]])


def earth_centred(lat: Floats, lon: Floats) -> Floats:
    """Points (K, 3) in metres on the WGS-84 ellipsoid, earth-centred and earth-fixed.

    Straight lines between them are right to a millimetre over a footprint, need no care at the
    antimeridian or the poles, and cost a hundredth of a geodesic.
    """
    phi, lam = np.radians(lat), np.radians(lon)
    sine, cosine = np.sin(phi), np.cos(phi)
    normal = _WGS84_RADIUS_M / np.sqrt(1 - _WGS84_ECCENTRICITY_SQUARED * sine**2)
    z = normal * (1 - _WGS84_ECCENTRICITY_SQUARED) * sine
    return np.stack([normal * cosine * np.cos(lam), normal * cosine * np.sin(lam), z], axis=-1)


def arc_m(points: Floats, center: Floats) -> Floats:
    """Distances along the surface, in metres, from earth-centred `points` (K, 3) to one (1, 3).

    On a sphere of mean radius: within 0.6 % of the geodesic.
    """
    chord = np.linalg.norm(points - center, axis=-1)
    return np.asarray(2 * _MEAN_RADIUS_M * np.arcsin(np.minimum(chord / (2 * _MEAN_RADIUS_M), 1)))


def errors_m(modes: Sequence[Mode], truths: ArrayLike) -> Floats:
    """Distances (N,) in metres from N modes to the true positions, (N, 2) rows of lat, lon."""
    lat, lon = np.asarray(truths, float).reshape(-1, 2).T
    guess = earth_centred(np.array([m.lat for m in modes]), np.array([m.lon for m in modes]))
    return arc_m(guess, earth_centred(lat, lon))
