"""What came of the queries of a benchmark, as pictures: recall, errors on a map, sweeps."""

import textwrap
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geobridge.errors import EvaluationError, MissingExtraError
from geobridge.evaluation.report.queries import region_names, with_positions
from geobridge.evaluation.report.tables import check_sweep
from geobridge.evaluation.scores import Value
from geobridge.geo.distance import LocalFrame, unwrap_lon

try:
    from matplotlib import colormaps
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, LogNorm
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter
except ImportError as error:
    raise MissingExtraError("Drawing the figures of a report", "matplotlib", "train") from error

_DOTS_PER_INCH = 120
_INK, _QUIET, _GRID = "#1b1f24", "#5b6570", "#e3e6ea"
# Eight colours that people who see few still tell apart, after Okabe and Ito.
_COLORS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e6a700", "#56b4e9", "#6a51a3", "#8a929b",
)  # fmt: skip
_DASHES = ("-", (0, (4, 2)), (0, (1, 1.5)))
# Lines of one panel; more tasks get more panels.
_LINES = 9
_SMALLEST_M = 1.0
# Half way around the earth and a little.
_FARTHEST_M = 2.1e7
_MAPS = 6
# The light end of the map's colours would not be seen on white.
_ERROR_COLORS = ListedColormap(colormaps["viridis_r"](np.linspace(0.12, 1, 256)))

Floats = NDArray[np.float64]


def draw_recall_distance(path: Path, title: str, errors: Mapping[str, Floats]) -> None:
    """Draw the share of queries whose first reference is at most so far from the truth.

    Args:
        path: of the picture (PNG).
        title: of the figure.
        errors: of each task, float64 (Q,), metres, NaN where a position is not known. Shares are
            of the queries whose error is known, and the legend says how many of how many.

    Raises:
        EvaluationError: no error is known, or the picture cannot be written.
    """
    known = {task: np.sort(error[np.isfinite(error)]) for task, error in errors.items()}
    known = {task: error for task, error in known.items() if len(error)}
    if not known:
        raise EvaluationError(
            f"{path.name} cannot be drawn without a known error: give items of a position."
        )
    farthest = max(error[-1] for error in known.values())
    most = min(10 ** np.ceil(np.log10(max(farthest, 10 * _SMALLEST_M))), _FARTHEST_M)
    figure, panels = _panels(len(known))
    for axes, tasks in zip(panels, _parts(list(known)), strict=True):
        for place, task in enumerate(tasks):
            error = known[task]
            x = np.concatenate([[_SMALLEST_M], error[error > _SMALLEST_M], [most]])
            share = np.searchsorted(error, x, side="right") / len(error)
            label = f"{_plain(task)}, {len(error):,}"
            if len(error) < len(errors[task]):
                label += f" of {len(errors[task]):,}"
            axes.plot(x, 100 * share, drawstyle="steps-post", label=label, **_line(place))
        axes.set_xlim(_SMALLEST_M, most)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(_metres))
        _finish_shares(axes, "queries", "distance of the first reference from the truth, at most")
    _save(figure, path, title, "Recall by distance: queries whose first reference is so near")


def draw_recall_at_k(
    path: Path, title: str, ranks: Mapping[str, Floats], galleries: Mapping[str, int]
) -> None:
    """Draw the share of all queries whose first right reference is among the first k.

    Args:
        path: of the picture (PNG).
        title: of the figure.
        ranks: of each task, float64 (Q,), 1-based, NaN for queries without a right reference,
            which no k finds.
        galleries: how many references each task ranks: where its curve ends.

    Raises:
        EvaluationError: the picture cannot be written.
    """
    figure, panels = _panels(len(ranks))
    for axes, tasks in zip(panels, _parts(list(ranks)), strict=True):
        for place, task in enumerate(tasks):
            found = np.sort(ranks[task][np.isfinite(ranks[task])])
            most = max(galleries[task], 1)
            k = np.unique(np.concatenate([[1], found[found <= most], [most]]))
            share = np.searchsorted(found, k, side="right") / len(ranks[task])
            label = f"{_plain(task)} {100 * share[0]:.1f}"
            axes.plot(k, 100 * share, drawstyle="steps-post", label=label, **_line(place))
        axes.set_xlim(1, max(2, *(galleries[task] for task in ranks)))
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda k, _: f"{k:,.0f}"))
        _finish_shares(axes, "R@1, %", "k")
    _save(figure, path, title, "Recall at k: queries with a right reference among the first k")


