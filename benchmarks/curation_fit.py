"""What the check of descriptions by a model catches and loses, on the simulated planet.

    python benchmarks/curation_fit.py --places runs/planet-val

For several least agreements (see `geobridge.curation.fit`): the share of places whose true text
misses one with some view, and the same of texts swapped with another region and within a region.
Without `--places` a few are drawn anew, in towns that no shipped model was trained on.
"""

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from geobridge.curation.fit import FitConfig, Judge
from geobridge.places.table import iter_places
from geobridge.views import VIEWS
from geobridge.world.build import Recipe, build_places

LEAST = (0.5, 0.6, 0.7, 0.8, 0.9)
REGIONS = ("prairie", "danube", "riviera", "formosa")


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
            build_places(places, REGIONS, 1, 40, Recipe(seed=2))
        report(places, FitConfig(model=options.model, others=options.others))


def report(folder: Path, config: FitConfig) -> None:
    """Print the table for the places of a folder."""
    places = [place for place in iter_places(folder) if place.text]
    names = [place.place_id for place in places]
    texts = [place.text for place in places]
    pictures = {
        place.place_id: {view: path for view in VIEWS if (path := getattr(place, view))}
        for place in places
    }
    judge = Judge(config, pictures)
    judge.compare_with(dict(zip(names, texts, strict=True)))
    region = np.array([place.country for place in places])
    kinds = {
        "true": np.arange(len(places)),
        "of another region": np.roll(np.arange(len(places)), len(places) // 2),
        "of the same region": within(region),
    }
    table = Table("least agreement", *kinds, title=f"{len(places)} places, model {config.model}")
    lowest = {
        kind: agreements(judge, dict(zip(names, [texts[row] for row in rows], strict=True)))
        for kind, rows in kinds.items()
    }
    for least in LEAST:
        shares = [f"{100 * (found < least).mean():.1f} % miss" for found in lowest.values()]
        table.add_row(f"{least:g}", *shares)
    Console(width=90).print(table)


def within(region: np.ndarray) -> np.ndarray:
    """Rows in which each has changed place with the next of its region."""
    rows = np.arange(len(region))
    for name in np.unique(region):
        of_region = np.flatnonzero(region == name)
        rows[of_region] = np.roll(of_region, 1)
    return rows


def agreements(judge: Judge, texts: Mapping[str, str]) -> np.ndarray:
    """The lowest agreement of each text with a view of its place."""
    found = judge.judge(texts)
    return np.array([min(fit.agreement for fit in fits.values()) for fits in found.values()])


if __name__ == "__main__":
    main()
