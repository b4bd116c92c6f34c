"""`geobridge index`: references in, a gallery out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geobridge.cli.console import output, progress_bar, remarks
from geobridge.errors import SourceError
from geobridge.views import VIEWS, View

if TYPE_CHECKING:
    from geobridge.gallery.build import BuildSummary

EXIT_INTERRUPTED = 130

EXAMPLE = "geobridge index town.tif drone:flights/ --view satellite --out town.gallery"


def index(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="Maps (GeoTIFF, COG, VRT), folders of XYZ tiles, folders of photos with EXIF "
            "positions, tables (.csv, .parquet) with path and position, or places data sets. "
            "A view in front, as in [b]drone:photos/[/b], goes before --view.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder of the gallery; an existing one is continued or added to.")
    ],
    view: Annotated[
        str | None, typer.Option(help="What the sources show: drone, street or satellite.")
    ] = None,
    model: Annotated[str, typer.Option(help="Name or folder of the model.")] = "mini",
    footprint_m: Annotated[
        float,
        typer.Option(
            help="Side of the windows cut from maps and tiles, and of pictures of unknown extent."
        ),
    ] = 100.0,
    stride_m: Annotated[float, typer.Option(help="Distance between neighbouring windows.")] = 25.0,
    min_valid: Annotated[
        float, typer.Option(help="Share of a window that must have data, 0..1.")
    ] = 0.5,
    text: Annotated[
        bool, typer.Option("--text", help="Index the sentences of tables and places, too.")
    ] = False,
    whole_tiles: Annotated[
        bool,
        typer.Option("--whole-tiles", help="Index a folder's tiles one by one, not windows."),
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures in one forward pass.")] = 32,
    workers: Annotated[int, typer.Option(min=1, help="Threads that read pictures.")] = 2,
    device: Annotated[str, typer.Option(help="Where the model computes: cpu, cuda.")] = "cpu",
) -> None:
    """Index references into a gallery.

    An interrupted run continues when it is started again; other sources and views are added by
    running it with the same --out. What was skipped or unreadable is listed in skipped.csv.
    """
    requests = [split_view(source, view) for source in sources]

    from geobridge.gallery.build import build_gallery
    from geobridge.gallery.sources import open_source
    from geobridge.model.geobridge import GeoBridge

    opened = [
        open_source(
            path,
            its_view,
            footprint_m=footprint_m,
            stride_m=stride_m,
            min_valid=min_valid,
            text=text,
            whole_tiles=whole_tiles,
        )
        for path, its_view in requests
    ]
    embedder = GeoBridge.load(model, device=device)
    try:
        with progress_bar("Indexing") as progress:
            summary = build_gallery(
                opened, embedder, out, batch_size=batch_size, workers=workers, progress=progress
            )
    except KeyboardInterrupt:
        remarks().print(
            f"geobridge: interrupted; what is indexed is kept in {out}, "
            f"run the same command again to continue."
        )
        raise typer.Exit(EXIT_INTERRUPTED) from None
    _print_summary(summary)


def split_view(source: str, default: str | None) -> tuple[Path, View]:
    """Path and view of a source written as `path` or `view:path`.

    Raises:
        SourceError: neither it nor the default names a view, or the view is none.
    """
    prefix, colon, rest = source.partition(":")
    named = prefix if colon and prefix in VIEWS else default
    if named is None:
        raise SourceError(
            f"What {source} shows is not said: add --view with one of {', '.join(VIEWS)}, or "
            f"write it in front, as in satellite:{source}."
        )
    for view in VIEWS:
        if view == named:
            return Path(rest if colon and prefix in VIEWS else source), view
    raise SourceError(f"{named!r} is not a view: choose one of {', '.join(VIEWS)}.")


def _print_summary(summary: "BuildSummary") -> None:
    from rich.table import Table

    table = Table("", "count", title=f"Gallery {summary.out}", title_justify="left")
    table.columns[1].justify = "right"
    table.add_row("references", f"{summary.indexed:,}")
    table.add_row("  added by this run", f"{summary.added:,}")
    table.add_row("skipped", f"{summary.skipped:,}")
    table.add_row("unreadable", f"{summary.unreadable:,}")
    for reason, count in summary.by_reason.items():
        table.add_row(f"  {reason}", f"{count:,}")
    console = output()
    console.print(table)
    if summary.skipped + summary.unreadable:
        console.print(f"Each with its reason: {summary.skipped_file}", soft_wrap=True)
    if summary.already_complete:
        console.print("Nothing was left to do: these sources were indexed before.")
    else:
        console.print(f"Took {summary.seconds:.1f} s.")
