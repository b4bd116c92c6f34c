"""A report folder: all its files, the same bytes again, and what is left out is said."""

import math
import sys

import pytest
from report_stage import make_evaluation, make_score, write_folder

from geobridge.errors import EvaluationError
from geobridge.evaluation.report import write_report

TEXTS = ("scores.csv", "regions.csv", "table.md", "table.tex", "retrievals.html")


def written(folder):
    return {path.name for path in folder.iterdir() if path.is_file()} - {"evaluation.json"}


def test_a_report_has_tables_figures_and_a_page(tmp_path):
    evaluation = make_evaluation(make_score("D2S 150 m"), make_score("S2D 150 m"))
    write_folder(tmp_path, evaluation)

    remarks = write_report(tmp_path, evaluation)

    assert remarks == ()
    assert written(tmp_path) == {
        *TEXTS,
        "recall_at_k.png",
        "recall_distance.png",
        "failures-D2S-150-m.png",
        "failures-S2D-150-m.png",
    }


def test_the_same_evaluation_gives_the_same_bytes(tmp_path):
    evaluation = make_evaluation()
    folders = [write_folder(tmp_path / name, evaluation) for name in ("one", "two")]

    for folder in folders:
        write_report(folder, evaluation)
    write_report(folders[0], evaluation)

    for name in TEXTS:
        assert folders[0].joinpath(name).read_bytes() == folders[1].joinpath(name).read_bytes()
        assert b"\r" not in folders[0].joinpath(name).read_bytes()


def test_without_positions_there_are_no_figures_of_distance(tmp_path):
    evaluation = make_evaluation()
    write_folder(
        tmp_path, evaluation, error_m=[math.nan] * 6, query_lat=[None] * 6, region=[None] * 6
    )

    write_report(tmp_path, evaluation)

    assert written(tmp_path) == {*TEXTS, "recall_at_k.png"} - {"regions.csv"}


def test_errors_without_positions_of_queries_draw_no_map(tmp_path):
    evaluation = make_evaluation()
    write_folder(tmp_path, evaluation, query_lat=[None] * 6)

    write_report(tmp_path, evaluation)

    assert written(tmp_path) == {*TEXTS, "recall_at_k.png", "recall_distance.png"}


def test_without_matplotlib_the_figures_are_left_out_and_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)
    monkeypatch.delitem(sys.modules, "geobridge.evaluation.report.figures", raising=False)
    monkeypatch.delattr("geobridge.evaluation.report.figures", raising=False)
    evaluation = make_evaluation()
    write_folder(tmp_path, evaluation)

    (remark,) = write_report(tmp_path, evaluation)

    assert written(tmp_path) == set(TEXTS)
    assert "pip install geobridge[train]" in remark
    text = (tmp_path / "table.md").read_text()
    assert "- The figures are left out: " in text
    assert "- 3 pictures are missing." in text


def test_pictures_that_cannot_be_read_are_counted(tmp_path):
    evaluation = make_evaluation()
    write_folder(tmp_path, evaluation, query_file=[f"gone/{row}.jpg" for row in range(6)])

    remarks = write_report(tmp_path, evaluation)

    # The query without a right reference is on no page.
    assert remarks == ("5 pictures of the page of retrievals cannot be read.",)


def test_a_folder_without_queries_is_refused(tmp_path):
    with pytest.raises(EvaluationError, match="run `geobridge evaluate` again"):
        write_report(tmp_path, make_evaluation())


def test_a_report_that_cannot_be_written_is_refused(tmp_path):
    evaluation = make_evaluation()
    write_folder(tmp_path, evaluation)
    (tmp_path / "table.md").mkdir()

    with pytest.raises(EvaluationError, match=r"table\.md cannot be written \(Is a directory\)"):
        write_report(tmp_path, evaluation)
