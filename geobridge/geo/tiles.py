"""Tiles of web maps: which ground a tile `z/x/y` covers, and how tiles name their files.

The scheme is OGC's WebMercatorQuad, known as XYZ or slippy map: y grows southwards.
"""

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import morecantile
from morecantile import Tile
from rasterio import Affine
from shapely import Polygon

from geobridge.errors import SourceError
from geobridge.geo.distance import WGS84

_GRID = morecantile.tms.get("WebMercatorQuad")

MAX_ZOOM = 30

MAX_LATITUDE = math.degrees(math.atan(math.sinh(math.pi)))
"""Where the square of the web map ends, in degrees north and south."""

_AROUND_M = 2 * math.pi * float(WGS84.a)

# Side of the blocks of tiles of which neighbouring ones are one place.
_BLOCK = 16

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


def tiles_over(footprint: Polygon, z: int) -> list[Tile]:
    """The tiles of a zoom that show a footprint, row by row.

    Columns are continuous like the footprint's longitudes: across the antimeridian they are below
    0 or from 2^z on, and the tile to be fetched is `x % 2**z`.

    Raises:
        SourceError: the footprint reaches beyond `MAX_LATITUDE`, where there are no tiles.
    """
    west, south, east, north = footprint.bounds
    if max(abs(south), abs(north)) > MAX_LATITUDE:
        raise SourceError(
            f"web maps end at {MAX_LATITUDE:.2f} degrees, and the footprint reaches {south:.4f} to "
            f"{north:.4f}: use a raster there."
        )
    columns = range(math.floor(_column(west, z)), math.ceil(_column(east, z)))
    rows = range(math.floor(_row(north, z)), math.ceil(_row(south, z)))
    return [Tile(x, y, z) for y in rows for x in columns]


def zoom_for(lat: float, gsd_m: float, tile_px: int) -> int:
    """The coarsest zoom whose pixels are no larger than so many metres on the ground."""
    around_m = _AROUND_M * math.cos(math.radians(lat))
    return min(MAX_ZOOM, max(0, math.ceil(math.log2(around_m / (tile_px * gsd_m)) - 1e-9)))


def tiles_transform(tile: Tile, tile_px: int) -> Affine:
    """From pixels of a picture that begins with a tile to EPSG:3857, whatever the column."""
    pixel_m = _AROUND_M / (tile_px * 2**tile.z)
    half = tile_px * 2**tile.z / 2
    return Affine(
        pixel_m, 0, (tile.x * tile_px - half) * pixel_m,
        0, -pixel_m, (half - tile.y * tile_px) * pixel_m,
    )  # fmt: skip


def _column(lon: float, z: int) -> float:
    return (lon + 180) / 360 * float(2**z)


def _row(lat: float, z: int) -> float:
    """OGC 17-083r2, annex D.1: y of the spherical Mercator projection, from the top."""
    y = math.asinh(math.tan(math.radians(lat))) / math.pi
    return (1 - y) / 2 * float(2**z)


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


def finest_tiles(files: Iterable[Path]) -> dict[Tile, Path]:
    """The tiles of the highest zoom among files named after tiles, the first file of each."""
    tiles: dict[Tile, Path] = {}
    for file in files:
        tile = parse_tile_path(file)
        if tile is not None:
            tiles.setdefault(tile, file)
    finest = max((tile.z for tile in tiles), default=0)
    return {tile: file for tile, file in tiles.items() if tile.z == finest}


def tile_groups(files: Mapping[Tile, Path]) -> list[dict[Tile, Path]]:
    """Tiles of one zoom parted into places: far apart, they had better not share one raster.

    Tiles less than 16 columns and rows apart are of one place, those 32 apart are not, unless
    others lie between them.

    Args:
        files: the tile each file shows, all of one zoom.

    Returns:
        The groups from the north, each with columns that are continuous: across the antimeridian
        they go on beyond 2^z - 1, as those of `tiles_over` do.
    """
    blocks: dict[tuple[int, int], list[Tile]] = {}
    for tile in files:
        blocks.setdefault((tile.x // _BLOCK, tile.y // _BLOCK), []).append(tile)
    z = next(iter(files)).z if files else 0
    around = max(1, 2**z // _BLOCK)
    groups = []
    while blocks:
        waiting, members = [next(iter(blocks))], []
        while waiting:
            x, y = waiting.pop()
            if (x, y) not in blocks:
                continue
            members += blocks.pop((x, y))
            beside = [((x + dx) % around, y + dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1)]
            waiting += [block for block in beside if block in blocks]
        groups.append(_continuous({tile: files[tile] for tile in members}, 2**z))
    return sorted(groups, key=lambda group: (corner_of(group).y, corner_of(group).x))


def corner_of(tiles: Iterable[Tile]) -> Tile:
    """The tile in the top left corner of the rectangle around tiles of one zoom."""
    tiles = list(tiles)
    return Tile(min(tile.x for tile in tiles), min(tile.y for tile in tiles), tiles[0].z)


def _continuous(files: Mapping[Tile, Path], around: int) -> dict[Tile, Path]:
    """Columns counted eastwards from the widest gap; around the whole earth, from 0."""
    columns = sorted({tile.x for tile in files})
    gaps = [(column - columns[n - 1] - 1) % around for n, column in enumerate(columns)]
    west = columns[gaps.index(max(gaps))]
    return {
        Tile(west + (tile.x - west) % around, tile.y, tile.z): file for tile, file in files.items()
    }
