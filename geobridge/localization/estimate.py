"""The answer: a position, how far it may be off, how sure it is, and what speaks for it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from shapely import Polygon

from geobridge.geo.distance import LocalFrame
from geobridge.geo.footprint import to_geojson
from geobridge.localization.calibration import Calibration, radius_of
from geobridge.localization.position import Hypotheses, find_mode
from geobridge.views import Modality

# Beyond this a circle may cover a pole, where no polygon in longitude and latitude can follow it.
_LARGEST_DRAWN_RADIUS_M = 500_000.0


@dataclass(frozen=True)
class Location:
    """A position with its uncertainty, before anyone knows what the references are called.

    Attributes:
        lat: degrees.
        lon: degrees in [-180, 180).
        radius_m: holds the truth with probability `probability`.
        probability: in (0, 1).
        confidence: probability in (0, 1) that the truth lies within `within_m` of the position.
        within_m: one footprint: the side of the square as large as the winning reference.
        agrees: (K,) bool in the order given, which hypotheses the position is the mean of.
    """

    lat: float
    lon: float
    radius_m: float
    probability: float
    confidence: float
    within_m: float
    agrees: NDArray[np.bool_]


def estimate_position(
    similarity: ArrayLike,
    lat: ArrayLike,
    lon: ArrayLike,
    size_m: ArrayLike,
    calibration: Calibration,
) -> Location:
    """Turn the references most similar to a query into one position with its uncertainty.

    Similarities become weights (a softmax at the calibration's temperature). References within
    one footprint of each other agree; the group with the most weight wins, and the position is
    its weighted mean on the ground, so overlapping footprints give better than one-footprint
    precision. The radius is the one around it that holds `calibration.probability` of the weight
    of *all* K hypotheses, rivals included, times the calibrated factor. The confidence is the
    calibrated probability that the truth is within one footprint, from the group's weight and
    its best similarity.

    Args:
        similarity: (K,) cosine similarities, in any order; K >= 1.
        lat: (K,) degrees, centres of the footprints.
        lon: (K,) degrees.
        size_m: (K,) footprint sizes in metres.
        calibration: of this model for this kind of query.

    Raises:
        ValueError: there is no hypothesis, or a number is not finite.
    """
    hypotheses = Hypotheses.of(similarity, lat, lon, size_m)
    mode = find_mode(hypotheses, calibration.temperature, calibration.probability)
    best_first = np.argsort(-np.atleast_1d(np.asarray(similarity, float)), kind="stable")
    agrees = np.empty(len(hypotheses), bool)
    agrees[best_first] = mode.agrees
    return Location(
        lat=mode.lat,
        lon=mode.lon,
        radius_m=radius_of(mode, calibration),
        probability=calibration.probability,
        confidence=calibration.confidence(mode.mass, mode.similarity),
        within_m=mode.size_m,
        agrees=agrees,
    )


@dataclass(frozen=True)
class Candidate:
    """A reference that resembles the query.

    Attributes:
        rank: 1 is the most similar.
        ref_id: names the reference within its gallery.
        similarity: cosine similarity in [-1, 1]; for a photo tried at several headings, the best.
        lat: degrees, centre of the footprint.
        lon: degrees in [-180, 180).
        distance_m: from the centre of the best candidate.
        size_m: side of the square as large as the footprint.
        modality: what the reference is: `drone`, `street`, `satellite` or `text`.
        source: the source it was indexed from.
        path: its file within the source.
        window: column, row, width and height in pixels of a raster; None for whole pictures.
        place_id: the place it belongs to, where the source says so.
        text: the sentence, of a text reference.
        date: when it was taken, where known.
        yaw_deg: heading of the drone photo's top edge, clockwise from north, under which it was
            this similar; None for queries without one.
        agrees: whether the estimated position is made of it (and of others).
        footprint: ground polygon, lon/lat, longitudes continuous around its centre.
    """

    rank: int
    ref_id: str
    similarity: float
    lat: float
    lon: float
    distance_m: float
    size_m: float
    modality: Modality
    source: str
    path: str
    window: tuple[float, float, float, float] | None
    place_id: str | None
    text: str | None
    date: str | None
    yaw_deg: float | None
    agrees: bool
    footprint: Polygon

    def to_dict(self) -> dict[str, Any]:
        """All fields; the footprint as a GeoJSON geometry."""
        return {**self.properties(), "footprint": to_geojson(self.footprint)}

    def properties(self) -> dict[str, Any]:
        """All fields but the footprint."""
        return {name: value for name, value in vars(self).items() if name != "footprint"}


@dataclass(frozen=True)
class Estimate:
    """Where a query was taken, and how sure that is. See `estimate_position` for the method.

    Attributes:
        lat: degrees.
        lon: degrees in [-180, 180).
        radius_m: holds the truth with probability `probability`, if `calibrated`.
        probability: in (0, 1).
        confidence: probability in (0, 1) that the truth lies within `within_m` of the position,
            if `calibrated`; otherwise a cautious guess that only orders answers.
        within_m: one footprint of the winning reference, in metres.
        calibrated: whether radius and confidence were fitted on held-out queries of this kind.
        yaw_deg: likely heading of a drone photo's top edge, clockwise from north: the one that
            was given, or the best of those tried; None for other queries.
        modalities: what the query consisted of.
        candidates: the most similar references, best first.
    """

    lat: float
    lon: float
    radius_m: float
    probability: float
    confidence: float
    within_m: float
    calibrated: bool
    yaw_deg: float | None
    modalities: tuple[Modality, ...]
    candidates: tuple[Candidate, ...]

    def to_dict(self) -> dict[str, Any]:
        """The documented schema: the attributes above by name, candidates as dictionaries."""
        return {
            **self._properties(),
            "candidates": [candidate.to_dict() for candidate in self.candidates],
        }

    def to_json(self, indent: int | None = 2) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False, allow_nan=False)

    def to_geojson(self) -> dict[str, Any]:
        """A FeatureCollection (RFC 7946): the position, its radius, the candidates' footprints.

        Each feature's property `role` says which it is: `estimate`, `radius` or `candidate`.
        Shapes across the antimeridian are cut there. A radius above 500 km, or over a pole, is
        stated in the properties and not drawn.
        """
        features = [_feature({"type": "Point", "coordinates": [self.lon, self.lat]}, "estimate",
                             self._properties())]  # fmt: skip
        if (circle := self.circle()) is not None:
            properties = {"radius_m": self.radius_m, "probability": self.probability}
            features.append(_feature(to_geojson(circle), "radius", properties))
        for candidate in self.candidates:
            shape = to_geojson(candidate.footprint)
            features.append(_feature(shape, "candidate", candidate.properties()))
        return {"type": "FeatureCollection", "features": features}

    def circle(self) -> Polygon | None:
        """The radius as a polygon of 64 corners, or None where it is too large to draw."""
        degrees = self.radius_m / 111_000
        if self.radius_m > _LARGEST_DRAWN_RADIUS_M or abs(self.lat) + degrees >= 90:
            return None
        turn = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        frame = LocalFrame(self.lat, self.lon)
        lon, lat = frame.to_lonlat(self.radius_m * np.cos(turn), self.radius_m * np.sin(turn))
        continuous = self.lon + (np.asarray(lon) - self.lon + 180) % 360 - 180
        return Polygon(np.column_stack([continuous, lat]))

    def _properties(self) -> dict[str, Any]:
        fields = {name: value for name, value in vars(self).items() if name != "candidates"}
        return {**fields, "modalities": list(self.modalities)}


def _feature(geometry: dict[str, Any], role: str, properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Feature", "geometry": geometry, "properties": {"role": role, **properties}}


def answers_geojson(estimates: Sequence[tuple[str, Estimate]]) -> dict[str, Any]:
    """One FeatureCollection of many answers; property `id` says whose each feature is."""
    features = [
        {**feature, "properties": {"id": name, **feature["properties"]}}
        for name, estimate in estimates
        for feature in estimate.to_geojson()["features"]
    ]
    return {"type": "FeatureCollection", "features": features}
