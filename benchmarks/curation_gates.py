"""What the gates of the stage `clean` catch of planted faults, and what good pictures they lose.

    python benchmarks/curation_gates.py
    python benchmarks/curation_gates.py --places runs/planet-val --sheets /tmp/sheets

Four tables. The shares of pictures rejected in which nothing was planted, of real sets (beside the
project, see `--data`; left out where they are absent) and of the simulated planet. The shares
caught of pictures in which a fault was planted, by each gate alone and by all. And one run of the
stage on the planet's places with planted copies of places and of panoramas among them. And how many
bits of 256 the looks of panoramas differ in: of copies that are turned, reduced and saved again,
and of others, a few metres apart (copies are what differs in no more than NEAR_BITS). The strength
of a blur is the standard deviation of a Gaussian, in pixels of a picture whose shorter side is 256
pixels; haze is the share of a light grey laid over the picture.
"""

import argparse
import io
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
from PIL import Image
from rich.console import Console
from rich.table import Table

from geobridge.curation.clean import GATES, CleanConfig, JudgedView, run
from geobridge.curation.duplicates import steady_look
from geobridge.curation.workspace import Workspace
from geobridge.errors import ImageError
from geobridge.evaluation.pictures import NEAR_BITS
from geobridge.geo.footprint import footprint_around, size_m
from geobridge.imagery.decode import read_image
from geobridge.imagery.quality import QUALITY_SIDE, Quality, quality_of
from geobridge.places.table import iter_places
from geobridge.world.build import Recipe, build_places
from geobridge.world.camera import sensor_for
from geobridge.world.seeds import generator
from geobridge.world.trips import open_town

# Beside the tests, which plant them too.
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "curation"))
from faults import FAULTS, Picture

