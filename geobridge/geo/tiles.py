"""Tiles of web maps: which ground a tile `z/x/y` covers, and how tiles name their files.

The scheme is OGC's WebMercatorQuad, known as XYZ or slippy map: y grows southwards.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import escape

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


def mosaic_of_tiles(files: Mapping[Tile, Path], tile_px: int) -> str:
    """One raster of many tiles of one zoom, as the text of a GDAL virtual raster (VRT).

    rasterio opens it in place of a path. Where there is no tile it has no data.

    Args:
        files: the tile each file shows.
        tile_px: pixels a side of every tile.
    """
    west, north = min(tile.x for tile in files), min(tile.y for tile in files)
    across = max(tile.x for tile in files) - west + 1
    down = max(tile.y for tile in files) - north + 1
    corner = _GRID.xy_bounds(Tile(west, north, next(iter(files)).z))
    pixel_m = (corner.right - corner.left) / tile_px
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{number}"><ColorInterp>{color}</ColorInterp>'
        f"{_sources(files, str(number), west, north, tile_px)}</VRTRasterBand>"
        for number, color in enumerate(("Red", "Green", "Blue"), 1)
    )
    mask = _sources(files, "mask,1", west, north, tile_px)
    return (
        f'<VRTDataset rasterXSize="{across * tile_px}" rasterYSize="{down * tile_px}">'
        f"<SRS>EPSG:3857</SRS><GeoTransform>{corner.left!r},{pixel_m!r},0,{corner.top!r},0,"
        f"{-pixel_m!r}</GeoTransform>"
        f'<MaskBand><VRTRasterBand dataType="Byte">{mask}</VRTRasterBand></MaskBand>'
        f"{bands}</VRTDataset>"
    )


def _sources(files: Mapping[Tile, Path], band: str, west: int, north: int, tile_px: int) -> str:
    """Where the pixels of one band come from."""
    return "".join(
        f'<SimpleSource><SourceFilename relativeToVRT="0">{escape(str(path.resolve()))}'
        f"</SourceFilename><SourceBand>{band}</SourceBand>"
        f'<SrcRect xOff="0" yOff="0" xSize="{tile_px}" ySize="{tile_px}"/>'
        f'<DstRect xOff="{(tile.x - west) * tile_px}" yOff="{(tile.y - north) * tile_px}" '
        f'xSize="{tile_px}" ySize="{tile_px}"/></SimpleSource>'
        for tile, path in files.items()
    )
