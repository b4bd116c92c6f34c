"""What each stage of a curation catches of planted bad inputs, and what it loses of the good ones.

    python benchmarks/curation_pipeline.py
    python benchmarks/curation_pipeline.py --towns boreal/0 --each 1 --model ""

Towns of the simulated planet are curated as a user's own would be: an orthophoto, panoramas behind
a server that speaks Panoramax's API, a satellite orthophoto of another date, and a chat endpoint.
Among good panoramas bad ones are planted, and bad ground in the orthophoto; the table tells at
which stage how many of each kind were left out, and the list after it for which reasons. A copy of
a panorama counts as caught where not both stay.

The chat endpoint is no model: it answers with the planet's own description of the ground the drone
picture shows. What the check of descriptions catches is thus what `--model` sees: that a panorama
does not fit the words for the ground it is put on. `--model ""` leaves that check out.
"""

import argparse
import io
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
from curation_gates import FAULTS
from PIL import Image
from rasterio.windows import Window
from rich.console import Console
from rich.table import Table

from geobridge.curation.config import parse_curate_config
from geobridge.curation.pipeline import STAGES, curate
from geobridge.curation.workspace import Workspace
from geobridge.geo.distance import distance_m
from geobridge.imagery.decode import read_image
from geobridge.world.camera import sensor_for
from geobridge.world.photos import Shot as Exposure
from geobridge.world.photos import write_panorama
from geobridge.world.planet import Town, WorldPlace
from geobridge.world.seeds import generator
from geobridge.world.trips import open_town, write_map

# The servers that the tests talk to.
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "curation"))
from chat_server import ChatServer, answer, completion, pictures_in
from provider_servers import ProviderServer, Shot

SIDE_M, GSD_M, SATELLITE_GSD_M = 100.0, 0.6, 0.8
APART_M = 75.0
FAR_M = 150.0
BLUR = "blur 3"
# Of regions that no shipped model was trained on.
TOWNS = "savanna/0,savanna/1,boreal/0,boreal/1,edo/0,edo/1"
DRONE_DATE, STREET_DATE, SATELLITE_DATE = 0, 2, 3

GOOD, ORIGINAL = "good", "original of a copy put elsewhere"
KINDS = (
    f"street: {BLUR}",
    "street: flat",
    "street: sea",
    f"ground: {BLUR}",
    "ground: flat",
    "ground: sea",
    "copy, 3 m away",
    "copy, put elsewhere",
    "misplaced, its EXIF says so",
    "misplaced, nothing says so",
    "latitude and longitude swapped",
    "mirrored",
)
STAGE_COLUMNS = ("street", "crop", "clean", "satellite", "describe", "publish")


@dataclass(frozen=True)
class Planted:
    """A panorama as the provider has it, what it is, and of which panorama it is a copy."""

    kind: str
    shot: Shot
    copy_of: str | None = None
    lie: tuple[float, float] | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--towns", default=TOWNS)
    parser.add_argument("--each", type=int, default=2, help="of each kind in each town")
    parser.add_argument("--model", default="mini", help="judges descriptions")
    options = parser.parse_args()
    found: list[tuple[str, str, str]] = []
    for name in options.towns.split(","):
        with tempfile.TemporaryDirectory() as folder:
            found += curate_town(name, Path(folder), options.each, options.model)
    report(found, options)


def curate_town(name: str, folder: Path, each: int, model: str) -> list[tuple[str, str, str]]:
    """Curate one town; kind, stage that left it out (empty if none) and reason of each panorama."""
    town = open_town(name)
    planted, ground = plant(town, folder, each)
    write_map(town, folder / "drone.tif", gsd_m=GSD_M, date=DRONE_DATE)
    write_map(town, folder / "satellite.tif", gsd_m=SATELLITE_GSD_M, date=SATELLITE_DATE)
    spoil(town, folder / "drone.tif", ground)
    workspace = Workspace(folder / "out")
    with (
        ProviderServer([one.shot for one in planted.values()]) as provider,
        ChatServer(lambda body: describe(town, workspace, body)) as chat,
    ):
        for key, one in planted.items():
            if one.lie:
                provider.lies[key] = {"lat": one.lie[0], "lon": one.lie[1]}
        config = parse_curate_config(settings(folder, provider, chat, model), name)
        curate(config, workspace.folder)
    lost: dict[str, tuple[str, str]] = {}
    for key, loss in losses(workspace):
        lost.setdefault(key, loss)
    rows = []
    for key, one in planted.items():
        stage, reason = lost.get(key, ("", ""))
        if one.copy_of and not stage:
            # It may be the copy that stays: then the other has to go.
            stage, reason = lost.get(one.copy_of, ("", ""))
        rows.append((one.kind, stage, reason))
    return rows


