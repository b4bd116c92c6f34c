"""`geobridge curate`: from orthomosaics to aligned, described, lawful places."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geobridge.cli.console import output, steps

if TYPE_CHECKING:
    from geobridge.curation.pipeline import Outcome

EXAMPLE = "geobridge curate town.yaml --out town"

_SHOWN = 3


def curate(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="YAML file with a table for each stage.")
    ],
    out: Annotated[
        Path, typer.Option(help="Folder of the curation; its places come to be in OUT/places.")
    ],
    stage: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Only this stage, even if it is finished: seeds, street, crop, clean, satellite, "
            "describe or publish. Can be given again.",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Refuse to begin a new curation, or to do over what was done with other settings.",
        ),
    ] = False,
    plan: Annotated[
        bool,
        typer.Option(
            "--plan",
            help="Print what street, satellite and describe will ask for, and which secrets are "
            "not set; ask for nothing. Needs the stage seeds.",
        ),
    ] = False,
) -> None:
    """Build places from orthomosaics: seeds, panoramas, crops, gates, satellites, anchors.

    Run again it goes on where it was stopped, and does over only what has changed. Each stage
    leaves a table, OUT/STAGE.parquet, with a row for whatever it left out and why.
    """
    from geobridge.curation.config import read_curate_config
    from geobridge.curation.pipeline import outcomes, plans

    settings = read_curate_config(config)
    if plan:
        for name, estimate in plans(settings, out):
            output().print(f"{name}: {estimate}", markup=False, soft_wrap=True)
        return
    done: list[Outcome] = []
    try:
        with steps() as step:
            done.extend(outcomes(settings, out, stage or None, step, resume=resume))
    finally:
        # Also where a stage stops: what those before it left out may be why.
        if done:
            _show(done, out)


def _show(outcomes: "Iterable[Outcome]", out: Path) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table("stage", "rows", "kept", "left out", "run", title=escape(str(out)))
    for outcome in outcomes:
        reasons = [f"{count:,} {reason}" for reason, count in outcome.reasons[:_SHOWN]]
        if len(outcome.reasons) > _SHOWN:
            reasons.append(f"{sum(n for _, n in outcome.reasons[_SHOWN:]):,} for other reasons")
        table.add_row(
            outcome.stage,
            f"{outcome.rows:,}",
            f"{outcome.kept:,}",
            escape("\n".join(reasons)),
            "now" if outcome.was_run else "as before",
        )
    output().print(table)
