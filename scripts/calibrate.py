"""Fit radius and confidence of a checkpoint on towns of regions that training never saw.

    python scripts/calibrate.py runs/mini/checkpoint

For each unseen region a town's map becomes a gallery, and places in it are asked for in every
combination of modalities, seen on other dates by other sensors. The fitted numbers go into the
checkpoint's config.json (`calibration`); its fingerprint stays.
"""

import argparse
import itertools
import tempfile
from pathlib import Path

import numpy as np

from geobridge import Gallery, GeoBridge, Query, World
from geobridge.localization.calibration import calibrate, query_kind
from geobridge.localization.position import Hypotheses
from geobridge.views import MODALITIES
from geobridge.world import REGIONS, Town, WorldPlace
from geobridge.world.trips import write_map

SEED = 7
MAP_DATE = 0
FIELD_DEG = 60.0


def parts_of(town: Town, place: WorldPlace, rng: np.random.Generator) -> dict[str, dict]:
    """What a query of each modality would hold of a place, on dates the map was not taken on."""
    date, seed = int(rng.integers(1, 8)), int(rng.integers(2**31))
    altitude_m = float(rng.uniform(80, 160))
    # A third of the photos look obliquely, and half do not tell how much ground they show.
    pitch_deg = float(rng.choice([-90.0, -90.0, -60.0]))
    drone = town.render(
        "drone",
        place,
        size=256,
        date=date,
        seed=seed,
        altitude_m=altitude_m,
        pitch_deg=pitch_deg,
        yaw_deg=float(rng.uniform(0, 360)),
        fov_deg=FIELD_DEG,
    )
    known = pitch_deg == -90.0 and rng.random() < 0.5
    width_m = 2 * altitude_m * float(np.tan(np.deg2rad(FIELD_DEG / 2)))
    return {
        "drone": {"drone": drone, "ground_width_m": width_m if known else None},
        "street": {"street": town.render("street", place, size=128, date=date, seed=seed + 1)},
        "satellite": {
            "satellite": town.render("satellite", place, size=128, date=date, seed=seed + 2)
        },
        "text": {"text": town.describe(place, variant=int(rng.integers(4)))},
    }


def main() -> None:
    """Read the options, ask every kind of query, fit, and rewrite the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--places", type=int, default=60, help="of each unseen region")
    arguments = parser.parse_args()
    model = GeoBridge.load(arguments.checkpoint)
    kinds = [
        kind
        for count in range(1, len(MODALITIES) + 1)
        for kind in itertools.combinations(MODALITIES, count)
    ]
    found: dict[str, list[Hypotheses]] = {query_kind(kind): [] for kind in kinds}
    truths: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for region in sorted(name for name, region in REGIONS.items() if region.unseen):
            town = World(SEED).town(region, 0)
            raster = write_map(town, Path(scratch) / f"{region}.tif", gsd_m=0.5, date=MAP_DATE)
            gallery = Gallery.build(
                raster, model, view="satellite", out=Path(scratch) / region, stride_m=25
            )
            rng = np.random.default_rng(SEED)
            places = town.places(arguments.places, seed=SEED)
            truths += [(place.lat, place.lon) for place in places]
            parts = [parts_of(town, place, rng) for place in places]
            for kind in kinds:
                queries = [
                    Query(**{k: v for name in kind for k, v in part[name].items()})
                    for part in parts
                ]
                found[query_kind(kind)] += gallery.search(queries)
    fitted = {name: calibrate(results, truths) for name, results in found.items()}
    for name, calibration in fitted.items():
        print(
            f"{name}: temperature {calibration.temperature:.4f}, radius x "
            f"{calibration.radius_scale:.2f}, {calibration.queries} queries"
        )
    stored = {name: calibration.to_dict() for name, calibration in fitted.items()}
    model.config = model.config.model_copy(update={"calibration": stored})
    model.save(arguments.checkpoint)


if __name__ == "__main__":
    main()