def draw_failures(path: Path, title: str, queries: pd.DataFrame) -> None:
    """Draw where queries were taken, coloured by how far off their first reference is.

    Every region has a map of its own, in metres around its middle; of many regions those with
    the most queries that were not found at once are shown.

    Args:
        path: of the picture (PNG).
        title: of the figure.
        queries: of one task, see `queries.read_queries`; some must have a position and an error.

    Raises:
        EvaluationError: no query has both, or the picture cannot be written.
    """
    placed = with_positions(queries[queries["error_m"].notna()])
    if placed.empty:
        raise EvaluationError(
            f"{path.name} cannot be drawn without positions and errors: give items that have both."
        )
    regions = list(placed.groupby(region_names(placed), sort=True))
    regions.sort(key=lambda item: -int((item[1]["rank"] != 1).sum()))
    shown = regions[:_MAPS]
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(3.6 * columns + 1.6, 3.6 * rows + 0.7), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    error = placed["error_m"].to_numpy(np.float64)
    # A few queries on the other side of the earth must not make all others look alike.
    most = max(10 * _SMALLEST_M, float(np.quantile(error, 0.9)))
    norm = LogNorm(_SMALLEST_M, most, clip=True)
    for axes, (region, rows_of_region) in zip(grid.flat, shown, strict=False):
        _draw_region(axes, str(region), rows_of_region, norm)
    for axes in grid.flat[len(shown) :]:
        axes.set_axis_off()
    colors = ScalarMappable(norm, _ERROR_COLORS)
    figure.colorbar(
        colors, ax=grid, label="distance of the first reference from the truth", shrink=0.8,
        extend="max" if error.max() > most else "neither", format=FuncFormatter(_metres),
    )  # fmt: skip
    more = f"; {len(shown)} of {len(regions)} regions, those with the most failures first"
    _save(figure, path, title, f"Where queries fail{more if len(regions) > len(shown) else ''}")


def sweep_figure(
    path: Path,
    title: str,
    x_name: str,
    x_values: Sequence[float] | Sequence[str],
    series: Mapping[str, Sequence[Value]],
    log: bool = False,
    y_name: str = "R@1, %",
) -> None:
    """Draw how shares change with what is swept, each with its interval.

    Args:
        path: of the picture (PNG).
        title: of the figure.
        x_name: what is swept, with its unit.
        x_values: its X values; words stand side by side and are not joined by lines.
        series: X values from 0 to 1 each, such as R@1 of a direction; NaN leaves a gap.
        log: the x axis is logarithmic.
        y_name: what the values are.

    Raises:
        EvaluationError: a series has another length than `x_values`, or the picture cannot be
            written.
    """
    check_sweep(x_values, series)
    words = any(isinstance(x, str) for x in x_values)
    places = np.arange(len(x_values)) if words else np.asarray(x_values, np.float64)
    figure, panels = _panels(len(series))
    for axes, names in zip(panels, _parts(list(series)), strict=True):
        for place, name in enumerate(names):
            middle, low, high = (
                100 * np.array([getattr(value, part) for value in series[name]], np.float64)
                for part in ("value", "low", "high")
            )
            style = _line(place)
            if words:
                # Side by side, so that no interval hides another.
                x = places + 0.6 * ((place + 0.5) / len(names) - 0.5)
                axes.errorbar(
                    x, middle, [middle - low, high - middle], fmt="o", markersize=5,
                    color=style["color"], elinewidth=1.6, label=_plain(name),
                )  # fmt: skip
            else:
                axes.fill_between(places, low, high, color=style["color"], alpha=0.15, linewidth=0)
                axes.plot(places, middle, marker="o", markersize=4, label=_plain(name), **style)
        if words:
            axes.set_xticks(places, [_wrapped(str(x)) for x in x_values])
        elif log:
            axes.set_xscale("log")
            axes.set_xticks(places, [f"{x:g}" for x in places])
            axes.minorticks_off()
        axes.set_ylim(bottom=0)
        _finish(axes, None)
        axes.set_xlabel(x_name)
        axes.set_ylabel(y_name)
    _save(figure, path, title, "")


