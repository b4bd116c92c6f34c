"""How well a model tells panoramas that do not belong to their ground, on the simulated planet.

    python benchmarks/curation_ground.py
    python benchmarks/curation_ground.py --towns danube/0@2,edo/0@2 --count 20

Each town is a workspace. Its panoramas are compared with their ground (`geobridge.curation.ground`)
as they are, all mirrored, all turned by an angle of the town's own, and each put at another place.
The first table has for each fault and the score that is meant for it the area under the ROC curve,
and the share caught where 5 and 10 % of a town's good panoramas are lost. The second has what the
defaults reject, any score, where one panorama of twenty is bad, drawn `DRAWS` times. The third has
the share of sets of which all are bad that are warned of, and of good ones. The fourth has the
pairs of CVUSA beside the project (see `--data`; left out where they are absent), too few to be
judged one by one: mean similarity with their ground as they are and otherwise.
"""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
from PIL import Image
from rich.console import Console
from rich.table import Table

from geobridge.curation.clean import GROUND_GATES
from geobridge.curation.cutoffs import capped
from geobridge.curation.fit import share_below
from geobridge.curation.ground import TURN_DEG, GroundConfig, Grounded, compare, judge_sets
from geobridge.curation.workspace import Workspace
from geobridge.geo.footprint import footprint_around
from geobridge.imagery.decode import read_image
from geobridge.imagery.street import panorama_columns, street_field
from geobridge.model.geobridge import GeoBridge
from geobridge.progress import silent
from geobridge.world.camera import sensor_for
from geobridge.world.planet import parse_town
from geobridge.world.regions import region_named
from geobridge.world.seeds import generator
from geobridge.world.trips import open_town

KNOWN = ("prairie", "mesa", "lowland", "danube", "riviera", "albion", "formosa", "levant")
TOWNS = ",".join(f"{region}/0@2" for region in (*KNOWN, "savanna", "boreal", "edo"))
ANGLES = (60.0, 90.0, 140.0, 180.0, 225.0, 300.0)
SIDE_M, APART_M = 80.0, 75.0
GSD_M = 0.6
FAULTS = {"mirrored": "mirror", "turned": "turn", "elsewhere": "agreement"}
PLANTED = 0.05
DRAWS = 100
SETS = (5, 10, 20)


@dataclass(frozen=True)
class Judged:
    """A town's panoramas, good and with each fault."""

    good: Grounded
    bad: dict[str, Grounded]
    street: pd.DataFrame


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--towns", default=TOWNS)
    parser.add_argument("--count", type=int, default=50, help="most places of a town")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    options = parser.parse_args()
    config = GroundConfig(model=options.model)
    lands: dict[str, list[Judged]] = {"known": [], "unknown": []}
    for number, name in enumerate(options.towns.split(",")):
        land = "unknown" if region_named(parse_town(name)[0]).unseen else "known"
        with tempfile.TemporaryDirectory() as folder:
            angle = ANGLES[number % len(ANGLES)]
            lands[land].append(judged(name, Path(folder), options.count, angle, config))
    there = {land: towns for land, towns in lands.items() if towns}
    console = Console(width=110)
    for table in (separation(there), defaults(there, config), sets(there)):
        console.print(table)
    files = sorted(options.data.glob("street_sat/street/cvusa_*.jpg"))
    if files:
        console.print(real(files, options.model))


def judged(name: str, folder: Path, count: int, angle: float, config: GroundConfig) -> Judged:
    """Draw a town and compare it."""
    town = open_town(name)
    workspace = Workspace(folder)
    places = town.places(count, seed=5, apart_m=APART_M, at_most=True)
    panoramas, rows = [], []
    north = -town.convergence_deg
    for number, place in enumerate(places):
        sensor = sensor_for("street", generator("benchmark", name, place.index))
        panoramas.append(
            town.render("street", place, size=256, date=2, yaw_deg=north, full=True, sensor=sensor)
        )
        size = round(SIDE_M / GSD_M)
        crop = town.render("satellite", place, size=size, gsd_m=GSD_M, date=0, yaw_deg=north)
        path = f"drone/{number}.png"
        (folder / "drone").mkdir(exist_ok=True)
        Image.fromarray(crop).save(folder / path)
        rows.append(
            {
                "place_id": f"{number:03d}", "pano_id": f"p{number:03d}", "lat": place.lat,
                "lon": place.lon, "side_m": SIDE_M, "drone": path, "kept": True,
                "footprint": footprint_around(place.lat, place.lon, SIDE_M, SIDE_M),
            }
        )  # fmt: skip
    crops = geopandas.GeoDataFrame(pd.DataFrame(rows), geometry="footprint", crs="EPSG:4326")
    street = pd.DataFrame(
        {
            # Cameras look along the street, where a mirror image is the hardest to tell.
            "pano_id": crops["pano_id"],
            "heading_deg": [(place.heading_deg - north) % 360 for place in places],
            "is_360": True, "kept": True, "provider": "planet", "attribution": None,
            "captured": None,
        }
    )  # fmt: skip
    workspace.write("street", street)

    def seen(kind: str, pictures: list[np.ndarray]) -> Grounded:
        paths = [f"street/{kind}-{number}.jpg" for number in range(len(pictures))]
        (folder / "street").mkdir(exist_ok=True)
        for path, picture in zip(paths, pictures, strict=True):
            Image.fromarray(picture).save(folder / path, quality=90)
        return compare(workspace, crops.assign(street=paths), config, silent)

    headings = street["heading_deg"].tolist()
    half = len(panoramas) // 2
    bad = {
        # The file is mirrored about its middle, which looks along the heading.
        "mirrored": [
            panorama_columns(picture[:, ::-1], -2 * heading)
            for picture, heading in zip(panoramas, headings, strict=True)
        ],
        "turned": [panorama_columns(picture, angle) for picture in panoramas],
        "elsewhere": panoramas[half:] + panoramas[:half],
    }
    return Judged(
        seen("good", panoramas), {kind: seen(kind, some) for kind, some in bad.items()}, street
    )


