"""The paper's ablation on the simulated planet: what the anchor is worth, at an equal budget.

    python benchmarks/ablation.py
    python benchmarks/ablation.py --variants images-only,both --seeds 0 --steps 300

Trains every variant once a seed into a folder of its own below --out, from drawn weights, with the
same places and number of steps, and measures R@1 on the 1,000 places of `world-1k`, towns that
nothing is trained on. Prints the mean and the standard deviation over the seeds as Markdown. Where
no text is trained, the model has no text encoder, which makes its steps cheaper.

About five minutes a run on two cores, so an hour and a quarter with the defaults, of which the
first run needs two minutes more to decode the pictures. Stopped at any moment, the same command
goes on; runs that are finished are only read. The places come from

    geobridge world build runs/planet --towns 48 --places 64 --seed 1 --drone either
    geobridge world build runs/planet-val --towns 1 --places 40 --seed 2 --drone either
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin take the others' cores

import argparse
from pathlib import Path

from planet import build_missing
from repeats import DIRECTIONS, Measured, budget_cells, measured, print_table, recall_cells

from geobridge.training.config import read_train_config

NO_TEXT = ("objective.anchors=none", "model.settings.text=null")
VARIANTS: dict[str, tuple[str, ...]] = {
    "images-only": NO_TEXT,
    "text-only": ("objective.anchors=text-only",),
    "both": (),
    "satellite-centric": (*NO_TEXT, "objective.image_edges=[D-S, P-S]"),
    "sample4geo": (*NO_TEXT, "objective.label_smoothing=0.1", "negatives.kind=mined"),
}
"""Changes to the configuration, which trains `both`. Sample4Geo (Deuser et al., ICCV 2023) trains
two views; here its smoothing and its negatives, on all pairs of views."""


def main() -> None:
    """Read the options; train, measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", default="ablation", help="a file or a preset")
    parser.add_argument("--variants", default=",".join(VARIANTS), help="comma-separated")
    parser.add_argument("--seeds", default="0,1,2", help="comma-separated")
    parser.add_argument("--steps", type=int, help="of each run; the configuration's by default")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE, in every variant")
    parser.add_argument("--benchmark", default="world-1k", help="places that are measured")
    parser.add_argument("--data", type=Path, default=Path("runs"), help="holds the benchmark")
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"))
    options = parser.parse_args()
    names = options.variants.split(",")
    if unknown := [name for name in names if name not in VARIANTS]:
        parser.error(f"there is no variant {unknown[0]!r}: choose from {', '.join(VARIANTS)}")
    steps = [f"fit.steps={options.steps}"] if options.steps else []
    places = build_missing(options.benchmark, options.data, workers=2)
    found: dict[str, list[Measured]] = {name: [] for name in names}
    # Seed by seed, so that a part of the runs already compares all variants.
    for seed in options.seeds.split(","):
        for name in names:
            changes = [*options.set, *VARIANTS[name], *steps, f"seed={seed}"]
            config = read_train_config(options.config, changes)
            folder = options.out / f"{name}-{seed}"
            run = measured(config, folder, options.benchmark, places)
            found[name].append(run)
            recalls = " ".join(f"{way} {100 * value:.1f}" for way, value in run.recall.items())
            print(f"{name}, seed {seed}: {run.minutes:.1f} min, R@1 in %: {recalls}", flush=True)
    chance = f"{100 / len(places):.1f}"
    print(f"\nR@1 in % on {options.benchmark}, {len(places)} places; seeds {options.seeds}\n")
    rows = [[name, *recall_cells(runs), *budget_cells(runs)] for name, runs in found.items()]
    rows.append(["chance", *[chance] * len(DIRECTIONS), "", ""])
    print_table(["variant", *DIRECTIONS, "steps", "minutes"], 1, rows)


if __name__ == "__main__":
    main()