CONFIG = CleanConfig()
REAL: tuple[tuple[str, JudgedView, str], ...] = (
    ("naip_years", "drone", "naip_years/*.tif"),
    ("ucm_captions", "drone", "ucm_captions/images/*.jpg"),
    ("fongyuan", "drone", "fongyuan/drone/*.*"),
    ("ariel", "drone", "ariel/drone/*.*"),
    ("exif_drone", "drone", "exif_drone/*.jpg"),
    ("street_sat (panoramas)", "street", "street_sat/street/cvusa_*.jpg"),
    ("exif_street", "street", "exif_street/*.jpg"),
)
REGIONS = ("prairie", "danube", "riviera", "formosa")
MOST = 200
LOOK_TOWNS, LOOK_PLACES = ("danube/0@2", "savanna/0@2"), 25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--places", type=Path, help="places of the planet; by default drawn anew")
    parser.add_argument("--sheets", type=Path, help="copy the stage's contact sheets here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        places = options.places or draw_planet(Path(folder, "planet"))
        sets = {name: (view, sorted(options.data.glob(glob))) for name, view, glob in REAL}
        for view in ("drone", "street"):
            files = [path for place in iter_places(places) if (path := getattr(place, view))]
            sets[f"planet {view}"] = (view, files)
        sets = {name: found for name, found in sets.items() if found[1]}
        print_table("Nothing planted", ["pictures"], lost(sets))
        print_table("Faults in pictures", ["view", "fault", "of", "pictures"], caught(sets))
        workspace = Workspace(Path(folder, "work"))
        kinds = plant_places(places, workspace)
        table = run(workspace, CONFIG, lambda _: lambda *_: None)
        report_places(kinds, table)
        report_looks()
        if options.sheets:
            shutil.copytree(workspace.folder / "sheets", options.sheets, dirs_exist_ok=True)


def draw_planet(folder: Path) -> Path:
    """A few places of every region, pictures of 256 pixels."""
    build_places(folder, REGIONS, 1, 40, Recipe(size=256, seed=2))
    return folder


def print_table(title: str, heads: Sequence[str], rows: Iterator[list[str]]) -> None:
    table = Table(*heads, *GATES, "any gate", title=title)
    for row in rows:
        table.add_row(*row)
    Console(width=110).print(table)


def lost(sets: dict[str, tuple[JudgedView, list[Path]]]) -> Iterator[list[str]]:
    """Rows of the first table."""
    for name, (view, files) in sets.items():
        found = [quality_of(image, view) for image in pictures(files)]
        yield [f"{name}: {len(found):,} {view}", *shares(view, found)]


def pictures(files: Sequence[Path]) -> Iterator[Picture]:
    """The files that can be read."""
    for path in files:
        try:
            yield read_image(path, min_side=2 * QUALITY_SIDE)
        except ImageError as error:
            print(error)


def shares(view: JudgedView, found: Sequence[Quality]) -> list[str]:
    """Share below each gate, and below any."""
    gates = getattr(CONFIG, view)
    below = [[getattr(one, gate) < getattr(gates, gate) for gate in GATES] for one in found]
    each = np.mean(below, axis=0)
    return [f"{100 * share:.1f} %" for share in (*each, np.any(below, axis=1).mean())]


def caught(sets: dict[str, tuple[JudgedView, list[Path]]]) -> Iterator[list[str]]:
    """Rows of the second table; of each set up to `MOST` pictures, evenly spread."""
    for name, (view, files) in sets.items():
        rows = np.unique(np.linspace(0, len(files) - 1, min(MOST, len(files))).astype(int))
        images = list(pictures([files[row] for row in rows]))
        for title, fault in FAULTS.items():
            rng = np.random.default_rng(0)
            found = [quality_of(fault(image, rng), view) for image in images]
            yield [view, title, name, f"{len(found):,}", *shares(view, found)]


def plant_places(places: Path, workspace: Workspace) -> dict[str, str]:
    """A table of crops of the planet's places and planted copies; the kind of each place."""
    rng = np.random.default_rng(0)
    rows: list[dict[str, object]] = []
    kinds: dict[str, str] = {}

    def add(kind: str, name: str, place, lat: float, lon: float, street: Picture) -> None:
        side_m = size_m(place.footprint)
        kinds[name] = kind
        relative = {"drone": f"drone/{name}.jpg", "street": f"street/{name}.jpg"}
        for view, path in relative.items():
            target = workspace.folder / path
            target.parent.mkdir(exist_ok=True)
            if view == "drone":
                shutil.copyfile(place.drone, target)
            else:
                Image.fromarray(street).save(target, quality=int(rng.integers(70, 96)))
        facts = {"place_id": name, "pano_id": f"planet:{name}", "lat": lat, "lon": lon}
        footprint = footprint_around(lat, lon, side_m, side_m)
        rows.append({**facts, "footprint": footprint, "side_m": side_m, **relative, "kept": True})

    good = [place for place in iter_places(places) if place.drone and place.street]
    for number, place in enumerate(good):
        street = read_image(place.street)
        # Two kilometres apart, so that what is planted is the only overlap there is.
        lat, lon = 40 + number // 20 * 0.02, 10 + number % 20 * 0.03
        side_deg = size_m(place.footprint) / 111_000
        if number % 8 == 0:
            add("copied footprint, original", f"{number:04d}a", place, lat, lon, street)
            shifted = lat + 0.3 * side_deg
            other = read_image(good[number - 1].street)[:, ::-1]
            add("copied footprint, 30 % aside", f"{number:04d}b", place, shifted, lon, other)
        elif number % 8 == 1:
            add("copied panorama, original", f"{number:04d}a", place, lat, lon, street)
            height, width = (side * 3 // 4 for side in street.shape[:2])
            smaller = np.asarray(Image.fromarray(street).resize((width, height)))
            away = lat + 600 / 111_000
            add("copied panorama, resized, 600 m away", f"{number:04d}b", place, away, lon, smaller)
        else:
            add("good", f"{number:04d}", place, lat, lon, street)
    table = geopandas.GeoDataFrame(pd.DataFrame(rows), geometry="footprint", crs="EPSG:4326")
    workspace.write("crops", table)
    return kinds


def report_places(kinds: dict[str, str], found: pd.DataFrame) -> None:
    """The third table: how many of each kind stay, and of how many pairs not both."""
    table = Table("kind", "places", "kept", title="One run of the stage")
    kind = found["place_id"].map(kinds)
    for name in dict.fromkeys(kinds.values()):
        rows = found[kind == name]
        table.add_row(name, f"{len(rows):,}", f"{rows['kept'].sum():,}")
    console = Console(width=110)
    console.print(table)
    pairs = found[found["place_id"].str.len() == 5].groupby(found["place_id"].str[:4])["kept"]
    console.print(f"pairs of which both stay: {int((pairs.sum() == 2).sum())} of {len(pairs)}")
    same = found["reason"].str.startswith("street: the same", na=False) & (kind == "good")
    console.print(f"good places called copies of another's panorama: {int(same.sum())}")


def report_looks() -> None:
    """The fourth table."""
    bits: dict[str, list[int]] = {}
    for name in LOOK_TOWNS:
        town = open_town(name)
        rng = np.random.default_rng(0)
        for place in town.places(LOOK_PLACES, seed=5):

            def drawn(east_m: float, town=town, place=place) -> Picture:
                at = town.place_at(place.x_m + east_m, place.y_m, place.heading_deg)
                sensor = sensor_for("street", generator("looks", place.index, east_m))
                return town.render("street", at, size=256, date=2, full=True, sensor=sensor)

            first = drawn(0.0)
            look = steady_look(first)
            turned = np.roll(first, int(rng.integers(first.shape[1])), axis=1)
            others = {
                "copy, turned, 3/4, JPEG 85": saved_again(turned, 0.75, 85),
                "copy, turned, 1/2, JPEG 60": saved_again(turned, 0.5, 60),
                **{f"{east_m:g} m aside": drawn(east_m) for east_m in (3.0, 6.0, 12.0)},
            }
            for kind, other in others.items():
                apart = int(np.bitwise_count(look ^ steady_look(other)).sum())
                bits.setdefault(kind, []).append(apart)
    table = Table("panorama", "pairs", "least", "median", "most", "called the same", title="Looks")
    for kind, found in bits.items():
        same = f"{np.mean(np.array(found) <= NEAR_BITS):.0%}"
        least, median, most = min(found), int(np.median(found)), max(found)
        table.add_row(kind, f"{len(found)}", f"{least}", f"{median}", f"{most}", same)
    Console(width=110).print(table)


def saved_again(picture: Picture, scale: float, quality: int) -> Picture:
    height, width = (round(side * scale) for side in picture.shape[:2])
    buffer = io.BytesIO()
    Image.fromarray(picture).resize((width, height)).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


if __name__ == "__main__":
    main()
