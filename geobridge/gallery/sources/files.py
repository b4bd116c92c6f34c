"""Files of sources: listing them, finding them again, reading them."""

import os
from collections.abc import Iterator
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

PICTURE_SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".mpo", ".png", ".webp", ".bmp", ".gif"),
    *(".tif", ".tiff", ".jp2", ".ppm", ".pgm"),
}


def list_files(folder: Path) -> Iterator[str]:
    """Paths relative to a folder, with forward slashes, sorted; hidden files are left alone.

    A folder inside that may not be read comes last, with a slash at its end; see `not_a_picture`.
    A folder that links lead to again, as in a circle, is walked once.
    """
    unreadable: list[OSError] = []
    walked: set[tuple[int, int]] = set()
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=unreadable.append):
        status = Path(parent).stat()
        if (status.st_dev, status.st_ino) in walked:
            folders.clear()
            continue
        walked.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        relative = Path(parent).relative_to(folder)
        for name in sorted(names):
            if not name.startswith("."):
                yield (relative / name).as_posix()
    for error in unreadable:
        yield Path(error.filename).relative_to(folder).as_posix() + "/"


def not_a_picture(path: str) -> tuple[Outcome, str]:
    """Outcome and reason for a path of `list_files` that is no picture's."""
    is_folder = path.endswith("/")
    return ("unreadable", CLOSED_FOLDER) if is_folder else ("skipped", NOT_A_PICTURE)


def is_picture_name(path: str) -> bool:
    """Whether a file's suffix is one of a picture."""
    return Path(path).suffix.lower() in PICTURE_SUFFIXES


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
