"""A town of the simulated planet in which bad inputs are planted, and what a curation makes of it.

The town is curated as a user's own would be: an orthophoto, panoramas behind a server that speaks
Panoramax's API, a satellite orthophoto of another date, and a chat endpoint, which answers with the
planet's own description of the ground that the drone picture shows.
"""

import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
from chat_server import ChatServer, answer, completion, pictures_in
from faults import FAULTS
from PIL import Image
from planet_stage import DRONE_DATE, SATELLITE_DATE, STREET_DATE, Planet, difference
from provider_servers import ProviderServer, Shot
from rasterio.windows import Window
from rich.console import Console
from rich.table import Table

from geobridge.curation.config import parse_curate_config
from geobridge.curation.pipeline import STAGE_NAMES, STAGES, curate
from geobridge.curation.workspace import Workspace
from geobridge.geo.distance import distance_m
from geobridge.imagery.decode import read_image
from geobridge.places.table import read_places
from geobridge.views import VIEWS, View
from geobridge.world.camera import sensor_for
from geobridge.world.photos import Shot as Exposure
from geobridge.world.photos import write_panorama
from geobridge.world.planet import Town, WorldPlace
from geobridge.world.seeds import generator
from geobridge.world.trips import open_town, write_map

SIDE_M, GSD_M, SATELLITE_GSD_M = 100.0, 0.6, 0.8
APART_M = 75.0
FAR_M = 150.0
BLUR = "blur 3"

GOOD, ORIGINAL = "good", "original of a copy put elsewhere"
MISPLACED, MIRRORED = "misplaced, nothing says so", "mirrored"
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
    MISPLACED,
    "latitude and longitude swapped",
    MIRRORED,
)


@dataclass(frozen=True)
class Planted:
    """A panorama as the provider has it.

    Attributes:
        kind: what it is.
        shot: what the provider has.
        where: the place that the provider puts it at.
        copy_of: of which panorama it is a copy, or None.
        lie: what the provider says of its latitude and longitude, where that is nowhere.
    """

    kind: str
    shot: Shot
    where: WorldPlace
    copy_of: str | None = None
    lie: tuple[float, float] | None = None


@dataclass(frozen=True)
class Fate:
    """What came of a panorama: the stage that left it out and its reason; empty where none did."""

    kind: str
    stage: str = ""
    reason: str = ""


@dataclass(frozen=True)
class PlantedTown:
    """A town that has been curated, and what was planted in it, by the panoramas' ids."""

    town: Town
    planted: dict[str, Planted]
    workspace: Workspace

    def fates(self) -> dict[str, Fate]:
        """What came of each panorama; a copy is left out where not both stay."""
        lost: dict[str, tuple[str, str]] = {}
        for key, loss in self._losses():
            lost.setdefault(key, loss)
        found = {}
        for key, one in self.planted.items():
            # It may be the copy that stays: then the other has to go.
            loss = lost.get(key) or (lost.get(one.copy_of) if one.copy_of else None)
            found[key] = Fate(one.kind, *(loss or ()))
        return found

    def shows_elsewhere(self) -> dict[str, list[View]]:
        """Ids of panoramas whose published place does not show the place it is put at, by views.

        Each picture is compared with what the planet shows at every place anyone has named: what
        it is most like must be its own.
        """
        planet = Planet(self.town, Path(), Path(), [], [])
        places = read_places(self.workspace.folder / "places")
        crops = self.workspace.read("crops").set_index("place_id")
        named = list({one.where.index: one.where for one in self.planted.values()}.values())
        wrong: dict[str, list[View]] = {}
        for view in VIEWS:
            truths = [planet.truth(view, place, SIDE_M, 48) for place in named]
            for place in places.to_dict("records"):
                shown = read_image(self.workspace.folder / "places" / place[view])
                apart = [difference(shown, truth) for truth in truths]
                likest = named[int(np.argmin(apart))]
                key = _key(crops.at[place["place_id"], "pano_id"])
                if likest.index != self.planted[key].where.index:
                    wrong.setdefault(key, []).append(view)
        return wrong

    def published(self) -> set[str]:
        """Ids of the panoramas whose places are published."""
        places = read_places(self.workspace.folder / "places")
        crops = self.workspace.read("crops").set_index("place_id")
        return {_key(crops.at[name, "pano_id"]) for name in places["place_id"]}

    def _losses(self) -> Iterator[tuple[str, tuple[str, str]]]:
        """Id of each panorama that was left out, the stage that did it, and why."""
        street = self.workspace.read("street")
        for row in street[~street["kept"]].to_dict("records"):
            yield _key(row["pano_id"]), ("street", row["reason"])
        crops = self.workspace.read("crops")
        pano_of = dict(zip(crops["place_id"], crops["pano_id"], strict=True))
        for stage in STAGES[2:]:
            table = self.workspace.read(stage.table)
            for row in table[~table["kept"]].to_dict("records"):
                yield _key(pano_of[row["place_id"]]), (stage.name, row["reason"])


