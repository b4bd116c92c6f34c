"""A folder that says how good a model is: tables, figures, and a page of what was found.

    scores.csv               one row a task and measure
    regions.csv              one row a task and region, where the data set has regions
    table.md, table.tex      results beside published ones, with definitions and sources
    recall_distance.png      share of queries by distance, where positions are known
    recall_at_k.png          share of queries by rank
    failures-<task>.png      where queries fail, where positions are known
    retrievals.html          hits, near misses and failures with their pictures

The tables and the page are made of the inputs alone: the same evaluation gives the same bytes.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from geobridge.errors import MissingExtraError
from geobridge.evaluation.report.page import retrievals_page
from geobridge.evaluation.report.queries import read_queries, with_positions
from geobridge.evaluation.report.tables import (
    regions_csv,
    regions_of,
    report_latex,
    report_markdown,
    scores_csv,
    summary,
)
from geobridge.evaluation.report.texts import write_text
from geobridge.evaluation.run import Evaluation, query_table

__all__ = ["summary", "write_report", "write_text"]


def write_report(folder: str | Path, evaluation: Evaluation) -> tuple[str, ...]:
    """Write tables, figures and page beside the tables of queries of an evaluation.

    Args:
        folder: that `run.evaluate` has written; a report that is there is replaced.
        evaluation: what it gave.

    Returns:
        What was left out of the report, in whole sentences, which `table.md` tells too: figures
        without the extra `train`, pictures that cannot be read.

    Raises:
        EvaluationError: a table of queries is missing, or a file cannot be written.
    """
    folder = Path(folder)
    queries = {score.task: read_queries(folder, score.task) for score in evaluation.scores}
    regions = {task: regions_of(table) for task, table in queries.items()}
    page = retrievals_page(evaluation, queries)
    remarks = []
    if page.unreadable:
        remarks.append(f"{page.unreadable} pictures of the page of retrievals cannot be read.")
    try:
        _draw(folder, evaluation, queries)
    except MissingExtraError as error:
        remarks.append(f"The figures are left out: {error}")
    whole = replace(evaluation, remarks=(*evaluation.remarks, *remarks))
    texts = {
        "scores.csv": scores_csv(evaluation.scores),
        "table.md": report_markdown(whole, regions),
        "table.tex": report_latex(evaluation),
        "retrievals.html": page.html,
    }
    (folder / "regions.csv").unlink(missing_ok=True)
    if any(len(table) for table in regions.values()):
        texts["regions.csv"] = regions_csv(regions)
    for name, text in texts.items():
        write_text(folder / name, text)
    return tuple(remarks)


def _draw(folder: Path, evaluation: Evaluation, queries: Mapping[str, pd.DataFrame]) -> None:
    """All figures that the queries allow; MissingExtraError without matplotlib."""
    from geobridge.evaluation.report import figures

    for path in (*folder.glob("failures-*.png"), folder / "recall_distance.png"):
        path.unlink(missing_ok=True)  # of tasks that are no longer measured

    title = f"{evaluation.title}: {evaluation.model}"
    ranks = {task: table["rank"].to_numpy(np.float64) for task, table in queries.items()}
    galleries = {score.task: score.gallery for score in evaluation.scores}
    figures.draw_recall_at_k(folder / "recall_at_k.png", title, ranks, galleries)
    errors = {task: table["error_m"].to_numpy(np.float64) for task, table in queries.items()}
    errors = {task: error for task, error in errors.items() if np.isfinite(error).any()}
    if errors:
        figures.draw_recall_distance(folder / "recall_distance.png", title, errors)
    for task in errors:
        if len(with_positions(queries[task][queries[task]["error_m"].notna()])):
            name = f"failures-{query_table(folder, task).stem}.png"
            figures.draw_failures(folder / name, f"{title}, {task}", queries[task])
