"""One place: what is held of one location on the ground."""

from dataclasses import dataclass
from pathlib import Path

from shapely import Polygon


@dataclass(frozen=True)
class Place:
    """One location with its pictures and its text, any of which may be missing.

    Attributes:
        place_id: unique within its data set.
        lat: WGS-84 latitude of the point the pictures are of, degrees.
        lon: WGS-84 longitude, degrees.
        footprint: the ground the satellite (or nadir drone) picture covers, lon/lat.
        drone: path of the drone picture, or None.
        street: path of the street picture, or None.
        satellite: path of the satellite picture, or None.
        text: the view-invariant description, or None.
        country: where it lies, or None.
        split: `train`, `val`, `test` or another word, or None.
        source: where it comes from, or None.
        licence: terms its makers state, or None.
        attribution: what must be said when it is shown, or None.
    """

    place_id: str
    lat: float
    lon: float
    footprint: Polygon
    drone: Path | None = None
    street: Path | None = None
    satellite: Path | None = None
    text: str | None = None
    country: str | None = None
    split: str | None = None
    source: str | None = None
    licence: str | None = None
    attribution: str | None = None
