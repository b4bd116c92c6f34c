"""A folder of XYZ tiles, `z/x/y.jpg` or `z_x_y.jpg`: each tile is a reference."""

from collections.abc import Container, Iterator
from functools import cached_property, partial
from pathlib import Path

from geobridge.gallery.sources.files import READ_SIDE_PX, not_a_picture
from geobridge.gallery.sources.items import (
    NOT_A_TILE,
    ReferenceItem,
    Skipped,
    Source,
    reference_id,
)
from geobridge.geo.footprint import center, footprint_from_bounds
from geobridge.geo.tiles import parse_tile_path, tile_bounds
from geobridge.imagery.decode import read_image
from geobridge.imagery.files import is_picture_name, list_files


class TileSource(Source):
    """Tiles of a web map in a folder."""

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
            outcome, reason = not_a_picture(path)
            if is_picture_name(path):
                reason = NOT_A_TILE
            return Skipped(ref_id, outcome, reason, "", self.view, str(self.path), path)
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
