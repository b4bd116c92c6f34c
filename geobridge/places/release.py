"""The folder layout of the paper's release.

    {split}/{view}/<lon1_lat1_lon2_lat2>.jpg
    {split}/{view}.csv        columns id, text

The name of a picture is its footprint, and the same name in another view's folder is the same
place. The tables of texts may also lie in the view's folder or beside the splits.
"""

import csv
import math
from collections.abc import Iterator
from pathlib import Path

from shapely import Polygon

from geobridge.errors import PlacesError, PositionError
from geobridge.geo.distance import check_position, wrap_lon
from geobridge.geo.footprint import center, footprint_from_bounds
from geobridge.places.place import Place
from geobridge.views import VIEWS, View

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def is_release(folder: Path) -> bool:
    """Whether a folder has splits with folders of views."""
    return bool(release_splits(folder))


def iter_release(folder: Path) -> Iterator[Place]:
    """The places of a release folder, split by split, sorted by name.

    Raises:
        PlacesError: a picture's name is no footprint, or a table of texts lacks a column.
    """
    for split in release_splits(folder):
        pictures: dict[str, dict[str, Path]] = {}
        for view in VIEWS:
            for path in release_pictures(split, view):
                pictures.setdefault(path.stem, {})[view] = path
        # Where tables of several views differ, the first view's counts.
        texts: dict[str, str] = {}
        for view in VIEWS:
            texts = release_texts(split, view) | texts
        for name in sorted(pictures):
            west, south, east, north = _bounds(name, next(iter(pictures[name].values())))
            footprint = footprint_from_bounds(west, south, east, north)
            lat, lon = center(footprint)
            yield Place(
                place_id=name,
                lat=lat,
                lon=lon,
                footprint=footprint,
                drone=pictures[name].get("drone"),
                street=pictures[name].get("street"),
                satellite=pictures[name].get("satellite"),
                text=texts.get(name),
                split=split.name,
            )


def footprint_name(footprint: Polygon) -> str:
    """The name of a footprint's pictures: west, south, east and north, to a centimetre.

    A footprint across the antimeridian has an east that is smaller than its west.
    """
    west, south, east, north = footprint.bounds
    corners = (float(wrap_lon(west)), south, float(wrap_lon(east)), north)
    # Rounded before it is written: -1e-9 would become -0.0000000.
    return "_".join(f"{round(degrees, 7) + 0.0:.7f}" for degrees in corners)


def name_faults(folder: Path) -> Iterator[str]:
    """Why `iter_release` would refuse pictures for their names, a sentence for each picture."""
    for split in release_splits(folder):
        for view in VIEWS:
            for path in release_pictures(split, view):
                try:
                    _bounds(path.stem, path)
                except PlacesError as error:
                    yield str(error)


def release_splits(folder: Path) -> list[Path]:
    """The folders of a release's splits, sorted; none where it is no release."""
    if not folder.is_dir():
        return []
    return [
        split
        for split in sorted(folder.iterdir())
        if split.is_dir() and any((split / view).is_dir() for view in VIEWS)
    ]


def release_pictures(split: Path, view: View) -> list[Path]:
    """The pictures of one view in the folder of a split, sorted; none where it has none."""
    return [path for path in sorted((split / view).glob("*")) if path.suffix.lower() in _SUFFIXES]


def release_texts(split: Path, view: View) -> dict[str, str]:
    """The text of each picture's name, from the table of one view; none where there is none.

    A name that has several texts keeps the first, as tables do that lie in several places.

    Args:
        split: folder of the split.
        view: whose table is read: column `text`, and `id` or else the first other column.

    Raises:
        PlacesError: a table lacks these columns.
    """
    texts: dict[str, str] = {}
    name = f"{view}.csv"
    for path in (split / name, split / view / name, split.parent / name):
        if not path.is_file():
            continue
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = list(reader.fieldnames or ())
            others = [column for column in columns if column != "text"]
            if "text" not in columns or not others:
                raise PlacesError(f"{path} needs the columns id and text: add the header.")
            key = "id" if "id" in others else others[0]
            for row in reader:
                text = (row["text"] or "").strip()
                if text:
                    texts.setdefault(_stem(row[key] or ""), text)
    return texts


def _stem(name: str) -> str:
    """The name of a picture without its folders and suffix."""
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return Path(name).name


def _bounds(name: str, path: Path) -> tuple[float, float, float, float]:
    """West, south, east, north of a name of four numbers; corners may come in either order."""
    parts = name.split("_")
    try:
        lon1, lat1, lon2, lat2 = (float(part) for part in parts)
        if not all(map(math.isfinite, (lon1, lat1, lon2, lat2))):
            raise ValueError(name)
        check_position(lat1, lon1, f"the first corner in the name of {path}")
        check_position(lat2, lon2, f"the second corner in the name of {path}")
    except PositionError as error:
        raise PlacesError(str(error)) from error
    except ValueError as error:
        raise PlacesError(
            f"{path} is not named by its footprint: rename it to lon1_lat1_lon2_lat2, in degrees."
        ) from error
    if lat1 == lat2 or lon1 == lon2:
        raise PlacesError(f"The footprint in the name of {path} has no extent: correct the name.")
    # More than half the globe apart means that the footprint crosses the antimeridian.
    straight = abs(lon1 - lon2) <= 180
    west, east = (
        (min(lon1, lon2), max(lon1, lon2)) if straight else (max(lon1, lon2), min(lon1, lon2))
    )
    return west, min(lat1, lat2), east, max(lat1, lat2)