def separation(lands: dict[str, list[Judged]]) -> Table:
    """How far the scores of bad panoramas are from those of good ones."""
    table = Table("land", "fault", "score", "panoramas", "ROC AUC", "at 5 % lost", "at 10 % lost")
    for land, towns in lands.items():
        for fault, gate in FAULTS.items():
            good = [town.good.scores[gate].dropna().to_numpy() for town in towns]
            bad = [town.bad[fault].scores[gate].dropna().to_numpy() for town in towns]
            caught = [
                np.concatenate([b < np.quantile(g, lost) for g, b in zip(good, bad, strict=True)])
                for lost in (0.05, 0.1)
            ]
            one, other = np.concatenate(good)[:, None], np.concatenate(bad)[None]
            area = (one > other).mean() + 0.5 * (one == other).mean()
            shares = [f"{100 * some.mean():.0f} %" for some in caught]
            table.add_row(land, fault, gate, f"{one.size}", f"{area:.3f}", *shares)
    return table


def defaults(lands: dict[str, list[Judged]], config: GroundConfig) -> Table:
    """What is rejected where some are bad, with the cap and without."""
    table = Table("land", "most rejected", "good lost", *(f"{fault} caught" for fault in FAULTS))
    least = np.array([getattr(config, f"least_{gate}") for gate in GROUND_GATES])
    for land, towns in lands.items():
        for most in (config.most_rejected, 1.0):
            rng = np.random.default_rng(0)
            lost: list[float] = []
            caught: dict[str, list[float]] = {fault: [] for fault in FAULTS}
            for town in towns:
                good = town.good.scores[list(GROUND_GATES)].to_numpy()
                for fault in FAULTS:
                    bad = town.bad[fault].scores[list(GROUND_GATES)].to_numpy()
                    for _ in range(DRAWS):
                        rows = rng.permutation(len(good))[: max(1, round(PLANTED * len(good)))]
                        scores = good.copy()
                        scores[rows] = bad[rows]
                        below = (scores < capped(scores, least, most)).any(axis=1)
                        caught[fault].append(below[rows].mean())
                        lost.append(np.delete(below, rows).mean())
            shares = [f"{100 * np.mean(some):.1f} %" for some in (lost, *caught.values())]
            table.add_row(land, f"{most:.0%}" if most < 1 else "any", *shares)
    return table


def sets(lands: dict[str, list[Judged]]) -> Table:
    """Share of sets that are warned of."""
    table = Table("land", "panoramas of a set", "good", *FAULTS, title="sets warned of")
    for land, towns in lands.items():
        for size in SETS:
            shares = []
            for fault in (None, *FAULTS):
                rng = np.random.default_rng(0)
                warned = [
                    bool(is_warned(town.bad[fault] if fault else town.good, town.street, size, rng))
                    for town in towns
                    for _ in range(DRAWS)
                ]
                shares.append(f"{100 * np.mean(warned):.0f} %")
            table.add_row(land, f"{size}", *shares)
    return table


def is_warned(found: Grounded, street: pd.DataFrame, size: int, rng: np.random.Generator) -> bool:
    rows = np.sort(rng.permutation(len(found.scores))[:size])
    part = Grounded(found.scores.iloc[rows], found.alike[rows], found.mirrored[rows])
    return judge_sets(part, street)["warning"].notna().any()


def real(files: list[Path], name: str) -> Table:
    """Pairs of panoramas and aerial pictures, the middle of both looking north."""
    model = GeoBridge.load(name)

    def seen(turn_deg: float, step: int) -> np.ndarray:
        pictures = [read_image(path)[:, ::step] for path in files]
        fields = [street_field(p.shape[1], p.shape[0], panorama=True) for p in pictures]
        return model.embed("street", [panorama_columns(p, turn_deg) for p in pictures], 32, fields)

    ground = model.embed("satellite", [path.parents[1] / "satellite" / path.name for path in files])
    table = Table("as", "similarity", "agreement", title=f"{len(files)} pairs of CVUSA")
    kinds = {f"turned {turn:g}": (turn, 1) for turn in np.arange(0, 360, TURN_DEG)}
    for kind, (turn, step) in (kinds | {"mirrored": (0.0, -1)}).items():
        street = seen(turn, step)
        gains = (street - street.mean(axis=0)) @ ground.T
        agreement = [
            share_below(np.delete(row, number), row[number]) for number, row in enumerate(gains)
        ]
        similarity = (street * ground).sum(axis=1).mean()
        table.add_row(kind, f"{similarity:.3f}", f"{np.mean(agreement):.2f}")
    return table


if __name__ == "__main__":
    main()