def settings(folder: Path, provider: ProviderServer, chat: ChatServer, model: str) -> dict:
    street = {"kind": "panoramax", "url": provider.panoramax, "requests_per_second": 1000}
    endpoint = {"base_url": chat.url, "model": "the planet"}
    fit = {"fit": {"model": model}} if model else {}
    return {
        "seeds": {"rasters": [str(folder / "drone.tif")]},
        "street": {"providers": [street], "per_seed": 100, "allow_private": True},
        "crop": {"sides_m": [SIDE_M], "gsd_m": GSD_M},
        "satellite": {"rasters": [str(folder / "satellite.tif")], "gsd_m": SATELLITE_GSD_M},
        "describe": {"endpoint": endpoint, "most_words": 200, "attempts": 1, **fit},
        "publish": {"splits": {"shares": {"train": 1.0}}},
    }


# Planting


def plant(
    town: Town, folder: Path, each: int
) -> tuple[dict[str, Planted], list[tuple[str, WorldPlace]]]:
    """Panoramas by their id, and what is to be planted in the ground of which place."""
    there = town.places(1000, seed=5, apart_m=APART_M, at_most=True)
    # Some kinds take a second place.
    if len(there) < (len(KINDS) + 8) * each:
        sys.exit(f"{town.name} has room for {len(there)} places: plant fewer with --each.")
    places = iter(there)
    rng = np.random.default_rng(0)
    planted: dict[str, Planted] = {}
    ground: list[tuple[str, WorldPlace]] = []
    kinds = [kind for kind in KINDS for _ in range(each)]
    for number, place in enumerate(places):
        kind = kinds[number] if number < len(kinds) else GOOD
        key = f"p{number:03d}"
        view, _, fault = kind.partition(": ")
        picture = photograph(town, place)
        if view == "street":
            picture = FAULTS[fault](picture, rng)
        elif view == "ground":
            ground.append((fault, place))
        elif kind == "mirrored":
            picture = np.ascontiguousarray(picture[:, ::-1])
        shot = taken(town, place, key, picture, folder)
        if kind.startswith("copy"):
            planted[key] = Planted(ORIGINAL if "elsewhere" in kind else GOOD, shot)
            at = next(places) if "elsewhere" in kind else aside(town, place)
            again = replace(
                shot, id=f"{key}-again", lat=at.lat, lon=at.lon, jpeg=smaller(shot.jpeg)
            )
            planted[again.id] = Planted(kind, again, key)
        elif kind.startswith("misplaced"):
            data = shot.jpeg if "EXIF" in kind else without_exif(shot.jpeg)
            at = next(p for p in places if distance_m(p.lat, p.lon, place.lat, place.lon) > FAR_M)
            planted[key] = Planted(kind, replace(shot, lat=at.lat, lon=at.lon, jpeg=data))
        elif kind.startswith("latitude"):
            planted[key] = Planted(kind, shot, lie=(place.lon, place.lat))
        else:
            planted[key] = Planted(kind, shot)
    return planted, ground


def photograph(town: Town, place: WorldPlace) -> np.ndarray:
    sensor = sensor_for("street", generator("benchmark", town.name, place.index))
    return town.render(
        "street", place, size=256, date=STREET_DATE, yaw_deg=place.heading_deg, full=True,
        sensor=sensor,
    )  # fmt: skip


def taken(town: Town, place: WorldPlace, key: str, picture: np.ndarray, folder: Path) -> Shot:
    """The panorama as a file that knows where it was taken."""
    heading_deg = (place.heading_deg + town.convergence_deg) % 360
    day = town.day(STREET_DATE)
    path = folder / f"{key}.jpg"
    write_panorama(
        path, picture,
        Exposure(place.lat, place.lon, 50.0, 0.0, heading_deg, 0.0, day.day_of_year, day.hour),
    )  # fmt: skip
    height, width = picture.shape[:2]
    return Shot(
        key, place.lat, place.lon, path.read_bytes(), heading_deg=heading_deg,
        width=width, height=height,
    )  # fmt: skip


