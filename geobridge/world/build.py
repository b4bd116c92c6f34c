"""Places data sets of the planet."""

import json
import math
import os
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any, get_args

import numpy as np
import simplejpeg
from shapely import Polygon

from geobridge.errors import WorldError
from geobridge.places.table import Place, write_places
from geobridge.progress import Report, unheard
from geobridge.views import MODALITIES, VIEWS
from geobridge.world.neighbours import place_pairs
from geobridge.world.planet import DroneKind, PlannedView, Town, World, WorldPlace
from geobridge.world.regions import region_named
from geobridge.world.seeds import BENCHMARK_SEED, PLANET_VERSION, generator

_SIDE_PX = (8, 1024)


@dataclass(frozen=True)
class Recipe:
    """What decides the bytes of a place, beside its town and its number.

    Attributes:
        size: height of the pictures in pixels, 8 to 1024 (a panorama is four times as wide).
        seed: of the planet.
        satellite_gsd_m: ground sampling distance of the satellite.
        satellite_m: ground side of the satellite's picture, and so of the footprint; None is
            `size * satellite_gsd_m`. The picture has `satellite_m / satellite_gsd_m` pixels a
            side, rounded, 8 to 1024 as well.
        drone: a perspective `camera`, the reverse `crop` of an orthomosaic, or `either` by chance.
        missing: share of places that lack each modality. A place keeps at least one, never one
            whose share is 1.
        anchor_noise: probability, 0 to 1, that a told roof colour, wall colour or direction is
            wrong, a landmark or area left out, and one landmark of a place made up.
        in_pairs: whether places are neighbours two by two (`neighbours.place_pairs`), which are
            hard to tell apart, and not spread over the town.

    Raises:
        WorldError: a value is out of range.
    """

    size: int = 128
    seed: int = 0
    satellite_gsd_m: float = 0.8
    satellite_m: float | None = None
    drone: DroneKind = "camera"
    missing: tuple[tuple[str, float], ...] = ()
    anchor_noise: float = 0.0
    in_pairs: bool = False

    def __post_init__(self) -> None:
        if not (
            _SIDE_PX[0] <= self.size <= _SIDE_PX[1]
            and 0.05 <= self.satellite_gsd_m <= 50
            and 0 <= self.anchor_noise <= 1
        ):
            raise WorldError(
                "Pictures must be 8 to 1024 px, the satellite's ground sampling distance 0.05 to "
                "50 m and the anchor noise 0 to 1: correct the option."
            )
        side_px = self.footprint_m / self.satellite_gsd_m
        if not (math.isfinite(side_px) and _SIDE_PX[0] <= round(side_px) <= _SIDE_PX[1]):
            raise WorldError(
                f"A satellite picture of {self.footprint_m:g} m at {self.satellite_gsd_m:g} m a "
                f"pixel has {side_px:.0f} px a side: choose the two so that it has 8 to 1024."
            )
        if self.drone not in get_args(DroneKind):
            raise WorldError(
                f"{self.drone!r} is no kind of drone picture: choose one of "
                f"{', '.join(get_args(DroneKind))}."
            )
        if {name for name, share in self.missing if share >= 1} >= set(MODALITIES):
            raise WorldError(
                "Places that lack every modality are none: let one have a share below 1."
            )

    @property
    def footprint_m(self) -> float:
        """Ground side of the satellite's picture in metres."""
        return self.size * self.satellite_gsd_m if self.satellite_m is None else self.satellite_m


@dataclass(frozen=True)
class TownJob:
    """One town of a places data set.

    Attributes:
        region: name of its region.
        index: number of the town, from 0.
        places: how many of it, or as many as it has room for.
    """

    region: str
    index: int
    places: int

    @property
    def town(self) -> str:
        """`region/index`, as towns are written."""
        return f"{self.region}/{self.index}"


@dataclass(frozen=True)
class Built:
    """What a places data set came to.

    Attributes:
        table: its path.
        places: how many it holds, those of former builds into the folder among them.
        towns: of how many towns.
        short: how many places each town holds that had no room for all that were asked for.
    """

    table: Path
    places: int
    towns: int
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
    places: int,
    recipe: Recipe,
    *,
    workers: int = 2,
    progress: Report = unheard,
) -> Built:
    """Write a places data set: the first `towns` towns of every region, `places` of each.

    See `build_towns`. Places of regions that are held back, and all of the benchmark's planet, get
    the split `test`, the others `train`.

    Returns:
        The table, how many places it holds, and which towns have fewer than were asked for.

    Raises:
        WorldError: as `build_towns`.
    """
    jobs = [TownJob(r, i, places) for r in dict.fromkeys(regions) for i in range(towns)]
    return build_towns(out, jobs, recipe, workers=workers, progress=progress)


