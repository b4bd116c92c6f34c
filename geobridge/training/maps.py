"""Maps as training data: random footprints of one's own imagery, each seen twice.

A footprint's satellite picture is a look at the map as a gallery would show it, north up; its
drone picture is a plausible photo of the same ground (`looks.looks_at`). So a model can be adapted
to a town without a single pair.

Where several maps show one place (several dates, say), the drone may look at any of them.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from morecantile import Tile
from numpy.typing import NDArray
from torch import Tensor

from geobridge.errors import RasterError, TrainingError
from geobridge.geo.distance import LocalFrame
from geobridge.geo.rasters import RasterMap, open_dataset
from geobridge.geo.tiles import corner_of, finest_tiles, parse_tile_path, tile_groups
from geobridge.imagery.mosaics import TileMap
from geobridge.imagery.preprocess import Preprocess
from geobridge.progress import Report
from geobridge.training.batch import Batch
from geobridge.training.config import SourceSettings
from geobridge.training.looks import LooksConfig, looks_at
from geobridge.views import Modality, View

MAX_BYTES = 2**30
"""Pixels that a source holds in memory; of maps beyond it, footprints are read one by one."""

MIN_VALID = 0.98
"""Share of a footprint that must have data."""

# A look is 1.5 times as coarse as the map is held, so that a look closer by is still sharp.
_OVERSAMPLING = 1.5
# Footprints begin on a grid this fine.
_CELLS = 32
_PLACES_PER_FOOTPRINT = 16 * 16
_MIN_PLACES, _MAX_PLACES = 4096, 65_536
# Footprints around a footprint that a tilted camera may see.
_TILTED_MARGIN = 1.0
_BLOCK_PX = 512
# Rows that are mirrored at once, and the distance of what has nothing to mirror.
_MIRROR_ROWS, _NOWHERE = 64, 65_535
# Maps without a footprint that are named.
_NAMED = 3
_PICTURES = {".tif", ".tiff", ".vrt", ".mbtiles", ".jpg", ".jpeg", ".png", ".webp", ".jp2"}


@dataclass
class _Layer:
    """One map, north up in metres around its own centre.

    Attributes:
        name: what to call it in an error.
        open: opens it.
        frame: metres east and north of the map's centre.
        west_m: left edge in the frame.
        north_m: top edge in the frame.
        width_m: of the rectangle around the map.
        height_m: likewise.
        share: float32 (rows, columns), share with data of each footprint that begins (top left)
            in a cell.
        cell_m: side of a cell.
        pixels: uint8 (3, H, W), mirrored where there is no data; None while it is read piece by
            piece.
        corner_m: top left of the pixels, metres east and north.
    """

    name: str
    open: Callable[[], RasterMap]
    frame: LocalFrame
    west_m: float
    north_m: float
    width_m: float
    height_m: float
    share: NDArray[np.float32]
    cell_m: float
    pixels: NDArray[np.uint8] | None = None
    corner_m: tuple[float, float] = (0.0, 0.0)

    @property
    def has_footprints(self) -> bool:
        """Whether it holds any whole footprint."""
        return bool((self.share >= MIN_VALID).any())

    def covered(self) -> tuple[float, float, float, float]:
        """Rectangle around its footprints: top, bottom, left, right in metres from its top left."""
        row, col = np.nonzero(self.share >= MIN_VALID)
        return (
            float(row.min()) * self.cell_m,
            float(row.max() + _CELLS) * self.cell_m,
            float(col.min()) * self.cell_m,
            float(col.max() + _CELLS) * self.cell_m,
        )

    def centers(self) -> NDArray[np.float64]:
        """Centres of the footprints that may be drawn, (n, 2), metres east and north."""
        row, col = np.nonzero(self.share >= MIN_VALID)
        half = _CELLS / 2
        return np.stack(
            [self.west_m + (col + half) * self.cell_m, self.north_m - (row + half) * self.cell_m],
            axis=1,
        )

    def shows(self, lat: NDArray[np.float64], lon: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of N footprints around positions it has, bool (N,)."""
        x, y = self.frame.to_metric(lon, lat)
        col = np.rint((x - self.west_m) / self.cell_m - _CELLS / 2)
        row = np.rint((self.north_m - y) / self.cell_m - _CELLS / 2)
        rows, cols = self.share.shape
        inside = (col >= 0) & (row >= 0) & (col < cols) & (row < rows)
        at_row, at_col = np.where(inside, row, 0).astype(int), np.where(inside, col, 0).astype(int)
        return np.asarray(inside & (self.share[at_row, at_col] >= MIN_VALID))


