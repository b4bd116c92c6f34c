"""Footprints: the ground polygon a picture covers, in lon, lat.

A footprint is a shapely Polygon whose longitudes are continuous around its centre, so one that
crosses the antimeridian has some beyond +-180. `to_geojson` cuts it for the outside world.
"""

import math
from typing import Any

import numpy as np
import shapely
from shapely.geometry import MultiPolygon, Polygon, box, mapping
from shapely.geometry.base import BaseGeometry

from geobridge.geo.distance import WGS84, LocalFrame, unwrap_lon, wrap_lon


def footprint_around(
    lat: float, lon: float, width_m: float, height_m: float, yaw_deg: float = 0.0
) -> Polygon:
    """The ground rectangle of a nadir picture centred on a position.

    Args:
        lat: latitude of the centre in degrees.
        lon: longitude of the centre in degrees.
        width_m: ground length of the picture's width.
        height_m: ground length of the picture's height.
        yaw_deg: heading of the picture's top, clockwise from north.

    Returns:
        Corners top left, top right, bottom right, bottom left of the picture.
    """
    across = np.array([-1, 1, 1, -1]) * width_m / 2
    along = np.array([1, 1, -1, -1]) * height_m / 2
    cos, sin = math.cos(math.radians(yaw_deg)), math.sin(math.radians(yaw_deg))
    frame = LocalFrame(lat, lon)
    corner_lon, corner_lat = frame.to_lonlat(across * cos + along * sin, along * cos - across * sin)
    return Polygon(np.column_stack([unwrap_lon(corner_lon, lon), corner_lat]))


def footprint_from_bounds(west: float, south: float, east: float, north: float) -> Polygon:
    """The footprint between two meridians and two parallels, in degrees.

    East smaller than west means that it crosses the antimeridian.
    """
    return box(west, south, east + 360 if east < west else east, north)


def center(footprint: Polygon) -> tuple[float, float]:
    """Centre (lat, lon) of a footprint in degrees, lon in [-180, 180)."""
    point = footprint.centroid
    return float(point.y), float(wrap_lon(point.x))


def size_m(footprint: Polygon) -> float:
    """Side in metres of the square with the footprint's area on the ellipsoid."""
    area, _ = WGS84.geometry_area_perimeter(footprint)
    return math.sqrt(abs(area))


def to_geojson(footprint: Polygon) -> dict[str, Any]:
    """A GeoJSON geometry (RFC 7946): counter-clockwise, cut at the antimeridian (section 3.1.9).

    Returns:
        A Polygon, or a MultiPolygon of the parts on both sides of the antimeridian.
    """
    parts = [part for turn in (-360, 0, 360) for part in _polygons(_inside_world(footprint, turn))]
    parts = [shapely.orient_polygons(part) for part in parts]
    geometry: dict[str, Any] = mapping(parts[0] if len(parts) == 1 else MultiPolygon(parts))
    return geometry


def _inside_world(footprint: Polygon, shift_deg: float) -> BaseGeometry:
    """What of the footprint lies in [-180, 180] after shifting its longitudes."""
    shifted = shapely.transform(footprint, lambda lonlat: np.add(lonlat, [shift_deg, 0.0]))
    west, _, east, _ = shifted.bounds
    if west >= -180 and east <= 180:
        return shifted
    return shifted.intersection(box(-180, -90, 180, 90))


def _polygons(geometry: BaseGeometry) -> list[Polygon]:
    """The parts with an area: touching the antimeridian leaves lines and points."""
    parts = getattr(geometry, "geoms", [geometry])
    return [part for part in parts if isinstance(part, Polygon) and part.area > 0]