def build_towns(
    out: str | Path,
    jobs: Sequence[TownJob],
    recipe: Recipe,
    *,
    split: str | None = None,
    benchmark: str | None = None,
    workers: int = 2,
    progress: Report = unheard,
) -> Built:
    """Write a places data set of the towns that are listed.

    A town with less room gives as many places as it has room for.

    A town is finished as a whole and remembered, so an interrupted build continues where it
    stopped, and further towns add to what is there.

    Args:
        out: folder of the data set.
        jobs: the towns, in the order of the table; those built before come after them.
        recipe: what their pictures and texts are like.
        split: of all places; None is `test` for regions that are held back and for the benchmark's
            planet, else `train`.
        benchmark: name of the benchmark that this is; its folder takes nothing else.
        workers: how many processes.
        progress: is told how many places of how many are done.

    Returns:
        The table, how many places it holds, and which towns have fewer than were asked for.

    Raises:
        WorldError: a town or a count is out of range, or `out` was begun by another recipe or
            another version of the planet, or as another benchmark.
    """
    out = Path(out)
    for job in jobs:
        region_named(job.region)
        if job.index < 0:
            raise WorldError(f"Towns are numbered from 0, and {job.town} is below: correct it.")
    if not jobs or workers < 1 or min(job.places for job in jobs) < 1:
        raise WorldError("Regions, towns, places and workers must be at least one each.")
    for town, times in Counter(job.town for job in jobs).items():
        if times > 1:
            raise WorldError(f"{town} is listed twice: list each town once, with all its places.")
    begun = _begin(out, jobs, recipe, split, benchmark)
    waiting = [job for job in jobs if not _part(out, job.town).is_file()]
    total = sum(job.places for job in jobs)
    done = total - sum(job.places for job in waiting)
    progress(done, total)
    for job in _run_all(out, waiting, recipe, split, workers):
        done += job.places
        progress(done, total)
    rows = _rows(out, [*(job.town for job in jobs), *begun])
    table = write_places(out, (_place(row) for held in rows.values() for row in held))
    short = {job.town: len(rows[job.town]) for job in jobs if len(rows[job.town]) < job.places}
    return Built(table, sum(map(len, rows.values())), len(rows), short)


