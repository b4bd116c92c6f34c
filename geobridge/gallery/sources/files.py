"""Files of sources: finding them again, reading them."""

import re
from collections.abc import Iterable
from pathlib import Path

from morecantile import Tile

from geobridge.errors import GeoBridgeError, RasterError
from geobridge.gallery.sources.items import CLOSED_FOLDER, NOT_A_PICTURE, Image, Outcome
from geobridge.gallery.store import Reference
from geobridge.geo.photos import PhotoMetadata, read_photo_metadata
from geobridge.geo.rasters import RasterMap, RasterWindow
from geobridge.geo.tiles import corner_of, finest_tiles, tile_groups
from geobridge.imagery.decode import read_image
from geobridge.imagery.files import is_picture_name, list_files
from geobridge.imagery.mosaics import TileMap
from geobridge.imagery.street import StreetField, street_field

READ_SIDE_PX = 512
"""Pictures may be read reduced, but with no side shorter than this: encoders take less."""


# How windows over tiles name the corner that they are counted from: a tile's name with no suffix.
_CORNER = re.compile(r"\d+/\d+/\d+")


def not_a_picture(path: str) -> tuple[Outcome, str]:
    """Outcome and reason for a path of `list_files` that is no picture's."""
    is_folder = path.endswith("/")
    return ("unreadable", CLOSED_FOLDER) if is_folder else ("skipped", NOT_A_PICTURE)


def picture_path(source: str | Path, path: str) -> Path:
    """The file of an item: paths are relative to the source's folder, or to the file's.

    Windows over tiles come from no single file: theirs is the folder.
    """
    source = Path(source)
    if is_tile_corner(path):
        return source
    return (source if source.is_dir() else source.parent) / path


def is_tile_corner(path: str) -> bool:
    """Whether the path of an item is the corner of a mosaic of tiles, and of no file."""
    return _CORNER.fullmatch(path) is not None


def tile_corner(tiles: Iterable[Tile]) -> str:
    """What `is_tile_corner` knows: `z/x/y` of the corner of the rectangle around tiles."""
    corner = corner_of(tiles)
    return f"{corner.z}/{corner.x}/{corner.y}"


def tile_mosaics(folder: Path, paths: Iterable[str]) -> dict[str, dict[Tile, Path]]:
    """Tiles of the finest zoom among the files of a folder, place by place, by their corner."""
    files = [folder / path for path in paths if is_picture_name(path)]
    return {tile_corner(group): group for group in tile_groups(finest_tiles(files))}


def open_map(source: str | Path, path: str) -> RasterMap:
    """The map that windows of a source were cut from: a raster, or a mosaic of tiles.

    Raises:
        RasterError: it is no longer there, or cannot be read.
    """
    file = picture_path(source, path)
    if not is_tile_corner(path):
        return RasterMap(file)
    group = tile_mosaics(file, list_files(file)).get(path)
    if group is None:
        raise RasterError(
            f"the tiles of {file} no longer begin at {path}: index them into a new gallery."
        )
    return TileMap(group, file)


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
    if reference.window is None:
        path = picture_path(reference.source, reference.path)
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
    with open_map(reference.source, reference.path) as raster:
        image, _ = raster.read(window, read_size(window))
    return image
