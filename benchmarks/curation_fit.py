"""What the check of descriptions by a model catches and loses, on the simulated planet.

    python benchmarks/curation_fit.py
    python benchmarks/curation_fit.py --places runs/planet-val

Every region is a workspace of its own, in which one description of twenty is swapped, within the
region or with one of another region; drawn `DRAWS` times. For several least agreements, with and
without the cap on how many are rejected (see `geobridge.curation.fit`): the share of good
descriptions that is lost and the share of swapped ones that is caught. Without `--places` a few are
drawn anew, in towns that no shipped model was trained on, of land that it was and was not.
"""

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from geobridge.curation.cutoffs import capped
from geobridge.curation.fit import FitConfig, Judge, lowest_agreement
from geobridge.places.table import Place, iter_places
from geobridge.views import VIEWS
from geobridge.world.build import Recipe, build_places
from geobridge.world.regions import region_named

RULES = ((0.5, 1.0), (0.7, 1.0), (0.9, 1.0), (0.7, 0.1), (0.9, 0.1), (0.7, 0.05))
REGIONS = ("prairie", "danube", "riviera", "formosa", "savanna", "boreal", "edo")
SWAPPED = 0.05
DRAWS = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--places", type=Path)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--others", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        places = options.places
        if places is None:
            places = Path(folder)
            build_places(places, REGIONS, 1, 60, Recipe(seed=2))
        config = FitConfig(model=options.model, others=options.others)
        workspaces: dict[str, list[Place]] = {}
        for place in iter_places(places):
            if place.text:
                workspaces.setdefault(place.country or "", []).append(place)
        report(workspaces, config)


def report(workspaces: Mapping[str, list[Place]], config: FitConfig) -> None:
    """Print the table for land that was trained on and for land that was not."""
    scores: dict[str, list[dict[str, np.ndarray]]] = {"known": [], "unknown": []}
    for number, (region, places) in enumerate(workspaces.items()):
        elsewhere = list(workspaces.values())[number - 1]
        land = "unknown" if region_named(region).unseen else "known"
        scores[land].append(judged(places, elsewhere, config))
    table = Table(
        "land", "least", "most rejected", "good lost", "within a region", "of another region",
        title=f"share lost, and caught of swapped ones; model {config.model}",
    )  # fmt: skip
    for land, found in scores.items():
        for least, most in RULES if found else ():
            shares = [np.mean(part) for part in simulate(found, least, most)]
            told = f"{most:.0%}" if most < 1 else "any"
            table.add_row(land, f"{least:g}", told, *(f"{100 * share:.1f} %" for share in shares))
    console = Console(width=100)
    console.print(table)
    counts = {land: sum(len(one["true"]) for one in found) for land, found in scores.items()}
    console.print(f"places: {counts['known']} on known land, {counts['unknown']} on unknown land")


def judged(places: list[Place], elsewhere: list[Place], config: FitConfig) -> dict[str, np.ndarray]:
    """The lowest agreement of each place's own, a neighbour's and a foreign description."""
    names = [place.place_id for place in places]
    texts = [place.text or "" for place in places]
    pictures = {
        place.place_id: {view: path for view in VIEWS if (path := getattr(place, view))}
        for place in places
    }
    judge = Judge(config, pictures)
    judge.compare_with(dict(zip(names, texts, strict=True)))
    shown = {
        "true": texts,
        "within": texts[1:] + texts[:1],
        "across": [elsewhere[row % len(elsewhere)].text or "" for row in range(len(places))],
    }
    found = {}
    for kind, some in shown.items():
        fits = judge.judge(dict(zip(names, some, strict=True)))
        found[kind] = np.array([lowest_agreement(fits[name].values()) for name in names])
    return found


def simulate(
    found: list[dict[str, np.ndarray]], least: float, most: float
) -> tuple[list[float], list[float], list[float]]:
    """Shares rejected of good, swapped within and swapped across, a value a draw."""
    rng = np.random.default_rng(0)
    shares: tuple[list[float], list[float], list[float]] = ([], [], [])
    for of_region in found:
        count = len(of_region["true"])
        for _ in range(DRAWS):
            rows = rng.permutation(count)[: max(1, round(SWAPPED * count))]
            lost = []
            for kind, out in (("within", shares[1]), ("across", shares[2])):
                scores = of_region["true"].copy()
                scores[rows] = of_region[kind][rows]
                below = scores < capped(scores[:, None], np.array([least]), most)[0]
                out.append(float(below[rows].mean()))
                lost.append(float(np.delete(below, rows).mean()))
            shares[0].append(float(np.mean(lost)))
    return shares


if __name__ == "__main__":
    main()
