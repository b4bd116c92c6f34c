"""The suite: sweeps measured one after the other, and the page they are shown on.

    OUT/robustness.md        a section a sweep: what was changed, figure, table
    OUT/robustness.json      every measure of every setting, with its interval
    OUT/<sweep>.png          R@1 of each direction

Stopped at any moment, the same call goes on; embeddings that are there are only read.
"""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from geobridge.errors import EvaluationError, MissingExtraError
from geobridge.evaluation.report import write_text
from geobridge.evaluation.report.tables import sweep_table
from geobridge.evaluation.robustness.lab import BENCHMARK, SEED, Lab
from geobridge.evaluation.robustness.sweeps import SWEEPS, Sweep
from geobridge.evaluation.robustness.sweeps import transfer as transfer_sweep
from geobridge.evaluation.scores import Score, Value
from geobridge.model.geobridge import GeoBridge
from geobridge.progress import Step, silent

PAGE, NUMBERS = "robustness.md", "robustness.json"

_MEASURE = "R@1"
_LOT = "by lot"
_NONE = Value(np.nan, np.nan, np.nan)

_TRANSFER = """\
## Transfer between modalities

Not measured: it takes a model that was trained without an edge. One that never sees a pair of drone
and street is trained in minutes by

    geobridge train ablation --set objective.anchors=none --set model.settings.text=null \\
        --set "objective.image_edges=[D-S, P-S]" --out RUN

What the other two edges carry over is told here, beside this model, by

    geobridge evaluate --suite robustness --set "transfer.no D-P=RUN/checkpoint" ..."""


def run_suite(
    model: GeoBridge,
    data: str | Path,
    out: str | Path,
    *,
    sweeps: Sequence[str] | None = None,
    transfer: Mapping[str, str | Path] | None = None,
    step: Step | None = None,
) -> Path:
    """Measure how a model bears what changes, on the simulated planet.

    Args:
        model: what is measured; directions that it has no encoder for are left out.
        data: folder of data sets, `data/world-1k` among them; what is absent is built.
        out: folder of the results, see the module.
        sweeps: names of `SWEEPS`; by default all.
        transfer: checkpoints to show beside the model, such as one trained without an edge, by
            what they are to be called.
        step: progress.

    Returns:
        The page.

    Raises:
        EvaluationError: a sweep is unknown, the model has nothing to measure, or `out` holds the
            embeddings of another model.
        WorldError: a folder of `data` holds something else.
        ModelError: a checkpoint cannot be loaded.
    """
    names = list(dict.fromkeys(SWEEPS if sweeps is None else sweeps))
    unknown = next((name for name in names if name not in SWEEPS), None)
    if unknown is not None:
        raise EvaluationError(
            f"there is no sweep {unknown!r} in the suite: choose of {', '.join(SWEEPS)}."
        )
    measured = {name: SWEEPS[name] for name in names}
    if transfer:
        measured["transfer"] = partial(transfer_sweep, transfer)
    if not measured:
        raise EvaluationError(f"no sweep is asked for: choose of {', '.join(SWEEPS)}.")
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    lab = Lab(model, Path(data), out, step or silent)
    found = {name: sweep(lab) for name, sweep in measured.items()}
    left_out = [name for name, sweep in found.items() if not sweep.series]
    found = {name: sweep for name, sweep in found.items() if sweep.series}
    if not found:
        raise EvaluationError(
            f"model {model.name!r} embeds {', '.join(model.modalities)} and has no direction of "
            f"{', '.join(names)}: choose another sweep or model."
        )
    undrawn = _draw(out, found)
    remarks = [f"The figures are left out: {undrawn}"] if undrawn else []
    if left_out:
        remarks.append(f"The model has no direction of {', '.join(left_out)}: they are left out.")
    write_text(out / NUMBERS, json.dumps(_numbers(model, found), indent=1, ensure_ascii=False))
    sections = [_head(model), *remarks]
    for name, sweep in found.items():
        sections += _section(sweep, None if undrawn else f"{name}.png")
    sections += [] if transfer else [_TRANSFER]
    write_text(out / PAGE, "\n\n".join(sections) + "\n")
    return out / PAGE


def _draw(out: Path, found: Mapping[str, Sweep]) -> MissingExtraError | None:
    """All figures; what hinders them where matplotlib is missing."""
    try:
        from geobridge.evaluation.report.figures import sweep_figure
    except MissingExtraError as error:
        return error
    for name, sweep in found.items():
        sweep_figure(
            out / f"{name}.png", sweep.title, sweep.x_name, sweep.x_values, shown(sweep), sweep.log
        )
    return None


def shown(sweep: Sweep) -> dict[str, list[Value]]:
    """R@1 of every series of a sweep, NaN where nothing was measured, and what chance gives."""
    series = {
        name: [score.values[_MEASURE] if score else _NONE for score in scores]
        for name, scores in sweep.series.items()
    }
    lot = [_chance(column) for column in zip(*sweep.series.values(), strict=True)]
    return {**series, _LOT: lot}


def _chance(scores: Sequence[Score | None]) -> Value:
    """The same for all directions of a setting: every place has every modality."""
    values = [score.chance[_MEASURE] for score in scores if score]
    return Value(max(values), np.nan, np.nan) if values else _NONE


def _head(model: GeoBridge) -> str:
    return f"""\
# Robustness: {model.name}

- model: {model.name}, fingerprint {model.fingerprint}
- places: {BENCHMARK} of the simulated planet (docs/planet.md); one right reference a query, ties
  count against the model
- seed of all that is drawn: {SEED}
- again: `geobridge evaluate --suite robustness --model MODEL --root DATA --out OUT`
- every measure: {NUMBERS}

R@1 in per cent; brackets are 95 % bootstrap intervals over places. `by lot` is what drawing the
order at random gives."""


def _section(sweep: Sweep, figure: str | None) -> list[str]:
    table = sweep_table(sweep.x_name, sweep.x_values, {**shown(sweep), **sweep.losses})
    drawn = [f"![{sweep.title}]({figure})"] if figure else []
    return [f"## {sweep.title}", sweep.about, *drawn, table]


def _numbers(model: GeoBridge, found: Mapping[str, Sweep]) -> dict[str, Any]:
    """Everything that was measured, as plain values; NaN is null."""
    definitions: dict[str, str] = {}
    for sweep in found.values():
        for scores in sweep.series.values():
            for score in filter(None, scores):
                definitions |= score.definitions
    return {
        "model": model.name,
        "fingerprint": model.fingerprint,
        "benchmark": BENCHMARK,
        "seed": SEED,
        "definitions": definitions,
        "sweeps": {
            name: {
                "title": sweep.title,
                "about": sweep.about,
                "x_name": sweep.x_name,
                "x": list(sweep.x_values),
                "series": {
                    key: [_plain(score) if score else None for score in scores]
                    for key, scores in sweep.series.items()
                },
                "losses": {
                    key: [_interval(value) for value in values]
                    for key, values in sweep.losses.items()
                },
            }
            for name, sweep in found.items()
        },
    }


def _plain(score: Score) -> dict[str, Any]:
    return {
        "queries": score.queries,
        "gallery": score.gallery,
        "by_lot": dict(score.chance),
        "values": {name: _interval(value) for name, value in score.values.items()},
    }


def _interval(value: Value) -> list[float | None]:
    numbers = (value.value, value.low, value.high)
    return [float(number) if np.isfinite(number) else None for number in numbers]
