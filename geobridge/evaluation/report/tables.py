"""The numbers of an evaluation as CSV, Markdown and LaTeX, beside what others have published."""

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from rich.table import Table
from rich.text import Text

from geobridge.errors import EvaluationError
from geobridge.evaluation.published import TIES, Published, published, verdict
from geobridge.evaluation.report.queries import region_names
from geobridge.evaluation.run import Evaluation
from geobridge.evaluation.scores import Score, Value

_NONE = "\N{EN DASH}"
_WORST = 12
"""Regions of a task that the Markdown shows; the table of regions has all."""

_CERTAINTY = {
    "paper": "read in the paper",
    "leaderboard": "read in the leaderboard",
    "code": "read in code or names of weights",
    "3rd": "stated by a public repository",
    "mem": "not verified",
}
_SCORES = (
    "task", "measure", "value", "low", "high", "chance", "queries", "without_positive", "gallery",
)  # fmt: skip


# ---- measures ---------------------------------------------------------------------------------


def unit_of(measure: str) -> str:
    """How a measure is told: `%`, `m`, or nothing for ranks."""
    if "rank" in measure:
        return ""
    return "m" if "error" in measure or measure.startswith("Dis@") else "%"


def shown(value: float, measure: str) -> str:
    """A value in the unit of its measure, without the unit: shares in per cent."""
    if not math.isfinite(value):
        return _NONE
    return f"{100 * value:.2f}" if unit_of(measure) == "%" else f"{value:,.1f}"


def shown_interval(value: Value, measure: str) -> str:
    """Both ends, such as `[91.80, 93.41]`; nothing where there are none."""
    if not (math.isfinite(value.low) and math.isfinite(value.high)):
        return ""
    return f"[{shown(value.low, measure)}, {shown(value.high, measure)}]"


def header(measure: str) -> str:
    """A measure with its unit, such as `R@1, %`."""
    return ", ".join(filter(None, (measure, unit_of(measure))))


def in_order(score: Score) -> list[str]:
    """Its measures: those that the data set's own rules ask for first."""
    return list(dict.fromkeys([*_headline(score), *score.values]))


def _headline(score: Score) -> list[str]:
    return [measure for measure in score.headline if measure in score.values]


# ---- CSV --------------------------------------------------------------------------------------


def scores_csv(scores: Sequence[Score]) -> str:
    """One row a task and measure.

    Columns: task; measure; value, low and high (95 % bootstrap interval over places) and chance
    (where the order is drawn by lot), shares from 0 to 1, distances in metres, empty where not
    defined; queries; without_positive, how many of them have no right reference; gallery, how
    many references are ranked.
    """
    rows = []
    for score in scores:
        for measure in in_order(score):
            value = score.values[measure]
            chance = score.chance.get(measure, math.nan)
            numbers = (value.value, value.low, value.high, chance)
            counts = (score.queries, score.without_positive, score.gallery)
            rows.append((score.task, measure, *numbers, *counts))
    return csv_text(_SCORES, rows)


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as CSV (RFC 4180 but for its line ends); NaN and None are empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_plain_number(cell) for cell in row])
    return text.getvalue()


def _plain_number(cell: object) -> object:
    if isinstance(cell, float):
        return f"{cell:.10g}" if math.isfinite(cell) else ""
    return cell


# ---- regions ----------------------------------------------------------------------------------


def regions_of(queries: pd.DataFrame) -> pd.DataFrame:
    """R@1 and median error of each region.

    Args:
        queries: of one task, see `queries.read_queries`.

    Returns:
        Columns region, queries, R@1 (0 to 1) and median_error_m (NaN where no error is known),
        the region with the lowest R@1 first, of equals the one of most queries. Empty where no
        query has a region.
    """
    if queries["region"].isna().all():
        return pd.DataFrame(columns=["region", "queries", "R@1", "median_error_m"])
    table = pd.DataFrame(
        {
            "region": region_names(queries),
            "found": queries["rank"] == 1,
            "error_m": queries["error_m"],
        }
    )
    found = table.groupby("region", sort=True).agg(
        queries=("found", "size"), recall=("found", "mean"), median_error_m=("error_m", "median")
    )
    found = found.sort_values(["recall", "queries"], ascending=[True, False], kind="stable")
    return found.reset_index().rename(columns={"recall": "R@1"})


def regions_csv(regions: Mapping[str, pd.DataFrame]) -> str:
    """The regions of each task as CSV: task, region, queries, R@1 (0 to 1), median_error_m."""
    rows = [
        (task, row.region, int(row.queries), float(row.recall), float(row.median_error_m))
        for task, table in regions.items()
        for row in table.rename(columns={"R@1": "recall"}).itertuples()
    ]
    return csv_text(("task", "region", "queries", "R@1", "median_error_m"), rows)


