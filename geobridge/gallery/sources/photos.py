"""Photos that say themselves where they were taken, in EXIF or XMP."""

from collections.abc import Container, Iterator
from functools import cached_property, partial
from pathlib import Path

import shapely

from geobridge.errors import ImageError, PositionError
from geobridge.gallery.sources.files import READ_SIDE_PX, not_a_picture
from geobridge.gallery.sources.items import (
    BAD_POSITION,
    NO_POSITION,
    UNREADABLE,
    Outcome,
    ReferenceItem,
    Skipped,
    Source,
    reference_id,
)
from geobridge.geo.footprint import footprint_around
from geobridge.geo.photos import PhotoMetadata, ground_width_m, read_photo_metadata
from geobridge.imagery.decode import read_image
from geobridge.imagery.files import is_picture_name, list_files
from geobridge.imagery.street import street_field
from geobridge.views import Modality


class PhotoSource(Source):
    """A folder of photos, or one photo, with positions in their files.

    A nadir photo whose height above the ground and focal length are known gets the ground it
    covers as its footprint, turned by its heading; any other a square of `footprint_m` around
    the camera.
    """

    kind = "photos"

    def __init__(self, path: Path, view: Modality, *, footprint_m: float) -> None:
        super().__init__(path, view)
        self.footprint_m = float(footprint_m)
        self._folder = self.path if self.path.is_dir() else self.path.parent

    @property
    def settings(self) -> dict[str, float | int | bool | str]:
        """The side of a footprint that cannot be told from the photo."""
        return {"footprint_m": self.footprint_m}

    @cached_property
    def _files(self) -> list[str]:
        return list(list_files(self.path)) if self.path.is_dir() else [self.path.name]

    def total(self) -> int:
        """One item a file."""
        return len(self._files)

    def items(self, done: Container[str] = frozenset()) -> Iterator[ReferenceItem | Skipped]:
        """Photos in the order of their paths; only their headers are read here."""
        for path in self._files:
            ref_id = reference_id(self.path, path, self.view)
            if ref_id not in done:
                yield self._item(ref_id, path)

    def _item(self, ref_id: str, path: str) -> ReferenceItem | Skipped:
        def left_out(outcome: Outcome, reason: str, detail: object = "") -> Skipped:
            return Skipped(ref_id, outcome, reason, str(detail), self.view, str(self.path), path)

        if not is_picture_name(path):
            return left_out(*not_a_picture(path))
        file = self._folder / path
        try:
            metadata = read_photo_metadata(file)
        except ImageError as error:
            return left_out("unreadable", UNREADABLE, error)
        except PositionError as error:
            return left_out("unreadable", BAD_POSITION, error)
        if metadata.lat is None or metadata.lon is None:
            return left_out("skipped", NO_POSITION)
        field = None
        if self.view == "street" and metadata.width and metadata.height:
            field = street_field(metadata.width, metadata.height, metadata)
        return ReferenceItem(
            ref_id=ref_id,
            modality=self.view,
            lat=metadata.lat,
            lon=metadata.lon,
            footprint=self._footprint(metadata.lat, metadata.lon, metadata),
            source=str(self.path),
            path=path,
            load=partial(read_image, file, min_side=READ_SIDE_PX),
            date=metadata.datetime,
            field=field,
        )

    def _footprint(self, lat: float, lon: float, metadata: PhotoMetadata) -> shapely.Polygon:
        width_m = None if self.view == "street" else ground_width_m(metadata)
        if width_m is None or not metadata.width or not metadata.height:
            return footprint_around(lat, lon, self.footprint_m, self.footprint_m)
        height_m = width_m * metadata.height / metadata.width
        return footprint_around(lat, lon, width_m, height_m, metadata.yaw_deg or 0.0)
