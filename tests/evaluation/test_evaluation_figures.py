"""Figures of a report: the right lines, nothing blank, or one clear sentence."""

import importlib
import math
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from report_stage import ERRORS_M, RANKS, make_evaluation, value, write_folder

from geobridge.errors import EvaluationError, MissingExtraError
from geobridge.evaluation.report import figures
from geobridge.evaluation.report.figures import (
    draw_failures,
    draw_recall_at_k,
    draw_recall_distance,
    sweep_figure,
)
from geobridge.evaluation.report.queries import read_queries


@pytest.fixture
def saved(monkeypatch):
    """The last figure that was written."""
    seen = []
    save = figures._save

    def spy(figure, *rest):
        seen.append(figure)
        save(figure, *rest)

    monkeypatch.setattr(figures, "_save", spy)
    return seen


@pytest.fixture
def queries(tmp_path):
    write_folder(tmp_path, make_evaluation())
    return read_queries(tmp_path, "D2S")


def lines_of(figure):
    return {line.get_label(): line for axes in figure.axes for line in axes.get_lines()}


def height_at(line, x):
    """Of a line of steps, in per cent."""
    xs, ys = line.get_data()
    return ys[np.searchsorted(xs, x, side="right") - 1]


def colors_in(path):
    with Image.open(path) as picture:
        return {tuple(color) for color in np.asarray(picture.convert("RGB")).reshape(-1, 3)}


def test_recall_by_distance_steps_up_at_each_error(tmp_path, saved):
    path = tmp_path / "a.png"

    draw_recall_distance(path, "title", {"D2S": np.array(ERRORS_M), "S2D": np.full(2, math.nan)})

    # Of six errors five are known: 0, 30, 120, 900 and 15,000 m.
    lines = lines_of(saved[0])
    assert list(lines) == ["D2S, 5 of 6"]
    line = lines["D2S, 5 of 6"]
    assert [height_at(line, x) for x in (1, 29.9, 30, 120, 899, 900, 20_000)] == [
        20, 20, 40, 60, 60, 80, 100,
    ]  # fmt: skip
    assert (0x00, 0x72, 0xB2) in colors_in(path)


def test_recall_by_distance_without_a_distance_is_refused(tmp_path):
    with pytest.raises(EvaluationError, match="without a known error"):
        draw_recall_distance(tmp_path / "a.png", "title", {"D2S": np.full(3, math.nan)})


def test_recall_at_k_counts_queries_without_a_right_reference_as_missed(tmp_path, saved):
    draw_recall_at_k(tmp_path / "a.png", "title", {"D2S": np.array(RANKS)}, {"D2S": 50})

    (line,) = lines_of(saved[0]).values()
    assert line.get_label() == "D2S 33.3"
    shares = [height_at(line, k) for k in (1, 2, 10, 11, 40, 50)]
    assert shares == pytest.approx([200 / 6, 50, 50, 400 / 6, 500 / 6, 500 / 6])


def test_many_tasks_get_several_panels(tmp_path, saved):
    ranks = {f"{place}": np.array(RANKS) for place in range(10)}

    draw_recall_at_k(tmp_path / "a.png", "title", ranks, dict.fromkeys(ranks, 50))

    assert [len(axes.get_lines()) for axes in saved[0].axes] == [9, 1]


def test_the_map_is_in_metres_around_the_middle_of_each_region(tmp_path, queries, saved):
    draw_failures(tmp_path / "a.png", "title", queries)

    # south has three failures and comes first; the query without an error is on no map.
    south, north = saved[0].axes[:2]
    assert south.get_title("left") == "south: R@1 0.0 %, 3 queries"
    assert north.get_title("left") == "north: R@1 100.0 %, 2 queries"
    # A thousandth of a degree of latitude at 48 degrees is 111.2 m.
    places = np.asarray(south.collections[0].get_offsets())
    assert places[:, 0] == pytest.approx([0, 0, 0], abs=0.01)
    assert places[:, 1] == pytest.approx([-111.2, 0, 111.2], abs=0.1)
    assert south.get_ylabel() == "north, m"
    assert list(south.collections[0].get_array()) == [120, 900, 15_000]


