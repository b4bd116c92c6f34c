"""`geobridge locate`: a query and a gallery in, a position out."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geobridge.cli.console import output, progress_bar, remarks
from geobridge.errors import QueryError
from geobridge.views import MODALITIES, Modality

if TYPE_CHECKING:
    from geobridge.api import Gallery
    from geobridge.localization.estimate import Estimate
    from geobridge.localization.query import Query

EXAMPLE = "geobridge locate --gallery town.gallery --drone photo.jpg --text 'a stadium by a river'"

_QUERY, _SEARCH, _ANSWER = "What is asked", "Where to search", "The answer"


def locate(
    gallery: Annotated[Path, typer.Option(help="Folder of the gallery.", rich_help_panel=_SEARCH)],
    drone: Annotated[
        Path | None, typer.Option(help="Photo from above.", rich_help_panel=_QUERY)
    ] = None,
    street: Annotated[
        Path | None,
        typer.Option(help="Street-level photo or panorama.", rich_help_panel=_QUERY),
    ] = None,
    satellite: Annotated[
        Path | None,
        typer.Option(help="North-up satellite or aerial crop.", rich_help_panel=_QUERY),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(help="Sentence that describes the place.", rich_help_panel=_QUERY),
    ] = None,
    yaw_deg: Annotated[
        float | None,
        typer.Option(
            help="Heading of the drone photo's top edge, clockwise from north.",
            rich_help_panel=_QUERY,
        ),
    ] = None,
    rotations: Annotated[
        int,
        typer.Option(
            min=1,
            max=360,
            help="Headings tried where --yaw-deg is not given.",
            rich_help_panel=_QUERY,
        ),
    ] = 8,
    ground_width_m: Annotated[
        float | None,
        typer.Option(
            help="Width of the drone photo on the ground; read from its metadata if possible.",
            rich_help_panel=_QUERY,
        ),
    ] = None,
    fov_deg: Annotated[
        float | None,
        typer.Option(
            help="Horizontal field of view of the street picture.", rich_help_panel=_QUERY
        ),
    ] = None,
    panorama: Annotated[
        bool | None,
        typer.Option(
            "--panorama/--no-panorama",
            help="Whether the street picture is a 360-degree panorama; told from its metadata "
            "or shape if left out.",
            rich_help_panel=_QUERY,
            show_default=False,
        ),
    ] = None,
    queries: Annotated[
        Path | None,
        typer.Option(
            help="Table (.csv, .parquet) of many queries: columns drone, street, satellite, text "
            "(paths relative to the table); optional id, yaw_deg, fov_deg, panorama, "
            "ground_width_m, and lat, lon where the truth is known.",
            rich_help_panel=_QUERY,
        ),
    ] = None,
    within: Annotated[
        str | None,
        typer.Option(
            metavar="LAT,LON,KM", help="Only references in this circle.", rich_help_panel=_SEARCH
        ),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            help="Only references of this modality: drone, street, satellite or text.",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Name or folder of the model that built the gallery, if its name is not enough.",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(help="Where the model computes: cpu, cuda.", rich_help_panel=_SEARCH)
    ] = "cpu",
    top: Annotated[
        int, typer.Option(min=1, help="Candidates to list.", rich_help_panel=_ANSWER)
    ] = 5,
    as_json: Annotated[
        bool, typer.Option("--json", help="Answer as JSON.", rich_help_panel=_ANSWER)
    ] = False,
    as_geojson: Annotated[
        bool,
        typer.Option(
            "--geojson",
            help="Answer as GeoJSON: position, radius, footprints.",
            rich_help_panel=_ANSWER,
        ),
    ] = False,
    draw: Annotated[
        Path | None,
        typer.Option("--map", help="Draw the answer: .html or .png.", rich_help_panel=_ANSWER),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="File for the answers to --queries: .parquet, .csv, .json or .geojson.",
            rich_help_panel=_ANSWER,
        ),
    ] = None,
) -> None:
    """Find where a drone photo, a street picture, a satellite crop or a sentence was taken.

    Give one of them or several of the same place; they are fused into one question.
    """
    single = {
        "drone": drone, "street": street, "satellite": satellite, "text": text,
        "yaw_deg": yaw_deg, "fov_deg": fov_deg, "panorama": panorama,
        "ground_width_m": ground_width_m,
    }  # fmt: skip
    circle = None if within is None else parse_within(within)
    modality = None if reference is None else parse_reference(reference)
    if as_json and as_geojson:
        raise QueryError("--json and --geojson exclude each other: choose one.")

    from geobridge.api import Gallery

    if queries is None:
        from geobridge.localization.drawing import check_map_path
        from geobridge.localization.query import Query

        if out is not None:
            raise QueryError("--out is for --queries: write one answer with --json > FILE.")
        query = Query(**single)  # type: ignore[arg-type]
        if draw is not None:
            check_map_path(draw)
        opened = Gallery.open(gallery, model, device)
        estimate = opened.locate(
            query, top=top, within=circle, reference=modality, rotations=rotations
        )
        _answer_one(estimate, as_json=as_json, as_geojson=as_geojson)
        if draw is not None:
            _draw(opened, estimate, draw, query)
        return

    from geobridge.cli import queries as table

    if draw is not None:
        raise QueryError("--map draws one answer: locate that query alone.")
    if given := [name for name, value in single.items() if value is not None]:
        raise QueryError(
            f"--{given[0].replace('_', '-')} describes one query and --queries names many: "
            f"put it into a column {given[0]} of {queries}."
        )
    table.check_out(out, as_json=as_json, as_geojson=as_geojson)
    rows = table.read_queries(queries)
    opened = Gallery.open(gallery, model, device)
    with progress_bar("Locating") as progress:
        answers = table.answer(
            rows, opened, top=top, within=circle, reference=modality, rotations=rotations,
            progress=progress,
        )  # fmt: skip
    table.write_answers(answers, out, as_json=as_json, as_geojson=as_geojson)
    remarks().print(table.summary(answers, out))
    if all(answer.estimate is None for answer in answers):
        raise QueryError(f"None of the {len(answers)} queries in {queries} could be answered.")


def parse_within(text: str) -> tuple[float, float, float]:
    """Latitude, longitude and kilometres from `lat,lon,km`.

    Raises:
        QueryError: it is not three numbers.
    """
    try:
        lat, lon, radius_km = (float(part) for part in text.split(","))
    except ValueError:
        raise QueryError(
            f"--within takes latitude, longitude and kilometres, as in 48.14,11.58,5, not {text!r}."
        ) from None
    return lat, lon, radius_km


def parse_reference(text: str) -> Modality:
    """A modality by name.

    Raises:
        QueryError: there is none of that name.
    """
    for modality in MODALITIES:
        if text == modality:
            return modality
    raise QueryError(f"--reference takes one of {', '.join(MODALITIES)}, not {text!r}.")


def _answer_one(estimate: "Estimate", *, as_json: bool, as_geojson: bool) -> None:
    if as_json:
        typer.echo(estimate.to_json())
    elif as_geojson:
        typer.echo(json.dumps(estimate.to_geojson(), indent=2, ensure_ascii=False))
    else:
        _print_table(estimate)


def _print_table(estimate: "Estimate") -> None:
    from rich.markup import escape
    from rich.table import Table

    from geobridge.localization.drawing import summary_lines

    table = Table("rank", "similarity", "lat", "lon", "to the best", "view", "source")
    for name in range(5):
        table.columns[name].justify = "right"
    for candidate in estimate.candidates:
        table.add_row(
            str(candidate.rank),
            f"{candidate.similarity:.3f}",
            f"{candidate.lat:.6f}",
            f"{candidate.lon:.6f}",
            f"{candidate.distance_m:,.0f} m",
            candidate.modality,
            escape(_where(candidate.source, candidate.path)),
        )
    console = output()
    for line in summary_lines(estimate):
        console.print(line)
    console.print(table)


def _where(source: str, path: str) -> str:
    """Source and file in few letters: the last name of the source, and the path within it."""
    name = Path(source).name
    return path if path == name else f"{name}/{path}"


def _draw(gallery: "Gallery", estimate: "Estimate", out: Path, query: "Query") -> None:
    problems = gallery.draw(estimate, out, query)
    console = remarks()
    for problem in problems:
        console.print(f"geobridge: {problem}", markup=False)
    console.print(f"Map: {out}", markup=False)
