"""How far items lie apart, in metres or degrees, in the ways that published code has."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geobridge.evaluation.tasks import Geodesy, Items
from geobridge.geo.distance import distance_m

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def have_positions(geodesy: Geodesy, *sets: Items) -> bool:
    """Whether all the sets have what a geodesy needs, for some item at least."""
    if geodesy == "plane":
        return all(items.xy_m is not None for items in sets)
    return all(items.lat is not None and items.lon is not None for items in sets)


def is_known(geodesy: Geodesy, items: Items, rows: Integers) -> NDArray[np.bool_]:
    """Which items of a set have a position for a geodesy, of the shape of `rows`."""
    if geodesy == "plane":
        return np.asarray(~np.isnan(_metres(items, rows)).any(axis=-1))
    lat, lon = _degrees(items, rows)
    return ~(np.isnan(lat) | np.isnan(lon))


def separation_m(
    geodesy: Geodesy, first: Items, rows: Integers, second: Items, others: Integers
) -> Floats:
    """Metres between items of two sets, float64.

    Args:
        geodesy: how metres are told.
        first: one set.
        rows: int64, items of it.
        second: another set.
        others: int64, items of that, of a shape that broadcasts with `rows`; a negative one is no
            item.

    Returns:
        Of the broadcast shape; NaN where an item has no position or is none.
    """
    if geodesy == "plane":
        offset = _metres(first, rows) - _metres(second, others)
        found = np.hypot(offset[..., 0], offset[..., 1])
    else:
        lat, lon = _degrees(first, rows)
        other_lat, other_lon = _degrees(second, others)
        if geodesy == "wgs84":
            found = distance_m(lat, lon, other_lat, other_lon)
        else:
            rule, radius_km = geodesy.split("-")
            arc = _haversine if rule == "haversine" else _cosines
            found = float(radius_km) * 1000 * arc(lat, lon, other_lat, other_lon)
    return np.asarray(np.where(others < 0, np.nan, found))


def separation_degrees(
    first: Items, rows: Integers, second: Items, others: Integers, float32: bool = False
) -> Floats:
    """Euclidean distance of longitude and latitude in degrees; shapes as in `separation_m`.

    A degree of longitude counts like one of latitude, and none is wrapped: DenseUAV's SDM@K
    (evaluateDistance.py, euclideanDistance) has it so.

    Args:
        first: one set.
        rows: int64, items of it.
        second: another set.
        others: int64, items of that.
        float32: round coordinates to float32 and go on in it, as that code does; a step of
            longitude is then 0.7 m at 120 degrees.
    """
    found = np.zeros(np.broadcast_shapes(np.shape(rows), np.shape(others)))
    squares: NDArray[Any] = found.astype(np.float32 if float32 else np.float64)
    for one, other in zip(_degrees(first, rows), _degrees(second, others), strict=True):
        squares += (one.astype(squares.dtype) - other.astype(squares.dtype)) ** 2
    found[:] = np.sqrt(squares)
    return np.where(others < 0, np.nan, found)


def _degrees(items: Items, rows: Integers) -> tuple[Floats, Floats]:
    nowhere = np.full(np.shape(rows), np.nan)
    return (
        nowhere if items.lat is None else items.lat[rows],
        nowhere if items.lon is None else items.lon[rows],
    )


def _metres(items: Items, rows: Integers) -> Floats:
    return np.full((*np.shape(rows), 2), np.nan) if items.xy_m is None else items.xy_m[rows]


def _haversine(lat: Floats, lon: Floats, other_lat: Floats, other_lon: Floats) -> Floats:
    """Angle in radians between positions in degrees on a sphere."""
    lat, lon, other_lat, other_lon = map(np.radians, (lat, lon, other_lat, other_lon))
    half = (
        np.sin((lat - other_lat) / 2) ** 2
        + np.cos(lat) * np.cos(other_lat) * np.sin((lon - other_lon) / 2) ** 2
    )
    return np.asarray(2 * np.arcsin(np.sqrt(np.minimum(half, 1))))


def _cosines(lat: Floats, lon: Floats, other_lat: Floats, other_lon: Floats) -> Floats:
    """The same by the spherical law of cosines, which rounds to 0.1 m below some metres."""
    lat, lon, other_lat, other_lon = map(np.radians, (lat, lon, other_lat, other_lon))
    cosine = np.sin(lat) * np.sin(other_lat) + np.cos(lat) * np.cos(other_lat) * np.cos(
        lon - other_lon
    )
    return np.asarray(np.arccos(np.clip(cosine, -1, 1)))
