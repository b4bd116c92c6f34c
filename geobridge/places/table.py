"""The Place table: a GeoParquet file with one row a place, its images beside it.

    FOLDER/places.parquet     place_id, point, footprint, drone, street, satellite, text, ...
    FOLDER/drone/...          pictures, anywhere below the folder

`point` and `footprint` are geometries (WGS-84, lon/lat), the pictures' columns hold paths
relative to the folder or null. The file opens in QGIS, GeoPandas and DuckDB.
"""

from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path, PurePosixPath
from typing import Any

import geopandas
import pandas as pd
import pyarrow
from shapely import Point, Polygon

from geobridge.errors import PlacesError, PositionError
from geobridge.geo.distance import check_position
from geobridge.places.place import Place
from geobridge.places.release import is_release, iter_release
from geobridge.views import VIEWS

TABLE_NAME = "places.parquet"
"""Name of the table within the folder of a places data set."""

_WORDS = ("text", "country", "split", "source", "licence", "attribution")
_COLUMNS = ("place_id", "point", "footprint", *VIEWS, *_WORDS)

__all__ = [
    "TABLE_NAME",
    "Place",
    "is_places",
    "iter_places",
    "read_places",
    "read_unchecked",
    "row_faults",
    "write_places",
]


def is_places(folder: str | Path) -> bool:
    """Whether a folder is a places data set: it has the table, or the release's layout."""
    folder = Path(folder)
    return (folder / TABLE_NAME).is_file() or is_release(folder)


