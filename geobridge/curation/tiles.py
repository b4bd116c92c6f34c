"""Tiles of a web map as a source of pictures of ground."""

import math
import re
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
from morecantile import Tile
from PIL import Image
from pydantic import Field, field_validator
from rasterio import Affine
from rasterio.enums import ColorInterp
from rasterio.io import MemoryFile

from geobridge.curation.http import (
    PICTURE_TYPES,
    Client,
    Credential,
    DownloadError,
    Kind,
    Pace,
    PlainAddress,
    TryAgainError,
    origin,
)
from geobridge.curation.pictures import Ground, Picture, PictureConfig, Shot, UnfitError, cut
from geobridge.curation.rasters import RasterFacts
from geobridge.errors import ImageError, SourceError
from geobridge.geo.rasters import RasterMap
from geobridge.geo.tiles import MAX_LATITUDE, tiles_over, tiles_transform, zoom_for
from geobridge.imagery.decode import FORMATS, read_image
from geobridge.model.config import Settings

MOST_TILES = 1024
"""Most tiles that one picture is put together from."""

_TILE_BYTES = 8 << 20

# Of the tiles of a picture put together, four bytes each: what takes more is refused, and what
# takes much is done one after the other.
_MOST_PIXELS = 1 << 27
_MANY_PIXELS = 1 << 24
_ONE_LARGE = threading.Lock()

# By the ellipsoid a metre is up to 0.7 % more of a degree than by the sphere of web maps.
_ELLIPSOID = 1.01

_METRES_A_DEGREE = 110_000.0
_RGBA = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)

_NAMES = {"TileMatrix": "z", "TileCol": "x", "TileRow": "y", "-y": "up"}
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


class TilesConfig(Settings):
    """Tiles of a web map in the usual scheme (WebMercatorQuad, GoogleMapsCompatible).

    Attributes:
        url: template with `{z}`, `{x}` and `{y}` (or `{-y}`, counted from the south), or in the
            words of WMTS `{TileMatrix}`, `{TileCol}` and `{TileRow}`.
        max_zoom: largest zoom there is.
        tile_px: pixels along the side of a tile.
        key_variable: environment variable of a key that has to be sent, or None.
        key_parameter: name of the parameter that carries it.
        requests_per_second: at most.
        allow_private: whether addresses of this machine and its networks may be asked.
        facts: date, licence, attribution and source of what the tiles show.
    """

    url: PlainAddress
    max_zoom: int = Field(default=19, ge=0, le=30)
    tile_px: int = Field(default=256, ge=64, le=2048)
    key_variable: str | None = None
    key_parameter: str = "key"
    requests_per_second: float = Field(default=10.0, gt=0)
    allow_private: bool = False
    facts: RasterFacts = Field(default_factory=RasterFacts)

    @property
    def pace(self) -> Pace:
        """Of requests."""
        return Pace(per_second=self.requests_per_second)

    @field_validator("url")
    @classmethod
    def _is_template(cls, url: str) -> str:
        names = {_NAMES.get(name, name) for name in _PLACEHOLDER.findall(url)}
        if names not in ({"z", "x", "y"}, {"z", "x", "up"}):
            raise ValueError(
                f"{url} is no template of tiles: put {{z}}, {{x}} and {{y}} into it, and nothing "
                f"else in braces."
            )
        return url

    def address(self, z: int, x: int, y: int) -> str:
        """Of one tile; columns beyond the antimeridian are those on the other side of it."""
        numbers = {"z": z, "x": x % 2**z, "y": y, "up": 2**z - 1 - y}
        return _PLACEHOLDER.sub(
            lambda match: str(numbers[_NAMES.get(match[1], match[1])]), self.url
        )


