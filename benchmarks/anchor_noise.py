"""What wrong captions cost, and what the objective's remedy gives back.

    python benchmarks/anchor_noise.py
    python benchmarks/anchor_noise.py --noises 0,0.6 --seeds 0,1,2
    python benchmarks/anchor_noise.py --remedy objective.text_soft_targets=0.5

Tells the places of a planet's data set again at several rates of noise (see `Town.describe`; the
pictures stay the same), trains the small model of the ablation on each, with and without the
remedy, and measures R@1 on the 1,000 places of `world-1k`, whose texts are right. Prints the nine
directions and their means as Markdown.

Telling 24,543 places takes about five minutes on two cores, once, and each run as long: 35 minutes
for one seed with the defaults, half an hour for each further one. Stopped at any moment, the same
command goes on; runs that are finished are only read.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin take the others' cores

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from planet import build_missing
from repeats import (
    DIRECTIONS,
    Measured,
    budget_cells,
    measured,
    percent,
    print_table,
    recall_cells,
)

from geobridge.places.table import TABLE_NAME, iter_places, write_places
from geobridge.training.config import read_train_config
from geobridge.views import VIEWS
from geobridge.world.benchmark import town_truths
from geobridge.world.build import Recipe, TownJob
from geobridge.world.planet import World
from geobridge.world.seeds import PLANET_VERSION

Folders = dict[float, Path]
"""Where the places are that are told at a rate of noise."""


def retell(source: Path, folders: Folders, towns: int, workers: int) -> None:
    """Write places data sets with the pictures of another and texts at other rates of noise.

    Args:
        source: a data set of the planet.
        folders: those that are to be written; one that is finished is left alone.
        towns: how many of each region, from the first.
        workers: processes.
    """
    waiting = {n: folder for n, folder in folders.items() if not (folder / TABLE_NAME).exists()}
    if not waiting:
        return
    recipe, jobs = read_note(source, towns)
    for folder in waiting.values():
        (folder / ".texts").mkdir(parents=True, exist_ok=True)
    # Fresh processes, because forked ones inherit the threads of torch and numba half dead.
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        for done, _ in enumerate(pool.map(partial(tell_town, recipe, waiting), jobs), start=1):
            print(f"\rtold {done} of {len(jobs)} towns", end="", flush=True)
    print()
    for folder in waiting.values():
        write_retold(source, folder, jobs)


def read_note(source: Path, towns: int) -> tuple[Recipe, list[TownJob]]:
    """How a data set of the planet was made, and of which towns."""
    note = json.loads((source / "world.json").read_text(encoding="utf-8"))
    if note["version"] != PLANET_VERSION:
        raise SystemExit(f"{source} is of another version of the planet: build it again.")
    settings = {field.name: note[field.name] for field in fields(Recipe)}
    settings["missing"] = tuple((name, share) for name, share in note["missing"])
    names = {town: town.split("/") for town in note["towns"]}
    jobs = [
        TownJob(region, int(index), note["towns"][town])
        for town, (region, index) in names.items()
        if int(index) < towns
    ]
    return Recipe(**settings), jobs


def tell_town(recipe: Recipe, folders: Folders, job: TownJob) -> None:
    """Write the texts of a town's places, a file for each rate of noise."""
    parts = {noise: _part(folder, job) for noise, folder in folders.items()}
    waiting = {noise: part for noise, part in parts.items() if not part.exists()}
    if not waiting:
        return
    town = World(recipe.seed).town(job.region, job.index, open_dates=1)
    for noise, part in waiting.items():
        truths = town_truths(town, job, replace(recipe, anchor_noise=noise))
        unfinished = part.with_suffix(".unfinished")
        unfinished.write_text(json.dumps({truth.place_id: truth.text for truth in truths}))
        unfinished.replace(part)


