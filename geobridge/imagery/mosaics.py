"""Tiles of a web map as one raster, of which only the tiles that are asked for are read."""

import math
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from morecantile import Tile
from PIL import Image, UnidentifiedImageError
from rasterio import Affine
from rasterio.windows import Window

from geobridge.errors import ImageError, RasterError
from geobridge.geo.rasters import RasterMap, resize
from geobridge.geo.tiles import corner_of, tiles_transform
from geobridge.imagery.decode import FORMATS, Picture, read_image

# Pixels of decoded tiles that are kept: 128 tiles of 256 px, 34 MB with their masks.
_KEPT_PX = 128 * 256**2
# Side of the parts that a reduced picture is put together from.
_PART_PX = 2048


class _Piece(NamedTuple):
    """Where a tile lies in a window: rows and columns of the tile, and of the window."""

    tile: Tile
    of_tile: tuple[slice, slice]
    of_window: tuple[slice, slice]


class TileMap(RasterMap):
    """Tiles of one zoom as a `RasterMap` in EPSG:3857; a missing tile has no data.

    Tiles are read as all pictures are (`read_image`); what is mostly transparent has no data. The
    side of the first tile that can be read is that of all; those of another side are resized.

    Args:
        files: the tile each file shows; columns are continuous (see `tile_groups`).
        name: what to call it in an error, such as the folder.

    Raises:
        RasterError: none of the tiles can be read.
    """

    def __init__(self, files: Mapping[Tile, Path], name: str | Path) -> None:
        self._files = files
        self._tile_px = _tile_px(files, name)
        self._corner = corner_of(files)
        across = max(tile.x for tile in files) - self._corner.x + 1
        down = max(tile.y for tile in files) - self._corner.y + 1
        transform = tiles_transform(self._corner, self._tile_px)
        # The frame that the tiles lie in; GDAL itself would open each of them to read a window.
        super().__init__(_frame(transform, across * self._tile_px, down * self._tile_px))
        self.path = str(name)
        self._has_mask = True
        kept = max(8, _KEPT_PX // self._tile_px**2)
        self._tile = lru_cache(maxsize=kept)(self._decode)

    def close(self) -> None:
        """Close every thread's handle and let go of decoded tiles."""
        super().close()
        if hasattr(self, "_tile"):
            self._tile.cache_clear()

    def _decode(self, tile: Tile) -> tuple[Picture, npt.NDArray[np.bool_]]:
        """Colours (P, P, 3) and which of them have data (P, P)."""
        image, valid = _read_tile(self._files[tile])
        side = self._tile_px
        if valid.shape != (side, side):
            image = resize(image, side, side)
            rows, columns = (np.arange(side) * length // side for length in valid.shape)
            valid = valid[np.ix_(rows, columns)]
        return image, valid

    def _pieces(self, window: Window) -> Iterator[_Piece]:
        """The tiles that show a window, row by row, as far as there are any."""
        side = self._tile_px
        left, top = int(window.col_off), int(window.row_off)
        right, bottom = left + int(window.width), top + int(window.height)
        for row in range(top // side, -(-bottom // side)):
            for column in range(left // side, -(-right // side)):
                tile = Tile(self._corner.x + column, self._corner.y + row, self._corner.z)
                if tile in self._files:
                    rows_of_tile, rows = _shared(row * side, side, top, bottom)
                    columns_of_tile, columns = _shared(column * side, side, left, right)
                    yield _Piece(tile, (rows_of_tile, columns_of_tile), (rows, columns))

    def _read_pixels(self, window: Window, factor: int) -> Picture:
        if factor == 1:
            return self._whole(window)
        height, width = int(window.height), int(window.width)
        out = np.empty((math.ceil(height / factor), math.ceil(width / factor), 3), np.uint8)
        step = max(1, _PART_PX // factor)
        for y in range(0, out.shape[0], step):
            for x in range(0, out.shape[1], step):
                left, top = x * factor, y * factor
                part = self._whole(
                    Window(
                        window.col_off + left,
                        window.row_off + top,
                        min(step * factor, width - left),
                        min(step * factor, height - top),
                    )
                )
                out[y : y + step, x : x + step] = np.asarray(Image.fromarray(part).reduce(factor))
        return out

    def _whole(self, window: Window) -> Picture:
        """The pixels of a window as they are, black where there is no tile."""
        out = np.zeros((int(window.height), int(window.width), 3), np.uint8)
        for piece in self._pieces(window):
            out[piece.of_window] = self._tile(piece.tile)[0][piece.of_tile]
        return out

    def _read_valid(self, window: Window, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
        out = np.zeros(shape, bool)
        sampled = [
            ((np.arange(count) + 0.5) * length / count).astype(int)
            for count, length in zip(shape, (int(window.height), int(window.width)), strict=True)
        ]
        for piece in self._pieces(window):
            to, at = [], []
            for pixels, of_tile, of_window in zip(
                sampled, piece.of_tile, piece.of_window, strict=True
            ):
                first, last = np.searchsorted(pixels, (of_window.start, of_window.stop))
                to.append(slice(int(first), int(last)))
                at.append(pixels[first:last] - of_window.start + of_tile.start)
            out[to[0], to[1]] = self._tile(piece.tile)[1][np.ix_(*at)]
        return out


def _shared(begin: int, side: int, first: int, last: int) -> tuple[slice, slice]:
    """What a tile and a window have in common along one axis: in the tile, in the window."""
    start, stop = max(begin, first), min(begin + side, last)
    return slice(start - begin, stop - begin), slice(start - first, stop - first)


def _tile_px(files: Mapping[Tile, Path], name: str | Path) -> int:
    """Side of the first tile that can be read."""
    problem = "it holds none"
    for file in files.values():
        try:
            return len(_read_tile(file)[0])
        except RasterError as error:
            problem = str(error)
    raise RasterError(f"no tile of {name} can be read ({problem}): get intact copies of the tiles.")


def _read_tile(file: Path) -> tuple[Picture, npt.NDArray[np.bool_]]:
    """Colours (P, P, 3) uint8 of a tile, and which are no more than half transparent (P, P)."""
    try:
        image = read_image(file)
    except ImageError as error:
        raise RasterError(str(error)) from error
    height, width = image.shape[:2]
    if height != width:
        raise RasterError(f"{file} has {width} x {height} pixels: a tile has to be a square.")
    try:
        with Image.open(file, formats=FORMATS) as picture:
            if picture.has_transparency_data:
                return image, np.asarray(picture.convert("RGBA").getchannel("A")) > 127
    except UnidentifiedImageError:
        pass  # a TIFF that only rasterio knows
    return image, np.ones((height, width), bool)


def _frame(transform: Affine, width: int, height: int) -> str:
    """A GDAL virtual raster (VRT) of three colours with nothing in it."""
    terms = ",".join(repr(term) for term in transform.to_gdal())
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{number}"><ColorInterp>{color}</ColorInterp>'
        f"</VRTRasterBand>"
        for number, color in enumerate(("Red", "Green", "Blue"), 1)
    )
    return (
        f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}"><SRS>EPSG:3857</SRS>'
        f"<GeoTransform>{terms}</GeoTransform>{bands}</VRTDataset>"
    )
