"""Metres on the WGS-84 ellipsoid, and degrees that stay in range.

Geodesics after C. F. F. Karney, "Algorithms for geodesics", 2013, through PROJ.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pyproj import Geod

from geobridge.errors import PositionError

METRES_A_DEGREE = 111_320.0
"""Of longitude at the equator; of latitude it is right to 0.7 %. For margins, not for positions."""

Floats = npt.NDArray[np.float64]

WGS84 = Geod(ellps="WGS84")


def distance_m(
    lat1: npt.ArrayLike, lon1: npt.ArrayLike, lat2: npt.ArrayLike, lon2: npt.ArrayLike
) -> Any:
    """Geodesic distance in metres, float64, of the broadcast shape of the four arguments.

    Arguments are degrees; longitudes may lie outside [-180, 180). A NaN anywhere gives NaN.
    """
    return _inverse(lon1, lat1, lon2, lat2)[1][()]


def offset_m(
    lon1: npt.ArrayLike, lat1: npt.ArrayLike, lon2: npt.ArrayLike, lat2: npt.ArrayLike
) -> tuple[Any, Any]:
    """Geodesic from the first positions to the second, as metres east and north (broadcast).

    East and north are those of the first position; the length of the pair is the distance.
    """
    azimuth_deg, distance = _inverse(lon1, lat1, lon2, lat2)
    azimuth = np.radians(azimuth_deg)
    return (distance * np.sin(azimuth))[()], (distance * np.cos(azimuth))[()]


def earth_centred_m(lat: npt.ArrayLike, lon: npt.ArrayLike) -> Floats:
    """Positions on the WGS-84 ellipsoid as points in space, float64 (..., 3) in metres.

    The straight line between two of them is right at the poles and across the antimeridian, and
    shorter than the geodesic by d^3 / (24 R^2): a millimetre at 10 km.

    Args:
        lat: degrees; NaN stays NaN.
        lon: degrees, of the same shape.
    """
    phi, lam = np.radians(lat), np.radians(lon)
    to_axis = WGS84.a / np.sqrt(1 - WGS84.es * np.sin(phi) ** 2)
    across = to_axis * np.cos(phi)
    up = to_axis * (1 - WGS84.es) * np.sin(phi)
    return np.stack([across * np.cos(lam), across * np.sin(lam), up], axis=-1)


def wrap_lon(lon: npt.ArrayLike) -> Any:
    """Longitudes in degrees, brought into [-180, 180)."""
    wrapped = (np.asarray(lon, np.float64) + 180.0) % 360.0 - 180.0
    # A hair below -180 the remainder rounds up to 360.
    return np.where(wrapped >= 180.0, -180.0, wrapped)[()]


def unwrap_lon(lon: npt.ArrayLike, around_lon: npt.ArrayLike) -> Any:
    """Longitudes within 180 degrees of `around_lon`: continuous, perhaps beyond +-180."""
    around = np.asarray(around_lon, np.float64)
    return around + wrap_lon(np.asarray(lon, np.float64) - around)


def check_position(lat: float, lon: float, what: str) -> None:
    """Refuse a latitude and longitude that cannot be a place on the earth.

    Args:
        lat: degrees, should be in [-90, 90].
        lon: degrees, should be in [-180, 180].
        what: what has this position, to begin the message with ("the position in a.jpg").

    Raises:
        PositionError: not finite, out of range, or exactly 0, 0 (what devices write when they
            have no fix).
    """
    if not (math.isfinite(lat) and math.isfinite(lon)):
        raise PositionError(f"{what} is lat {lat}, lon {lon}: give finite degrees.")
    if abs(lat) > 90 and abs(lat) <= 180 and abs(lon) <= 90:
        raise PositionError(
            f"{what} is lat {lat}, lon {lon}, which is no latitude: are the two swapped?"
        )
    if abs(lat) > 90 or abs(lon) > 180:
        raise PositionError(
            f"{what} is lat {lat}, lon {lon}: give WGS-84 degrees, lat within -90..90 and lon "
            f"within -180..180."
        )
    if lat == 0 and lon == 0:
        raise PositionError(
            f"{what} is lat 0, lon 0, which devices write when they have no position: "
            f"give the true one."
        )


@dataclass(frozen=True)
class LocalFrame:
    """A plane in metres around one position: x east, y north (azimuthal equidistant).

    Distances and directions from the origin are exact; elsewhere distances are true to
    1e-5 within 50 km. It holds at the poles and across the antimeridian.

    Attributes:
        lat: latitude of the origin in degrees.
        lon: longitude of the origin in degrees.
    """

    lat: float
    lon: float

    def to_metric(self, lon: npt.ArrayLike, lat: npt.ArrayLike) -> tuple[Any, Any]:
        """East and north offsets in metres (x, y) of positions in degrees, vectorised."""
        return offset_m(self.lon, self.lat, lon, lat)

    def to_lonlat(self, x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[Any, Any]:
        """Positions (lon, lat) in degrees of offsets in metres, lon in [-180, 180)."""
        x, y = np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(y, np.float64))
        azimuth = np.degrees(np.arctan2(x, y))
        origin_lon, origin_lat = np.full_like(azimuth, self.lon), np.full_like(azimuth, self.lat)
        lon, lat, _ = WGS84.fwd(origin_lon, origin_lat, azimuth, np.hypot(x, y))
        return wrap_lon(lon)[()], np.asarray(lat, np.float64)[()]


def _inverse(
    lon1: npt.ArrayLike, lat1: npt.ArrayLike, lon2: npt.ArrayLike, lat2: npt.ArrayLike
) -> tuple[Floats, Floats]:
    """Azimuth at the first point in degrees and distance in metres, broadcast."""
    arrays = [np.asarray(degrees, np.float64) for degrees in (lon1, lat1, lon2, lat2)]
    # pyproj writes into what it is given, so broadcast views must become arrays of their own.
    lons1, lats1, lons2, lats2 = (np.array(a) for a in np.broadcast_arrays(*arrays))
    azimuth, _, distance = WGS84.inv(lons1, lats1, lons2, lats2)
    return np.asarray(azimuth, np.float64), np.asarray(distance, np.float64)