class MapSource:
    """Random footprints anywhere on maps; a `FileSource` of the training data.

    Places are drawn once, from the seed: one for every sixteenth of a footprint each way, at most
    65,536; on small maps they lie closer, to make up 4,096. What is seen of them is drawn anew
    each time. Maps without a whole footprint are left out. Beyond its ground a map is mirrored.

    Args:
        settings: `maps` names georeferenced rasters, folders of them, or folders of XYZ tiles (of
            which the finest zoom is taken); `footprint_m` is the side of a footprint;
            `pixels` the side at which a footprint is held (1.5 times the model's by default).
        preprocess: of the model, by view.
        seed: decides which footprints are drawn, and how they look where no generator does.

    Attributes:
        name: the maps, and which of them are left out.
        left_out: names of the maps without a whole footprint.
        lat: float64 (N,), centres of the footprints, WGS-84 degrees.
        lon: float64 (N,), the same.
        text_key: int64 (N,), all different.

    Raises:
        RasterError: a map is missing, or cannot be placed on the ground.
        TrainingError: no map holds a whole footprint, or the model sees drone and satellite
            pictures at different sizes.
    """

    def __init__(
        self, settings: SourceSettings, preprocess: Mapping[View, Preprocess], seed: int
    ) -> None:
        maps = settings.maps or []
        self.name = ", ".join(str(path) for path in maps)
        self.seed = seed
        self.looks: LooksConfig = settings.looks
        self.footprint_m = settings.footprint_m
        self.size = _side_of(preprocess)
        found = [one for path in maps for one in _find_maps(path)]
        surveyed = [_survey(name, opening, self.footprint_m) for name, opening in found]
        self._layers = [layer for layer in surveyed if layer.has_footprints]
        self.left_out = [layer.name for layer in surveyed if not layer.has_footprints]
        if not self._layers:
            raise TrainingError(
                f"{self.name} holds no whole footprint of {self.footprint_m:g} m with data: use "
                f"a smaller footprint, or a larger map."
            )
        if self.left_out:
            self.name += f" without {_named(self.left_out)} (no whole footprint with data)"
        native_px = self.footprint_m / min(_gsd_m(layer.open) for layer in self._layers)
        held_px = settings.pixels or _OVERSAMPLING * self.size
        # Pixels of a footprint as held, and of the square around it that looks may show.
        self._held_px = math.ceil(min(held_px, native_px))
        self._patch_px = self._held_px + 2 * math.ceil(self._held_px * _margin(self.looks))
        self.gsd_m = self.footprint_m / self._held_px
        self._place(seed)

    def _place(self, seed: int) -> None:
        """Draw the footprints."""
        found = [layer.centers() for layer in self._layers]
        layer = np.repeat(np.arange(len(found)), [len(centers) for centers in found])
        wanted = len(layer) * _PLACES_PER_FOOTPRINT // _CELLS**2
        count = min(len(layer), _MAX_PLACES, max(_MIN_PLACES, wanted))
        chosen = np.random.default_rng(seed).permutation(len(layer))[:count]
        self._layer = layer[chosen]
        center = np.concatenate(found)[chosen]
        self.lat, self.lon = np.empty(count), np.empty(count)
        for number, one in enumerate(self._layers):
            own = self._layer == number
            self.lon[own], self.lat[own] = one.frame.to_lonlat(*center[own].T)
        self._shown = np.stack([one.shows(self.lat, self.lon) for one in self._layers], axis=1)
        self._shown[np.arange(count), self._layer] = True
        first = int.from_bytes(hashlib.blake2b(self.name.encode(), digest_size=8).digest(), "big")
        self.text_key = (first >> 2) + np.arange(count, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.lat)

    @property
    def texts(self) -> list[str]:
        """None: maps say nothing."""
        return []

    def has(self, modality: Modality) -> NDArray[np.bool_]:
        """Which places can show the modality: bool (N,)."""
        return np.full(len(self), modality in ("drone", "satellite"))

    def cache(self, folder: Path, progress: Report | None = None) -> None:  # noqa: ARG002
        """Read the maps into memory, up to `MAX_BYTES`; beyond it they are read as asked for."""
        waiting: list[_Layer] = []
        left = MAX_BYTES
        for layer in self._layers:
            left -= 3 * math.prod(side + 2 * self._patch_px for side in self._shape(layer))
            if left < 0:
                break
            waiting.append(layer)
        for number, layer in enumerate(waiting):
            self._hold(layer)
            if progress is not None:
                progress(number + 1, len(waiting))

    def draw(self, rows: Sequence[int], generator: torch.Generator | None) -> Batch:
        """See `Source.draw`.

        Plain, the satellite shows the footprint as the map does; the drone's photo of it hangs on
        the seed and on which rows are asked for together, and is the same each time.
        """
        taken = np.asarray(rows, np.int64)
        mapped = self._patches(taken, self._layer[taken])
        looking = generator or self._fixed_generator(taken)
        drone, satellite = looks_at(
            self._other_dates(taken, mapped, looking),
            mapped,
            torch.full((len(taken), 2), 0.5),
            torch.full((len(taken),), self._held_px / self._patch_px),
            torch.zeros(len(taken)),
            self.size,
            looking,
            self.looks,
        )
        if generator is None:
            satellite = self._north_up(mapped)
        everyone = torch.arange(len(taken))
        lat, lon = self.lat[taken], self.lon[taken]
        return Batch(
            {"drone": drone, "satellite": satellite},
            [],
            {"drone": everyone, "satellite": everyone},
            torch.from_numpy(lat),
            torch.from_numpy(lon),
            torch.from_numpy(self.text_key[taken]),
            [
                f"lat {y:.6f}, lon {x:.6f} of {self._layers[number].name}"
                for y, x, number in zip(lat, lon, self._layer[taken], strict=True)
            ],
        )

    def ground_around(
        self, rows: Sequence[int], generator: torch.Generator
    ) -> tuple[Tensor, float]:
        """Places with the ground around them, on any of the maps that show them.

        Args:
            rows: n places.
            generator: chooses among the maps.

        Returns:
            Squares uint8 (n, 3, P, P), north up, and the footprint's side as a share of theirs.
        """
        taken = np.asarray(rows, np.int64)
        mapped = self._patches(taken, self._layer[taken])
        return self._other_dates(taken, mapped, generator), self._held_px / self._patch_px

    def _fixed_generator(self, rows: NDArray[np.int64]) -> torch.Generator:
        key = hashlib.blake2b(f"{self.seed} {rows.tolist()}".encode(), digest_size=7).digest()
        return torch.Generator().manual_seed(int.from_bytes(key, "big"))

    def _north_up(self, mapped: Tensor) -> Tensor:
        """Footprints in the middle of their squares, as a gallery shows them."""
        start = (self._patch_px - self._held_px) // 2
        inside = slice(start, start + self._held_px)
        return F.interpolate(
            mapped[:, :, inside, inside], (self.size, self.size), mode="bicubic", antialias=True
        )

    def _other_dates(
        self, rows: NDArray[np.int64], mapped: Tensor, generator: torch.Generator
    ) -> Tensor:
        """The same ground on any of the maps that show it; the pictures given where only one."""
        shown = self._shown[rows]
        pick = torch.rand(len(rows), generator=generator).numpy()
        nth = (pick * shown.sum(axis=1)).astype(int) + 1
        layer = np.argmax(np.cumsum(shown, axis=1) == nth[:, None], axis=1)
        other = np.flatnonzero(layer != self._layer[rows])
        if not len(other):
            return mapped
        seen = mapped.clone()
        seen[torch.from_numpy(other)] = self._patches(rows[other], layer[other])
        return seen

    def _patches(self, rows: NDArray[np.int64], layers: NDArray[np.int64]) -> Tensor:
        """Squares of ground around places, uint8 (n, 3, P, P), north up."""
        out = np.empty((len(rows), 3, self._patch_px, self._patch_px), np.uint8)
        for number in np.unique(layers):
            layer, own = self._layers[number], np.flatnonzero(layers == number)
            lat, lon = self.lat[rows[own]], self.lon[rows[own]]
            if layer.pixels is None:
                out[own] = self._read_patches(layer, lat, lon)
            else:
                out[own] = self._cut_patches(layer, layer.pixels, lat, lon)
        return torch.from_numpy(out)

    def _cut_patches(
        self,
        layer: _Layer,
        pixels: NDArray[np.uint8],
        lat: NDArray[np.float64],
        lon: NDArray[np.float64],
    ) -> NDArray[np.uint8]:
        x, y = layer.frame.to_metric(lon, lat)
        west_m, north_m = layer.corner_m
        left = np.rint((x - west_m) / self.gsd_m - self._patch_px / 2).astype(int)
        top = np.rint((north_m - y) / self.gsd_m - self._patch_px / 2).astype(int)
        side = self._patch_px
        return np.stack(
            [pixels[:, b : b + side, a : a + side] for a, b in zip(left, top, strict=True)]
        )

    def _read_patches(
        self, layer: _Layer, lat: NDArray[np.float64], lon: NDArray[np.float64]
    ) -> NDArray[np.uint8]:
        side_m = self._patch_px * self.gsd_m
        # Opened anew for each batch: a handle must not be shared with a forked worker.
        out = np.empty((len(lat), 3, self._patch_px, self._patch_px), np.uint8)
        with layer.open() as raster:
            for patch, y, x in zip(out, lat, lon, strict=True):
                pixels, valid = raster.read_north_up(y, x, side_m, self._patch_px)
                patch[:] = pixels.transpose(2, 0, 1)
                _mirror(patch, _unblended(valid))
        return out

    def _shape(self, layer: _Layer) -> tuple[int, int]:
        return (
            max(1, math.ceil(layer.height_m / self.gsd_m)),
            max(1, math.ceil(layer.width_m / self.gsd_m)),
        )

    def _hold(self, layer: _Layer) -> None:
        """Read a map, as far as footprints cover it, and mirror it beyond its ground."""
        height, width = self._shape(layer)
        pixels = np.zeros((3, height, width), np.uint8)
        valid = np.zeros((height, width), np.bool_)
        with layer.open() as raster:
            for part, block, seen in _blocks(raster, layer, (height, width), self.gsd_m):
                pixels[:, part[0], part[1]] = block.transpose(2, 0, 1)
                valid[part] = seen
        top, bottom, left, right = (side_m / self.gsd_m for side_m in layer.covered())
        rows = slice(math.floor(top), min(height, math.ceil(bottom)))
        cols = slice(math.floor(left), min(width, math.ceil(right)))
        margin = self._patch_px
        layer.pixels = np.pad(pixels[:, rows, cols], ((0, 0), (margin, margin), (margin, margin)))
        _mirror(layer.pixels, np.pad(_unblended(valid)[rows, cols], margin))
        layer.corner_m = (
            layer.west_m + (cols.start - margin) * self.gsd_m,
            layer.north_m - (rows.start - margin) * self.gsd_m,
        )