# ---- ours beside the published ----------------------------------------------------------------


@dataclass(frozen=True)
class _Row:
    """A row of the table of results: ours, chance, or a published one.

    Attributes:
        name: of model or method.
        cells: value and interval, by measure.
        is_ours: whether it is the model that was measured.
        counts: queries and gallery.
        protocol: whether the protocols match.
        note: number of its footnote.
    """

    name: str
    cells: Mapping[str, tuple[str, str]]
    is_ours: bool = False
    counts: tuple[str, str] = ("", "")
    protocol: str = ""
    note: int | None = None


@dataclass(frozen=True)
class _Results:
    measures: list[str]
    tasks: list[tuple[str, list[_Row]]]
    notes: list[str]


def _results(evaluation: Evaluation) -> _Results:
    """Rows of all tasks, with the measures that any of them tells and numbered footnotes."""
    notes: list[str] = []
    tasks = []
    measures = [measure for score in evaluation.scores for measure in _headline(score)]
    for score in evaluation.scores:
        others = published(evaluation.benchmark, score.task, evaluation.options)
        measures += [measure for entry in others for measure in entry.values]
        rows = [_ours(evaluation.model, score), _by_lot(score)]
        rows += [_theirs(entry, evaluation.options, notes) for entry in others]
        tasks.append((score.task, rows))
    return _Results(list(dict.fromkeys(measures)), tasks, notes)


def _ours(model: str, score: Score) -> _Row:
    cells = {
        measure: (shown(value.value, measure), shown_interval(value, measure))
        for measure, value in score.values.items()
    }
    counts = (f"{score.queries:,}", f"{score.gallery:,}")
    return _Row(model, cells, is_ours=True, counts=counts)


def _by_lot(score: Score) -> _Row:
    return _Row(
        "by lot", {measure: (shown(value, measure), "") for measure, value in score.chance.items()}
    )


def _theirs(entry: Published, options: Mapping[str, object], notes: list[str]) -> _Row:
    found = verdict(entry, options)
    source = f"Source: {entry.source} ({_CERTAINTY[entry.certainty]})."
    note = " ".join(filter(None, (f"Protocol {found.state}.", found.reason, source)))
    if note not in notes:
        notes.append(note)
    cells = {
        measure: (f"{value:,.1f}" if unit_of(measure) == "m" else f"{value:.2f}", "")
        for measure, value in entry.values.items()
    }
    return _Row(entry.method, cells, protocol=found.state, note=notes.index(note) + 1)


# ---- terminal ---------------------------------------------------------------------------------


def summary(evaluation: Evaluation) -> Table:
    """One row a task with the measures that the data set's own rules ask for, for a terminal."""
    measures = list(dict.fromkeys(m for score in evaluation.scores for m in _headline(score)))
    table = Table(
        title=Text(f"{evaluation.title}: {evaluation.model}"),
        title_justify="left",
        caption=Text("brackets: 95 % of bootstrap samples of the places; by lot: random order"),
        caption_justify="left",
    )
    numbers = [*map(header, measures), "R@1 by lot, %", "queries", "gallery"]
    table.add_column("task")
    for name in numbers:
        table.add_column(Text(name), justify="right")
    for score in evaluation.scores:
        ours = _ours(evaluation.model, score)
        cells = ["\n".join(filter(None, ours.cells.get(name, (_NONE,)))) for name in measures]
        chance = shown(score.chance.get("R@1", math.nan), "R@1")
        table.add_row(*map(Text, (score.task, *cells, chance, *ours.counts)))
    return table


# ---- Markdown ---------------------------------------------------------------------------------


