"""`geobridge info`: what a gallery holds."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from geobridge.cli.console import output

EXAMPLE = "geobridge info town.gallery"


def info(
    gallery: Annotated[Path, typer.Argument(help="Folder of the gallery.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Show what a gallery holds: model, references, footprints, sources, what was skipped.

    Works on a half-written gallery, too.
    """
    from geobridge.gallery.manifest import read_manifest

    description = {"path": str(gallery), **read_manifest(gallery).model_dump(mode="json")}
    if as_json:
        typer.echo(json.dumps(description, indent=2, ensure_ascii=False))
    else:
        _print(description)


def _print(description: dict[str, Any]) -> None:
    from rich.table import Table

    model, counts = description["model"], description["counts"]
    table = Table(show_header=False, title=f"Gallery {description['path']}", title_justify="left")
    table.add_row("state", "complete" if description["complete"] else "unfinished, index again")
    table.add_row(
        "model", f"{model['name']} ({model['dim']} dimensions, {model['fingerprint'][:12]})"
    )
    table.add_row("references", f"{counts['indexed']:,}")
    for modality, count in counts["by_modality"].items():
        size_m = description["footprint_m"].get(modality, 0.0)
        table.add_row(f"  {modality}", f"{count:,}, median footprint {size_m:.0f} m")
    table.add_row("skipped", f"{counts['skipped']:,}")
    table.add_row("unreadable", f"{counts['unreadable']:,}")
    for reason, count in counts["by_reason"].items():
        table.add_row(f"  {reason}", f"{count:,}")
    for source in description["sources"]:
        settings = ", ".join(f"{name} {value}" for name, value in source["settings"].items())
        state = "" if source["complete"] else " (unfinished)"
        table.add_row(f"{source['view']} {source['kind']}", f"{source['path']}{state}")
        if settings:
            table.add_row("", settings)
    output().print(table)
