"""Tables of a report: the right numbers, in the right units, safe in Markdown and LaTeX."""

import csv
import io
import math

import pytest
from report_stage import make_evaluation, make_score, query_rows, value, write_folder
from rich.console import Console

from geobridge.errors import EvaluationError
from geobridge.evaluation.report.queries import read_queries
from geobridge.evaluation.report.tables import (
    header,
    regions_csv,
    regions_of,
    report_latex,
    report_markdown,
    scores_csv,
    summary,
    sweep_table,
)

NONE = "\N{EN DASH}"


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def cells_of(line):
    return line.removeprefix("| ").removesuffix(" |").split(" | ")


def markdown_rows(text, starts):
    return [cells_of(line) for line in text.splitlines() if line.startswith(starts)]


@pytest.fixture
def queries(tmp_path):
    write_folder(tmp_path, make_evaluation())
    return read_queries(tmp_path, "D2S")


@pytest.mark.parametrize(
    ("measure", "told"),
    [
        ("R@1", "R@1, %"),
        ("AP (plain)", "AP (plain), %"),
        ("SDM@1", "SDM@1, %"),
        ("L@50", "L@50, %"),
        ("hit rate (code)", "hit rate (code), %"),
        ("Dis@3", "Dis@3, m"),
        ("median error", "median error, m"),
        ("error q90", "error q90, m"),
        ("mean rank", "mean rank"),
    ],
)
def test_measures_are_told_with_their_unit(measure, told):
    assert header(measure) == told


def test_scores_have_a_row_a_measure_with_the_asked_for_first():
    rows = rows_of(scores_csv([make_score()]))

    assert [row["measure"] for row in rows] == [
        "R@1", "R@5", "AP (trapezoid)", "mean rank", "median error",
    ]  # fmt: skip
    assert rows[0] == {
        "task": "D2S",
        "measure": "R@1",
        "value": "0.3333333333",
        "low": "0",
        "high": "0.75",
        "chance": "0.02",
        "queries": "6",
        "without_positive": "1",
        "gallery": "50",
    }
    assert rows[2]["low"] == rows[2]["chance"] == ""


def test_regions_have_their_recall_and_median_error(queries):
    # north: ranks 1 1, errors 0 30; south: 2 11 40, errors 120 900 15000; none: no rank, no error.
    rows = rows_of(regions_csv({"D2S": regions_of(queries)}))

    assert [(row["region"], row["queries"], row["R@1"]) for row in rows] == [
        ("south", "3", "0"),
        ("no region", "1", "0"),
        ("north", "2", "1"),
    ]
    assert [row["median_error_m"] for row in rows] == ["900", "", "15"]


def test_queries_without_regions_have_no_table_of_them(queries):
    queries["region"] = None

    assert regions_of(queries).empty
    assert "## Regions" not in report_markdown(make_evaluation(), {"D2S": regions_of(queries)})


def test_markdown_has_numbers_intervals_gallery_and_definitions(queries):
    text = report_markdown(make_evaluation(), {"D2S": regions_of(queries)})

    (ours,) = markdown_rows(text, "| D2S | mini_2 & co")
    assert ours == [
        "D2S", "mini_2 & co", "33.33 [0.00, 75.00]", "50.00 [16.67, 83.33]", "40.00", "6", "50",
    ]  # fmt: skip
    (chance,) = markdown_rows(text, "|  | by lot")
    assert chance[1:5] == ["by lot", "2.00", "10.00", NONE]
    assert "- options: distractors=keep" in text
    assert "6 queries among 50 references; for 1 of the queries none of them is right." in text
    assert "- R@1: Share of queries \\| whose first \\<reference> is right." in text
    assert ["mean rank", "11.0", "[1.5, 25.2]", NONE] in [
        row[1:] for row in markdown_rows(text, "|  | ")
    ]
    assert "- 3 pictures are missing." in text
    assert markdown_rows(text, "| south")[0] == ["south", "3", "0.00", "900.0"]


def test_text_cannot_break_out_of_a_table(queries):
    queries["region"] = "a | b\n# c"

    text = report_markdown(make_evaluation(model="x|y\n\n# z"), {"D2S": regions_of(queries)})

    assert "\n# z" not in text
    assert "\n# c" not in text
    assert "| a \\| b # c | 6 |" in text


def test_definitions_that_differ_name_their_tasks():
    other = make_score("S2D", definitions={"R@1": "Another.", "R@5": "Of 5."})

    text = report_markdown(make_evaluation(make_score(), other), {})

    assert "- R@1 (D2S): Share" in text
    assert "- R@1 (S2D): Another." in text
    assert text.count("Of 5.") == 1


@pytest.fixture
def university():
    values = {"R@1": value(0.5), "AP (trapezoid)": value(0.6), "AP (reciprocal)": value(0.7)}
    score = make_score(values=values, headline=("R@1", "AP (trapezoid)"), definitions={})
    options = {"distractors": "keep", "extra_distractors": None}
    return make_evaluation(
        score, benchmark="university-1652", title="University-1652", options=options
    )


