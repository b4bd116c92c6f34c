"""Any table with a path and a position: CSV, Parquet or GeoParquet."""

from collections.abc import Callable, Container, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import geopandas
import pandas
import pyarrow
import pyarrow.parquet
import shapely

from geobridge.errors import PositionError, SourceError
from geobridge.gallery.sources.files import READ_SIDE_PX, picture_path
from geobridge.gallery.sources.items import (
    BAD_POSITION,
    LISTED_TWICE,
    NO_PATH,
    NO_POSITION,
    Image,
    Outcome,
    ReferenceItem,
    Skipped,
    Source,
    reference_id,
)
from geobridge.geo.distance import check_position
from geobridge.geo.footprint import center, footprint_around, footprint_from_bounds
from geobridge.imagery.decode import read_image
from geobridge.views import Modality

TABLE_SUFFIXES = (".csv", ".parquet", ".geoparquet")

# Names a column may have, in any case; the first is what we call it.
_COLUMNS = {
    "path": ("path", "file", "image", "filename", "file_name", "image_path"),
    "west": ("west", "min_lon", "lon_min", "xmin", "minx"),
    "south": ("south", "min_lat", "lat_min", "ymin", "miny"),
    "east": ("east", "max_lon", "lon_max", "xmax", "maxx"),
    "north": ("north", "max_lat", "lat_max", "ymax", "maxy"),
    "lat": ("lat", "latitude"),
    "lon": ("lon", "lng", "long", "longitude"),
    "size_m": ("size_m", "footprint_m"),
    "date": ("date", "datetime"),
    "place_id": ("place_id",),
    "text": ("text", "caption", "description"),
    "geometry": ("geometry",),
}
_BOUNDS = ("west", "south", "east", "north")