def curate_town(
    name: str, folder: Path, *, each: int, model: str = "", most: int = 1000
) -> PlantedTown:
    """Plant and curate one town.

    Args:
        name: of the town.
        folder: for everything.
        each: how many of each kind are planted.
        model: that judges descriptions and compares panoramas with their ground; none if empty.
        most: places of the town that are used at most.
    """
    town = open_town(name)
    planted, ground = _plant(town, folder, each, most)
    write_map(town, folder / "drone.tif", gsd_m=GSD_M, date=DRONE_DATE)
    write_map(town, folder / "satellite.tif", gsd_m=SATELLITE_GSD_M, date=SATELLITE_DATE)
    _spoil(town, folder / "drone.tif", ground)
    workspace = Workspace(folder / "out")
    with (
        ProviderServer([one.shot for one in planted.values()]) as provider,
        ChatServer(lambda body: _describe(town, workspace, body)) as chat,
    ):
        for key, one in planted.items():
            if one.lie:
                provider.lies[key] = {"lat": one.lie[0], "lon": one.lie[1]}
        config = parse_curate_config(_settings(folder, provider, chat, model), name)
        curate(config, workspace.folder)
    return PlantedTown(town, planted, workspace)


def report(fates: Sequence[Fate], title: str) -> None:
    """Print which stage left out what share of each kind, and for which reasons."""
    console = Console(width=120)
    stages = STAGE_NAMES[1:]
    table = Table("planted", "panoramas", *stages, "left out", title=title)
    frame = pd.DataFrame([vars(fate) for fate in fates])
    for kind in (*KINDS, ORIGINAL, GOOD):
        some = frame[frame["kind"] == kind]
        if some.empty:
            continue
        counts = [int((some["stage"] == stage).sum()) for stage in stages]
        shares = [f"{100 * count / len(some):.0f} %" if count else "" for count in counts]
        table.add_row(kind, f"{len(some)}", *shares, f"{100 * sum(counts) / len(some):.0f} %")
    console.print(table)
    for kind in (*KINDS, ORIGINAL, GOOD):
        told = Counter(
            f"{fate.stage}: {_plain(fate.reason)}"
            for fate in fates
            if fate.kind == kind and fate.stage
        )
        for reason, count in sorted(told.items(), key=lambda item: (-item[1], item[0])):
            console.print(f"{kind}: {count} {reason}", markup=False, soft_wrap=True)


def _plain(reason: str) -> str:
    """A reason without the numbers in it."""
    words = reason.partition("(")[0].split()
    return " ".join("..." if any(c.isdigit() for c in word) else word for word in words)


def _key(pano_id: str) -> str:
    return pano_id.partition(":")[2]


def _settings(folder: Path, provider: ProviderServer, chat: ChatServer, model: str) -> dict:
    street = {"kind": "panoramax", "url": provider.panoramax, "requests_per_second": 1000}
    endpoint = {"base_url": chat.url, "model": "the planet"}
    judge = {"model": model} if model else None
    return {
        "seeds": {"rasters": [str(folder / "drone.tif")]},
        "street": {"providers": [street], "per_seed": 100, "allow_private": True},
        "crop": {"sides_m": [SIDE_M], "gsd_m": GSD_M},
        "clean": {"ground": judge},
        "satellite": {"rasters": [str(folder / "satellite.tif")], "gsd_m": SATELLITE_GSD_M},
        "describe": {"endpoint": endpoint, "most_words": 200, "attempts": 1, "fit": judge},
        "publish": {"splits": {"shares": {"train": 1.0}}},
    }


