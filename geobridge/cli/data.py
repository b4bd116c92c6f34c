"""`geobridge data`: what can be done with a data set before a model sees it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from geobridge.cli.console import output, progress_bar, steps

if TYPE_CHECKING:
    from geobridge.evaluation.doctor import Check, Diagnosis

app = typer.Typer(
    help="Check data sets before training or evaluation, copy them into other layouts, make them "
    "whole by a recipe.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

EXIT_PROBLEMS = 1

_COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}
_SHOWN = 3
_REASONS = 10


@app.command(epilog="Example: [b]geobridge data doctor places planet --out findings.csv[/b]")
def doctor(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="Which data set it is: `places` for any places data set, or a benchmark such as "
            "university-1652, vigor or world-1k.",
        ),
    ],
    root: Annotated[Path, typer.Argument(metavar="DIR", help="Its folder.")],
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="Read the heads of pictures only: what is cut off or looks alike stays unknown.",
        ),
    ] = False,
    leak_m: Annotated[
        float, typer.Option(help="Tell of places of two splits that are nearer than this, metres.")
    ] = 50.0,
    workers: Annotated[int, typer.Option(help="Threads that read pictures.")] = 2,
    out: Annotated[
        Path | None, typer.Option(help="CSV file for all findings; the table shows a few.")
    ] = None,
) -> None:
    """Check a data set: counts, pairs, pictures, copies, ids, positions, leaks between splits.

    Exit code 0: no problems, warnings perhaps. 1: problems. 2: this is no such data set.
    """
    from geobridge.evaluation.benchmarks import benchmark_named
    from geobridge.evaluation.doctor import examine

    benchmark = benchmark_named(name)
    with progress_bar("pictures") as progress:
        diagnosis = examine(
            benchmark, root, quick=quick, leak_m=leak_m, workers=workers, progress=progress
        )
    if out is not None:
        diagnosis.write_csv(out)
    _show(diagnosis, f"{benchmark.title} in {root}", out)
    if diagnosis.verdict == "problem":
        raise typer.Exit(EXIT_PROBLEMS)


@app.command(epilog="Example: [b]geobridge data export places DIR --to webdataset --out shards[/b]")
def export(
    name: Annotated[
        Literal["places"],
        typer.Argument(metavar="NAME", help="Which data set it is: `places`."),
    ],
    root: Annotated[Path, typer.Argument(metavar="DIR", help="Its folder.")],
    to: Annotated[
        Literal["webdataset", "release"],
        typer.Option(help="`webdataset`: shards of tar files. `release`: the paper's folders."),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the copy, empty or missing.")],
    per_shard: Annotated[int, typer.Option(help="Places in one shard, at most.")] = 1000,
) -> None:
    """Copy a data set into another layout; the same data set gives the same bytes.

    The release's layout holds no country, licence or attribution.
    """
    from geobridge.curation.export import export_release, export_webdataset
    from geobridge.places.table import read_places

    with progress_bar(f"{name} to {to}") as progress:
        if to == "webdataset":
            written = export_webdataset(root, out, per_shard=per_shard, progress=progress)
        else:
            written = export_release(root, out, progress=progress)
    parts = "shards" if to == "webdataset" else "splits"
    output().print(f"{len(read_places(root)):,} places in {len(written):,} {parts} in {out}")


_REBUILD_EXAMPLE = (
    r"Example: [b]geobridge data rebuild places PLACES --raster flights/ --out whole[/b]"
)


@app.command(epilog=_REBUILD_EXAMPLE)
def rebuild(
    name: Annotated[
        Literal["places"],
        typer.Argument(metavar="NAME", help="Which data set it is: `places`."),
    ],
    root: Annotated[
        Path, typer.Argument(metavar="DIR", help="Its folder, with recipe.json in it.")
    ],
    out: Annotated[
        Path, typer.Option(help="Folder to work in; the whole data set comes to be in OUT/places.")
    ],
    raster: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]PATH",
            help="Your copy of a raster, or a folder of them, told by content or name; NAME is "
            "what the recipe calls it. Can be given again.",
        ),
    ] = None,
    photos: Annotated[
        Path | None, typer.Option(help="Your copy of the folder of photos the recipe names.")
    ] = None,
    send: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VARIABLE=https://HOST",
            help="A secret of your environment that may be sent to a host the recipe names. "
            "Those of Mapillary and Google may be sent to them. Can be given again.",
        ),
    ] = None,
    i_accept_the_terms: Annotated[
        bool,
        typer.Option(
            "--i-accept-the-terms",
            help="You have an agreement with Google that allows to store Street View pictures.",
        ),
    ] = False,
    allow_private: Annotated[
        bool,
        typer.Option(
            "--allow-private", help="Addresses of this machine and its networks may be asked."
        ),
    ] = False,
    max_picture_mb: Annotated[
        float, typer.Option(help="Larger downloads are left out, in megabytes.")
    ] = 64.0,
) -> None:
    """Make a data set whole that was published without what may not be passed on.

    Each picture is the very one that was left out, or it stays out and OUT/rebuild.parquet says
    why. Secrets are read from the environment. Run again, it goes on.

    Exit code 0: all pictures are there. 1: some are not. 2: bad input.
    """
    from pydantic import ValidationError

    from geobridge.curation.access import Access
    from geobridge.curation.rebuild import kinds_of_reasons
    from geobridge.curation.rebuild import rebuild as run
    from geobridge.errors import CurationError
    from geobridge.model.config import first_problem

    try:
        access = Access(
            rasters=tuple(raster or ()),
            photos=photos,
            send=tuple(send or ()),
            i_accept_the_terms=i_accept_the_terms,
            allow_private=allow_private,
            max_picture_mb=max_picture_mb,
        )
    except ValidationError as error:
        place, problem = first_problem(error)
        raise CurationError(f"--{place.replace('_', '-')}: {problem}; correct it.") from None
    with steps() as step:
        rebuilt = run(root, out, access, step)
    table = rebuilt.table
    lost = table[~table["kept"]]
    output().print(
        f"{rebuilt.places:,} {name} with {len(table) - len(lost):,} of {len(table):,} pictures in "
        f"{out / 'places'}",
        markup=False,
        soft_wrap=True,
    )
    for reason, count in kinds_of_reasons(lost["reason"])[:_REASONS]:
        output().print(f"{count:,} left out: {reason}", markup=False, soft_wrap=True)
    if len(lost):
        output().print(f"all of them in {out / 'rebuild.parquet'}", markup=False, soft_wrap=True)
        raise typer.Exit(EXIT_PROBLEMS)


def _show(diagnosis: "Diagnosis", title: str, out: Path | None) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table("check", "found", "expected", "verdict", "first findings", title=escape(title))
    for check in diagnosis.checks:
        colour = _COLOURS[check.verdict]
        table.add_row(
            escape(check.what),
            escape(check.found),
            escape(check.expected),
            f"[{colour}]{check.verdict}[/{colour}]",
            escape(_first_findings(check)),
        )
    output().print(table)
    findings = sum(len(check.findings) for check in diagnosis.checks)
    counts = [
        f"{sum(check.verdict == verdict for check in diagnosis.checks)} {verdict}"
        for verdict in _COLOURS
    ]
    where = f", all in {out}" if out is not None else ""
    output().print(escape(f"{', '.join(counts)}; {findings:,} findings{where}."), soft_wrap=True)


def _first_findings(check: "Check") -> str:
    """The first few, a line each, and how many more there are."""
    lines = [
        " ".join(part for part in (each.where, each.name, each.detail) if part)
        for each in check.findings[:_SHOWN]
    ]
    if len(check.findings) > _SHOWN:
        lines.append(f"and {len(check.findings) - _SHOWN:,} more")
    return "\n".join(lines)