class TableSource(Source):
    """Rows of a table; paths are relative to the table's own folder.

    The ground a row covers is its polygon, else its bounds, else a square of `size_m` metres
    (`footprint_m` where the table has no such column) around its position. With `text`, the
    sentences of the table are references too.
    """

    kind = "table"

    def __init__(self, path: Path, view: Modality, *, footprint_m: float, text: bool) -> None:
        super().__init__(path, view)
        self.footprint_m = float(footprint_m)
        self.text = text
        self._check_columns()

    @property
    def settings(self) -> dict[str, float | int | bool | str]:
        """The side of a footprint the table does not state, and whether texts are indexed."""
        return {"footprint_m": self.footprint_m, "text": self.text}

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The view, and text where it is asked for."""
        return (self.view, "text") if self.text else (self.view,)

    @cached_property
    def _table(self) -> pandas.DataFrame:
        table = _read_table(self.path)
        names = {str(name).strip().lower(): name for name in table.columns}
        found = {
            ours: next((names[name] for name in theirs if name in names), None)
            for ours, theirs in _COLUMNS.items()
        }
        chosen = {theirs: ours for ours, theirs in found.items() if theirs is not None}
        return table[list(chosen)].rename(columns=chosen)

    def total(self) -> int:
        """One item a row, two where the row has a sentence to index."""
        texts = self._table["text"].notna().sum() if self.text else 0
        return len(self._table) + int(texts)

    def items(self, done: Container[str] = frozenset()) -> Iterator[ReferenceItem | Skipped]:
        """Rows in the order of the table: the picture, then the sentence."""
        seen: set[str] = set()
        for number, row in enumerate(self._table.to_dict("records")):
            for item in self._row_items(number, {k: _plain(v) for k, v in row.items()}):
                # A repeated row is no reference, but it is not passed over in silence either.
                if item.ref_id in seen:
                    item = _again(item, number)
                seen.add(item.ref_id)
                if item.ref_id not in done:
                    yield item

    def _row_items(self, number: int, row: dict[str, Any]) -> Iterator[ReferenceItem | Skipped]:
        path = None if row.get("path") is None else str(row["path"])
        text = None if row.get("text") is None else str(row["text"])
        if path is not None:
            file = picture_path(self.path, path)
            load = partial(read_image, file, min_side=READ_SIDE_PX)
            yield self._item(number, row, self.view, path, "", load)
        elif not self.text:
            yield self._left_out(number, self.view, "skipped", NO_PATH)
        if self.text and text is not None:
            yield self._item(number, row, "text", path or "", text, lambda: text)

    def _item(
        self,
        number: int,
        row: dict[str, Any],
        modality: Modality,
        path: str,
        key: str,
        load: Callable[[], Image | str],
    ) -> ReferenceItem | Skipped:
        try:
            footprint = self._footprint(number, row)
        except PositionError as error:
            return self._left_out(number, modality, "unreadable", BAD_POSITION, path, str(error))
        if footprint is None:
            return self._left_out(number, modality, "skipped", NO_POSITION, path)
        lat, lon = center(footprint)
        place_id = row.get("place_id")
        return ReferenceItem(
            ref_id=reference_id(self.path, path, modality, key),
            modality=modality,
            lat=lat,
            lon=lon,
            footprint=footprint,
            source=str(self.path),
            path=path,
            load=load,
            date=None if row.get("date") is None else str(row["date"]),
            place_id=None if place_id is None else str(place_id),
            text=None if row.get("text") is None else str(row["text"]),
        )

    def _footprint(self, number: int, row: dict[str, Any]) -> shapely.Polygon | None:
        what = f"the position in row {number + 1} of {self.path}"
        geometry = row.get("geometry")
        if isinstance(geometry, shapely.Polygon) and not geometry.is_empty:
            check_position(*center(geometry), what)
            return geometry
        if all(row.get(name) is not None for name in _BOUNDS):
            return _checked_bounds(what, *(_number(row[name]) for name in _BOUNDS))
        if isinstance(geometry, shapely.Point) and not geometry.is_empty:
            lat, lon = geometry.y, geometry.x
        elif row.get("lat") is not None and row.get("lon") is not None:
            lat, lon = _number(row["lat"]), _number(row["lon"])
        else:
            return None
        check_position(lat, lon, what)
        size_m = self.footprint_m if row.get("size_m") is None else _number(row["size_m"])
        if not size_m > 0:
            raise PositionError(f"{what} covers {size_m} m: give a size in metres above 0.")
        return footprint_around(lat, lon, size_m, size_m)

    def _left_out(
        self,
        number: int,
        modality: Modality,
        outcome: Outcome,
        reason: str,
        path: str = "",
        detail: str = "",
    ) -> Skipped:
        ref_id = reference_id(self.path, path, modality, f"row {number}")
        detail = detail or f"row {number + 1}"
        return Skipped(ref_id, outcome, reason, detail, modality, str(self.path), path)

    def _check_columns(self) -> None:
        has = set(self._table.columns)
        if not len(self._table):
            raise SourceError(f"{self.path} has no rows: index a table that lists pictures.")
        if "path" not in has and not (self.text and "text" in has):
            raise SourceError(
                f"{self.path} has no column of paths: name it {' or '.join(_COLUMNS['path'])}."
            )
        if self.text and "text" not in has:
            raise SourceError(
                f"{self.path} has no column of texts to index: name it "
                f"{' or '.join(_COLUMNS['text'])}, or leave the texts out."
            )
        if not (has >= set(_BOUNDS) or has >= {"lat", "lon"} or "geometry" in has):
            raise SourceError(
                f"{self.path} does not say where its pictures are: add columns west, south, east "
                f"and north, or lat and lon, in WGS-84 degrees."
            )


def _read_table(path: Path) -> pandas.DataFrame:
    try:
        if path.suffix.lower() == ".csv":
            return pandas.read_csv(path, dtype={"place_id": str, "date": str})
        if b"geo" in (pyarrow.parquet.read_schema(path).metadata or {}):
            return _in_degrees(geopandas.read_parquet(path), path)
        return pandas.read_parquet(path)
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        first_line = str(error).strip().partition("\n")[0]
        raise SourceError(
            f"{path} cannot be read as a table ({first_line}): save it as UTF-8 CSV or Parquet."
        ) from None


def _in_degrees(frame: geopandas.GeoDataFrame, path: Path) -> pandas.DataFrame:
    if frame.crs is None:
        raise SourceError(
            f"{path} has a geometry without a coordinate system: set one, such as EPSG:4326."
        )
    frame = frame.to_crs("EPSG:4326")
    if frame.geometry.name != "geometry":
        frame = frame.rename_geometry("geometry")
    return pandas.DataFrame(frame)


def _checked_bounds(
    what: str, west: float, south: float, east: float, north: float
) -> shapely.Polygon:
    for lat, lon in ((south, west), (north, east)):
        # A corner may lie where the equator meets the prime meridian; a centre does not.
        if (lat, lon) != (0, 0):
            check_position(lat, lon, what)
    if not south < north or west == east:
        raise PositionError(
            f"{what} is bounds from south {south} to north {north} and west {west} to east "
            f"{east}, which hold no ground: check their order."
        )
    footprint = footprint_from_bounds(west, south, east, north)
    check_position(*center(footprint), what)
    return footprint


def _number(value: Any) -> float:
    """A number, or NaN for what is none, which no position passes with."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _plain(value: Any) -> Any:
    """None for every way a table has of leaving a cell empty."""
    if isinstance(value, shapely.Geometry):
        return value
    return None if pandas.isna(value) or value == "" else value


def _again(item: ReferenceItem | Skipped, number: int) -> Skipped:
    key = f"{item.ref_id} row {number}"
    return Skipped(
        reference_id(item.source, item.path, item.modality, key),
        "skipped",
        LISTED_TWICE,
        f"row {number + 1}",
        item.modality,
        item.source,
        item.path,
    )
