"""A model on the benchmarks of the simulated planet, nine directions, each number beside chance.

    python benchmarks/planet.py
    python benchmarks/planet.py --model runs/mini/checkpoint --names world-1k,world-1k-far

Builds what is missing below --data and prints a Markdown table. The protocol is that of
`geobridge.world.benchmark`.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from geobridge import GeoBridge
from geobridge.evaluation.retrieval import Retrieval, embed_places, retrieve
from geobridge.geo.distance import distance_m
from geobridge.places.table import Place, iter_places
from geobridge.views import NINE_DIRECTIONS
from geobridge.world.benchmark import BENCHMARKS, build_benchmark

HEADER = ("benchmark", "direction", "queries", "gallery")
HEADER += ("R@1", "chance", "R@5", "chance", "median rank", "chance")


def nearest_m(places: list[Place]) -> np.ndarray:
    """Metres from each place to the nearest other one."""
    lat, lon = np.array([[place.lat, place.lon] for place in places]).T
    apart = distance_m(lat[:, None], lon[:, None], lat[None], lon[None])
    np.fill_diagonal(apart, np.inf)
    return apart.min(axis=1)


def cells(name: str, found: Retrieval) -> tuple[str, ...]:
    """A line of the table."""
    return (
        name,
        found.direction.short,
        str(len(found.ranks)),
        str(found.gallery),
        f"{found.recall(1):.1%}",
        f"{found.chance(1):.1%}",
        f"{found.recall(5):.1%}",
        f"{found.chance(5):.1%}",
        f"{found.median_rank:g}",
        f"{(found.gallery + 1) / 2:g}",
    )


def build_missing(name: str, folder: Path, workers: int) -> list[Place]:
    """The places of a benchmark, built where they are not there yet."""
    started = time.perf_counter()
    build_benchmark(name, folder / name, workers=workers)
    places = list(iter_places(folder / name))
    print(
        f"{name}: {len(places)} places in {time.perf_counter() - started:.0f} s, nearest other "
        f"place {np.median(nearest_m(places)):.0f} m away in the median",
        flush=True,
    )
    return places


def main() -> None:
    """Read the options, build, embed, rank, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="mini", help="a name or a checkpoint's folder")
    parser.add_argument("--data", type=Path, default=Path("runs"), help="holds a folder for each")
    parser.add_argument("--names", default=",".join(BENCHMARKS), help="comma-separated")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    names = arguments.names.split(",")
    model = GeoBridge.load(arguments.model)
    rows = []
    for name in names:
        places = build_missing(name, arguments.data, arguments.workers)
        found = embed_places(model, places)
        ways = [way for way in NINE_DIRECTIONS if {way.query, way.reference} <= set(found)]
        rows += [cells(name, retrieve(found, way)) for way in ways]
    print(f"\nmodel {model.name}, fingerprint {model.fingerprint}\n")
    for line in (HEADER, ("---",) * 4 + ("---:",) * 6, *rows):
        print("| " + " | ".join(line) + " |")


if __name__ == "__main__":
    main()
