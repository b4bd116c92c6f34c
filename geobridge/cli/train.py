"""`geobridge train`: a configuration in, a checkpoint out."""

from pathlib import Path
from typing import Annotated

import typer

from geobridge.cli.console import output, remarks
from geobridge.errors import TrainingError

# By their files, since reading the configurations' module would delay --help by seconds.
_PRESETS = sorted(
    path.stem for path in (Path(__file__).parents[1] / "training" / "presets").glob("*.yaml")
)
EXAMPLE = "geobridge train mini --set fit.minutes=20 --out runs/mini"


def train(
    config: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG",
            help=f"A YAML file, or a preset: {', '.join(_PRESETS)}.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run; an existing run is continued.")
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change a value, such as objective.anchors=none."
        ),
    ] = None,
    show: Annotated[
        bool, typer.Option("--show", help="Print the resolved configuration and stop.")
    ] = False,
) -> None:
    """Train a model on places.

    Run again with the same configuration and folder it goes on where it was stopped. The folder
    holds the best checkpoint, logs (CSV, TensorBoard), curves and a model card.
    """
    from geobridge.training.config import read_train_config, to_yaml

    settings = read_train_config(config, change or [])
    if show:
        typer.echo(to_yaml(settings), nl=False)
        return
    if out is None:
        raise TrainingError("a run needs a folder: name one with --out, such as --out runs/first.")
    from geobridge.training.fit import fit
    from geobridge.training.processes import process_place

    model = fit(settings, out, remarks())
    rank, _ = process_place(settings.fit)
    if rank:  # the first process speaks for all
        return
    console = output()
    console.print(f"checkpoint: {out / 'checkpoint'} (model {model.name}, {model.fingerprint})")
    console.print(f"model card: {out / 'checkpoint' / 'README.md'}, curves: {out / 'curves.png'}")
