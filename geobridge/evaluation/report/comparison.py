"""Two models on the same queries of one benchmark, query by query."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geobridge.errors import EvaluationError
from geobridge.evaluation.confidence import Comparison, Groups, compare_paired, groups_of
from geobridge.evaluation.report.queries import read_queries
from geobridge.evaluation.report.tables import (
    csv_text,
    header,
    in_order,
    markdown_line,
    markdown_table,
    shown,
    unit_of,
)
from geobridge.evaluation.report.texts import write_text
from geobridge.evaluation.run import Evaluation
from geobridge.evaluation.scores import Score

Floats = NDArray[np.float64]

# How the columns that are no measure themselves are called where they are averaged.
_AVERAGED = {"mean rank": "rank", "mean error": "error_m"}


@dataclass(frozen=True)
class Compared:
    """One measure of one task, of two models.

    Attributes:
        task: its name.
        measure: its name.
        first, second: means over the queries for which both have a value; shares from 0 to 1,
            metres, or ranks.
        comparison: of the second with the first. Of ranks and metres less is better, so that
            `better` counts the queries whose value is lower in the second.
    """

    task: str
    measure: str
    first: float
    second: float
    comparison: Comparison


def compare_reports(first: str | Path, second: str | Path) -> list[Compared]:
    """Compare two evaluations of one benchmark, query by query.

    Args:
        first: folder of a report.
        second: folder of another, of the same benchmark with the same options.

    Returns:
        Every measure that averages over queries, of every task that both have, in the order of
        the first.

    Raises:
        EvaluationError: a folder holds no report, the two are of different benchmarks, options,
            queries or galleries, or have no task in common.
    """
    folders = Path(first), Path(second)
    one, other = (Evaluation.read(folder) for folder in folders)
    _refuse_different(folders, one, other)
    others = {score.task: score for score in other.scores}
    shared = [(score, others[score.task]) for score in one.scores if score.task in others]
    if not shared:
        raise EvaluationError(
            f"{folders[0]} and {folders[1]} have no task in common: evaluate the same directions."
        )
    found = []
    for score, again in shared:
        if score.gallery != again.gallery:
            raise EvaluationError(
                f"{score.task} was ranked among {score.gallery:,} references in {folders[0]} and "
                f"{again.gallery:,} in {folders[1]}: evaluate both on the same data."
            )
        table, counterpart = (read_queries(folder, score.task) for folder in folders)
        found += _compare_task(score, folders, table, counterpart)
    return found


def write_comparison(out: str | Path, first: str | Path, second: str | Path) -> None:
    """Write `comparison.csv` and `comparison.md` of two reports into a folder.

    Args:
        out: the folder; made where it is missing.
        first: folder of a report.
        second: folder of another.

    Raises:
        EvaluationError: as `compare_reports`, or a file cannot be written.
    """
    found = compare_reports(first, second)
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EvaluationError(
            f"{out} cannot be made ({error.strerror}): give another --out."
        ) from error
    write_text(out / "comparison.csv", comparison_csv(found))
    one, other = Evaluation.read(first), Evaluation.read(second)
    write_text(out / "comparison.md", comparison_markdown(one, other, found))


def comparison_csv(found: Sequence[Compared]) -> str:
    """One row a task and measure; shares from 0 to 1, distances in metres."""
    columns = (
        "task", "measure", "first", "second", "difference", "low", "high", "p_value",
        "better", "worse", "equal", "queries",
    )  # fmt: skip
    rows = [
        (
            item.task,
            item.measure,
            item.first,
            item.second,
            item.comparison.difference,
            item.comparison.low,
            item.comparison.high,
            item.comparison.p_value,
            item.comparison.better,
            item.comparison.worse,
            item.comparison.equal,
            item.comparison.queries,
        )
        for item in found
    ]
    return csv_text(columns, rows)


def comparison_markdown(one: Evaluation, other: Evaluation, found: Sequence[Compared]) -> str:
    """The comparison as a page.

    Args:
        one: the first evaluation.
        other: the second.
        found: what `compare_reports` gave of the two.
    """
    columns = (
        "task", "measure", "first", "second", "difference", "95 % interval", "p",
        "better", "worse", "equal",
    )  # fmt: skip
    missing = {score.task for score in one.scores} ^ {score.task for score in other.scores}
    parts = [
        f"# {markdown_line(one.title)}: two models",
        f"- first: {_named(one)}\n- second: {_named(other)}",
        "Paired by query: the same queries are asked of both. Differences are second less first, "
        "with the 95 % bootstrap interval over the places that queries are of; p is how often a "
        "difference as large would come of swapping the two place by place by lot; better, worse "
        "and equal count queries, as the second answers them.",
        markdown_table(columns, map(_cells, found), words=2),
    ]
    if missing:
        parts.append(f"Measured by one of the two only: {', '.join(sorted(missing))}.")
    return "\n\n".join(parts) + "\n"


def _named(evaluation: Evaluation) -> str:
    return f"{markdown_line(evaluation.model)}, fingerprint {evaluation.fingerprint}"


def _cells(item: Compared) -> tuple[str, ...]:
    outcome, measure = item.comparison, item.measure
    return (
        item.task,
        header(measure),
        shown(item.first, measure),
        shown(item.second, measure),
        _signed(outcome.difference, measure),
        f"[{_signed(outcome.low, measure)}, {_signed(outcome.high, measure)}]",
        "< 0.001" if outcome.p_value < 0.001 else f"{outcome.p_value:.3f}",
        *(f"{count:,}" for count in (outcome.better, outcome.worse, outcome.equal)),
    )


def _signed(value: float, measure: str) -> str:
    return f"+{shown(value, measure)}" if value > 0 else shown(value, measure)


def _refuse_different(folders: Sequence[Path], one: Evaluation, other: Evaluation) -> None:
    for what in ("benchmark", "options"):
        first, second = getattr(one, what), getattr(other, what)
        if first != second:
            raise EvaluationError(
                f"{folders[0]} is of {what} {first} and {folders[1]} of {second}: compare reports "
                f"of one benchmark with the same options."
            )


def _compare_task(
    score: Score, folders: Sequence[Path], first: pd.DataFrame, second: pd.DataFrame
) -> list[Compared]:
    names, others = set(first["query"]), set(second["query"])
    if names != others:
        odd = sorted(names ^ others)
        raise EvaluationError(
            f"{score.task} has other queries in {folders[0]} than in {folders[1]} "
            f"({len(odd):,} are in one only, such as {odd[0]!r}): evaluate both on the same data."
        )
    second = second.set_index("query").loc[first["query"]]
    places = first["place"]
    groups = None if places.isna().any() else groups_of(places.tolist())
    found = []
    for measure in in_order(score):
        column = _AVERAGED.get(measure, measure)
        if column in first and column in second:
            one, other = (table[column].to_numpy(np.float64) for table in (first, second))
            found += _compare_measure(score.task, measure, one, other, groups)
    return found


def _compare_measure(
    task: str, measure: str, first: Floats, second: Floats, groups: Groups | None
) -> list[Compared]:
    """The comparison, or none where no query has a value in both."""
    both = ~np.isnan(first) & ~np.isnan(second)
    if not both.any():
        return []
    outcome = compare_paired(first, second, groups=groups)
    if unit_of(measure) != "%":
        outcome = replace(outcome, better=outcome.worse, worse=outcome.better)
    mean, other = float(first[both].mean()), float(second[both].mean())
    return [Compared(task, measure, mean, other, outcome)]