def report_markdown(evaluation: Evaluation, regions: Mapping[str, pd.DataFrame]) -> str:
    """Everything that was measured, as a page.

    Args:
        evaluation: what the model came to.
        regions: of each task, see `regions_of`.
    """
    results = _results(evaluation)
    parts = [
        f"# {markdown_line(evaluation.title)}: {markdown_line(evaluation.model)}",
        _facts(evaluation),
        "## Results",
        _legend(results),
        _results_markdown(results),
        *_notes_markdown(results),
        _tasks_markdown(evaluation.scores),
        *_remarks_markdown(evaluation),
        *_regions_markdown(regions),
        "## All measures",
        _measures_markdown(evaluation.scores),
        "## Definitions",
        *_definitions_markdown(evaluation.scores),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """A table in Markdown; cells are escaped here.

    Args:
        columns: its headers.
        rows: as many cells each.
        words: how many columns at the left hold words; numbers stand at the right.
    """
    ruler = ["---" if place < words else "---:" for place in range(len(columns))]
    lines = [
        [markdown_line(cell) for cell in columns],
        ruler,
        *([markdown_line(cell) for cell in row] for row in rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _facts(evaluation: Evaluation) -> str:
    options = _options(evaluation)
    versions = ", ".join(f"{name} {value}" for name, value in evaluation.versions.items())
    facts = {
        "benchmark": f"{evaluation.benchmark} ({evaluation.source})",
        "options": options or "none",
        "model": f"{evaluation.model}, fingerprint {evaluation.fingerprint}",
        "computed with": versions,
    }
    return "\n".join(f"- {name}: {markdown_line(value)}" for name, value in facts.items() if value)


def _options(evaluation: Evaluation) -> str:
    return ", ".join(
        f"{name}={value}" for name, value in evaluation.options.items() if value is not None
    )


def _legend(results: _Results) -> str:
    text = (
        "Brackets are 95 % bootstrap intervals over places. `by lot` is what drawing the order "
        "at random gives at least."
    )
    if results.notes:
        text += (
            " Published numbers stand below ours; the last column says whether their protocol is "
            f"ours. {TIES}"
        )
    return text


def _results_markdown(results: _Results) -> str:
    columns = ["task", "model", *map(header, results.measures), "queries", "gallery"]
    if results.notes:
        columns.append("protocol")
    rows = []
    for task, lines in results.tasks:
        for line in lines:
            cells = [
                " ".join(line.cells.get(name, (_NONE, ""))).strip() for name in results.measures
            ]
            first = task if line.is_ours else ""
            row = [first, line.name, *map(str.strip, cells), *line.counts]
            if results.notes:
                row.append(f"{line.protocol} [{line.note}]" if line.note else "")
            rows.append(row)
    return markdown_table(columns, rows, words=2)


def _notes_markdown(results: _Results) -> list[str]:
    return [
        "\n".join(f"{place}. {markdown_line(note)}" for place, note in enumerate(results.notes, 1))
    ]


def _tasks_markdown(scores: Sequence[Score]) -> str:
    lines = []
    for score in scores:
        text = f"{score.queries:,} queries among {score.gallery:,} references"
        if score.without_positive:
            text += f"; for {score.without_positive:,} of the queries none of them is right"
        lines.append(
            " ".join(
                [f"- {markdown_line(score.task)}: {text}.", *map(markdown_line, score.remarks)]
            )
        )
    return "\n".join(lines)


def _remarks_markdown(evaluation: Evaluation) -> list[str]:
    if not evaluation.remarks:
        return []
    return ["## Remarks", "\n".join(f"- {markdown_line(remark)}" for remark in evaluation.remarks)]


def _regions_markdown(regions: Mapping[str, pd.DataFrame]) -> list[str]:
    held = {task: table for task, table in regions.items() if len(table)}
    if not held:
        return []
    parts = ["## Regions"]
    for task, table in held.items():
        rows = [
            (
                str(row.region),
                f"{row.queries:,}",
                shown(float(row.recall), "R@1"),
                shown(float(row.median_error_m), "median error"),
            )
            for row in table.rename(columns={"R@1": "recall"}).head(_WORST).itertuples()
        ]
        more = len(table) - len(rows)
        title = f"{markdown_line(task)}, the lowest R@1 first"
        parts.append(f"{title}{f'; {more} more are in regions.csv' if more else ''}:")
        parts.append(markdown_table(("region", "queries", "R@1, %", "median error, m"), rows))
    return parts


def _measures_markdown(scores: Sequence[Score]) -> str:
    rows = [
        (
            score.task if place == 0 else "",
            header(measure),
            shown(score.values[measure].value, measure),
            shown_interval(score.values[measure], measure),
            shown(score.chance.get(measure, math.nan), measure),
        )
        for score in scores
        for place, measure in enumerate(in_order(score))
    ]
    return markdown_table(("task", "measure", "value", "95 % interval", "by lot"), rows, words=2)


def _definitions_markdown(scores: Sequence[Score]) -> list[str]:
    lines = [
        f"- {markdown_line(f'{measure}{_where(tasks)}: {text}')}"
        for measure, tasks, text in _definitions(scores)
    ]
    return ["\n".join(lines)]


def _definitions(scores: Sequence[Score]) -> list[tuple[str, list[str], str]]:
    """Measure, the tasks that define it so (none named where all agree), and the definition."""
    held: dict[str, dict[str, list[str]]] = {}
    for score in scores:
        for measure in in_order(score):
            if measure in score.definitions:
                texts = held.setdefault(measure, {})
                texts.setdefault(score.definitions[measure], []).append(score.task)
    return [
        (measure, tasks if len(texts) > 1 else [], text)
        for measure, texts in held.items()
        for text, tasks in texts.items()
    ]


def _where(tasks: Sequence[str]) -> str:
    return f" ({', '.join(tasks)})" if tasks else ""


def markdown_line(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\|<*])", r"\\\1", " ".join(text.split()))


# ---- sweeps -----------------------------------------------------------------------------------


def sweep_table(
    x_name: str,
    x_values: Sequence[float] | Sequence[str],
    series: Mapping[str, Sequence[Value]],
    measure: str = "R@1",
) -> str:
    """How a measure changes with what is swept, as a table in Markdown with intervals.

    Args:
        x_name: what is swept, with its unit.
        x_values: its X values.
        series: X values each, such as R@1 of a direction, shares from 0 to 1.
        measure: what the values are of, which decides on their unit.

    Raises:
        EvaluationError: a series has another length than `x_values`.
    """
    check_sweep(x_values, series)
    rows = []
    for place, x in enumerate(x_values):
        values = [values[place] for values in series.values()]
        cells = [f"{shown(v.value, measure)} {shown_interval(v, measure)}".strip() for v in values]
        rows.append([x if isinstance(x, str) else f"{x:g}", *cells])
    return markdown_table([x_name, *(f"{name}, {header(measure)}" for name in series)], rows)


def check_sweep(
    x_values: Sequence[float] | Sequence[str], series: Mapping[str, Sequence[Value]]
) -> None:
    """Refuse a series that has not one value for each point of a sweep.

    Raises:
        EvaluationError: naming the series.
    """
    for name, values in series.items():
        if len(values) != len(x_values):
            raise EvaluationError(
                f"{name} has {len(values)} values for {len(x_values)} points of a sweep: give one "
                f"for each."
            )


# ---- LaTeX ------------------------------------------------------------------------------------


def report_latex(evaluation: Evaluation) -> str:
    """The table of results for a paper; it needs the package `booktabs` and nothing else.

    Sources of published numbers and definitions stand below the table, as its footnotes.
    """
    results = _results(evaluation)
    columns = ["Task", "Model", *map(header, results.measures), "Queries", "Gallery"]
    blocks = ["\n".join(_latex_rows(task, rows, results)) for task, rows in results.tasks]
    caption = (
        f"{_tex(evaluation.title)} ({_tex(evaluation.benchmark)}), model {_tex(evaluation.model)}. "
        r"Brackets: 95\,\% bootstrap intervals over places."
    )
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{caption}}}",
        rf"\label{{tab:{_slug(evaluation.benchmark)}}}",
        rf"\begin{{tabular}}{{ll{'r' * (len(columns) - 2)}}}",
        r"\toprule",
        " & ".join(map(_tex, columns)) + r" \\",
        r"\midrule",
        ("\n" + r"\addlinespace" + "\n").join(blocks),
        r"\bottomrule",
        r"\end{tabular}",
        r"\par\smallskip",
        r"\begin{minipage}{\linewidth}\footnotesize",
        *(rf"{note}\par" for note in _latex_notes(evaluation, results)),
        r"\end{minipage}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex_rows(task: str, rows: Sequence[_Row], results: _Results) -> list[str]:
    lines = []
    for row in rows:
        name = _tex(row.name)
        if row.note:
            name += rf"$^{{{row.note}}}$"
        cells = [_latex_cell(*row.cells.get(measure, (_NONE, ""))) for measure in results.measures]
        counts = [_tex(count) for count in row.counts]
        first = _tex(task) if row.is_ours else ""
        lines.append(" & ".join([first, name, *cells, *counts]) + r" \\")
    return lines


def _latex_cell(value: str, interval: str) -> str:
    return _tex(value) + (rf" {{\scriptsize {_tex(interval)}}}" if interval else "")


def _latex_notes(evaluation: Evaluation, results: _Results) -> list[str]:
    notes = []
    options = _options(evaluation)
    if options:
        notes.append(f"Options: {_tex(options)}.")
    notes += [
        _tex(f"{measure}{_where(tasks)}: {text}")
        for measure, tasks, text in _definitions(evaluation.scores)
        if measure in results.measures
    ]
    if results.notes:
        notes.append(_tex(TIES))
    notes += [rf"$^{{{place}}}$ {_tex(note)}" for place, note in enumerate(results.notes, 1)]
    return notes


_TEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    _NONE: "--",
    **{sign: f"\\{sign}" for sign in "&%$#_"},
}


def _tex(text: str) -> str:
    """Text that LaTeX sets as it is, on one line."""
    return "".join(_TEX.get(sign, sign) for sign in " ".join(text.split()))


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]+", "-", text)
