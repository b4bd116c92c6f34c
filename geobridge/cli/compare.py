"""`geobridge compare`: two reports in, which model is better on which queries out."""

from pathlib import Path
from typing import Annotated

import typer

EXAMPLE = "geobridge compare runs/report-mini runs/report-mine --out runs/comparison"


def compare(
    first: Annotated[
        Path, typer.Argument(metavar="REPORT", help="Folder that `evaluate --out` has written.")
    ],
    second: Annotated[
        Path, typer.Argument(metavar="REPORT", help="Another, of the same benchmark.")
    ],
    out: Annotated[Path | None, typer.Option(help="Folder for comparison.csv and .md.")] = None,
) -> None:
    """Compare two models query by query, with intervals and p-values of paired differences.

    What is printed are the measures that the data set's own rules ask for; --out holds all.
    """
    from geobridge.evaluation.report.comparison import (
        compare_reports,
        comparison_markdown,
        write_comparison,
    )
    from geobridge.evaluation.run import Evaluation

    found = compare_reports(first, second)
    one, other = Evaluation.read(first), Evaluation.read(second)
    asked = {(score.task, measure) for score in one.scores for measure in score.headline}
    shown = [item for item in found if (item.task, item.measure) in asked]
    typer.echo(comparison_markdown(one, other, shown or found))
    if out is not None:
        write_comparison(out, first, second)
