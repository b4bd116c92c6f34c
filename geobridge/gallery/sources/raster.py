"""Georeferenced rasters, cut into overlapping windows of one ground size."""

from collections.abc import Container, Iterator
from functools import cached_property, lru_cache, partial
from pathlib import Path

from geobridge.errors import RasterError
from geobridge.gallery.sources.files import not_a_picture, picture_path, read_size
from geobridge.gallery.sources.items import (
    NO_DATA,
    UNREADABLE,
    Image,
    LeftOutError,
    Outcome,
    ReferenceItem,
    Skipped,
    Source,
    reference_id,
)
from geobridge.geo.rasters import RasterMap, RasterWindow
from geobridge.imagery.files import is_picture_name, list_files
from geobridge.views import Modality

_OPEN_MAPS = 8


class RasterSource(Source):
    """A map, or a folder of maps: every `stride_m` a square window of `footprint_m`.

    Windows are read one at a time and reduced while they are read; of a window less than
    `min_valid` of which has data nothing is kept.

    Raises:
        RasterError: the map cannot be placed on the ground, or cut that way. In a folder, such a
            map is noted and passed over.
    """

    kind = "raster"

    def __init__(
        self, path: Path, view: Modality, *, footprint_m: float, stride_m: float, min_valid: float
    ) -> None:
        super().__init__(path, view)
        self.footprint_m = float(footprint_m)
        self.stride_m = float(stride_m)
        self.min_valid = float(min_valid)
        # A map that falls out of the cache is closed when the last reader lets go of it.
        self._map = lru_cache(maxsize=_OPEN_MAPS)(self._open)
        if self.path.is_file():
            # Refused here, nothing is begun that could never be finished.
            self._map(self.path.name).check_windows(self.footprint_m, self.stride_m)

    def _open(self, path: str) -> RasterMap:
        return RasterMap(picture_path(self.path, path))

    @property
    def settings(self) -> dict[str, float | int | bool | str]:
        """Size and spacing of the windows in metres, and the share of them that must have data."""
        return {
            "footprint_m": self.footprint_m,
            "stride_m": self.stride_m,
            "min_valid": self.min_valid,
        }

    @cached_property
    def _files(self) -> list[str]:
        return list(list_files(self.path)) if self.path.is_dir() else [self.path.name]

    def items(self, done: Container[str] = frozenset()) -> Iterator[ReferenceItem | Skipped]:
        """Windows map by map, in the order the map gives them."""
        for path in self._files:
            ref_id = reference_id(self.path, path, self.view)
            if ref_id in done:
                continue
            if self.path.is_dir() and not is_picture_name(path):
                yield self._left_out(ref_id, path, *not_a_picture(path))
                continue
            try:
                yield from self._windows(path, done)
            except RasterError as error:
                if self.path.is_file():
                    raise
                yield self._left_out(ref_id, path, "unreadable", UNREADABLE, str(error))

    def close(self) -> None:
        """Let go of open maps."""
        self._map.cache_clear()

    def total(self) -> int | None:
        """Windows of the map; of a folder of maps only opening them all would tell."""
        if self.path.is_dir():
            return None
        return self._map(self.path.name).window_count(self.footprint_m, self.stride_m)

    def _windows(self, path: str, done: Container[str]) -> Iterator[ReferenceItem]:
        raster = self._map(path)
        for window in raster.windows(self.footprint_m, self.stride_m):
            pixels = (window.col_off, window.row_off, window.width, window.height)
            key = " ".join(f"{number:.3f}" for number in pixels)
            ref_id = reference_id(self.path, path, self.view, key)
            if ref_id not in done:
                yield ReferenceItem(
                    ref_id=ref_id,
                    modality=self.view,
                    lat=window.lat,
                    lon=window.lon,
                    footprint=window.footprint,
                    source=str(self.path),
                    path=path,
                    load=partial(self._read, path, window),
                    window=pixels,
                )

    def _read(self, path: str, window: RasterWindow) -> Image:
        raster = self._map(path)
        image, valid = raster.read(window, read_size(window))
        if valid < self.min_valid:
            raise LeftOutError(NO_DATA, f"{valid:.0%} of the window")
        return image

    def _left_out(
        self, ref_id: str, path: str, outcome: Outcome, reason: str, detail: str = ""
    ) -> Skipped:
        return Skipped(ref_id, outcome, reason, detail, self.view, str(self.path), path)
