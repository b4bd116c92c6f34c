"""Places data sets of the planet."""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from shapely import Polygon

from geobridge.errors import WorldError
from geobridge.places.table import Place, write_places
from geobridge.views import MODALITIES, VIEWS
from geobridge.world.planet import World
from geobridge.world.progress import Progress, silent
from geobridge.world.regions import region_named
from geobridge.world.seeds import generator


@dataclass(frozen=True)
class Recipe:
    """What decides the bytes of a places data set.

    Attributes:
        places: how many of each town, or as many as it has room for.
        size: height of the pictures in pixels (a panorama is four times as wide).
        seed: of the planet.
        satellite_gsd_m: ground sampling distance of the satellite.
        missing: share of places that lack each modality.
        anchor_noise: share of facts in the texts that are spoilt.
    """

    places: int = 50
    size: int = 128
    seed: int = 0
    satellite_gsd_m: float = 0.8
    missing: tuple[tuple[str, float], ...] = ()
    anchor_noise: float = 0.0


@dataclass(frozen=True)
class Built:
    """What a places data set came to.

    Attributes:
        table: its path.
        places: how many it holds.
        short: how many places each town holds that had no room for all that were asked for.
    """

    table: Path
    places: int
    short: dict[str, int]


def parse_missing(text: str) -> tuple[tuple[str, float], ...]:
    """Shares written as `drone=0.3,text=0.2`, sorted by name.

    Raises:
        WorldError: a word is no modality, or a number no share.
    """
    shares = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        try:
            share = float(value)
        except ValueError:
            share = -1.0
        if name not in MODALITIES or not equals or not 0 <= share <= 1:
            raise WorldError(
                f"{part!r} is no share of a missing modality: write one such as drone=0.3, with "
                f"one of {', '.join(MODALITIES)} and a number from 0 to 1."
            )
        shares[name] = share
    return tuple(sorted(shares.items()))


def build_places(
    out: str | Path,
    regions: Sequence[str],
    towns: int,
    recipe: Recipe,
    *,
    workers: int = 2,
    progress: Progress = silent,
) -> Built:
    """Write a places data set: `towns` towns of every region, `recipe.places` places of each.

    A town with less room gives as many places as it has room for.

    A town is finished as a whole and remembered, so an interrupted build continues where it
    stopped, and a larger number of towns adds to what is there.

    Returns:
        The table, how many places it holds, and which towns have fewer than were asked for.

    Raises:
        WorldError: a region or an option does not exist, or `out` was begun by another recipe.
    """
    out = Path(out)
    for region in regions:
        region_named(region)
    if not regions or towns < 1 or recipe.places < 1 or workers < 1:
        raise WorldError("Regions, towns, places and workers must be at least one each.")
    _check_recipe(out, recipe)
    jobs = [(region, index) for region in dict.fromkeys(regions) for index in range(towns)]
    waiting = [job for job in jobs if not _part(out, *job).is_file()]
    done = len(jobs) - len(waiting)
    progress(done * recipe.places, len(jobs) * recipe.places)
    for _ in _run_all(out, waiting, recipe, workers):
        done += 1
        progress(done * recipe.places, len(jobs) * recipe.places)
    by_town = {f"{r}/{i}": json.loads(_part(out, r, i).read_text()) for r, i in jobs}
    rows = [row for town_rows in by_town.values() for row in town_rows]
    table = write_places(out, (_place(row) for row in rows))
    short = {town: len(held) for town, held in by_town.items() if len(held) < recipe.places}
    return Built(table, len(rows), short)


def _check_recipe(out: Path, recipe: Recipe) -> None:
    note = out / "world.json"
    wanted = json.loads(json.dumps(asdict(recipe)))
    if note.is_file():
        begun = json.loads(note.read_text())
        if begun != wanted:
            other = ", ".join(
                f"{key} {begun.get(key)!r}" for key in wanted if begun.get(key) != wanted[key]
            )
            raise WorldError(
                f"{out} was begun with another recipe ({other}): use that, or another folder."
            )
    elif out.is_dir() and any(out.iterdir()):
        raise WorldError(
            f"{out} is not empty and no data set of the planet: choose another folder."
        )
    for view in VIEWS:
        (out / view).mkdir(parents=True, exist_ok=True)
    (out / ".towns").mkdir(exist_ok=True)
    note.write_text(json.dumps(wanted, indent=1))


def _part(out: Path, region: str, index: int) -> Path:
    return out / ".towns" / f"{region}-{index}.json"


def _run_all(
    out: Path, jobs: list[tuple[str, int]], recipe: Recipe, workers: int
) -> Iterator[None]:
    """Write towns, in this process or in several; yields after each."""
    if workers == 1 or len(jobs) < 2:
        for job in jobs:
            write_town(out, *job, recipe)
            yield
        return
    # Fresh processes, because forked ones inherit the threads of torch and numba half dead.
    with ProcessPoolExecutor(min(workers, len(jobs)), get_context("spawn")) as pool:
        futures: list[Future[None]] = [pool.submit(write_town, out, *job, recipe) for job in jobs]
        try:
            for future in as_completed(futures):
                future.result()
                yield
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def write_town(out: Path, region: str, index: int, recipe: Recipe) -> None:
    """Write the pictures of one town's places, and last its rows."""
    town = World(recipe.seed).town(region, index)
    missing = dict(recipe.missing)
    rows = []
    for place in town.places(recipe.places, at_most=True):
        rng = generator("views", town.name, place.index)
        views = town.render_all(place, rng, size=recipe.size, gsd_m=recipe.satellite_gsd_m)
        drawn = {name: rng.random() for name in MODALITIES}
        held = {name for name in MODALITIES if drawn[name] >= missing.get(name, 0.0)}
        # A place of which nothing is held would be none: the luckiest modality stays.
        held |= {max(drawn, key=lambda name: drawn[name] - missing.get(name, 0.0))}
        row: dict[str, Any] = {
            "place_id": place.place_id,
            "lat": place.lat,
            "lon": place.lon,
            "footprint": town.footprint(place, recipe.size * recipe.satellite_gsd_m),
            "country": region,
            "split": "test" if town.region.unseen else "train",
            "source": f"simulated planet, {town.name}",
        }
        for view in VIEWS:
            if view in held:
                name = f"{view}/{place.place_id}.jpg"
                picture = np.ascontiguousarray(views[view])
                (out / name).write_bytes(
                    simplejpeg.encode_jpeg(picture, quality=90, colorspace="RGB")
                )
                row[view] = name
        if "text" in held:
            row["text"] = town.describe(place, noise=recipe.anchor_noise)
        rows.append(row)
    part = _part(out, region, index)
    unfinished = part.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(rows))
    unfinished.replace(part)


def _place(row: dict[str, Any]) -> Place:
    pictures: dict[str, Any] = {view: Path(row[view]) for view in VIEWS if view in row}
    return Place(
        **{
            **row,
            **pictures,
            "footprint": Polygon(row["footprint"]),
            "licence": "CC0-1.0",
            "attribution": "GeoBridge simulated planet",
        }
    )
