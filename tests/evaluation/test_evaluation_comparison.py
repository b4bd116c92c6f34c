"""Two reports compared query by query: matched by name, and only where they are comparable."""

import csv
import math

import numpy as np
import pytest
from report_stage import make_evaluation, make_score, query_rows, value, write_folder

from geobridge.errors import EvaluationError
from geobridge.evaluation.report.comparison import compare_reports, write_comparison

VALUES = {"R@1": value(0.3), "mean rank": value(11.0), "mean error": value(99.0), "R@5": value(0.5)}


def folder(
    path, task="D2S", order=None, options=None, benchmark="somewhere", gallery=50, **columns
):
    """A report whose columns are given; without `R@5`, which no query has by itself."""
    score = make_score(task, values=VALUES, gallery=gallery)
    evaluation = make_evaluation(score, options=options or {}, benchmark=benchmark, model=path.name)
    rows = query_rows(score, **columns)
    if order is not None:
        rows = {name: [held[row] for row in order] for name, held in rows.items()}
    return write_folder(path, evaluation, **rows)


def test_queries_are_matched_by_name(tmp_path):
    first = folder(tmp_path / "a", **{"R@1": [1.0, 1, 0, 0, 0, 0], "error_m": [9.0] * 6})
    second = folder(
        tmp_path / "b",
        order=[5, 4, 3, 2, 1, 0],
        **{"R@1": [1.0, 0, 1, 1, 0, 0], "error_m": [9.0, 12, 3, 3, 9, math.nan]},
    )

    recall, rank, error = compare_reports(first, second)

    assert [recall.measure, rank.measure, error.measure] == ["R@1", "mean rank", "mean error"]
    assert (recall.first, recall.second) == pytest.approx((2 / 6, 3 / 6))
    found = recall.comparison
    assert found.difference == pytest.approx(1 / 6)
    # By lot, one of two losses against gains: |sum| >= 1 of three signs always.
    assert (found.better, found.worse, found.equal, found.p_value) == (2, 1, 3, 1.0)
    assert rank.comparison.difference == 0
    assert rank.comparison.queries == 5


def test_fewer_metres_are_better(tmp_path):
    first = folder(tmp_path / "a", error_m=[9.0] * 6)
    second = folder(tmp_path / "b", error_m=[9.0, 12, 3, 3, 9, math.nan])

    error = compare_reports(first, second)[-1]

    # Means of the five queries that both know: 9, and (9 + 12 + 3 + 3 + 9) / 5.
    assert (error.first, error.second) == pytest.approx((9.0, 7.2))
    assert error.comparison.difference == pytest.approx(-1.8)
    assert (error.comparison.better, error.comparison.worse, error.comparison.equal) == (2, 1, 2)


def test_a_measure_that_no_query_has_in_both_is_left_out(tmp_path):
    first = folder(tmp_path / "a", error_m=[math.nan] * 6)
    second = folder(tmp_path / "b")

    assert [item.measure for item in compare_reports(first, second)] == ["R@1", "mean rank"]


def test_a_comparison_is_written_as_csv_and_markdown(tmp_path):
    first = folder(tmp_path / "a|a", **{"R@1": np.zeros(6)})
    second = folder(tmp_path / "b", **{"R@1": np.ones(6)})

    write_comparison(tmp_path / "out", first, second)

    with (tmp_path / "out" / "comparison.csv").open(newline="") as file:
        recall = next(csv.DictReader(file))
    assert recall["measure"] == "R@1"
    assert [recall[name] for name in ("first", "second", "difference")] == ["0", "1", "1"]
    assert [recall[name] for name in ("better", "worse", "equal", "queries")] == [
        "6",
        "0",
        "0",
        "6",
    ]
    text = (tmp_path / "out" / "comparison.md").read_text()
    assert "- first: a\\|a, fingerprint c0ffee" in text
    row = next(line for line in text.splitlines() if line.startswith("| D2S | R@1"))
    assert "| 0.00 | 100.00 | +100.00 | [+100.00, +100.00] |" in row


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"options": {"distractors": "drop"}}, r"is of options \{\} and .* of \{'distr"),
        ({"benchmark": "elsewhere"}, "is of benchmark somewhere and .* of elsewhere"),
        ({"gallery": 40}, "among 50 references in .* and 40 in"),
        ({"query": [f"p{row}" for row in range(6)]}, r"12 are in one only, such as 'p0'"),
        ({"task": "S2D"}, "have no task in common"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path, changes, message):
    first, second = folder(tmp_path / "a"), folder(tmp_path / "b", **changes)

    with pytest.raises(EvaluationError, match=message):
        compare_reports(first, second)


def test_a_folder_without_a_report_is_refused(tmp_path):
    with pytest.raises(EvaluationError, match="evaluate"):
        compare_reports(folder(tmp_path / "a"), tmp_path)


def test_tasks_of_one_report_only_are_named(tmp_path):
    scores = [make_score(task, values=VALUES) for task in ("D2S", "S2D")]
    first = write_folder(tmp_path / "a", make_evaluation(*scores))
    second = write_folder(tmp_path / "b", make_evaluation(scores[0]))

    write_comparison(tmp_path, first, second)

    assert "one of the two only: S2D." in (tmp_path / "comparison.md").read_text()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    first = folder(tmp_path / "a")
    (tmp_path / "file").write_text("")

    with pytest.raises(EvaluationError, match=r"file cannot be made .* give another --out"):
        write_comparison(tmp_path / "file", first, first)
