"""The curves of a run: drawn from its logs, legible, or refused in words."""

import importlib
import sys

import numpy as np
import pytest
from PIL import Image

from geobridge.errors import MissingExtraError, TrainingError
from geobridge.training import curves
from geobridge.training.curves import draw_curves
from geobridge.training.logs import METRICS, VALIDATION
from geobridge.views import NINE_DIRECTIONS

EDGES = ("drone-street", "satellite-drone", "text-satellite")


def write_metrics(folder, steps):
    rows = [f"{step},{step / 60},{9 - step / 100},14,{3 - step / 100},2,,2" for step in steps]
    head = "step,minutes,loss,scale,drone-street,satellite-drone,text-satellite,image"
    (folder / METRICS).write_text("\n".join([head, *rows]) + "\n")


def write_validation(folder, steps):
    ways = [direction.short for direction in NINE_DIRECTIONS]
    rows = [",".join(map(str, [step, *[step / 1000] * len(ways)])) for step in steps]
    (folder / VALIDATION).write_text("\n".join([",".join(["step", *ways]), *rows]) + "\n")


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """Draws tmp_path and gives the labels of each panel's lines, with the lines."""
    panels = []
    finish = curves._finish

    def spy(axes, title):
        finish(axes, title)
        panels.append({line.get_label(): line for line in axes.get_lines()})

    monkeypatch.setattr(curves, "_finish", spy)

    def draw():
        draw_curves(tmp_path)
        return panels

    return draw


def test_a_picture_is_drawn(tmp_path):
    write_metrics(tmp_path, range(10, 310, 10))
    write_validation(tmp_path, range(100, 400, 100))

    path = draw_curves(tmp_path)

    assert path == tmp_path / "curves.png"
    with Image.open(path) as picture:
        assert picture.size == (9 * 120, 8 * 120)
        colors = {tuple(color) for color in np.asarray(picture.convert("RGB")).reshape(-1, 3)}
    assert {(0xD5, 0x5E, 0x00), (0x00, 0x72, 0xB2)} <= colors


def test_each_edge_and_direction_is_a_line_with_its_last_value(tmp_path, drawn):
    write_metrics(tmp_path, [10, 20])
    write_validation(tmp_path, [10, 20])

    loss, recall = drawn()

    # The group `image` is the mean of its edges; the third edge has no value in any row.
    assert list(loss) == ["total 8.80", "drone-street 2.80", "satellite-drone 2.00"]
    assert loss["drone-street 2.80"].get_xydata().tolist() == [[10, 2.9], [20, 2.8]]
    assert list(recall) == [f"{direction.short} 2.0" for direction in NINE_DIRECTIONS]
    assert recall["D2S 2.0"].get_xydata().tolist() == [[10, 1], [20, 2]]


def test_a_pair_has_one_color_and_its_way_back_is_dashed(tmp_path, drawn):
    write_metrics(tmp_path, [10])
    write_validation(tmp_path, [10])

    loss, recall = drawn()
    color = {label.split()[0]: line.get_color() for label, line in (loss | recall).items()}
    dashed = {label.split()[0] for label, line in recall.items() if line.get_linestyle() == "--"}

    assert color["D2S"] == color["S2D"] == color["satellite-drone"]
    assert color["D2P"] == color["P2D"] == color["drone-street"]
    assert len({color[way] for way in ("D2S", "D2P", "P2S", "T2D", "T2S", "T2P")}) == 6
    assert dashed == {"S2D", "P2D", "S2P"}


def test_the_highest_stands_first(tmp_path, drawn):
    write_metrics(tmp_path, [10])
    (tmp_path / VALIDATION).write_text("step,D2S,S2D,naip\n10,0.1,0.3,0.2\n")

    _, recall = drawn()

    assert list(recall) == ["S2D 30.0", "naip 20.0", "D2S 10.0"]


def test_a_long_log_is_drawn_as_means_of_stretches(tmp_path, drawn):
    write_metrics(tmp_path, range(1, 601))

    (loss,) = drawn()

    line = loss[next(iter(loss))].get_xydata()
    assert len(line) == 200
    assert line[0].tolist() == [2, pytest.approx(9 - 0.02)]  # the mean of steps 1, 2 and 3


def test_a_run_without_validation_has_one_panel(tmp_path, drawn):
    write_metrics(tmp_path, [10])
    (tmp_path / VALIDATION).write_text("step,D2S\n")

    assert len(drawn()) == 1


def test_a_run_that_has_not_begun_is_said(tmp_path):
    with pytest.raises(TrainingError, match=r"metrics.csv cannot be read"):
        draw_curves(tmp_path)

    write_metrics(tmp_path, [])
    with pytest.raises(TrainingError, match=r"metrics.csv holds no step yet: "):
        draw_curves(tmp_path)


def test_a_damaged_log_is_said(tmp_path):
    write_metrics(tmp_path, [10])
    (tmp_path / VALIDATION).write_text("step,D2S\nten,0.5\n")

    with pytest.raises(TrainingError, match=r"line 2 of .*validation.csv"):
        draw_curves(tmp_path)


def test_a_picture_that_cannot_be_written_is_said(tmp_path):
    write_metrics(tmp_path, [10])
    (tmp_path / "curves.png").mkdir()

    with pytest.raises(TrainingError, match=r"curves.png cannot be written \(Is a directory\)"):
        draw_curves(tmp_path)


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)
    monkeypatch.delitem(sys.modules, "geobridge.training.curves")

    with pytest.raises(MissingExtraError, match=r"'matplotlib', .* geobridge\[train\]"):
        importlib.import_module("geobridge.training.curves")