def write_retold(source: Path, folder: Path, jobs: Sequence[TownJob]) -> None:
    """Join pictures and texts to a places data set."""
    texts: dict[str, str | None] = {}
    for job in jobs:
        texts |= json.loads(_part(folder, job).read_text())
    for view in VIEWS:
        if not (folder / view).exists():
            (folder / view).symlink_to((source / view).resolve())
    rows = []
    for place in iter_places(source):
        if place.place_id not in texts:
            continue
        held = {view: path for view in VIEWS if (path := getattr(place, view))}
        moved = {view: path.relative_to(source) for view, path in held.items()}
        rows.append(replace(place, text=texts.pop(place.place_id), **moved))
    if texts:
        raise SystemExit(f"{source} lacks the place {next(iter(texts))}: build it again.")
    write_places(folder, rows)


def _part(folder: Path, job: TownJob) -> Path:
    return folder / ".texts" / f"{job.town.replace('/', '-')}.json"


def mean_cells(runs: Sequence[Measured]) -> list[str]:
    """Mean R@1 over the directions between pictures, and over those from text."""
    text = [way for way in DIRECTIONS if way.startswith("T")]
    images = [way for way in DIRECTIONS if way not in text]
    return [
        percent([float(np.mean([run.recall[way] for way in ways])) for run in runs])
        for ways in (images, text)
    ]


def main() -> None:
    """Read the options; tell, train, measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", default="ablation", help="a file or a preset")
    parser.add_argument("--noises", default="0,0.3,0.6", help="rates from 0 to 1, comma-separated")
    parser.add_argument("--remedy", default="objective.text_soft_targets=0.9", help="KEY=VALUE")
    parser.add_argument("--seeds", default="0", help="comma-separated")
    parser.add_argument("--steps", type=int, help="of each run; the configuration's by default")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE, in every run")
    parser.add_argument("--source", type=Path, default=Path("runs/planet"), help="places")
    parser.add_argument("--towns", type=int, default=48, help="of each region")
    parser.add_argument("--workers", type=int, default=2, help="processes that tell the texts")
    parser.add_argument("--benchmark", default="world-1k", help="places that are measured")
    parser.add_argument("--data", type=Path, default=Path("runs"), help="holds the benchmark")
    parser.add_argument("--out", type=Path, default=Path("runs/anchor-noise"))
    options = parser.parse_args()
    rates = [float(rate) for rate in options.noises.split(",")]
    folders = {rate: options.out / f"places-{options.towns}-{rate:g}" for rate in rates}
    retell(options.source, folders, options.towns, options.workers)
    places = build_missing(options.benchmark, options.data, options.workers)
    remedies = {"plain": [], "remedy": [options.remedy]}
    steps = [f"fit.steps={options.steps}"] if options.steps else []
    found: dict[tuple[float, str], list[Measured]] = {
        (rate, name): [] for rate in rates for name in remedies
    }
    for seed in options.seeds.split(","):
        for rate, name in found:
            changes = [f"data.train.0.places={folders[rate]}", f"seed={seed}"]
            changes += [*options.set, *steps, *remedies[name]]
            config = read_train_config(options.config, changes)
            folder = options.out / f"{rate:g}-{name}-{seed}"
            run = measured(config, folder, options.benchmark, places)
            found[rate, name].append(run)
            recalls = " ".join(f"{way} {100 * value:.1f}" for way, value in run.recall.items())
            print(f"noise {rate:g}, {name}, seed {seed}: R@1 in %: {recalls}", flush=True)
    print(f"\nR@1 in % on {options.benchmark}, {len(places)} places (chance", end=" ")
    print(f"{100 / len(places):.1f}); remedy: {options.remedy}; seeds {options.seeds}\n")
    rows = [
        [f"{rate:g}", name, *recall_cells(runs), *mean_cells(runs), *budget_cells(runs)]
        for (rate, name), runs in found.items()
    ]
    header = ["noise", "objective", *DIRECTIONS, "images", "text", "steps", "minutes"]
    print_table(header, 2, rows)


if __name__ == "__main__":
    main()