def _rows(out: Path, towns: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
    """The rows of each town that is finished."""
    parts = {town: _part(out, town) for town in towns}
    return {town: json.loads(part.read_text()) for town, part in parts.items() if part.is_file()}


def _begin(
    out: Path, jobs: Sequence[TownJob], recipe: Recipe, split: str | None, benchmark: str | None
) -> dict[str, int]:
    """Note in the folder what is built there; refuse one that holds something else.

    Returns:
        Every town of the folder, those of former builds too, with its number of places.
    """
    note = out / "world.json"
    unfinished = out / ".unfinished-world.json"
    wanted = {
        "version": PLANET_VERSION,
        **json.loads(json.dumps(asdict(recipe))),
        "split": split,
        "benchmark": benchmark,
    }
    towns = {job.town: job.places for job in jobs}
    if note.is_file():
        begun = _read_note(note)
        _check_begun(out, begun, wanted, towns)
        towns = {**begun["towns"], **towns}
    elif out.is_dir() and any(path != unfinished for path in out.iterdir()):
        raise WorldError(
            f"{out} is not empty and no data set of the planet: choose another folder."
        )
    make_folder(out)
    # First of all and as a whole: a folder with anything else in it would be refused.
    unfinished.write_text(json.dumps({**wanted, "towns": dict(sorted(towns.items()))}, indent=1))
    unfinished.replace(note)
    for folder in (*VIEWS, ".towns"):
        (out / folder).mkdir(exist_ok=True)
    return towns


def make_folder(out: Path) -> None:
    """Make a folder to write to, and those above it.

    Raises:
        WorldError: there is a file of that name, or it may not be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorldError(
            f"{out} cannot be made a folder ({error.strerror}): choose another."
        ) from error


def _read_note(note: Path) -> dict[str, Any]:
    try:
        begun = json.loads(note.read_text(encoding="utf-8"))
    except ValueError:
        begun = None
    if not isinstance(begun, dict):
        raise _no_note(note)
    return begun


def _no_note(note: Path) -> WorldError:
    return WorldError(f"{note} is no note of the planet's: choose another folder.")


def _check_begun(
    out: Path, begun: dict[str, Any], wanted: dict[str, Any], towns: dict[str, int]
) -> None:
    if begun.get("version", 1) != PLANET_VERSION:
        raise WorldError(
            f"{out} was begun by version {begun.get('version', 1)} of the planet, and this is "
            f"version {PLANET_VERSION}, which draws other pictures: choose another folder."
        )
    made = begun.get("towns")
    if not isinstance(made, dict):
        raise _no_note(out / "world.json")
    if begun.get("benchmark") != wanted["benchmark"]:
        held, asked = (
            "no benchmark" if name is None else f"the benchmark {name}"
            for name in (begun.get("benchmark"), wanted["benchmark"])
        )
        raise WorldError(f"{out} holds {held}, and this is {asked}: choose another folder.")
    other = [f"{key} {begun.get(key)!r}" for key in wanted if begun.get(key) != wanted[key]]
    other += [f"{made[t]} places of {t}" for t in towns if made.get(t, towns[t]) != towns[t]]
    if other:
        raise WorldError(
            f"{out} was begun with another recipe ({', '.join(other)}): use that, or another "
            f"folder."
        )


def _part(out: Path, town: str) -> Path:
    return out / ".towns" / f"{town.replace('/', '-')}.json"


def _run_all(
    out: Path, jobs: list[TownJob], recipe: Recipe, split: str | None, workers: int
) -> Iterator[TownJob]:
    """Write towns, in this process or in several; yields each that is done."""
    if workers == 1 or len(jobs) < 2:
        for job in jobs:
            write_town(out, job, recipe, split)
            yield job
        return
    # Fresh processes, because forked ones inherit the threads of torch and numba half dead.
    with ProcessPoolExecutor(
        min(workers, len(jobs)), get_context("spawn"), initializer=_end_with_parent
    ) as pool:
        futures = {pool.submit(write_town, out, job, recipe, split): job for job in jobs}
        try:
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _end_with_parent() -> None:
    """Let this process end when the one that started it is killed.

    Workers of a pool do not notice, and would write beside those of the build that continues.
    """
    parent = parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def write_town(out: Path, job: TownJob, recipe: Recipe, split: str | None = None) -> None:
    """Write the pictures of one town's places, and last its rows."""
    # Drawn date by date, one date at a time is enough: 26 MB instead of eight times that.
    town = World(recipe.seed).town(job.region, job.index, open_dates=1)
    kept = town.region.unseen or recipe.seed == BENCHMARK_SEED
    split = split or ("test" if kept else "train")
    rows = []
    shots: list[tuple[Path, PlannedView]] = []
    for place in places_of(town, job, recipe):
        held = held_modalities(town, place, recipe)
        planned = town.shots(
            place,
            generator("views", town.name, place.index),
            size=recipe.size,
            gsd_m=recipe.satellite_gsd_m,
            satellite_m=recipe.satellite_m,
            drone=recipe.drone,
            views=[view for view in VIEWS if view in held],
        )
        row: dict[str, Any] = {
            "place_id": place.place_id,
            "lat": place.lat,
            "lon": place.lon,
            "footprint": town.footprint(place, recipe.footprint_m),
            "country": job.region,
            "split": split,
            "source": f"simulated planet, {town.name}",
        }
        for view, shot in planned.items():
            row[view] = f"{view}/{place.place_id}.jpg"
            shots.append((out / row[view], shot))
        if "text" in held:
            row["text"] = town.describe(place, noise=recipe.anchor_noise)
        rows.append(row)
    for path, shot in sorted(shots, key=lambda item: item[1].date):
        picture = np.ascontiguousarray(shot.draw())
        path.write_bytes(simplejpeg.encode_jpeg(picture, quality=90, colorspace="RGB"))
    part = _part(out, job.town)
    unfinished = part.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(rows))
    unfinished.replace(part)


def places_of(town: Town, job: TownJob, recipe: Recipe) -> list[WorldPlace]:
    """The places of a town that a job asks for, or as many as there is room for."""
    if recipe.in_pairs:
        return place_pairs(town, job.places)
    return town.places(job.places, at_most=True)


def held_modalities(town: Town, place: WorldPlace, recipe: Recipe) -> set[str]:
    """The modalities that a place does not lack, one at least."""
    missing, rng = dict(recipe.missing), generator("missing", town.name, place.index)
    drawn = {name: rng.random() for name in MODALITIES}
    held = {name for name in MODALITIES if drawn[name] >= missing.get(name, 0.0)}
    # A place of which nothing is held would be none: the luckiest modality stays, but never one
    # that all places lack.
    able = [name for name in MODALITIES if missing.get(name, 0.0) < 1]
    return held | {max(able, key=lambda name: drawn[name] - missing.get(name, 0.0))}


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