def _side_of(preprocess: Mapping[View, Preprocess]) -> int:
    """Side of the pictures of both views from above."""
    sides = {
        side
        for view in ("drone", "satellite")
        if view in preprocess
        for side in (preprocess[view].height, preprocess[view].width)
    }
    missing = [view for view in ("drone", "satellite") if view not in preprocess]
    if missing:
        raise TrainingError(
            f"maps teach drone and satellite, and the model has no {' and no '.join(missing)}: "
            f"take one that has both."
        )
    if len(sides) != 1:
        raise TrainingError(
            "maps teach a model whose drone and satellite pictures are squares of one size: "
            "train this one on a table of pictures."
        )
    return sides.pop()


def _find_maps(path: Path) -> Sequence[tuple[str, Callable[[], RasterMap]]]:
    """Name of each map that a path holds, and what opens it."""
    if not path.is_dir():
        return [(str(path), partial(RasterMap, path))]
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in _PICTURES)
    if sum(parse_tile_path(file) is not None for file in files) > len(files) / 2:
        groups = tile_groups(finest_tiles(files))
        return [
            (_name(path, group, len(groups)), partial(TileMap, group, path)) for group in groups
        ]
    maps = [(str(file), partial(RasterMap, file)) for file in files if _has_crs(file)]
    if not maps:
        raise RasterError(
            f"{path} holds no georeferenced raster: name GeoTIFFs, a folder of them, or a folder "
            f"of XYZ tiles (z/x/y.jpg)."
        )
    return maps


