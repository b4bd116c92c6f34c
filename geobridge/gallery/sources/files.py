"""Files of sources: finding them again, reading them."""

from pathlib import Path

from geobridge.errors import GeoBridgeError
from geobridge.gallery.sources.items import CLOSED_FOLDER, NOT_A_PICTURE, Image, Outcome
from geobridge.gallery.store import Reference
from geobridge.geo.photos import PhotoMetadata, read_photo_metadata
from geobridge.geo.rasters import RasterMap, RasterWindow
from geobridge.imagery.decode import read_image
from geobridge.imagery.street import StreetField, street_field

READ_SIDE_PX = 512
"""Pictures may be read reduced, but with no side shorter than this: encoders take less."""


def not_a_picture(path: str) -> tuple[Outcome, str]:
    """Outcome and reason for a path of `list_files` that is no picture's."""
    is_folder = path.endswith("/")
    return ("unreadable", CLOSED_FOLDER) if is_folder else ("skipped", NOT_A_PICTURE)


def picture_path(source: str | Path, path: str) -> Path:
    """The file of an item: paths are relative to the source's folder, or to the file's."""
    source = Path(source)
    return (source if source.is_dir() else source.parent) / path


def read_size(window: RasterWindow) -> int | None:
    """Side a window is reduced to while it is read, None to read it as it is.

    Only windows at least twice as fine as need be: reducing by less is dearer than it saves.
    """
    fine = min(window.width, window.height) >= 2 * READ_SIDE_PX
    return READ_SIDE_PX if fine else None


def field_of_file(path: Path, width: int, height: int) -> StreetField:
    """What a street picture of this shape spans, with the help of what its file says."""
    try:
        metadata = read_photo_metadata(path)
    except GeoBridgeError:
        # The pixels are readable all the same, and the position is known from elsewhere.
        metadata = PhotoMetadata()
    return street_field(width, height, metadata)


def read_reference(reference: Reference) -> Image:
    """The picture of a reference again, (H, W, 3) uint8, from where it was indexed.

    Raises:
        ImageError, RasterError: it is no longer there, or no longer readable.
    """
    path = picture_path(reference.source, reference.path)
    if reference.window is None:
        return read_image(path, min_side=READ_SIDE_PX)
    column, row, width, height = (int(number) for number in reference.window)
    window = RasterWindow(
        col_off=column,
        row_off=row,
        width=width,
        height=height,
        footprint=reference.footprint,
        lat=reference.lat,
        lon=reference.lon,
    )
    with RasterMap(path) as raster:
        image, _ = raster.read(window, read_size(window))
    return image
