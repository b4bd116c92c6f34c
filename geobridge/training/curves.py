"""The course of a run as a picture: the loss of each edge and R@1 of each direction."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geobridge.errors import MissingExtraError, TrainingError
from geobridge.training.logs import MEASURES, METRICS, VALIDATION, read_table
from geobridge.views import MODALITIES, Direction

try:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
except ImportError as error:
    raise MissingExtraError("Drawing the curves of a run", "matplotlib", "train") from error

CURVES = "curves.png"

_MOST_POINTS = 200
_DOTS_PER_INCH = 120
_INK = "#1b1f24"

# One colour a pair of modalities, the same in both panels.
_PAIR_COLORS = {
    frozenset({"drone", "satellite"}): "#0072b2",
    frozenset({"street", "satellite"}): "#009e73",
    frozenset({"drone", "street"}): "#d55e00",
    frozenset({"text", "satellite"}): "#6a51a3",
    frozenset({"text", "street"}): "#c994c7",
    frozenset({"text", "drone"}): "#e6a700",
}
_OTHER_COLOR = "#8a929b"

Rows = Sequence[Mapping[str, float]]


def draw_curves(folder: Path) -> Path:
    """Draw the logs of a run into `curves.png` in its folder.

    A long log is drawn as the means of 200 stretches of equally many rows.

    Args:
        folder: of a run, with `metrics.csv` and, if anything was validated, `validation.csv`.

    Returns:
        The picture's path.

    Raises:
        TrainingError: there are no logs, they are damaged or empty, or the picture cannot be
            written.
    """
    metrics = read_table(folder / METRICS)
    if not metrics:
        raise TrainingError(
            f"{folder / METRICS} holds no step yet: draw the curves when the run has made some."
        )
    path = folder / VALIDATION
    validation = read_table(path) if path.exists() else []
    figure = Figure(figsize=(9, 8 if validation else 4.2), layout="constrained")
    panels = figure.subplots(2 if validation else 1, 1, squeeze=False, sharex=True)[:, 0]
    _draw_loss(panels[0], metrics)
    if validation:
        _draw_recall(panels[1], validation)
    panels[-1].set_xlabel("steps")
    out = folder / CURVES
    try:
        figure.savefig(out, dpi=_DOTS_PER_INCH)
    except OSError as error:
        raise TrainingError(
            f"the curves {out} cannot be written ({error.strerror or error}): free space or make "
            f"the folder writable, and draw again."
        ) from error
    return out


def _draw_loss(axes: Axes, rows: Rows) -> None:
    names = [name for name in _columns(rows) if name not in MEASURES]
    # The groups `image` and `text` are means of their edges, which are drawn.
    curves = {name: _curve(rows, name) for name in names if _pair_of_edge(name)}
    if "loss" in _columns(rows):  # the steps that were logged may all have taught nothing
        steps, values = _curve(rows, "loss")
        axes.plot(steps, values, color=_INK, linewidth=2, label=f"total {values[-1]:.2f}")
    for name, (steps, values) in _by_last(curves):
        color = _PAIR_COLORS.get(_pair_of_edge(name), _OTHER_COLOR)
        axes.plot(steps, values, color=color, linewidth=1.4, label=f"{name} {values[-1]:.2f}")
    axes.set_ylabel("loss")
    axes.set_ylim(bottom=0)
    _finish(axes, "Loss of each edge, and their total")


def _draw_recall(axes: Axes, rows: Rows) -> None:
    for name, (steps, values) in _by_last({name: _curve(rows, name) for name in _columns(rows)}):
        pair, is_back = _pair_of_direction(name)
        axes.plot(
            steps,
            100 * values,
            color=_PAIR_COLORS.get(pair, _OTHER_COLOR),
            linestyle=(0, (4, 2)) if is_back else "-",
            linewidth=1.6,
            marker="o" if len(steps) <= _MOST_POINTS // 8 else None,
            markersize=3.5,
            label=f"{name} {100 * values[-1]:.1f}",
        )
    axes.set_ylabel("R@1, %")
    axes.set_ylim(bottom=0)
    _finish(axes, "Validation R@1 of each direction")


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, color=_INK, pad=8)
    axes.grid(color="#e3e6ea", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlim(left=0)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.lines:
        axes.legend(
            title="at the end", loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False,
            alignment="left", handlelength=2.6,
        )  # fmt: skip


def _columns(rows: Rows) -> list[str]:
    """Names of the columns that hold anything."""
    return [name for name in dict.fromkeys(name for row in rows for name in row) if name != "step"]


Curve = tuple[NDArray[np.float64], NDArray[np.float64]]


def _curve(rows: Rows, name: str) -> Curve:
    """Steps and values of a column, as means of stretches where they are many."""
    table = np.array([(row["step"], row[name]) for row in rows if name in row])
    parts = np.array_split(table, min(len(table), _MOST_POINTS))
    means = np.array([part.mean(axis=0) for part in parts])
    return means[:, 0], means[:, 1]


def _by_last(curves: Mapping[str, Curve]) -> list[tuple[str, Curve]]:
    """From the highest at the end to the lowest, the order in which eye and legend meet them."""
    return sorted(curves.items(), key=lambda item: -item[1][1][-1])


def _pair_of_edge(name: str) -> frozenset[str]:
    """The modalities of an edge such as `drone-street`; empty for what is no edge."""
    pair = frozenset(name.split("-"))
    return pair if len(pair) == 2 and pair <= set(MODALITIES) else frozenset()


def _pair_of_direction(name: str) -> tuple[frozenset[str], bool]:
    """The modalities of a direction such as `D2S`, and whether it is the way back."""
    try:
        direction = Direction.parse(name)
    except ValueError:
        return frozenset(), False
    order = ("text", *MODALITIES)
    is_back = order.index(direction.query) > order.index(direction.reference)
    return frozenset({direction.query, direction.reference}), is_back