def _name(folder: Path, tiles: Mapping[Tile, Path], groups: int) -> str:
    corner = corner_of(tiles)
    return str(folder) if groups == 1 else f"{folder} from {corner.z}/{corner.x}/{corner.y}"


def _has_crs(path: Path) -> bool:
    try:
        with open_dataset(path) as dataset:
            return dataset.crs is not None
    except RasterError:
        return False


def _gsd_m(opening: Callable[[], RasterMap]) -> float:
    with opening() as raster:
        return raster.gsd_m


def _survey(name: str, opening: Callable[[], RasterMap], footprint_m: float) -> _Layer:
    """Where a map lies, and which footprints of it have data."""
    with opening() as raster:
        west, south, east, north = raster.bounds
        width_deg = (east - west) % 360
        middle = LocalFrame((south + north) / 2, (west + width_deg / 2 + 180) % 360 - 180)
        along = np.linspace(0, 1, 5)
        lon = west + width_deg * np.concatenate([along, along * 0, along, along * 0 + 1])
        lat = south + (north - south) * np.concatenate([along * 0, along, along * 0 + 1, along])
        x, y = middle.to_metric(lon, lat)
        cell_m = footprint_m / _CELLS
        layer = _Layer(
            name, opening, middle, float(x.min()), float(y.max()), float(np.ptp(x)),
            float(np.ptp(y)), np.zeros((0, 0), np.float32), cell_m,
        )  # fmt: skip
        # A cell that juts out of the map by rounding holds no ground: leave it away.
        shape = int(layer.height_m / cell_m + 1e-6), int(layer.width_m / cell_m + 1e-6)
        if min(shape) >= _CELLS:
            valid = np.zeros(shape, np.float32)
            for part, _, seen in _blocks(raster, layer, shape, cell_m):
                valid[part] = seen
            layer.share = _footprint_shares(valid)
    return layer


