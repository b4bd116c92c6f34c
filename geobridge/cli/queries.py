"""Many queries at once: a table in, a table of answers out, and no row lost."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import typer

from geobridge.api import Gallery, Within
from geobridge.cli.console import output
from geobridge.errors import GeoBridgeError, QueryError
from geobridge.geo.distance import check_position, distance_m
from geobridge.localization.estimate import Estimate, answers_geojson
from geobridge.localization.query import Query
from geobridge.views import VIEWS, Modality

if TYPE_CHECKING:
    import geopandas

_INPUTS = (*VIEWS, "text")
_NUMBERS = ("yaw_deg", "fov_deg", "ground_width_m")
_TRUE, _FALSE = ("true", "yes", "1", "1.0"), ("false", "no", "0", "0.0")
_ENDINGS = (".parquet", ".csv", ".json", ".geojson")
_PRINTED_ROWS = 20

Row = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """One row of the table: what it asked, and an estimate or the error in its place.

    Attributes:
        name: its `id`, or its number from 0.
        row: the columns it came with.
        truth: latitude and longitude in degrees, where the row states them.
        estimate: the answer, or None.
        error: why there is none, or None.
    """

    name: str
    row: Row
    truth: tuple[float, float] | None
    estimate: Estimate | None
    error: str | None

    def error_m(self) -> float | None:
        """Distance from the truth to the estimated position in metres, where both are known."""
        if self.estimate is None or self.truth is None:
            return None
        return float(distance_m(*self.truth, self.estimate.lat, self.estimate.lon))


@dataclass(frozen=True)
class Rows:
    """A table of queries as it was read.

    Attributes:
        path: the table; pictures are named relative to its folder.
        rows: its rows, missing values left out.
    """

    path: Path
    rows: list[Row]


def read_queries(path: Path) -> Rows:
    """Read a table of queries.

    Raises:
        QueryError: it is missing, unreadable, empty or asks for nothing.
    """
    readers = {".csv": _read_csv, ".parquet": pd.read_parquet}
    if path.suffix.lower() not in readers:
        raise QueryError(f"{path} is not a .csv or .parquet table: convert it.")
    try:
        frame = readers[path.suffix.lower()](path)
    except FileNotFoundError:
        raise QueryError(f"{path} does not exist: check the path.") from None
    except Exception as error:  # pandas and Arrow raise every kind on damaged files
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise QueryError(f"{path} cannot be read as a table ({reason}): check it.") from None
    if not set(_INPUTS) & set(frame.columns):
        raise QueryError(
            f"{path} has the columns {', '.join(map(str, frame.columns))}: it needs at least one "
            f"of {', '.join(_INPUTS)}."
        )
    if frame.empty:
        raise QueryError(f"{path} has no rows: add queries to it.")
    records = frame.astype(object).to_dict("records")
    return Rows(path, [{str(k): v for k, v in row.items() if not _missing(v)} for row in records])


def _read_csv(path: Path) -> pd.DataFrame:
    # As text: an id of 007 and a sentence that reads "NA" have to come out as they went in.
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def _missing(value: Any) -> bool:
    return value is None or value is pd.NA or value == "" or (
        isinstance(value, float) and math.isnan(value)
    )  # fmt: skip


def answer(
    table: Rows,
    gallery: Gallery,
    *,
    top: int,
    within: Within | None,
    reference: Modality | None,
    rotations: int,
    progress: Callable[[int, int | None], None],
) -> list[Answer]:
    """Answer every row; one that cannot be answered carries its error."""
    asked = [_attempt(row, table.path.parent) for row in table.rows]
    good = [query for query in asked if isinstance(query, Query)]
    replies = gallery.locate_each(
        good, top=top, within=within, reference=reference, rotations=rotations
    )
    answers = []
    for number, (row, query) in enumerate(zip(table.rows, asked, strict=True)):
        reply = next(replies) if isinstance(query, Query) else query
        answers.append(_answer(number, row, reply))
        progress(number + 1, len(asked))
    return answers


def _attempt(row: Row, folder: Path) -> Query | GeoBridgeError:
    try:
        _truth(row)
        return _query(row, folder)
    except GeoBridgeError as error:
        return error


def _query(row: Row, folder: Path) -> Query:
    pictures: dict[str, Any] = {view: folder / str(row[view]) for view in VIEWS if view in row}
    text = str(row["text"]) if "text" in row else None
    # Only what the row's pictures can use: one table may mix queries of several kinds.
    usable = {
        "yaw_deg": "drone" in row,
        "fov_deg": "street" in row,
        "ground_width_m": "drone" in row or "satellite" in row,
    }
    numbers: dict[str, Any] = {
        name: _number(row, name) for name in _NUMBERS if name in row and usable[name]
    }
    panorama = _flag(row, "panorama") if "panorama" in row and "street" in row else None
    return Query(**pictures, text=text, panorama=panorama, **numbers)


def _number(row: Row, name: str) -> float:
    try:
        return float(row[name])
    except (TypeError, ValueError):
        raise QueryError(f"The column {name} holds {row[name]!r}: give a number.") from None


def _flag(row: Row, name: str) -> bool:
    word = str(row[name]).strip().lower()
    if word not in _TRUE + _FALSE:
        raise QueryError(f"The column {name} holds {row[name]!r}: give true or false.")
    return word in _TRUE


def _truth(row: Row) -> tuple[float, float] | None:
    if "lat" not in row or "lon" not in row:
        return None
    lat, lon = _number(row, "lat"), _number(row, "lon")
    check_position(lat, lon, "the true position in the table")
    return lat, lon


def _answer(number: int, row: Row, reply: Estimate | GeoBridgeError) -> Answer:
    name = str(row.get("id", number))
    if isinstance(reply, GeoBridgeError):
        return Answer(name, row, None, None, str(reply))
    return Answer(name, row, _truth(row), reply, None)


def check_out(out: Path | None, *, as_json: bool, as_geojson: bool) -> None:
    """Refuse an output that cannot be before any work is done.

    Raises:
        QueryError: another ending, a folder that does not exist, or both a file and stdout.
    """
    if out is None:
        return
    if as_json or as_geojson:
        raise QueryError("The ending of --out decides its format: leave --json and --geojson out.")
    if out.suffix.lower() not in _ENDINGS:
        raise QueryError(f"--out takes a file ending in {', '.join(_ENDINGS)}, not {out.name!r}.")
    if not out.parent.is_dir():
        raise QueryError(f"The folder {out.parent} for --out does not exist: create it.")


def flat_row(answer: Answer) -> Row:
    """One row of the answers: the columns that came in, then the estimate, then the error.

    A truth that came in as lat, lon goes out as true_lat, true_lon: lat, lon are the estimate.
    """
    renamed = {"lat": "true_lat", "lon": "true_lon"}
    kept = {renamed.get(name, name): value for name, value in answer.row.items()}
    row: Row = {"id": answer.name, **{k: v for k, v in kept.items() if k != "id"}}
    if answer.estimate is not None:
        estimate, best = answer.estimate, answer.estimate.candidates[0]
        row |= {
            "lat": estimate.lat,
            "lon": estimate.lon,
            "radius_m": estimate.radius_m,
            "probability": estimate.probability,
            "confidence": estimate.confidence,
            "within_m": estimate.within_m,
            "calibrated": estimate.calibrated,
            "estimated_yaw_deg": estimate.yaw_deg,
            "best_similarity": best.similarity,
            "best_lat": best.lat,
            "best_lon": best.lon,
            "best_modality": best.modality,
            "best_source": best.source,
            "best_path": best.path,
            "best_place_id": best.place_id,
            "error_m": answer.error_m(),
        }
    return {**row, "error": answer.error}


def write_answers(
    answers: Sequence[Answer], out: Path | None, *, as_json: bool, as_geojson: bool
) -> None:
    """Write answers to a file by its ending, or to stdout.

    Raises:
        QueryError: the file cannot be written.
    """
    if out is None:
        _print(answers, as_json=as_json, as_geojson=as_geojson)
        return
    try:
        if out.suffix.lower() == ".parquet":
            _frame(answers).to_parquet(out)
        elif out.suffix.lower() == ".csv":
            pd.DataFrame([flat_row(a) for a in answers]).to_csv(out, index=False)
        else:
            text = _json(answers) if out.suffix.lower() == ".json" else _geojson(answers)
            out.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise QueryError(f"{out} cannot be written ({error.strerror or error}).") from None


def _print(answers: Sequence[Answer], *, as_json: bool, as_geojson: bool) -> None:
    if as_json or as_geojson:
        typer.echo(_json(answers) if as_json else _geojson(answers))
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table("id", "lat", "lon", "radius", "confidence", "error")
    for answer in answers[:_PRINTED_ROWS]:
        found = answer.estimate
        cells = (
            (f"{found.lat:.6f}", f"{found.lon:.6f}", f"{found.radius_m:,.0f} m",
             f"{found.confidence:.2f}")
            if found
            else ("", "", "", "")
        )  # fmt: skip
        table.add_row(escape(answer.name), *cells, escape(answer.error or ""))
    output().print(table)
    if len(answers) > _PRINTED_ROWS:
        output().print(f"... and {len(answers) - _PRINTED_ROWS} more: --out keeps them all.")


def _frame(answers: Sequence[Answer]) -> "geopandas.GeoDataFrame":
    """GeoParquet-ready: the estimated points are the geometry, errors have none."""
    import geopandas
    import shapely

    points = [
        shapely.Point(a.estimate.lon, a.estimate.lat) if a.estimate else None for a in answers
    ]
    frame = pd.DataFrame([flat_row(answer) for answer in answers])
    # Columns that came in may mix types, which Parquet does not have.
    mixed = [
        name for name in frame if pd.api.types.infer_dtype(frame[name], skipna=True) == "mixed"
    ]
    return geopandas.GeoDataFrame(
        frame.astype(dict.fromkeys(mixed, str)), geometry=points, crs="EPSG:4326"
    )


def _json(answers: Sequence[Answer]) -> str:
    content = [
        {"id": a.name, **(a.estimate.to_dict() if a.estimate else {"error": a.error})}
        for a in answers
    ]
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)


def _geojson(answers: Sequence[Answer]) -> str:
    collection = answers_geojson([(a.name, a.estimate) for a in answers if a.estimate])
    for answer in answers:
        if answer.estimate is None:
            # A feature without a geometry is "unlocated" (RFC 7946, section 3.2).
            properties = {"id": answer.name, "role": "error", "error": answer.error}
            collection["features"].append(
                {"type": "Feature", "geometry": None, "properties": properties}
            )
    return json.dumps(collection, ensure_ascii=False, allow_nan=False)


def summary(answers: Sequence[Answer], out: Path | None) -> str:
    """One or two sentences: how many were answered, and how well where the truth is known."""
    failed = sum(answer.estimate is None for answer in answers)
    text = f"Answered {len(answers) - failed} of {len(answers)} queries"
    text += f", {failed} with an error" if failed else ""
    text += f", into {out}." if out else "."
    errors = sorted(e for e in (answer.error_m() for answer in answers) if e is not None)
    if errors:
        shares = ", ".join(
            f"{sum(e <= limit for e in errors) / len(errors):.0%} within {limit} m"
            for limit in (25, 50, 100)
        )
        text += f" Median error {errors[len(errors) // 2]:,.0f} m, {shares}."
    return text
