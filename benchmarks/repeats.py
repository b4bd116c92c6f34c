"""Training runs that are measured and compared: made once, resumed where they were stopped.

For the benchmarks beside it; it measures nothing by itself.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from geobridge.evaluation.retrieval import embed_places, retrieve
from geobridge.places.table import Place
from geobridge.training.checkpoints import load_state
from geobridge.training.config import TrainConfig, to_yaml
from geobridge.training.fit import CACHE, CONFIG, RESOLVED, STATE, fit
from geobridge.views import NINE_DIRECTIONS

DIRECTIONS = tuple(way.short for way in NINE_DIRECTIONS)
RESULT = "recall.json"


@dataclass(frozen=True)
class Measured:
    """What one run came to.

    Attributes:
        recall: R@1, 0 to 1, by short direction; those of the modalities that the model has.
        places: how many the gallery holds.
        steps: of the optimiser.
        minutes: of training, drawing of batches and mining included, validation not.
    """

    recall: dict[str, float]
    places: int
    steps: int
    minutes: float


def measured(config: TrainConfig, folder: Path, benchmark: str, places: list[Place]) -> Measured:
    """Train and measure, or read what that came to before.

    Args:
        config: of the run.
        folder: of the run; its neighbours share their decoded pictures in one folder beside them.
        benchmark: name of the places.
        places: that nothing was trained on.
    """
    _check_same(config, folder)
    result = folder / RESULT
    found = json.loads(result.read_text()) if result.exists() else {}
    if benchmark not in found:
        _share_cache(folder)
        found[benchmark] = _train_and_measure(config, folder, places)
        unfinished = result.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(found, indent=1))
        unfinished.replace(result)
    return Measured(**found[benchmark])


def _train_and_measure(
    config: TrainConfig, folder: Path, places: list[Place]
) -> dict[str, float | dict[str, float]]:
    model = fit(config, folder, Console())
    embedded = embed_places(model, places)
    ways = [way for way in NINE_DIRECTIONS if {way.query, way.reference} <= set(embedded)]
    state = load_state(folder / STATE)
    return {
        "recall": {way.short: retrieve(embedded, way).recall(1) for way in ways},
        "places": len(places),
        "steps": state["global_step"],
        "minutes": state["fit"]["used_s"] / 60,
    }


def _check_same(config: TrainConfig, folder: Path) -> None:
    """A run may be told to last longer; here it would then not be the run of its configuration."""
    before = folder / CONFIG
    if before.exists() and before.read_text(encoding="utf-8") != RESOLVED + to_yaml(config):
        raise SystemExit(
            f"{folder} was made with another configuration: give another --out, or delete it."
        )


def _share_cache(folder: Path) -> None:
    """Let the run find pictures that another has decoded."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder.parent / CACHE).mkdir(exist_ok=True)
    if not (folder / CACHE).exists():
        (folder / CACHE).symlink_to(Path("..") / CACHE)


def percent(values: Sequence[float]) -> str:
    """Mean and standard deviation (of a sample) of shares, in percent."""
    if not values:
        return "-"
    mean = f"{100 * np.mean(values):.1f}"
    return f"{mean} ± {100 * np.std(values, ddof=1):.1f}" if len(values) > 1 else mean


def recall_cells(runs: Sequence[Measured]) -> list[str]:
    """R@1 of each of the nine directions, over repeated runs."""
    return [percent([run.recall[way] for run in runs if way in run.recall]) for way in DIRECTIONS]


def budget_cells(runs: Sequence[Measured]) -> list[str]:
    """Steps, and mean minutes of training."""
    return [str(runs[0].steps), f"{np.mean([run.minutes for run in runs]):.1f}"]


def print_table(header: Sequence[str], words: int, rows: Iterable[Sequence[str]]) -> None:
    """Print Markdown; the first columns hold words, the others numbers."""
    rule = ["---"] * words + ["---:"] * (len(header) - words)
    for line in (header, rule, *rows):
        print("| " + " | ".join(line) + " |")