def write_places(folder: str | Path, rows: Iterable[Place]) -> Path:
    """Write the table of a places data set; the pictures are expected to be there.

    Args:
        folder: of the data set, made if it is missing. The table is replaced as a whole, so a
            reader sees the old one or the new one.
        rows: places; paths are absolute below `folder`, or relative to it.

    Returns:
        The table's path.

    Raises:
        PlacesError: a path leads out of the folder, or a row breaks the format.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    places = list(rows)
    table: dict[str, list[Any]] = {
        "place_id": [place.place_id for place in places],
        "point": [Point(place.lon, place.lat) for place in places],
        "footprint": [place.footprint for place in places],
    }
    for view in VIEWS:
        table[view] = [_relative(folder, getattr(place, view), place.place_id) for place in places]
    for word in _WORDS:
        table[word] = [getattr(place, word) for place in places]
    frame = _frame(table)
    _check(frame, folder / TABLE_NAME, folder)
    # The writer takes its format from the name, so the temporary one keeps the suffix.
    unfinished = folder / f".unfinished-{TABLE_NAME}"
    frame.to_parquet(unfinished, index=False)
    unfinished.replace(folder / TABLE_NAME)
    return folder / TABLE_NAME


def read_places(folder: str | Path) -> geopandas.GeoDataFrame:
    """The table of a places data set, checked; also of a folder in the release's layout.

    Returns:
        Columns as in the module's description, `footprint` being the active geometry; pictures
        are paths relative to `folder`, missing values None.

    Raises:
        PlacesError: the folder is no places data set, or a row breaks the format; the message
            names the row.
    """
    folder = Path(folder)
    frame = read_unchecked(folder)
    _check(frame, _table_of(folder), folder)
    return frame


def read_unchecked(folder: str | Path) -> geopandas.GeoDataFrame:
    """The table of a places data set as `read_places` gives it, whatever its rows hold.

    Raises:
        PlacesError: the folder is no places data set, or the table lacks a column.
    """
    folder = Path(folder)
    path = folder / TABLE_NAME
    if not path.is_file():
        if not is_release(folder):
            raise PlacesError(
                f"{folder} is no places data set: it needs a {TABLE_NAME}, or folders such as "
                f"train/drone with pictures named lon1_lat1_lon2_lat2.jpg."
            )
        places = list(iter_release(folder))
        table = {word: [getattr(place, word) for place in places] for word in ("place_id", *_WORDS)}
        table["point"] = [Point(place.lon, place.lat) for place in places]
        table["footprint"] = [place.footprint for place in places]
        for view in VIEWS:
            table[view] = [_relative(folder, getattr(p, view), p.place_id) for p in places]
        return _frame(table)
    try:
        frame = geopandas.read_parquet(path)
    except (ValueError, OSError, pyarrow.ArrowException) as error:
        reason = str(error).strip().splitlines()[0]
        raise PlacesError(
            f"{path} cannot be read as GeoParquet ({reason}): write it again with write_places."
        ) from error
    for column in ("place_id", "point", "footprint"):
        if column not in frame.columns:
            raise PlacesError(f"{path} has no column {column!r}: add it, or write the table again.")
    # GeoParquet's default, OGC:CRS84, is the same datum with the order lon, lat spelt out.
    if frame.crs is not None and frame.crs.to_authority() not in (
        ("EPSG", "4326"),
        ("OGC", "CRS84"),
    ):
        raise PlacesError(f"{path} is not in WGS-84: convert it with to_crs('EPSG:4326').")
    for column in (*VIEWS, *_WORDS):
        if column not in frame.columns:
            frame[column] = None
    frame = frame[list(_COLUMNS)].set_geometry("footprint")
    for column in (*VIEWS, *_WORDS):
        frame[column] = pd.Series(_none_for_missing(frame[column]), dtype=object, index=frame.index)
    return frame


def row_faults(folder: str | Path) -> Iterator[tuple[str, str]]:
    """Every row for which `read_places` would refuse a data set: its id, and why in a sentence.

    A row with several faults comes once, with the first. An id that is missing is empty.

    Raises:
        PlacesError: as `read_unchecked`.
    """
    folder = Path(folder)
    return _faults(read_unchecked(folder), _table_of(folder), folder)


def iter_places(folder: str | Path, split: str | None = None) -> Iterator[Place]:
    """The places of a data set, in the table's order; of one split where it is given.

    Raises:
        PlacesError: as `read_places`; also where the data set has no such split.
    """
    folder = Path(folder)
    frame = read_places(folder)
    if split is not None:
        splits = sorted({word for word in frame["split"] if word})
        frame = frame[frame["split"] == split]
        if frame.empty:
            raise PlacesError(
                f"{folder} has no split {split!r}: choose one of {', '.join(splits) or 'none'}."
            )
    names = {field.name for field in fields(Place)} - {"lat", "lon", "footprint", *VIEWS}
    for row in frame.to_dict("records"):
        pictures: dict[str, Any] = {
            view: folder / row[view] if row[view] else None for view in VIEWS
        }
        words = {name: row[name] for name in names}
        point: Point = row["point"]
        yield Place(lat=point.y, lon=point.x, footprint=row["footprint"], **pictures, **words)


def _frame(table: dict[str, list[Any]]) -> geopandas.GeoDataFrame:
    frame = pd.DataFrame(
        {
            name: pd.Series(table[name], dtype=object)
            for name in _COLUMNS
            if name not in ("point", "footprint")
        }
    )
    for name in ("point", "footprint"):
        frame[name] = geopandas.GeoSeries(table[name], crs="EPSG:4326")
    return geopandas.GeoDataFrame(frame[list(_COLUMNS)], geometry="footprint", crs="EPSG:4326")


def _none_for_missing(column: Any) -> list[Any]:
    return [None if pd.isna(value) or value == "" else value for value in column]


def _relative(folder: Path, path: Path | None, place_id: str) -> str | None:
    if path is None:
        return None
    path = Path(path)
    if path.is_absolute():
        try:
            path = path.relative_to(folder.absolute())
        except ValueError as error:
            raise PlacesError(
                f"{path} of place {place_id!r} lies outside {folder}: move it below the folder."
            ) from error
    elif folder.parts and path.parts[: len(folder.parts)] == folder.parts:
        path = path.relative_to(folder)
    return path.as_posix()


def _table_of(folder: Path) -> Path:
    """What messages call the table: the file, or the folder of a release."""
    path = folder / TABLE_NAME
    return path if path.is_file() else folder


def _check(frame: geopandas.GeoDataFrame, table: Path, folder: Path) -> None:
    """Refuse a table with a row that cannot be used; every message names the row."""
    for _, fault in _faults(frame, table, folder):
        raise PlacesError(fault)


def _faults(frame: geopandas.GeoDataFrame, table: Path, folder: Path) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for row in frame.to_dict("records"):
        name = row["place_id"]
        fault = _row_fault(row, table, folder, seen)
        if fault is not None:
            yield name if isinstance(name, str) else "", fault
        seen.add(name)


def _row_fault(row: dict[str, Any], table: Path, folder: Path, seen: set[str]) -> str | None:
    """What is wrong with a row, None where nothing is; `seen` has the ids before it."""
    name = row["place_id"]
    if not isinstance(name, str) or not name:
        return f"{table} has a row without a place_id: give every row one."
    if name in seen:
        return f"{table} has the place_id {name!r} twice: make them unique."
    point, footprint = row["point"], row["footprint"]
    if not isinstance(point, Point) or point.is_empty:
        return f"Place {name!r} in {table} has no point: give it a position."
    if not isinstance(footprint, Polygon) or footprint.is_empty or not footprint.is_valid:
        return f"Place {name!r} in {table} has no valid footprint: give it a polygon."
    try:
        check_position(point.y, point.x, f"the point of place {name!r} in {table}")
    except PositionError as error:
        return str(error)
    paths = [row[view] for view in VIEWS if row[view]]
    if not paths and not row["text"]:
        return f"Place {name!r} in {table} has neither picture nor text: remove it."
    for path in paths:
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts:
            return (
                f"Place {name!r} in {table} names {path!r}, which leads out of the folder: "
                f"use a path relative to it."
            )
        if not (folder / pure).is_file():
            return (
                f"Place {name!r} in {table} names {path!r}, which does not exist: restore the "
                f"file or empty the cell."
            )
    return None