class TileSource:
    """Tiles of a web map, put together and cut; from any thread.

    Args:
        client: that fetches them.
        pool: threads that wait for them.
        config: of the pictures.
        tiles: of the web map.
    """

    def __init__(
        self, client: Client, pool: ThreadPoolExecutor, config: PictureConfig, tiles: TilesConfig
    ) -> None:
        self._client = client
        self._pool = pool
        self._config = config
        self._tiles = tiles
        self._kind = Kind("tile", PICTURE_TYPES, _TILE_BYTES, self._check)
        self._pace = tiles.pace
        self._credential = None
        if tiles.key_variable:
            self._credential = Credential(
                variable=tiles.key_variable,
                origin=origin(tiles.url),
                parameter=tiles.key_parameter,
            )

    def shoot(self, place: Ground) -> Shot:
        """See `Source`."""
        tiles = self._needed(place)
        try:
            files = list(self._pool.map(self._fetch, tiles))
        except DownloadError as error:
            if error.is_final:
                raise UnfitError(str(error)) from error
            raise
        is_large = len(tiles) * self._tiles.tile_px**2 > _MANY_PIXELS
        with _ONE_LARGE if is_large else nullcontext():
            return self._put_together(place, tiles, files)

    def _needed(self, place: Ground) -> list[Tile]:
        """The tiles of a picture, row by row; counted before they are listed."""
        z = _zoom(self._tiles, self._config, place.lat, place.side_m)
        most = min(MOST_TILES, _MOST_PIXELS // self._tiles.tile_px**2)
        across = int(_tiles_along(place.lat, place.side_m, z))
        try:
            tiles = tiles_over(place.footprint, z) if across**2 <= most else []
        except SourceError as error:
            raise UnfitError(str(error)) from error
        if not 0 < len(tiles) <= most:
            raise UnfitError(
                f"its picture takes {len(tiles) or across**2:,} tiles, more than {most:,}: ask for "
                f"coarser pixels, or set max_zoom to less than {z}"
            )
        return tiles

    def _put_together(self, place: Ground, tiles: Sequence[Tile], files: Sequence[Path]) -> Shot:
        columns = tiles[-1].x - tiles[0].x + 1
        across = [files[start : start + columns] for start in range(0, len(files), columns)]
        pixels = np.concatenate(
            [np.concatenate([_rgba(file) for file in row], axis=1) for row in across]
        )
        with _mosaic(pixels, tiles_transform(tiles[0], self._tiles.tile_px)) as raster:
            picture, _ = cut(raster, place.lat, place.lon, place.side_m, self._config)
        return Shot(picture, self._tiles.facts)

    def _fetch(self, tile: Tile) -> Path:
        url = self._tiles.address(tile.z, tile.x, tile.y)
        return self._client.fetch(url, self._kind, pace=self._pace, credential=self._credential)

    def _check(self, data: bytes) -> None:
        try:
            height, width = read_image(data).shape[:2]
        except ImageError:
            raise TryAgainError("the tile is damaged") from None
        if (width, height) != (self._tiles.tile_px, self._tiles.tile_px):
            raise DownloadError(
                f"a tile of {self._tiles.url} is {width} x {height} pixels: set tile_px to what "
                f"its tiles have.",
                is_final=True,
            )


def most_tiles(
    tiles: TilesConfig, config: PictureConfig, side_m: float, south: float, north: float
) -> int:
    """The most tiles that a picture of ground can take whose middle is between two parallels."""
    distances = abs(south), abs(north)
    nearest = 0.0 if south <= 0 <= north else min(distances)
    # The zoom is finest nearest to the equator, and a tile is smallest furthest from it.
    furthest = min(max(distances) + side_m / _METRES_A_DEGREE, MAX_LATITUDE)
    z = _zoom(tiles, config, nearest, side_m)
    # A side as long as n tiles touches n + 1 of them at most.
    touched = int(_tiles_along(furthest, side_m, z) * _ELLIPSOID) + 2
    return min(touched**2, MOST_TILES)


def _zoom(tiles: TilesConfig, config: PictureConfig, lat: float, side_m: float) -> int:
    asked_m = side_m / config.side_px(side_m)
    return min(tiles.max_zoom, zoom_for(lat, asked_m, tiles.tile_px))


def _tiles_along(lat: float, side_m: float, z: int) -> float:
    """How many sides of tiles so many metres are as long as."""
    tile_m = tiles_transform(Tile(0, 0, z), 1).a * math.cos(math.radians(lat))
    return side_m / float(tile_m)


@contextmanager
def _mosaic(pixels: Picture, transform: Affine) -> Iterator[RasterMap]:
    """Pixels (H, W, 4) of a web map as a raster in memory."""
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            width=pixels.shape[1],
            height=pixels.shape[0],
            count=4,
            dtype="uint8",
            crs="EPSG:3857",
            transform=transform,
            photometric="RGB",
        ) as dataset:
            # Before the pixels: afterwards it would not be kept.
            dataset.colorinterp = _RGBA
            dataset.write(np.moveaxis(pixels, 2, 0))
        with RasterMap(memory.name) as raster:
            yield raster


def _rgba(file: Path) -> Picture:
    """A tile as uint8 (H, W, 4), whatever its bands are."""
    with Image.open(file, formats=FORMATS) as image:
        return np.array(image.convert("RGBA"))
