"""The paths that drones fly: files of them, and points along them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import shapely

from geobridge.errors import PositionError, WorldError
from geobridge.geo.distance import check_position
from geobridge.world.planet import Town
from geobridge.world.regions import SIZE_M

_FORMS = "a CSV table with the columns lat, lon (and altitude_m), or GeoJSON with one LineString"


class TrackPoint(NamedTuple):
    """A corner of a track.

    Attributes:
        lat, lon: WGS-84 degrees.
        altitude_m: above the ground, None where the track does not say.
    """

    lat: float
    lon: float
    altitude_m: float | None = None


Track = Sequence[TrackPoint | tuple[float, float] | tuple[float, float, float]]
"""Corners of a path, as (lat, lon) or (lat, lon, altitude above the ground in metres)."""


@dataclass(frozen=True)
class Station:
    """A point of a track at which something is done.

    Attributes:
        x_m, y_m: metres east and north of the town's centre.
        heading_deg: direction of the track, clockwise from grid north.
        altitude_m: above the ground, None where the track does not say.
        along_m: distance from the track's beginning.
    """

    x_m: float
    y_m: float
    heading_deg: float
    altitude_m: float | None
    along_m: float


def read_track(path: str | Path) -> list[TrackPoint]:
    """The corners of a track in a file.

    CSV has the columns `lat`, `lon` and, where wanted, `altitude_m`; GeoJSON is a LineString, or a
    Feature or FeatureCollection with exactly one, of `[lon, lat]` or `[lon, lat, altitude_m]`.
    Altitudes are above the ground.

    Raises:
        WorldError: the file cannot be read, holds no track, or a point of it is no position.
    """
    path = Path(path)
    readers = {".csv": _read_csv, ".geojson": _read_geojson, ".json": _read_geojson}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise WorldError(f"{path} is no track: give {_FORMS}, named .csv or .geojson.")
    try:
        rows = reader(path)
    except OSError as error:
        raise WorldError(f"{path} cannot be read ({error.strerror}): check the path.") from error
    except UnicodeDecodeError as error:
        raise WorldError(f"{path} is no text in UTF-8: give {_FORMS}.") from error
    points = []
    for number, (lat, lon, altitude) in enumerate(rows.tolist(), 1):
        try:
            check_position(lat, lon, f"Point {number} of {path}")
        except PositionError as error:
            raise WorldError(str(error)) from error
        points.append(TrackPoint(lat, lon, None if math.isnan(altitude) else altitude))
    return points


def _read_csv(path: Path) -> np.ndarray:
    """Latitude, longitude and altitude (NaN for none) of each row: float64 (N, 3)."""
    try:
        table = pd.read_csv(path, skipinitialspace=True)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise WorldError(f"{path} cannot be read as a table: give {_FORMS}.") from error
    if not {"lat", "lon"} <= set(table.columns):
        raise WorldError(f"{path} has no columns lat and lon: name them in its first line.")
    table = table.reindex(columns=["lat", "lon", "altitude_m"])
    try:
        rows: np.ndarray = table.to_numpy(np.float64)
    except ValueError as error:
        raise WorldError(f"{path} holds a word where a number should be ({error}).") from error
    return rows


def _read_geojson(path: Path) -> np.ndarray:
    """Latitude, longitude and altitude (NaN for none) of each corner: float64 (N, 3)."""
    try:
        geometry = shapely.from_geojson(path.read_text(encoding="utf-8"))
    except shapely.errors.GEOSException as error:
        raise WorldError(f"{path} cannot be read as GeoJSON: give {_FORMS}.") from error
    # Programs write a line as a MultiLineString of one part, too.
    parts = shapely.get_parts(shapely.get_parts(geometry))
    lines = [part for part in parts if part.geom_type == "LineString"]
    if len(lines) != 1:
        raise WorldError(f"{path} holds {len(lines)} LineStrings: give one, the track.")
    lon, lat, altitude = shapely.get_coordinates(lines[0], include_z=True).T
    return np.stack([lat, lon, altitude], axis=1)


def stations(town: Town, track: Track, every_m: float) -> list[Station]:
    """Points every `every_m` metres along a track in a town, and one at its end.

    The heading at a corner is that of the way that begins there; altitudes change evenly from
    corner to corner.

    Raises:
        WorldError: the spacing is out of range, a point lies outside the town, only some have an
            altitude, or the track has no length.
    """
    if not 1 <= every_m <= SIZE_M:
        raise WorldError(
            f"Photos cannot be {every_m:g} m apart: choose a distance of 1 to {SIZE_M:g} m."
        )
    corners = _corners(town, [TrackPoint(*point) for point in track])
    if len(corners) < 2:
        raise WorldError("The track has no length: give two points at least that differ.")
    steps = np.diff(corners[:, :2], axis=0)
    reached = np.concatenate([[0.0], np.cumsum(np.hypot(*steps.T))])
    # A millimetre of rounding makes no second photo at the end.
    along = np.append(np.arange(0.0, reached[-1] - 1e-3, every_m), reached[-1])
    way = np.clip(np.searchsorted(reached, along, side="right") - 1, 0, len(steps) - 1)
    heading = np.degrees(np.arctan2(*steps[way].T)) % 360
    x, y, altitude = (np.interp(along, reached, values) for values in corners.T)
    rows = np.stack([x, y, heading, altitude, along], axis=1).tolist()
    return [Station(x, y, turn, None if math.isnan(z) else z, s) for x, y, turn, z, s in rows]


def _corners(town: Town, points: list[TrackPoint]) -> np.ndarray:
    """Metres east and north of the centre and altitude (NaN for none): float64 (N, 3).

    Of points at the same spot the first stays.
    """
    corners = np.array([(*town.to_metric(p.lat, p.lon), p.altitude_m) for p in points], np.float64)
    for number, (x, y, altitude) in enumerate(corners.tolist(), 1):
        if not (abs(x) <= SIZE_M / 2 and abs(y) <= SIZE_M / 2):
            raise WorldError(_outside(town, number, points[number - 1]))
        if math.isnan(altitude) != math.isnan(corners[0, 2]):
            raise WorldError(
                f"Points 1 and {number} of the track differ in having an altitude: give all one, "
                f"or none."
            )
    moves = [i for i in range(len(points)) if i == 0 or any(corners[i, :2] != corners[i - 1, :2])]
    return corners[moves]


def _outside(town: Town, number: int, point: TrackPoint) -> str:
    half = SIZE_M / 2
    (south, west), (north, east) = town.to_latlon(-half, -half), town.to_latlon(half, half)
    return (
        f"Point {number} of the track, lat {point.lat:.5f} lon {point.lon:.5f}, lies outside "
        f"{town.name}: stay within lat {south:.5f} to {north:.5f} and lon {west:.5f} to {east:.5f}."
    )
