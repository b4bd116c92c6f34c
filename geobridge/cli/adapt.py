"""`geobridge adapt`: a model and one's own map in, a model for that map out."""

from pathlib import Path
from typing import Annotated

import typer

from geobridge.cli.console import output, remarks

MINUTES = 10.0
EXAMPLE = "geobridge adapt town.tif --minutes 10 --out town-mini"


def adapt(
    maps: Annotated[
        list[str],
        typer.Argument(
            metavar="MAP...",
            help="GeoTIFFs, folders of them, or folders of XYZ tiles.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the new checkpoint.")],
    model: Annotated[str, typer.Option(help="A shipped name, a folder or a hub name.")] = "mini",
    minutes: Annotated[
        float | None, typer.Option(help=f"How long to train. \\[default: {MINUTES}]")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="How many steps to train, instead of minutes.")
    ] = None,
    footprint_m: Annotated[
        float, typer.Option(help="Side of the gallery's windows on the ground.")
    ] = 100.0,
    batch: Annotated[int, typer.Option(help="Places in each step.")] = 64,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 0,
) -> None:
    """Adapt a model to one's own map, without any photo.

    It learns to find plausible photos of the map again, made from the map itself. Run again with
    the same arguments it goes on where it was stopped; OUT.run beside the checkpoint holds logs.
    """
    from geobridge.training.adapt import adapt as run

    adapted = run(
        maps,
        model,
        out,
        minutes=MINUTES if minutes is None and steps is None else minutes,
        steps=steps,
        footprint_m=footprint_m,
        batch=batch,
        seed=seed,
        console=remarks(),
    )
    output().print(f"checkpoint: {out} (model {adapted.name}, {adapted.fingerprint})")
    remarks().print(
        f"{out}.run holds logs, curves and what it takes to go on; the checkpoint does not need it"
    )