def _footprint_shares(valid: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean of every square of `_CELLS` cells, by its top left: (R, C) to (R - 31, C - 31)."""
    window = F.avg_pool2d(torch.from_numpy(valid)[None, None].double(), _CELLS, stride=1)
    return np.asarray(window[0, 0].numpy(), np.float32)


def _blocks(
    raster: RasterMap, layer: _Layer, shape: tuple[int, int], gsd_m: float
) -> Iterator[tuple[tuple[slice, slice], NDArray[np.uint8], NDArray[np.bool_]]]:
    """Read a map north up, square by square: where each lies in the whole, pixels, valid."""
    height, width = shape
    for top in range(0, height, _BLOCK_PX):
        for left in range(0, width, _BLOCK_PX):
            x = layer.west_m + (left + _BLOCK_PX / 2) * gsd_m
            y = layer.north_m - (top + _BLOCK_PX / 2) * gsd_m
            lon, lat = layer.frame.to_lonlat(x, y)
            block, valid = raster.read_north_up(
                float(lat), float(lon), _BLOCK_PX * gsd_m, _BLOCK_PX
            )
            part = (
                slice(top, min(top + _BLOCK_PX, height)),
                slice(left, min(left + _BLOCK_PX, width)),
            )
            rows, cols = part[0].stop - top, part[1].stop - left
            yield part, block[:rows, :cols], valid[:rows, :cols]


def _unblended(valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Data that touches what has none is left out: reading blends the two."""
    whole = valid.copy()
    whole[1:] &= valid[:-1]
    whole[:-1] &= valid[1:]
    whole[:, 1:] &= valid[:, :-1]
    whole[:, :-1] &= valid[:, 1:]
    return whole


def _mirror(pixels: NDArray[np.uint8], valid: NDArray[np.bool_]) -> None:
    """Fill what has no data with the reflection of the ground nearest in its row or column.

    Args:
        pixels: uint8 (3, H, W), filled in place.
        valid: bool (H, W), which have data; if none has, nothing is filled.
    """
    valid = valid.copy()
    # Corners have no ground in their row or column until those are filled.
    for _ in range(2):
        if valid.all() or not valid.any():
            return
        away = np.full(valid.shape, _NOWHERE, np.uint16)
        along_rows = pixels, valid, away
        along_columns = pixels.swapaxes(1, 2), valid.T, away.T
        for to, given, nearest in (along_rows, along_columns):
            for first in range(0, len(given), _MIRROR_ROWS):
                rows = slice(first, first + _MIRROR_ROWS)
                if given[rows].all():
                    continue
                source, distance = _reflections(given[rows])
                row, col = np.nonzero(distance < nearest[rows])
                # Only what has data is looked at, and only what has none is written.
                to[:, row + first, col] = to[:, row + first, source[row, col]]
                nearest[row + first, col] = distance[row, col]
        valid |= away < _NOWHERE


def _reflections(valid: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Where in its row each pixel without data looks, and how far away data begins.

    Returns:
        Columns and distances, int32 as `valid` (R, C); the distance is `_NOWHERE` where a pixel
        has data itself, or its row has none.
    """
    source, distance = _reflections_leftwards(valid)
    mirrored, right = (found[:, ::-1] for found in _reflections_leftwards(valid[:, ::-1]))
    is_right = right < distance
    last = valid.shape[1] - 1
    return np.where(is_right, last - mirrored, source), np.where(is_right, right, distance)


def _reflections_leftwards(
    valid: NDArray[np.bool_],
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """`_reflections` in the run of data to the left, to and fro in it where it is short."""
    column = np.arange(valid.shape[1], dtype=np.int32)
    begins = valid.copy()
    begins[:, 1:] &= ~valid[:, :-1]
    first = np.maximum.accumulate(np.where(begins, column, np.int32(-1)), axis=1)
    last = np.maximum.accumulate(np.where(valid, column, np.int32(-1)), axis=1)
    length = last - first + 1
    beyond = (column - last - 1) % (2 * length)
    source = np.where(beyond < length, last - beyond, first + beyond - length)
    distance = np.minimum(column - last, _NOWHERE - 1)
    return source, np.where(valid | (last < 0), np.int32(_NOWHERE), distance)


def _named(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _margin(looks: LooksConfig) -> float:
    """How far beyond the footprint, in footprints, looks show ground.

    The far corners of the most tilted ones look farther still: there they see its reflection.
    """
    straight = looks.scale[1] * (math.sqrt(0.5) + looks.skew) + looks.shift * math.sqrt(2) - 0.5
    return max(0.0, straight, _TILTED_MARGIN if looks.tilt_share else 0.0)
