"""Square windows of true ground metres out of any georeferenced raster, read piece by piece.

A raster's own grid may be in degrees, in the stretched metres of web maps, or turned against
north. Here it is measured where each window lies: one pixel's step to the right and one step
down are expressed in metres east and north on the ellipsoid, and the window is as many pixels
wide and high as that takes.

Where the raster's axes point within 5 degrees of east and south (all common cases), a window is
a plain rectangle of pixels and its footprint the ground under it. Where they do not (turned or
mirrored rasters, polar grids), a window is a square with north up, sampled out of the pixels
around it.
"""

import contextvars
import math
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import shapely
import torch
import torch.nn.functional as F
from PIL import Image
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader, MemoryFile
from rasterio.windows import Window
from shapely.geometry import Polygon

from geobridge.errors import RasterError
from geobridge.geo.distance import Floats, unwrap_lon, wrap_lon
from geobridge.geo.footprint import footprint_around
from geobridge.geo.grid import PixelGrid

Picture = npt.NDArray[np.uint8]

# Pixels count as square when their sides differ by less than this.
SQUARE_TOLERANCE = 0.005

MIN_WINDOW_PX = 2.0

# A window this many times as wide as its raster shows next to nothing of it.
MAX_OVERHANG = 10.0

# Windows closer than this are the same one; covers the rounding of floating-point sums.
_SAME_PX = 1e-6

# Blocks looked at to find the range of 16-bit values: 8 x 8 of 128 x 128 pixels.
_SAMPLES_PER_AXIS = 8
_SAMPLE_PX = 128

# Side of the parts a mask is read in: many blocks, and few of them in memory.
_MASK_PX = 2048

# Of a tile of 8192 x 8192 pixels of 16 bits; usual ones have 512 x 512.
_MOST_BLOCK_BYTES = 1 << 27

_STRANGE_NAME = "strange/raster.tif"

# `warnings.catch_warnings` changes the process, so it is entered by one thread at a time.
_OPENING = threading.Lock()


@dataclass(frozen=True)
class RasterWindow:
    """A square of ground in a raster.

    Pixel coordinates have (0, 0) at the outer corner of the top-left pixel; a window may reach
    beyond the raster.

    Attributes:
        col_off: first column.
        row_off: first row.
        width: columns.
        height: rows.
        footprint: ground polygon in lon, lat, continuous around its centre.
        lat: latitude of its centre in degrees.
        lon: longitude of its centre in degrees, in [-180, 180).
    """

    col_off: int
    row_off: int
    width: int
    height: int
    footprint: Polygon
    lat: float
    lon: float


@dataclass(frozen=True)
class _Row:
    """One row of the grid of windows, in pixels: where they start and how large they are.

    The size is that of the smallest of the row: pixels may vary in ground size along it.
    """

    top: float
    lefts: Floats
    width: float
    height: float