def test_published_numbers_stand_beside_ours_with_source_and_verdict(university):
    text = report_markdown(university, {})

    header_row = next(line for line in text.splitlines() if line.startswith("| task | model"))
    assert cells_of(header_row)[2:5] == ["R@1, %", "AP (trapezoid), %", "AP (reciprocal), %"]
    (theirs,) = markdown_rows(text, "|  | Sample4Geo")
    assert theirs[1:] == ["Sample4Geo", "92.65", "93.81", NONE, "", "", "differs [1]"]
    note = next(line for line in text.splitlines() if line.startswith("1. "))
    assert "Protocol differs." in note
    assert "Ours is measured so with distractors=drop." in note
    assert "Source: State-of-the-art/README.md" in note
    assert text.count("Ties count against the model here") == 1


def test_published_numbers_match_under_the_options_of_theirs(university):
    options = {"distractors": "drop", "extra_distractors": None}

    text = report_markdown(
        make_evaluation(*university.scores, benchmark="university-1652", options=options), {}
    )

    assert markdown_rows(text, "|  | Sample4Geo")[0][-1] == "matches [1]"
    assert markdown_rows(text, "|  | QDFL")[0][-1] == "not checked [2]"


def test_without_published_numbers_nothing_is_said_of_protocols():
    text = report_markdown(make_evaluation(), {})

    assert "protocol" not in text
    assert "Ties" not in text


def test_latex_is_escaped_and_complete(university):
    text = report_latex(
        make_evaluation(*university.scores, model="50 %_$#{}~^\\<>|", benchmark="university-1652")
    )

    escaped = (
        r"50 \%\_\$\#\{\}\textasciitilde{}\textasciicircum{}\textbackslash{}"
        r"\textless{}\textgreater{}\textbar{}"
    )
    assert f"D2S & {escaped} & 50.00 & 60.00 & 70.00 & 6 & 50 \\\\" in text
    assert r" & Sample4Geo$^{1}$ & 92.65 & 93.81 & -- &  &  \\" in text
    assert r"$^{1}$ Protocol differs. " in text
    assert r"\begin{tabular}{llrrrrr}" in text
    assert all(rule in text for rule in (r"\toprule", r"\midrule", r"\bottomrule"))
    body = text[text.index(r"\midrule") : text.index(r"\bottomrule")]
    assert {line.count(" & ") for line in body.splitlines() if line.endswith(r"\\")} == {6}
    assert text.isascii()


def test_latex_has_intervals_and_definitions():
    text = report_latex(make_evaluation())

    assert r"33.33 {\scriptsize [0.00, 75.00]}" in text
    assert (
        r"R@1: Share of queries \textbar{} whose first \textless{}reference\textgreater{}" in text
    )


def test_the_summary_is_no_markup():
    console = Console(width=160, record=True, file=io.StringIO())

    console.print(summary(make_evaluation(model="[bold]x[/nothing]")))

    text = console.export_text()
    assert "[bold]x[/nothing]" in text
    assert "33.33" in text
    assert "[0.00, 75.00]" in text


def test_a_sweep_has_a_row_a_point():
    series = {"D2S": [value(0.5, 0.4, 0.6), value(math.nan)]}

    text = sweep_table("metres a pixel", [0.3, 10], series)

    assert text.splitlines() == [
        "| metres a pixel | D2S, R@1, % |",
        "| --- | ---: |",
        "| 0.3 | 50.00 [40.00, 60.00] |",
        f"| 10 | {NONE} |",
    ]


def test_a_sweep_with_a_point_too_few_is_refused():
    with pytest.raises(EvaluationError, match="D2S has 1 values for 2 points"):
        sweep_table("metres", [1, 2], {"D2S": [value(0.5)]})


def test_tables_of_queries_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(EvaluationError, match=r"D2S\.parquet cannot be read"):
        read_queries(tmp_path, "D2S")

    (tmp_path / "queries").mkdir()
    (tmp_path / "queries" / "D2S.parquet").write_bytes(b"no parquet")
    with pytest.raises(EvaluationError, match="is no table of queries"):
        read_queries(tmp_path, "D2S")


def test_tables_of_queries_with_a_name_twice_are_refused(tmp_path):
    write_folder(tmp_path, make_evaluation(), query=["q"] * 6)

    with pytest.raises(EvaluationError, match="or one twice"):
        read_queries(tmp_path, "D2S")


def test_columns_without_a_value_are_there(tmp_path):
    score = make_score()
    rows = query_rows(score)
    write_folder(tmp_path, make_evaluation(), region=[None] * 6, query_lat=[None] * 6)

    found = read_queries(tmp_path, "D2S")

    assert found["region"].isna().all()
    assert found["query_lat"].dtype == "float64"
    assert found["query_x_m"].isna().all()
    assert list(found["query"]) == rows["query"]
