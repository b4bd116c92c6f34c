"""From a path to the kind of source that reads it."""

import math
import re
from itertools import islice
from pathlib import Path

from geobridge.errors import RasterError, SourceError
from geobridge.gallery import manifest
from geobridge.gallery.sources.items import Source, is_utf8
from geobridge.gallery.sources.photos import PhotoSource
from geobridge.gallery.sources.places import PlacesSource
from geobridge.gallery.sources.raster import RasterSource
from geobridge.gallery.sources.table import TABLE_SUFFIXES, TableSource
from geobridge.gallery.sources.tiles import MosaicSource, TileSource
from geobridge.geo.rasters import open_dataset
from geobridge.geo.tiles import parse_tile_path
from geobridge.imagery.files import is_picture_name, list_files
from geobridge.places.table import TABLE_NAME, is_places
from geobridge.views import VIEWS, View

# Pictures of a folder that are looked at to tell what it holds.
_LOOK_AT = 20

# How the paper's release names its pictures: lon1_lat1_lon2_lat2.
_FOOTPRINT_NAME = re.compile(r"(-?\d+(\.\d+)?_){3}-?\d+(\.\d+)?$")

_MAP_SUFFIXES = (".tif", ".tiff", ".vrt", ".mbtiles")

_KINDS = (
    "a GeoTIFF, a table of paths and positions (.csv, .parquet), a folder of XYZ tiles "
    "(z/x/y.jpg), a folder of photos with EXIF positions, or a places data set"
)


def open_source(
    path: str | Path,
    view: View,
    *,
    footprint_m: float = 100.0,
    stride_m: float = 25.0,
    min_valid: float = 0.5,
    text: bool = False,
    whole_tiles: bool = False,
) -> Source:
    """Tell what a path holds and open it as a source of references.

    Args:
        path: a raster, a table, a photo, or a folder of maps, tiles, photos or places.
        view: what its pictures show, where it does not matter what the path holds.
        footprint_m: side of the windows cut from a raster or tiles; of the square around a
            position that does not say what ground its picture covers.
        stride_m: ground distance between the centres of neighbouring windows.
        min_valid: share of a window, 0..1, that must have data.
        text: whether to index the sentences of a table or a places data set too.
        whole_tiles: whether a folder of tiles gives its tiles, in place of windows over them.

    Raises:
        SourceError: there is nothing, nothing known, or an option cannot be.
        RasterError: a raster that cannot be placed on the ground.
        PlacesError: a places data set that breaks its format.
    """
    path = Path(path)
    _check_options(view, footprint_m, stride_m, min_valid)
    if not path.exists():
        raise SourceError(f"{path} does not exist: check the path.")
    if not is_utf8(str(path.resolve())):
        raise SourceError(f"The name of {path} is not UTF-8, which no gallery can note: rename it.")
    pictures = [] if path.suffix.lower() in TABLE_SUFFIXES else _first_pictures(path)
    if path.is_dir():
        _refuse_gallery(path)
        if _is_places(path, pictures):
            return PlacesSource(path, view, text=text)
    elif path.suffix.lower() in TABLE_SUFFIXES:
        return TableSource(path, view, footprint_m=footprint_m, text=text)
    if text:
        raise SourceError(f"{path} holds no texts: index a table or a places data set with them.")
    if path.is_dir() and sum(_is_tile(name) for name in pictures) > len(pictures) / 2:
        if whole_tiles:
            return TileSource(path, view)
        return MosaicSource(
            path, view, footprint_m=footprint_m, stride_m=stride_m, min_valid=min_valid
        )
    if _is_map(path, pictures):
        return RasterSource(
            path, view, footprint_m=footprint_m, stride_m=stride_m, min_valid=min_valid
        )
    if pictures:
        return PhotoSource(path, view, footprint_m=footprint_m)
    what = "holds no pictures" if path.is_dir() else "is of no kind we read"
    raise SourceError(f"{path} {what}: index {_KINDS}.")


def _check_options(view: str, footprint_m: float, stride_m: float, min_valid: float) -> None:
    if view not in VIEWS:
        raise SourceError(f"{view!r} is not a view: choose one of {', '.join(VIEWS)}.")
    for name, value in (("footprint", footprint_m), ("stride", stride_m)):
        if not (math.isfinite(value) and value > 0):
            raise SourceError(f"A {name} of {value} m cannot be: give metres above 0.")
    if not 0 <= min_valid <= 1:
        raise SourceError(f"A share of {min_valid} with data cannot be: give one within 0..1.")


def _refuse_gallery(folder: Path) -> None:
    if (folder / manifest.FILE_NAME).exists():
        raise SourceError(f"{folder} is a gallery: index the sources it was built from.")


def _first_pictures(path: Path) -> list[str]:
    """Names of the first few pictures of a folder, or of the file itself if it is one."""
    names = list_files(path) if path.is_dir() else iter([path.name])
    return list(islice((name for name in names if is_picture_name(name)), _LOOK_AT))


def _is_places(folder: Path, pictures: list[str]) -> bool:
    """Whether a folder is a places data set, and not just flights sorted into folders by view."""
    if (folder / TABLE_NAME).is_file():
        return True
    return is_places(folder) and any(_FOOTPRINT_NAME.match(Path(name).stem) for name in pictures)


def _is_tile(name: str) -> bool:
    return parse_tile_path(name) is not None


def _is_map(path: Path, pictures: list[str]) -> bool:
    """Whether a file, or a picture of a folder, says where it lies as maps do.

    A TIFF is a map even if it does not say so: it then lacks something, and opening it says what.
    """
    if path.is_dir():
        return any(_has_crs(path / name) for name in pictures)
    return path.suffix.lower() in _MAP_SUFFIXES or _has_crs(path)


def _has_crs(path: Path) -> bool:
    try:
        with open_dataset(path) as dataset:
            return dataset.crs is not None
    except RasterError:
        return False
