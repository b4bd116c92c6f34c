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

from geobridge.errors import PlacesError, PositionError
from geobridge.geo.distance import check_position
from geobridge.geo.footprint import center, footprint_from_bounds
from geobridge.places.place import Place
from geobridge.views import VIEWS

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def is_release(folder: Path) -> bool:
    """Whether a folder has splits with folders of views."""
    return bool(_splits(folder))


def iter_release(folder: Path) -> Iterator[Place]:
    """The places of a release folder, split by split, sorted by name.

    Raises:
        PlacesError: a picture's name is no footprint, or a table of texts lacks a column.
    """
    for split in _splits(folder):
        pictures: dict[str, dict[str, Path]] = {}
        for view in VIEWS:
            for path in sorted((split / view).glob("*")):
                if path.suffix.lower() in _SUFFIXES:
                    pictures.setdefault(path.stem, {})[view] = path
        texts = _texts(folder, split)
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


def _splits(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [
        split
        for split in sorted(folder.iterdir())
        if split.is_dir() and any((split / view).is_dir() for view in VIEWS)
    ]


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


def _texts(folder: Path, split: Path) -> dict[str, str]:
    """Text of each picture's name; where tables of several views differ, the first view's."""
    texts: dict[str, str] = {}
    for view in VIEWS:
        for path in (split / f"{view}.csv", split / view / f"{view}.csv", folder / f"{view}.csv"):
            if not path.is_file():
                continue
            with path.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.DictReader(file)
                if not {"id", "text"} <= set(reader.fieldnames or ()):
                    raise PlacesError(f"{path} needs the columns id and text: add the header.")
                for row in reader:
                    name, text = row["id"] or "", (row["text"] or "").strip()
                    for suffix in _SUFFIXES:
                        name = name.removesuffix(suffix)
                    if text:
                        texts.setdefault(Path(name).name, text)
    return texts