class RasterMap:
    """A georeferenced raster as a source of ground windows; a context manager.

    Reads only the windows asked for (through overviews where the raster has them), and may be
    read from several threads at once: each has its own handle.

    Args:
        path: whatever rasterio opens: a GeoTIFF, COG, VRT or MBTiles file, or a URL.
        opener: opens the file for reading, in place of GDAL. It is then taken for a stranger's,
            and has to be a GeoTIFF that names no other file or address to be opened.

    Raises:
        RasterError: it cannot be opened, has no coordinate system or transform, lies where its
            coordinate system cannot be (swapped axes), or holds neither 8- nor 16-bit grey,
            palette or colour.
    """

    def __init__(self, path: str | Path, opener: Callable[[], RawIOBase] | None = None) -> None:
        self.path = str(path)
        self._opener = opener
        # rasterio keeps note of opened files by context, and each thread has its own.
        self._context = contextvars.copy_context()
        self._local = threading.local()
        self._handles: list[DatasetReader] = []
        self._lock = threading.Lock()
        self._range: tuple[Floats, Floats] | None = None
        dataset = self._dataset()
        try:
            self._bands = _readable_bands(dataset, self.path)
            self._grid = PixelGrid(dataset, self.path)
        except RasterError:
            self.close()
            raise
        self.width: int = dataset.width
        self.height: int = dataset.height
        self._is_palette = dataset.colorinterp[self._bands[0] - 1] == ColorInterp.palette
        self._is_16_bit = dataset.dtypes[self._bands[0] - 1] == "uint16"
        self._has_mask = any(MaskFlags.all_valid not in flags for flags in dataset.mask_flag_enums)

    def __enter__(self) -> "RasterMap":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every thread's handle."""
        with self._lock:
            for handle in self._handles:
                self._context.run(handle.close)
            self._handles.clear()
            self._local = threading.local()

    @property
    def gsd_m(self) -> float:
        """Ground metres per pixel at the raster's centre (geometric mean of both sides)."""
        return float(self._gsd_m(np.array([self.width / 2]), np.array([self.height / 2]))[0])

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north in degrees; east < west when it crosses the antimeridian."""
        return self._grid.bounds(self.width, self.height)

    @property
    def tags(self) -> dict[str, str]:
        """What the file says of itself: its own tags and those of GDAL's IMAGERY domain."""
        dataset = self._dataset()
        return {**dataset.tags(), **dataset.tags(ns="IMAGERY")}

    def gsd_at_m(self, lat: npt.ArrayLike, lon: npt.ArrayLike) -> Floats:
        """Ground metres per pixel at positions in degrees, (N,), as `gsd_m` at the centre."""
        return self._gsd_m(*self.to_pixels(lat, lon))

    def to_pixels(self, lat: npt.ArrayLike, lon: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Columns and rows of positions in degrees, of their shape; beyond the raster too."""
        return self._grid.to_pixel(np.asarray(lon, np.float64), np.asarray(lat, np.float64))

    def read_mask(self, cell_px: int) -> npt.NDArray[np.bool_]:
        """Where the raster has data, seen at one pixel of every square of `cell_px` pixels.

        Read in one pass and from overviews, where there are any; not at all where the raster has
        neither nodata nor transparency.

        Returns:
            bool (ceil(height / cell_px), ceil(width / cell_px)).

        Raises:
            RasterError: the pixels cannot be read.
        """
        shape = (math.ceil(self.height / cell_px), math.ceil(self.width / cell_px))
        mask = np.ones(shape, bool)
        if not self._has_mask:
            return mask
        part = max(1, _MASK_PX // cell_px)
        corners = [(y, x) for y in range(0, shape[0], part) for x in range(0, shape[1], part)]
        try:
            for y, x in corners:
                cells = mask[y : y + part, x : x + part]
                left, top = x * cell_px, y * cell_px
                width = min(cells.shape[1] * cell_px, self.width - left)
                height = min(cells.shape[0] * cell_px, self.height - top)
                window = Window(left, top, width, height)
                cells[:] = self._read_valid(window, cells.shape)
        except (RasterioError, OSError) as error:
            raise RasterError(
                f"the mask of {self.path} cannot be read ({error}): get an intact copy of the "
                f"raster."
            ) from error
        return mask

    def window_count(self, footprint_m: float, stride_m: float) -> int:
        """How many windows `windows` gives."""
        return sum(len(row.lefts) for row in self._rows(footprint_m, stride_m))

    def windows(self, footprint_m: float, stride_m: float) -> Iterator[RasterWindow]:
        """Square ground windows from the top left, row by row, always the same ones.

        The last window of a row and the last row end flush with the raster's edge, so no ground
        is left out as long as the stride is not larger than the footprint. A raster smaller
        than one footprint gives one window, centred on it and reaching beyond it.

        Args:
            footprint_m: side of a window on the ground.
            stride_m: ground distance between the centres of neighbours.

        Raises:
            RasterError: a footprint is smaller than two pixels or far wider than the raster, or
                a stride smaller than half a pixel.
        """
        for row in self._rows(footprint_m, stride_m):
            yield from self._place_row(row, footprint_m)

    def window_at(self, lat: float, lon: float, footprint_m: float) -> RasterWindow:
        """The window centred (to the pixel) on a position, which may reach beyond the raster."""
        self.check_windows(footprint_m)
        col, row = self._pixel_at(lat, lon)
        if self._grid.is_turned:
            return self._place_north_up(col, row, footprint_m)
        cols, rows = np.array([col]), np.array([row])
        width, height = self._extents_px(cols, rows, footprint_m)
        return self._place(np.rint(cols - width / 2), np.rint(rows - height / 2), width, height)[0]

    def read(self, window: RasterWindow, size: int | None = None) -> tuple[Picture, float]:
        """Read the pixels of one window.

        Args:
            window: from `windows` or `window_at` of this raster.
            size: side of the returned square in pixels; by default the window's own resolution.

        Returns:
            The picture, uint8 (size, size, 3), writable but perhaps strided, black where there is
            nothing; and the share of it that has data (0..1), after nodata, transparency and
            what lies beyond the raster.

        Raises:
            RasterError: the pixels cannot be read.
        """
        try:
            if self._grid.is_turned:
                image, seen = self._sample_north_up(window, size)
                return image, float(seen.mean())
            side = size or round(max(window.width, window.height))
            image, valid = self._read_box(window, side, side)
        except (RasterioError, OSError) as error:
            raise self._unreadable(window, error) from error
        return image, 1.0 if valid is None else float(valid.mean())

    def read_north_up(
        self, lat: float, lon: float, side_m: float, size: int
    ) -> tuple[Picture, npt.NDArray[np.bool_]]:
        """Read the square of ground around a position, whatever way the raster's grid is turned.

        Unlike windows, which are whole pixels, such squares fit together without a seam.

        Args:
            lat: of the centre, in degrees.
            lon: of the centre.
            side_m: side of the square on the ground; it may reach beyond the raster.
            size: side of the picture in pixels.

        Returns:
            The picture, uint8 (size, size, 3), north up, black where there is nothing; and which
            of its pixels have data, bool (size, size).

        Raises:
            RasterError: the pixels cannot be read, or the position lies outside the raster's
                coordinate system.
        """
        col, row = self._pixel_at(lat, lon)
        window = self._place_north_up(col, row, side_m)
        try:
            return self._sample_north_up(window, size)
        except (RasterioError, OSError) as error:
            raise self._unreadable(window, error) from error

    # The grid of windows

    def check_windows(self, footprint_m: float, stride_m: float = math.inf) -> None:
        """Make sure that windows of this size and distance can be cut.

        Raises:
            RasterError: a footprint is smaller than two pixels or far wider than the raster, or
                a stride smaller than half a pixel.
        """
        if not (footprint_m > 0 and stride_m > 0):
            raise RasterError(
                f"windows of {footprint_m} m every {stride_m} m cannot be cut from {self.path}: "
                f"give a footprint and a stride above 0."
            )
        if footprint_m < MIN_WINDOW_PX * self.gsd_m:
            raise RasterError(
                f"a footprint of {footprint_m} m is smaller than {MIN_WINDOW_PX:.0f} pixels of "
                f"{self.path} ({self.gsd_m:.2f} m each): use a larger footprint."
            )
        if stride_m < self.gsd_m / 2:
            raise RasterError(
                f"a stride of {stride_m} m is less than half a pixel of {self.path} "
                f"({self.gsd_m:.2f} m each): use a larger stride."
            )
        widest_m = max(self.width, self.height) * self.gsd_m
        if footprint_m > MAX_OVERHANG * widest_m:
            raise RasterError(
                f"a footprint of {footprint_m:g} m is far wider than {self.path} "
                f"({widest_m:.0f} m): use a smaller footprint."
            )

    def _gsd_m(self, cols: Floats, rows: Floats) -> Floats:
        # By lengths alone: across a pole a pixel's sides have no east and north in common.
        widths, heights = self._grid.extents_px(cols, rows, 1.0)
        gsd: Floats = 1 / np.sqrt(widths * heights)
        return gsd

    def _rows(self, footprint_m: float, stride_m: float) -> list[_Row]:
        self.check_windows(footprint_m, stride_m)
        if self._grid.is_turned:
            # North-up squares around the points of a turned grid cover everything when the grid
            # is laid for the turned squares that fit into them.
            footprint_m /= self._grid.spread
            stride_m = min(stride_m, footprint_m)
        rows: list[_Row] = []
        top = 0.0
        _, height = self._smallest_px(0.5, footprint_m)
        while True:
            width, height = self._smallest_px(top + height / 2, footprint_m)
            step_x, step_y = (stride_m / footprint_m * extent for extent in (width, height))
            is_last = top + height >= self.height - _SAME_PX
            if is_last:
                top = self.height - height if rows else min(0.0, (self.height - height) / 2)
            row = _Row(self._snap(top), self._starts(width, step_x), width, height)
            if not rows or row.top > rows[-1].top:
                rows.append(row)
            if is_last:
                return rows
            top += step_y

    def _smallest_px(self, row: float, side_m: float) -> tuple[float, float]:
        """Width and height in pixels of a ground square, the smallest along one row."""
        cols = np.array([0.0, self.width / 2, self.width])
        widths, heights = self._extents_px(cols, np.full_like(cols, row), side_m)
        return float(widths.min()), float(heights.min())

    def _extents_px(self, cols: Floats, rows: Floats, side_m: float) -> tuple[Floats, Floats]:
        """Width and height in pixels of ground squares, whole unless they are to be turned."""
        widths, heights = self._grid.extents_px(cols, rows, side_m)
        if self._grid.is_turned:
            return widths, heights
        # Where pixels are all but square the window is too, so that it is read as it is.
        is_square = np.abs(heights / widths - 1) < SQUARE_TOLERANCE
        mean = np.sqrt(widths * heights)
        widths, heights = np.where(is_square, mean, widths), np.where(is_square, mean, heights)
        return np.maximum(1, np.rint(widths)), np.maximum(1, np.rint(heights))

    def _snap(self, start: float) -> float:
        return start if self._grid.is_turned else float(np.rint(start))

    def _starts(self, extent: float, step: float) -> Floats:
        """First columns of windows of `extent` every `step` that cover a row, the last flush."""
        room = self.width - extent
        if room <= 0:
            return np.array([self._snap(room / 2)])
        starts = np.append(np.arange(0, room - _SAME_PX, step), room)
        return starts if self._grid.is_turned else np.unique(np.rint(starts))

    def _place_row(self, row: _Row, footprint_m: float) -> list[RasterWindow]:
        cols, middle = row.lefts + row.width / 2, row.top + row.height / 2
        rows = np.full_like(cols, middle)
        if self._grid.is_turned:
            return [self._place_north_up(col, middle, footprint_m) for col in cols]
        widths, heights = self._extents_px(cols, rows, footprint_m)
        # Windows larger than the smallest of their row must still end inside the raster.
        lefts = np.minimum(row.lefts, np.maximum(self.width - widths, row.lefts[0]))
        tops = np.minimum(row.top, np.maximum(self.height - heights, min(row.top, 0)))
        return self._place(lefts, tops, widths, heights)

    def _place(
        self, lefts: Floats, tops: Floats, widths: Floats, heights: Floats
    ) -> list[RasterWindow]:
        """Windows of given pixels, (N,) each, with the ground under them."""
        corner_cols = lefts[:, None] + widths[:, None] * [0, 1, 1, 0, 0.5]
        corner_rows = tops[:, None] + heights[:, None] * [0, 0, 1, 1, 0.5]
        lon, lat = self._grid.to_lonlat(corner_cols, corner_rows)
        center_lon, center_lat = wrap_lon(lon[:, 4]), lat[:, 4]
        corner_lon = unwrap_lon(lon[:, :4], center_lon[:, None])
        footprints = shapely.polygons(np.stack([corner_lon, lat[:, :4]], axis=-1))
        columns = (lefts, tops, widths, heights, footprints, center_lat, center_lon)
        return [
            RasterWindow(int(left), int(top), int(w), int(h), footprint, float(y), float(x))
            for left, top, w, h, footprint, y, x in zip(*columns, strict=True)
        ]

    def _pixel_at(self, lat: float, lon: float) -> tuple[float, float]:
        """Column and row of a position."""
        col, row = self._grid.to_pixel(np.array([lon]), np.array([lat]))
        if not (np.isfinite(col).all() and np.isfinite(row).all()):
            raise RasterError(
                f"lat {lat}, lon {lon} lies outside the coordinate system of {self.path}: ask "
                f"for a position within its bounds {self.bounds}."
            )
        return float(col[0]), float(row[0])

    def _unreadable(self, window: RasterWindow, error: Exception) -> RasterError:
        return RasterError(
            f"the window at lat {window.lat:.6f}, lon {window.lon:.6f} of {self.path} cannot "
            f"be read ({error}): get an intact copy of the raster."
        )

    def _place_north_up(self, col: float, row: float, footprint_m: float) -> RasterWindow:
        lon, lat = self._grid.to_lonlat(np.array([col]), np.array([row]))
        center_lat, center_lon = float(lat[0]), float(wrap_lon(lon[0]))
        footprint = footprint_around(center_lat, center_lon, footprint_m, footprint_m)
        cols, rows = self._grid.to_pixel(*_corners(footprint))
        left, top = math.floor(cols.min()), math.floor(rows.min())
        width, height = math.ceil(cols.max()) - left, math.ceil(rows.max()) - top
        return RasterWindow(left, top, width, height, footprint, center_lat, center_lon)

    # Pixels

    def _dataset(self) -> DatasetReader:
        """This thread's handle."""
        handle: DatasetReader | None = getattr(self._local, "handle", None)
        if handle is None:
            with self._lock:
                handle = self._context.run(_open, self.path, self._opener)
                self._handles.append(handle)
            self._local.handle = handle
        return handle

    def _read_box(
        self, window: RasterWindow, out_width: int, out_height: int
    ) -> tuple[Picture, npt.NDArray[np.bool_] | None]:
        """A rectangle of pixels at a given size, and which have data (None: all of them)."""
        left, top = max(0, window.col_off), max(0, window.row_off)
        right = min(self.width, window.col_off + window.width)
        bottom = min(self.height, window.row_off + window.height)
        if right <= left or bottom <= top:
            shape = (out_height, out_width)
            return np.zeros((*shape, 3), np.uint8), np.zeros(shape, bool)
        inside = Window(left, top, right - left, bottom - top)
        if (inside.width, inside.height) == (window.width, window.height):
            return self._read_inside(inside, out_width, out_height)
        image = np.zeros((out_height, out_width, 3), np.uint8)
        valid = np.zeros((out_height, out_width), bool)
        x0, x1 = (round((c - window.col_off) * out_width / window.width) for c in (left, right))
        y0, y1 = (round((r - window.row_off) * out_height / window.height) for r in (top, bottom))
        if x1 > x0 and y1 > y0:
            part, part_valid = self._read_inside(inside, x1 - x0, y1 - y0)
            image[y0:y1, x0:x1] = part
            valid[y0:y1, x0:x1] = True if part_valid is None else part_valid
        return image, valid

    def _read_inside(
        self, window: Window, out_width: int, out_height: int
    ) -> tuple[Picture, npt.NDArray[np.bool_] | None]:
        # Reduced by a whole factor while it is read (by GDAL through overviews, where there are
        # any), by torch the rest: several times faster than GDAL's own resampling, and as good as
        # Pillow's.
        factor = max(1, int(min(window.width / out_width, window.height / out_height) / 2))
        image = resize(self._read_pixels(window, factor), out_height, out_width)
        if not self._has_mask:
            return image, None
        valid = self._read_valid(window, (out_height, out_width))
        if valid.all():
            return image, None
        image[~valid] = 0
        return image, valid

    def _read_pixels(self, window: Window, factor: int) -> Picture:
        """Pixels inside the raster, (ceil(height / factor), ceil(width / factor), 3) uint8."""
        dataset = self._dataset()
        shape = (math.ceil(window.height / factor), math.ceil(window.width / factor))
        kind = dataset.dtypes[self._bands[0] - 1]
        pixels = np.empty((*shape, len(self._bands)), kind)
        dataset.read(
            self._bands,
            # Written with channels last, which is how torch resizes fastest.
            out=np.moveaxis(pixels, 2, 0),
            window=window,
            # Indices of a palette cannot be averaged.
            resampling=Resampling.nearest if self._is_palette else Resampling.average,
        )
        return self._to_rgb(dataset, pixels)

    def _read_valid(self, window: Window, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
        """Which pixels inside the raster have data, sampled at a shape."""
        mask = self._dataset().dataset_mask(window=window, out_shape=shape)
        return np.asarray(mask > 127)

    def _sample_north_up(
        self, window: RasterWindow, size: int | None
    ) -> tuple[Picture, npt.NDArray[np.bool_]]:
        """Sample the north-up square of a window out of the pixels around it, and which it has."""
        cols, rows = self._grid.to_pixel(*_corners(window.footprint))
        corners = np.column_stack([cols - window.col_off, rows - window.row_off])
        side_px = float(np.hypot(*np.diff(corners, axis=0).T).mean())
        side = size or max(1, round(side_px))
        # Reduced first where the square shrinks, since the turning itself does not smooth.
        scale = min(1.0, side / side_px)
        box_shape = (max(1, round(window.width * scale)), max(1, round(window.height * scale)))
        image, valid = self._read_box(window, *box_shape)
        corners *= np.array(box_shape) / [window.width, window.height]
        if valid is None:
            valid = np.ones(image.shape[:2], bool)
        picture = _sample_quad(image, corners, side, Image.Resampling.BICUBIC)
        seen = _sample_quad(valid.astype(np.uint8), corners, side, Image.Resampling.NEAREST) > 0
        picture[~seen] = 0
        return picture, seen

    def _to_rgb(self, dataset: DatasetReader, pixels: npt.NDArray[Any]) -> Picture:
        """Pixels (H, W, B) of the raster's kind to uint8 (H, W, 3)."""
        if self._is_palette:
            colors: Picture = _palette(dataset, self._bands[0])[pixels[:, :, 0]]
            return colors
        if self._is_16_bit:
            pixels = self._stretch(pixels)
        return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels

    def _stretch(self, pixels: npt.NDArray[Any]) -> Picture:
        """16 bits to 8 between the 2nd and 98th percentile of each band of the whole raster."""
        with self._lock:
            if self._range is None:
                self._range = _percentiles(self._local.handle, self._bands)
        low, high = self._range
        scaled = (pixels - low) * (255.0 / np.maximum(high - low, 1.0))
        return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


@contextmanager
def open_dataset(source: str | Path | bytes) -> Iterator[DatasetReader]:
    """Open a file, or the bytes of one, with rasterio, whether it is georeferenced or not.

    Raises:
        RasterError: it cannot be opened.
    """
    with ExitStack() as stack:
        if isinstance(source, bytes):
            source = stack.enter_context(MemoryFile(source)).name
        yield stack.enter_context(_open(str(source)))


def color_bands(dataset: DatasetReader) -> list[int]:
    """Band numbers (from 1) of red, green, blue, or of the one grey or palette band.

    Raises:
        RasterError: it has neither one nor three colour bands.
    """
    colors = list(dataset.colorinterp)
    rgb = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
    if all(color in colors for color in rgb):
        return [colors.index(color) + 1 for color in rgb]
    bands = [number for number, color in enumerate(colors, 1) if color != ColorInterp.alpha]
    if len(bands) in (1, 3, 4):
        return bands[: 1 if len(bands) == 1 else 3]
    raise RasterError(
        f"{dataset.name} has {dataset.count} bands and does not say which are red, green and "
        f"blue: pick three with gdal_translate -b R -b G -b B."
    )


def _open(path: str, opener: Callable[[], RawIOBase] | None = None) -> DatasetReader:
    with _OPENING, warnings.catch_warnings():
        # A missing transform is reported by our own check, or does not matter.
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            return rasterio.open(path) if opener is None else _open_strange(path, opener)
        except UnicodeEncodeError as error:
            raise RasterError(f"the name of {path} is not UTF-8: rename it.") from error
        except (RasterioError, OSError) as error:
            raise RasterError(
                f"{path} cannot be opened as a raster ({error}): check the path, and that it is "
                f"an intact GeoTIFF or another format GDAL reads."
            ) from error


def _open_strange(path: str, opener: Callable[[], RawIOBase]) -> DatasetReader:
    """Open what may be meant to do harm.

    Raises:
        RasterError: it leads to other files, or its blocks are too large.
        RasterioError, OSError: it cannot be opened.
    """

    def open_it(name: str, mode: str = "rb") -> RawIOBase:  # noqa: ARG001 - of rasterio's protocol
        # GDAL looks for files beside it, which could be of any format.
        if name != _STRANGE_NAME:
            raise FileNotFoundError(name)
        return opener()

    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):
        dataset = rasterio.open(_STRANGE_NAME, driver="GTiff", opener=open_it)
    # The one thing in a GeoTIFF that GDAL follows: a file of overviews, of any format and anywhere
    # (GDALDefaultOverviews::OverviewScan in https://github.com/OSGeo/gdal).
    reason = "names another file" if dataset.tags(ns="OVERVIEWS") else None
    if _block_bytes(dataset) > _MOST_BLOCK_BYTES:
        reason = "has blocks too large to be read one by one"
    if reason:
        dataset.close()
        raise RasterError(f"{path} {reason}: make a plain copy with gdal_translate -of COG.")
    return dataset


def _block_bytes(dataset: DatasetReader) -> int:
    """Of the largest piece that has to be decoded as a whole."""
    blocks = zip(dataset.block_shapes, dataset.dtypes, strict=True)
    return max(int(rows * cols * np.dtype(kind).itemsize) for (rows, cols), kind in blocks)


def _readable_bands(dataset: DatasetReader, path: str) -> list[int]:
    bands = color_bands(dataset)
    kinds = {dataset.dtypes[band - 1] for band in bands}
    if not kinds <= {"uint8", "uint16"}:
        raise RasterError(
            f"{path} holds {', '.join(sorted(kinds))} values, not 8- or 16-bit colours: convert "
            f"it with gdal_translate -ot Byte -scale."
        )
    return bands


def resize(image: Picture, height: int, width: int) -> Picture:
    """(H, W, 3) uint8 to (height, width, 3), bicubic with antialiasing."""
    if image.shape[:2] == (height, width):
        return image
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
    resized = F.interpolate(pixels, (height, width), mode="bicubic", antialias=True)
    picture: Picture = resized[0].permute(1, 2, 0).numpy()
    return picture


def _palette(dataset: DatasetReader, band: int) -> Picture:
    """(256 or 65536, 3) uint8 colours of a palette band."""
    table = np.zeros((256 if dataset.dtypes[band - 1] == "uint8" else 65536, 3), np.uint8)
    for index, color in dataset.colormap(band).items():
        table[index] = color[:3]
    return table


def _percentiles(dataset: DatasetReader, bands: list[int]) -> tuple[Floats, Floats]:
    """2nd and 98th percentile of each band over blocks spread evenly: never the whole raster."""
    values = [_sample(dataset, bands, window) for window in _sample_windows(dataset)]
    pooled = np.concatenate(values, axis=1)
    if pooled.shape[1] == 0:
        return np.zeros(len(bands)), np.full(len(bands), 65535.0)
    low, high = np.percentile(pooled, [2, 98], axis=1)
    return low, high


def _sample_windows(dataset: DatasetReader) -> list[Window]:
    lefts = np.linspace(0, max(0, dataset.width - _SAMPLE_PX), _SAMPLES_PER_AXIS).astype(int)
    tops = np.linspace(0, max(0, dataset.height - _SAMPLE_PX), _SAMPLES_PER_AXIS).astype(int)
    width, height = min(_SAMPLE_PX, dataset.width), min(_SAMPLE_PX, dataset.height)
    return [Window(x, y, width, height) for y in np.unique(tops) for x in np.unique(lefts)]


def _sample(dataset: DatasetReader, bands: list[int], window: Window) -> npt.NDArray[Any]:
    """Valid values of one block, (B, N)."""
    valid = dataset.dataset_mask(window=window) > 127
    block: npt.NDArray[Any] = dataset.read(bands, window=window)[:, valid]
    return block


def _corners(footprint: Polygon) -> tuple[Floats, Floats]:
    """Longitudes and latitudes, (4,) each, from the top left of a picture clockwise."""
    lon, lat = np.array(footprint.exterior.coords)[:4].T
    return lon, lat


def _sample_quad(
    image: Picture, corners: Floats, side: int, resampling: Image.Resampling
) -> Picture:
    """The (side, side) square whose NW, NE, SE, SW corners (x, y) lie in `image`."""
    nw, ne, se, sw = corners
    quad = (*nw, *sw, *se, *ne)
    return np.array(
        Image.fromarray(image).transform((side, side), Image.Transform.QUAD, quad, resampling)
    )