def aside(town: Town, place: WorldPlace) -> WorldPlace:
    return town.place_at(place.x_m + 3, place.y_m, place.heading_deg)


def smaller(data: bytes) -> bytes:
    """The picture again, three quarters the size, without its EXIF."""
    image = Image.open(io.BytesIO(data))
    return saved(image.resize((image.width * 3 // 4, image.height * 3 // 4)))


def without_exif(data: bytes) -> bytes:
    return saved(Image.open(io.BytesIO(data)))


def saved(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(image)).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def spoil(town: Town, raster: Path, ground: list[tuple[str, WorldPlace]]) -> None:
    """Plant faults in the orthophoto, in the squares around places."""
    rng = np.random.default_rng(1)
    # A little more than the square, which is not quite parallel to the grid.
    side = round(1.06 * SIDE_M / GSD_M)
    with rasterio.open(raster, "r+") as dataset:
        for fault, place in ground:
            x, y = (place.x_m + town.easting_m, place.y_m + town.northing_m)
            col, row = ~dataset.transform @ (x, y)
            window = Window(round(col - side / 2), round(row - side / 2), side, side)
            pixels = np.moveaxis(dataset.read(window=window), 0, 2)
            spoilt = FAULTS[fault](np.ascontiguousarray(pixels), rng)
            dataset.write(np.moveaxis(spoilt, 2, 0), window=window)


# Describing


def describe(town: Town, workspace: Workspace, body: dict) -> dict:
    """The planet's description of the ground that the drone picture of a request shows."""
    shown = thumb(pictures_in(body)[0])
    crops = workspace.read("crops")
    crops = crops[crops["kept"]]
    apart = [
        np.abs(thumb(read_image(workspace.folder / path)) - shown).mean() for path in crops["drone"]
    ]
    row = crops.iloc[int(np.argmin(apart))]
    place = town.place_at(*town.to_metric(row["lat"], row["lon"]))
    return completion(answer(town.describe(place, radius_m=SIDE_M / 2)))


def thumb(picture: np.ndarray) -> np.ndarray:
    small = Image.fromarray(picture).resize((12, 12), Image.Resampling.BOX)
    return np.asarray(small).astype(float)


# What came of it


def losses(workspace: Workspace) -> Iterator[tuple[str, tuple[str, str]]]:
    """Id of each panorama that was left out, the stage that did it, and why."""
    street = workspace.read("street")
    key = {pano_id: pano_id.partition(":")[2] for pano_id in street["pano_id"]}
    for row in street[~street["kept"]].to_dict("records"):
        yield key[row["pano_id"]], ("street", row["reason"])
    crops = workspace.read("crops")
    pano_of = dict(zip(crops["place_id"], crops["pano_id"], strict=True))
    for stage in STAGES[2:]:
        table = workspace.read(stage.table)
        for row in table[~table["kept"]].to_dict("records"):
            yield key[pano_of[row["place_id"]]], (stage.name, row["reason"])


def report(found: list[tuple[str, str, str]], options: argparse.Namespace) -> None:
    console = Console(width=120)
    table = Table(
        "planted", "panoramas", *STAGE_COLUMNS, "left out",
        title=f"{options.towns}: share left out by each stage",
    )  # fmt: skip
    frame = pd.DataFrame(found, columns=["kind", "stage", "reason"])
    for kind in (*KINDS, ORIGINAL, GOOD):
        some = frame[frame["kind"] == kind]
        if some.empty:
            continue
        counts = [int((some["stage"] == stage).sum()) for stage in STAGE_COLUMNS]
        shares = [f"{100 * count / len(some):.0f} %" if count else "" for count in counts]
        table.add_row(kind, f"{len(some)}", *shares, f"{100 * sum(counts) / len(some):.0f} %")
    console.print(table)
    for kind in (*KINDS, ORIGINAL, GOOD):
        some = frame[(frame["kind"] == kind) & (frame["stage"] != "")]
        told = Counter(f"{stage}: {plain(reason)}" for _, stage, reason in some.to_numpy().tolist())
        for reason, count in sorted(told.items(), key=lambda item: (-item[1], item[0])):
            console.print(f"{kind}: {count} {reason}", markup=False, soft_wrap=True)


def plain(reason: str) -> str:
    """A reason without the numbers in it."""
    words = reason.partition("(")[0].split()
    return " ".join("..." if any(c.isdigit() for c in word) else word for word in words)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    main()
