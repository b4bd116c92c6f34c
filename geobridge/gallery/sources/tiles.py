"""A folder of XYZ tiles, `z/x/y.jpg` or `z_x_y.jpg`: windows over them, or tile by tile."""

from collections.abc import Container, Iterator
from functools import cached_property, partial
from pathlib import Path

from geobridge.errors import RasterError, SourceError
from geobridge.gallery.sources.files import READ_SIDE_PX, not_a_picture, tile_mosaics
from geobridge.gallery.sources.items import (
    COARSE_TILE,
    LISTED_TWICE,
    NOT_A_TILE,
    UNREADABLE,
    Outcome,
    ReferenceItem,
    Skipped,
    Source,
    reference_id,
)
from geobridge.gallery.sources.raster import RasterSource
from geobridge.geo.footprint import center, footprint_from_bounds
from geobridge.geo.rasters import RasterMap
from geobridge.geo.tiles import MAX_ZOOM, parse_tile_path, tile_bounds
from geobridge.imagery.decode import read_image
from geobridge.imagery.files import is_picture_name, list_files
from geobridge.imagery.mosaics import TileMap
from geobridge.views import Modality


class MosaicSource(RasterSource):
    """Windows over the tiles of the finest zoom in a folder, as over a map.

    A missing tile is ground without data. Places far apart are maps of their own.

    Raises:
        SourceError: there are no tiles.
        RasterError: the tiles cannot be cut that way, or none can be read.
    """

    kind = "mosaic"

    def __init__(
        self, path: Path, view: Modality, *, footprint_m: float, stride_m: float, min_valid: float
    ) -> None:
        super().__init__(
            path, view, footprint_m=footprint_m, stride_m=stride_m, min_valid=min_valid
        )
        self._groups = tile_mosaics(self.path, self._files)
        if not self._groups:
            raise SourceError(f"{self.path} holds no tiles: name them z/x/y.jpg or z_x_y.jpg.")
        if len(self._groups) == 1:
            self._map(*self._groups).check_windows(self.footprint_m, self.stride_m)

    def _open(self, path: str) -> RasterMap:
        return TileMap(self._groups[path], self.path)

    def total(self) -> int:
        """Files that show nothing, and windows of all places that have any."""
        left_out = len(self._files) - sum(len(group) for group in self._groups.values())
        return left_out + sum(self._count(corner) for corner in self._groups)

    def _count(self, corner: str) -> int:
        try:
            return self._map(corner).window_count(self.footprint_m, self.stride_m)
        except RasterError:
            return 1

    def items(self, done: Container[str] = frozenset()) -> Iterator[ReferenceItem | Skipped]:
        """Files that are no tile of the finest zoom, then windows place by place."""
        used = {file for group in self._groups.values() for file in group.values()}
        finest = int(next(iter(self._groups)).partition("/")[0])
        for path in self._files:
            ref_id = reference_id(self.path, path, self.view)
            if Path(self.path, path) not in used and ref_id not in done:
                yield self._left_out(ref_id, path, *_why_no_tile(path, finest))
        for corner in self._groups:
            ref_id = reference_id(self.path, corner, self.view)
            if ref_id in done:
                continue
            try:
                yield from self._windows(corner, done)
            except RasterError as error:
                if len(self._groups) == 1:
                    raise
                yield self._left_out(ref_id, corner, "unreadable", UNREADABLE, str(error))


def _why_no_tile(path: str, finest: int = MAX_ZOOM) -> tuple[Outcome, str]:
    """Outcome and reason for a file that shows nothing among tiles of a zoom, or of any."""
    if not is_picture_name(path):
        return not_a_picture(path)
    tile = parse_tile_path(path)
    if tile is None:
        return "skipped", NOT_A_TILE
    return "skipped", LISTED_TWICE if tile.z == finest else COARSE_TILE


class TileSource(Source):
    """Tiles of a web map in a folder, each a reference."""

    kind = "tiles"

    @cached_property
    def _files(self) -> list[str]:
        return list(list_files(self.path))

    def total(self) -> int:
        """One item a file."""
        return len(self._files)

    def items(self, done: Container[str] = frozenset()) -> Iterator[ReferenceItem | Skipped]:
        """Tiles in the order of their paths."""
        for path in self._files:
            ref_id = reference_id(self.path, path, self.view)
            if ref_id not in done:
                yield self._item(ref_id, path)

    def _item(self, ref_id: str, path: str) -> ReferenceItem | Skipped:
        tile = parse_tile_path(path)
        if tile is None or not is_picture_name(path):
            return Skipped(ref_id, *_why_no_tile(path), "", self.view, str(self.path), path)
        footprint = footprint_from_bounds(*tile_bounds(tile.x, tile.y, tile.z))
        lat, lon = center(footprint)
        return ReferenceItem(
            ref_id=ref_id,
            modality=self.view,
            lat=lat,
            lon=lon,
            footprint=footprint,
            source=str(self.path),
            path=path,
            load=partial(read_image, Path(self.path, path), min_side=READ_SIDE_PX),
        )