def _draw_region(axes: Axes, region: str, queries: pd.DataFrame, norm: LogNorm) -> None:
    x, y = _local_metres(queries)
    # The farthest off are drawn last and hide no other failure than a lesser one.
    order = np.argsort(queries["error_m"].to_numpy(np.float64), kind="stable")
    reach = max(float(np.ptp(x)), float(np.ptp(y)), 1.0)
    unit, metres = ("km", 1000.0) if reach >= 2000 else ("m", 1.0)
    size = float(np.clip(6000 / len(x), 9, 45))
    axes.scatter(
        x[order] / metres, y[order] / metres, s=size, c=queries["error_m"].to_numpy()[order],
        cmap=_ERROR_COLORS, norm=norm, edgecolors="white", linewidths=0.3,
    )  # fmt: skip
    middle = np.array([x.min() + x.max(), y.min() + y.max()]) / 2 / metres
    half = 0.55 * reach / metres
    axes.set_xlim(middle[0] - half, middle[0] + half)
    axes.set_ylim(middle[1] - half, middle[1] + half)
    axes.set_aspect("equal")
    recall = 100 * float((queries["rank"] == 1).mean())
    name = _plain(textwrap.shorten(region, 24, placeholder=" ..."))
    title = f"{name}: R@1 {recall:.1f} %, {len(queries):,} queries"
    axes.set_title(title, loc="left", fontsize=9, color=_INK)
    axes.set_xlabel(f"east, {unit}", fontsize=8)
    axes.set_ylabel(f"north, {unit}", fontsize=8)
    axes.tick_params(labelsize=8, colors=_QUIET)
    axes.locator_params(nbins=5)
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def _local_metres(queries: pd.DataFrame) -> tuple[Floats, Floats]:
    """East and north of the middle of the queries, or of the origin of their own map."""
    x, y, lat, lon = (
        queries[name].to_numpy(np.float64)
        for name in ("query_x_m", "query_y_m", "query_lat", "query_lon")
    )
    if not np.isfinite(lat).all():
        return x, y
    lon = unwrap_lon(lon, lon[0])
    frame = LocalFrame(float(lat.min() + lat.max()) / 2, float(lon.min() + lon.max()) / 2)
    x, y = frame.to_metric(lon, lat)
    return x, y


def _panels(lines: int) -> tuple[Figure, list[Axes]]:
    """A figure with as many panels, one above the other, as so many lines need."""
    count = max(1, -(-lines // _LINES))
    figure = Figure(figsize=(9, 0.5 + 4.2 * count), layout="constrained")
    return figure, list(figure.subplots(count, 1, squeeze=False)[:, 0])


def _parts(names: Sequence[str]) -> list[Sequence[str]]:
    """Names in the parts that the panels of `_panels` show; at least one part."""
    return [names[start : start + _LINES] for start in range(0, max(len(names), 1), _LINES)]


def _line(place: int) -> dict[str, Any]:
    color = _COLORS[place % len(_COLORS)]
    return {"color": color, "linestyle": _DASHES[place // len(_COLORS)], "linewidth": 1.7}


def _finish_shares(axes: Axes, legend: str, x_name: str) -> None:
    axes.set_ylim(0, 101)
    axes.set_xlabel(x_name)
    axes.set_ylabel("share of queries, %")
    _finish(axes, legend)


def _finish(axes: Axes, legend: str | None) -> None:
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(
        title=legend, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, alignment="left",
        handlelength=2.6,
    )  # fmt: skip


def _save(figure: Figure, path: Path, title: str, below: str) -> None:
    # Two lines of one title, so that the panels make room for both.
    figure.suptitle(_plain("\n".join(filter(None, (title, below)))), fontsize=11, color=_INK)
    try:
        with warnings.catch_warnings():
            # Names in signs that the font lacks are drawn as boxes; the tables have them.
            warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
            figure.savefig(path, dpi=_DOTS_PER_INCH)
    except OSError as error:
        raise EvaluationError(
            f"the figure {path} cannot be written ({error.strerror or error}): free space or make "
            f"the folder writable, and draw again."
        ) from error


def _plain(text: str) -> str:
    """Dollar signs would start a formula."""
    return text.replace("$", r"\$")


def _metres(value: float, _: object = None) -> str:
    return f"{value / 1000:,g} km" if value >= 1000 else f"{value:g} m"


def _wrapped(text: str) -> str:
    return "\n".join(textwrap.wrap(_plain(text), 14)) or " "
