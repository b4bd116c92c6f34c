"""`geobridge adapt`: a model and one's own map in, a model for that map out."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geobridge.cli.console import output, remarks
from geobridge.cli.console import steps as progress_steps

if TYPE_CHECKING:
    from geobridge.model.geobridge import GeoBridge

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
    calibrate: Annotated[
        bool,
        typer.Option(
            help="Afterwards fit radius and confidence on photos made from the map, which takes "
            "about a minute, longer on large maps."
        ),
    ] = True,
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
    if calibrate:
        _calibrate(adapted, maps, footprint_m)
        adapted.save(out)
    else:
        output().print("radius and confidence are not calibrated")
    output().print(f"checkpoint: {out} (model {adapted.name}, {adapted.fingerprint})")
    remarks().print(
        f"{out}.run holds logs, curves and what it takes to go on; the checkpoint does not need it"
    )


def _calibrate(model: "GeoBridge", maps: Sequence[str | Path], footprint_m: float) -> None:
    """Calibrate a model on its maps, and say what may be expected of it."""
    from geobridge.api import calibrate_on_maps

    started = time.perf_counter()
    with progress_steps() as step:
        fitted = calibrate_on_maps(model, maps, footprint_m=footprint_m, step=step)
    for one in fitted:
        heading = "with" if one.kind.endswith("heading") else "without"
        fit = one.calibration
        output().print(
            f"calibration: of {fit.queries} photos made from the map, {100 * one.found:.0f} % are "
            f"found within {footprint_m:g} m {heading} their heading; half of the radii (stated "
            f"to hold {100 * fit.probability:.0f} %) are below {one.radius_m:.0f} m"
        )
    output().print(
        "This is about made photos, changed in light, season and sensor. Real ones may be harder: "
        "try some of known position before you rely on radius and confidence."
    )
    remarks().print(f"calibrated in {time.perf_counter() - started:.0f} s")