def test_the_map_holds_across_the_antimeridian(tmp_path, queries, saved):
    queries["query_lon"] = [179.999, -179.999, *[179.999] * 4]
    queries["query_lat"] = 0.0
    queries["region"] = None

    draw_failures(tmp_path / "a.png", "title", queries)

    east = saved[0].axes[0].collections[0].get_offsets()[:, 0]
    assert np.ptp(east) == pytest.approx(222.6, abs=0.1)
    assert saved[0].axes[0].get_title("left").startswith("all: ")


def test_a_map_of_its_own_is_drawn_in_its_own_metres(tmp_path, queries, saved):
    queries[["query_lat", "query_lon"]] = math.nan
    queries["query_x_m"], queries["query_y_m"] = np.arange(6) * 1000.0, 5.0

    draw_failures(tmp_path / "a.png", "title", queries[queries["region"] == "south"])

    axes = saved[0].axes[0]
    assert axes.get_xlabel() == "east, km"
    assert list(axes.collections[0].get_offsets()[:, 0]) == [2, 3, 4]


def test_a_map_without_positions_is_refused(tmp_path, queries):
    queries["query_lat"] = math.nan

    with pytest.raises(EvaluationError, match="without positions and errors"):
        draw_failures(tmp_path / "a.png", "title", queries)


def test_a_sweep_has_a_line_with_its_interval_for_each_series(tmp_path, saved):
    series = {
        "D2S": [value(0.8, 0.7, 0.9), value(0.5, 0.4, 0.6)],
        "T2S": [value(0.2, 0.1, 0.3), value(math.nan)],
    }

    sweep_figure(tmp_path / "a.png", "title", "metres a pixel", [0.3, 10], series, log=True)

    axes = saved[0].axes[0]
    assert list(lines_of(saved[0])["D2S"].get_ydata()) == [80, 50]
    assert axes.get_xscale() == "log"
    assert axes.collections[0].get_datalim(axes.transData).extents[[1, 3]] == pytest.approx(
        [40, 90]
    )
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.3", "10"]


def test_words_are_swept_side_by_side(tmp_path, saved):
    series = {name: [value(0.5, 0.4, 0.6)] * 2 for name in ("D2S", "S2D")}

    sweep_figure(tmp_path / "a.png", "title", "weather", ["fog", "rain & $now"], series)

    axes = saved[0].axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["fog", r"rain & \$now"]
    first, second = (bars.lines[0].get_xdata() for bars in axes.containers)
    assert list(first) == pytest.approx([-0.15, 0.85])
    assert list(second) == pytest.approx([0.15, 1.15])


def test_a_sweep_of_another_length_is_refused(tmp_path):
    with pytest.raises(EvaluationError, match="D2S has 1 values for 2 points"):
        sweep_figure(tmp_path / "a.png", "t", "x", [1, 2], {"D2S": [value(0.5)]})


def test_dollar_signs_are_no_formulas(tmp_path):
    draw_recall_at_k(tmp_path / "a.png", "$x", {"$y_{": np.array(RANKS)}, {"$y_{": 50})


def test_names_that_the_font_cannot_write_are_no_warnings(tmp_path, recwarn):
    draw_recall_at_k(tmp_path / "a.png", "日本", {"東京": np.ones(2)}, {"東京": 2})

    assert not recwarn.list


def test_a_figure_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(EvaluationError, match="cannot be written"):
        draw_recall_at_k(tmp_path / "no" / "a.png", "t", {"D2S": np.ones(2)}, {"D2S": 2})


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)
    monkeypatch.delitem(sys.modules, "geobridge.evaluation.report.figures")

    with pytest.raises(MissingExtraError, match=r"'matplotlib', .* geobridge\[train\]"):
        importlib.import_module("geobridge.evaluation.report.figures")


def test_a_query_table_of_one_point_is_drawn(tmp_path, queries):
    draw_failures(tmp_path / "a.png", "title", pd.DataFrame(queries.iloc[:1]))

    assert (tmp_path / "a.png").stat().st_size > 0
