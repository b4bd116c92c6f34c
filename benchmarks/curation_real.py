"""The whole pipeline on all real rasters beside the project: what is kept, why not, and where.

    python benchmarks/curation_real.py --out /tmp/real
    python benchmarks/curation_real.py --out /tmp/real --tiles 20      # fewer of each city

Orthomosaics are NAIP of 2016 (374 tiles of 154 m, UTM 11N, four cities) and the map of fongyuan (in
degrees, 667 x 627 m); satellite pictures NAIP of 2020, and the map again in UTM 51N at 0.5 m.
Panoramas that were taken there are not at hand: the planet's are put there by their EXIF, one in
the middle of each tile and one every 120 m of the map, so that the street pictures tell nothing
here. Descriptions are a sentence with a number.

Beside what each stage keeps, published pictures are compared with a slow reading of the original
rasters at the footprints they claim (`tests/curation/real_stage.py`): how many pixels they lie
beside it, and how alike they are. OUT is left, to look at.
"""

import argparse
import os
import subprocess
import sys
from itertools import count, islice
from pathlib import Path

import numpy as np
import yaml
from PIL import Image
from rich.console import Console
from rich.table import Table

# The servers and the slow reading are those of the tests.
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "curation"))
from chat_server import ChatServer, answer, completion
from real_stage import (
    MAP,
    NAIP,
    beside,
    lay_over,
    middle_of,
    put_photo,
    warp,
)

from geobridge.curation.workspace import Workspace
from geobridge.world.trips import open_town

TOWNS = ("prairie/0", "danube/0", "riviera/0", "formosa/0", "albion/0", "lowland/0")
TERMS = {"licence": "CC-BY-4.0", "attribution": "USDA NAIP", "source": "NAIP"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tiles", type=int, default=1000, help="of each city at most")
    parser.add_argument("--compare", type=int, default=60, help="places, evenly spread")
    options = parser.parse_args()
    out = options.out
    tiles = [path for path in sorted(NAIP.glob("*_2016_*.tif")) if _number(path) < options.tiles]
    town = warp(MAP, out / "map_utm.tif", "EPSG:32651", 0.5)
    place_panoramas(out / "walk", tiles)
    numbers = count()

    def describe(_: dict) -> dict:
        return completion(answer(f"Houses and streets of the real world, number {next(numbers)}."))

    with ChatServer(describe) as chat:
        config = out / "real.yaml"
        config.write_text(yaml.safe_dump(settings(out, tiles, town, chat.url)))
        run("curate", config, "--out", out / "curation")
    run("data", "doctor", "places", out / "curation" / "places")
    compare(Workspace(out / "curation"), options.compare)


def _number(path: Path) -> int:
    return int(path.stem.rpartition("_")[2])


def settings(out: Path, tiles: list[Path], town: Path, url: str) -> dict:
    # Only the year is known.
    facts = {f"*_{year}_*.tif": {**TERMS, "date": f"{year}-07-01"} for year in (2016, 2020)}
    later = [path.with_name(path.name.replace("_2016_", "_2020_")) for path in tiles]
    photos = {"kind": "folder", "folder": str(out / "walk")}
    return {
        "seeds": {
            "rasters": [str(path) for path in (MAP, *tiles)],
            "side_m": 120, "stride_m": 40, "facts": facts,
        },
        "street": {"providers": [photos]},
        "crop": {"sides_m": [80, 100], "gsd_m": 0.5},
        "satellite": {
            "rasters": [str(path) for path in (town, *later)], "gsd_m": 0.9, "facts": facts,
        },
        "describe": {"endpoint": {"base_url": url, "model": "no eyes"}},
        "publish": {"splits": {"apart_m": 300}},
    }  # fmt: skip


def place_panoramas(folder: Path, tiles: list[Path]) -> None:
    steps = np.arange(-240, 241, 120)
    at = [middle_of(path) for path in tiles]
    at += [beside(*middle_of(MAP), east, north) for east in steps for north in steps]
    each = -(-len(at) // len(TOWNS))
    towns = [open_town(name) for name in TOWNS]
    pictures = (
        town.render("street", place, size=256, date=2, full=True)
        for town in towns
        for place in town.places(each)
    )
    for number, (picture, (lat, lon)) in enumerate(zip(islice(pictures, len(at)), at, strict=True)):
        path = folder / f"{number:03d}.jpg"
        if not path.exists():
            put_photo(Image.fromarray(picture), path, lat, lon)


def run(*words: object) -> None:
    command = [sys.executable, "-m", "geobridge.cli.app", *map(str, words)]
    if subprocess.run(command, check=False).returncode == 2:
        sys.exit("the command failed: see above.")


def compare(workspace: Workspace, most: int) -> None:
    """Print how the published pictures lie over what they ought to show."""
    table = Table(
        "pictures", "number", "pixels beside, median", "at most", "correlation, median", "least",
        title="published pictures, and the ground they claim",
    )  # fmt: skip
    found = lay_over(workspace, most)
    for name in sorted({name for name, _, _ in found}):
        some = [match for other, _, match in found if other == name]
        shifts = [match.shift_px for match in some]
        alike = [match.correlation for match in some]
        table.add_row(
            name, f"{len(some):,}", f"{np.median(shifts):.2f}", f"{max(shifts):.2f}",
            f"{np.median(alike):.3f}", f"{min(alike):.3f}",
        )  # fmt: skip
    Console(width=110).print(table)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    main()