# Planting


def _plant(
    town: Town, folder: Path, each: int, most: int
) -> tuple[dict[str, Planted], list[tuple[str, WorldPlace]]]:
    """Panoramas by their id, and what is to be planted in the ground of which place."""
    there = town.places(most, seed=5, apart_m=APART_M, at_most=True)
    # Some kinds take a second place.
    if len(there) < (len(KINDS) + 8) * each:
        raise ValueError(f"{town.name} has room for {len(there)} places: plant fewer of each.")
    places = iter(there)
    rng = np.random.default_rng(0)
    planted: dict[str, Planted] = {}
    ground: list[tuple[str, WorldPlace]] = []
    kinds = [kind for kind in KINDS for _ in range(each)]
    for number, place in enumerate(places):
        kind = kinds[number] if number < len(kinds) else GOOD
        key = f"p{number:03d}"
        view, _, fault = kind.partition(": ")
        picture = _photograph(town, place)
        if view == "street":
            picture = FAULTS[fault](picture, rng)
        elif view == "ground":
            ground.append((fault, place))
        elif kind == MIRRORED:
            picture = np.ascontiguousarray(picture[:, ::-1])
        shot = _taken(town, place, key, picture, folder)
        if kind.startswith("copy"):
            planted[key] = Planted(ORIGINAL if "elsewhere" in kind else GOOD, shot, place)
            at = next(places) if "elsewhere" in kind else _aside(town, place)
            again = replace(
                shot, id=f"{key}-again", lat=at.lat, lon=at.lon, jpeg=_smaller(shot.jpeg)
            )
            planted[again.id] = Planted(kind, again, at, copy_of=key)
        elif kind.startswith("misplaced"):
            data = shot.jpeg if "EXIF" in kind else _without_exif(shot.jpeg)
            at = next(p for p in places if distance_m(p.lat, p.lon, place.lat, place.lon) > FAR_M)
            planted[key] = Planted(kind, replace(shot, lat=at.lat, lon=at.lon, jpeg=data), at)
        elif kind.startswith("latitude"):
            planted[key] = Planted(kind, shot, place, lie=(place.lon, place.lat))
        else:
            planted[key] = Planted(kind, shot, place)
    return planted, ground


def _photograph(town: Town, place: WorldPlace) -> np.ndarray:
    sensor = sensor_for("street", generator("benchmark", town.name, place.index))
    return town.render(
        "street", place, size=256, date=STREET_DATE, yaw_deg=place.heading_deg, full=True,
        sensor=sensor,
    )  # fmt: skip


def _taken(town: Town, place: WorldPlace, key: str, picture: np.ndarray, folder: Path) -> Shot:
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


def _aside(town: Town, place: WorldPlace) -> WorldPlace:
    return town.place_at(place.x_m + 3, place.y_m, place.heading_deg, place.index)


def _smaller(data: bytes) -> bytes:
    """The picture again, three quarters the size, without its EXIF."""
    image = Image.open(io.BytesIO(data))
    return _saved(image.resize((image.width * 3 // 4, image.height * 3 // 4)))


def _without_exif(data: bytes) -> bytes:
    return _saved(Image.open(io.BytesIO(data)))


def _saved(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(image)).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _spoil(town: Town, raster: Path, ground: list[tuple[str, WorldPlace]]) -> None:
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


def _describe(town: Town, workspace: Workspace, body: dict) -> dict:
    """The planet's description of the ground that the drone picture of a request shows."""
    shown = _thumb(pictures_in(body)[0])
    crops = workspace.read("crops")
    crops = crops[crops["kept"]]
    apart = [
        np.abs(_thumb(read_image(workspace.folder / path)) - shown).mean()
        for path in crops["drone"]
    ]
    row = crops.iloc[int(np.argmin(apart))]
    place = town.place_at(*town.to_metric(row["lat"], row["lon"]))
    return completion(answer(town.describe(place, radius_m=SIDE_M / 2)))


def _thumb(picture: np.ndarray) -> np.ndarray:
    small = Image.fromarray(picture).resize((12, 12), Image.Resampling.BOX)
    return np.asarray(small).astype(float)
