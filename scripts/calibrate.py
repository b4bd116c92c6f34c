"""Fit radius and confidence of a checkpoint on towns of regions that training never saw.

    python scripts/calibrate.py runs/mini/checkpoint

For each unseen region a town's map becomes a gallery, and places in it are asked for in every
combination of modalities, drone photos with and without their heading. The planet is where the
model is at home, and its photos are easier than real ones. So pictures are of other dates and of
other sensors of the planet, and beyond that each passes through a change of season and sensor of
a strength from nothing to what training changes real pictures by; drone photos look down to
45 degrees ahead; and sentences are wrong or silent in up to half of what they tell. The fitted
numbers go into the checkpoint's config.json (`calibration`); its fingerprint stays.
"""

import argparse
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from geobridge import Gallery, GeoBridge, Query, World
from geobridge.localization.calibration import calibrate, keep_calibrations, query_kind
from geobridge.localization.position import Hypotheses
from geobridge.localization.simulated import change_camera, said_position
from geobridge.views import MODALITIES, Modality
from geobridge.world import REGIONS, Town, WorldPlace
from geobridge.world.trips import write_map

SEED = 7
MAP_DATE = 0
FIELD_DEG = 60.0
# Half of the photos look straight down, the others obliquely.
PITCHES_DEG = (-90.0, -90.0, -60.0, -45.0)
HEADING_ERROR_DEG = 10.0
STRENGTH = (0.0, 1.0)
TEXT_NOISE = (0.0, 0.5)

Kind = tuple[tuple[Modality, ...], bool]
"""What a query consists of, and whether the heading of its drone photo is told."""


def query_kinds() -> list[Kind]:
    """Every combination of modalities, those with a drone photo twice."""
    given = [
        kind
        for count in range(1, len(MODALITIES) + 1)
        for kind in itertools.combinations(MODALITIES, count)
    ]
    return [(kind, False) for kind in given] + [(kind, True) for kind in given if "drone" in kind]


class Asker:
    """Draws what would be asked of places of a town.

    Args:
        town: where; photos are of any of its dates but the map's.
        seed: of everything that is drawn.
        strength: least and largest strength of the change of season and sensor.
    """

    def __init__(self, town: Town, seed: int, strength: tuple[float, float]) -> None:
        self._town = town
        self._rng = np.random.default_rng(seed)
        self._generator = torch.Generator().manual_seed(seed)
        self._strength = strength

    def parts(self, place: WorldPlace) -> dict[str, dict[str, object]]:
        """What a query of each modality would hold of a place; `heading` is the drone photo's."""
        date, seed = int(self._rng.integers(1, 8)), int(self._rng.integers(2**31))
        street = self._town.render("street", place, size=128, date=date, seed=seed + 1)
        satellite = self._town.render("satellite", place, size=128, date=date, seed=seed + 2)
        text = self._town.describe(
            place,
            variant=int(self._rng.integers(4)),
            noise=float(self._rng.uniform(*TEXT_NOISE)),
        )
        return {
            **self._drone(place, date, seed),
            "street": {"street": self._changed(street)},
            "satellite": {"satellite": self._changed(satellite)},
            "text": {"text": text},
        }

    def _drone(self, place: WorldPlace, date: int, seed: int) -> dict[str, dict[str, object]]:
        altitude_m = float(self._rng.uniform(80, 160))
        pitch_deg = float(self._rng.choice(PITCHES_DEG))
        grid_yaw_deg = float(self._rng.uniform(0, 360))
        photo = self._town.render(
            "drone",
            place,
            size=256,
            date=date,
            seed=seed,
            altitude_m=altitude_m,
            pitch_deg=pitch_deg,
            yaw_deg=grid_yaw_deg,
            fov_deg=FIELD_DEG,
        )
        # Half of the photos do not tell how much ground they show, and oblique ones never do.
        tells_width = pitch_deg == -90.0 and self._rng.random() < 0.5
        width_m = 2 * altitude_m * float(np.tan(np.deg2rad(FIELD_DEG / 2)))
        error_deg = float(self._rng.uniform(-HEADING_ERROR_DEG, HEADING_ERROR_DEG))
        return {
            "drone": {
                "drone": self._changed(photo),
                "ground_width_m": width_m if tells_width else None,
            },
            "heading": {"yaw_deg": grid_yaw_deg + self._town.convergence_deg + error_deg},
        }

    def _changed(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return change_camera(picture, float(self._rng.uniform(*self._strength)), self._generator)

    def said_position(self, place: WorldPlace) -> tuple[float, float]:
        """Latitude and longitude that the answer is compared with."""
        return said_position(place.lat, place.lon, self._rng)


def query_of(parts: dict[str, dict[str, object]], kind: Kind) -> Query:
    """The query of a kind, of a place's parts."""
    names = [*kind[0], "heading"] if kind[1] else kind[0]
    return Query(**{key: value for name in names for key, value in parts[name].items()})  # type: ignore[arg-type]


def galleries(model: GeoBridge, scratch: Path) -> Iterator[tuple[Town, Gallery]]:
    """A town of each unseen region, and the gallery of its map."""
    for region in sorted(name for name, region in REGIONS.items() if region.unseen):
        town = World(SEED).town(region, 0)
        raster = write_map(town, scratch / f"{region}.tif", gsd_m=0.5, date=MAP_DATE)
        yield (
            town,
            Gallery.build(raster, model, view="satellite", out=scratch / region, stride_m=25),
        )


def main() -> None:
    """Read the options, ask every kind of query, fit, and rewrite the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--places", type=int, default=60, help="of each unseen region")
    parser.add_argument(
        "--strength",
        type=float,
        nargs=2,
        default=STRENGTH,
        metavar=("LEAST", "MOST"),
        help="of the change of season and sensor; 0 is the planet as it is",
    )
    arguments = parser.parse_args()
    model = GeoBridge.load(arguments.checkpoint)
    kinds = query_kinds()
    found: dict[Kind, list[Hypotheses]] = {kind: [] for kind in kinds}
    truths: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for town, gallery in galleries(model, Path(scratch)):
            asker = Asker(town, SEED, tuple(arguments.strength))
            places = town.places(arguments.places, seed=SEED)
            parts = [asker.parts(place) for place in places]
            truths += [asker.said_position(place) for place in places]
            for kind in kinds:
                found[kind] += gallery.search([query_of(part, kind) for part in parts])
    fitted = {query_kind(*kind): calibrate(results, truths) for kind, results in found.items()}
    for name, calibration in fitted.items():
        print(
            f"{name}: temperature {calibration.temperature:.4f}, radius x "
            f"{calibration.radius_scale:.2f}, confidence at most {calibration.ceiling:.2f}, "
            f"{calibration.queries} queries"
        )
    keep_calibrations(model, fitted)
    model.save(arguments.checkpoint)


if __name__ == "__main__":
    main()
