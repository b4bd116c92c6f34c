"""Tiles of web maps: which ground a tile `z/x/y` covers, and how tiles name their files.

The scheme is OGC's WebMercatorQuad, known as XYZ or slippy map: y grows southwards.
"""

import re
from pathlib import Path

import morecantile
from morecantile import Tile

from geobridge.errors import SourceError

_GRID = morecantile.tms.get("WebMercatorQuad")

MAX_ZOOM = 30

_FLAT_NAME = re.compile(r"(?:^|.*/)(\d{1,2})_(\d+)_(\d+)\.\w+$")
_NESTED_NAME = re.compile(r"(?:^|.*/)(\d{1,2})/(\d+)/(\d+)\.\w+$")


def tile_bounds(x: int, y: int, z: int) -> tuple[float, float, float, float]:
    """West, south, east, north of a tile in degrees.

    Raises:
        SourceError: there is no such tile at that zoom.
    """
    if not _exists(x, y, z):
        raise SourceError(
            f"there is no tile x={x}, y={y} at zoom {z}: zooms go from 0 to {MAX_ZOOM}, x and y "
            f"from 0 to 2^zoom - 1."
        )
    west, south, east, north = _GRID.bounds(Tile(x, y, z))
    return west, south, east, north


def parse_tile_path(path: str | Path) -> Tile | None:
    """The tile a file is named after, `z/x/y.jpg` or `z_x_y.jpg`, or None if it is none."""
    text = Path(path).as_posix()
    match = _FLAT_NAME.match(text) or _NESTED_NAME.match(text)
    if match is None:
        return None
    z, x, y = (int(number) for number in match.groups())
    return Tile(x, y, z) if _exists(x, y, z) else None


def _exists(x: int, y: int, z: int) -> bool:
    return 0 <= z <= MAX_ZOOM and 0 <= x < 2**z and 0 <= y < 2**z
