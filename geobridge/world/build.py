"""Files of the planet: places data sets, orthophotos, drone flights and walks."""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import simplejpeg
from rasterio import Affine
from rasterio.windows import Window
from shapely import Polygon

from geobridge.errors import WorldError
from geobridge.places.table import Place, write_places
from geobridge.views import MODALITIES, VIEWS
from geobridge.world.camera import looking_at, sensor_for
from geobridge.world.photos import Shot, fov_of_focal, write_drone_photo, write_panorama
from geobridge.world.planet import Town, World, parse_town
from geobridge.world.regions import SIZE_M, region_named
from geobridge.world.seeds import generator

Progress = Callable[[int, int], None]
"""Is told how many of how many are done."""


def _silent(done: int, total: int) -> None:
    """Progress that nobody wants to hear of."""


_BLOCK_PX = 512
_GROUND_ABOVE_SEA_M = 50.0


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
    progress: Progress = _silent,
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


def open_town(text: str) -> Town:
    """The town written as `region/index` or `region/index@seed`.

    Raises:
        WorldError: the text has another form or names no region.
    """
    region, index, seed = parse_town(text)
    return World(seed).town(region, index)


def write_map(
    town: Town,
    out: str | Path,
    *,
    gsd_m: float = 0.3,
    date: int = 0,
    progress: Progress = _silent,
) -> Path:
    """Write a whole town as a tiled GeoTIFF in its UTM zone, block by block.

    Raises:
        WorldError: the date or the ground sampling distance is out of range, or `out` no TIFF.
    """
    out = Path(out)
    if out.suffix.lower() not in (".tif", ".tiff"):
        raise WorldError(f"{out} is no name for a GeoTIFF: let it end in .tif.")
    if not 0.05 <= gsd_m <= 50:
        raise WorldError(f"A map of {gsd_m:g} m a pixel cannot be drawn: choose 0.05 to 50.")
    town.day(date)
    side = round(SIZE_M / gsd_m)
    west, north = town.easting_m - side * gsd_m / 2, town.northing_m + side * gsd_m / 2
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(f".unfinished-{out.name}")
    starts = range(0, side, _BLOCK_PX)
    profile = {
        "driver": "GTiff",
        "dtype": "uint8",
        "count": 3,
        "width": side,
        "height": side,
        "crs": town.crs.to_wkt(),
        "transform": Affine(gsd_m, 0.0, west, 0.0, -gsd_m, north),
        "tiled": True,
        "blockxsize": 256,
        "blockysize": 256,
        "compress": "deflate",
        "photometric": "RGB",
    }
    with rasterio.open(unfinished, "w", **profile) as raster:
        for i, top in enumerate(starts):
            for left in starts:
                rows, cols = min(_BLOCK_PX, side - top), min(_BLOCK_PX, side - left)
                x = (left + cols / 2 - side / 2) * gsd_m
                y = (side / 2 - top - rows / 2) * gsd_m
                block = town.map(gsd_m, date, x, y, cols * gsd_m, rows * gsd_m)
                raster.write(block.transpose(2, 0, 1), window=Window(left, top, cols, rows))
            progress(i + 1, len(starts))
    unfinished.replace(out)
    return out


def write_flight(
    town: Town,
    out: str | Path,
    *,
    count: int = 10,
    altitude_m: float = 120.0,
    pitch_deg: float = -90.0,
    yaw_deg: float | None = None,
    focal_35mm: int = 24,
    width: int = 960,
    date: int = 1,
    seed: int = 0,
    progress: Progress = _silent,
) -> list[Path]:
    """Write `count` drone photos (4:3 JPEG) that know where they were taken.

    Each looks at a place of the town; oblique ones stand back from it. The heading is drawn at
    random where `yaw_deg` (from true north) is None.

    Raises:
        WorldError: an option is out of range.
    """
    if not (-90 <= pitch_deg <= -10 and 10 <= focal_35mm <= 200 and 10 <= altitude_m <= 1000):
        raise WorldError(
            f"No drone flies at {altitude_m:g} m with pitch {pitch_deg:g} and a focal length of "
            f"{focal_35mm} mm: choose 10 to 1000 m, -90 to -10 degrees, 10 to 200 mm."
        )
    if not 16 <= width <= 8192:
        raise WorldError(f"A photo of {width} px cannot be drawn: choose a width of 16 to 8192.")
    out = _folder(out, count)
    today, rng, paths = town.day(date), generator("flight", town.name, seed), []
    for place in town.places(count, seed):
        drawn = float(rng.uniform(0, 360))
        # Cameras report true north; the town's own axes are its grid's.
        grid_yaw = drawn if yaw_deg is None else yaw_deg - town.convergence_deg
        camera = looking_at(
            place.x_m,
            place.y_m,
            altitude_m=altitude_m,
            yaw_deg=grid_yaw,
            pitch_deg=pitch_deg,
            fov_deg=fov_of_focal(focal_35mm),
        )
        picture = town.photograph(camera, width, width * 3 // 4, date, sensor_for("drone", rng))
        lat, lon = town.to_latlon(camera.x_m, camera.y_m)
        shot = Shot(
            lat,
            lon,
            altitude_m + _GROUND_ABOVE_SEA_M,
            altitude_m,
            grid_yaw + town.convergence_deg,
            pitch_deg,
            today.day_of_year,
            today.hour,
            focal_35mm,
        )
        paths.append(out / f"drone_{place.index:04d}.jpg")
        write_drone_photo(paths[-1], picture, shot)
        progress(len(paths), count)
    return paths


def write_walk(
    town: Town,
    out: str | Path,
    *,
    count: int = 10,
    height: int = 512,
    date: int = 2,
    seed: int = 0,
    progress: Progress = _silent,
) -> list[Path]:
    """Write `count` whole panoramas (2:1 JPEG) taken on streets, looking along them.

    Raises:
        WorldError: an option is out of range.
    """
    out = _folder(out, count)
    today, rng, paths = town.day(date), generator("walk", town.name, seed), []
    for place in town.places(count, seed):
        picture = town.render(
            "street",
            place,
            size=height,
            date=date,
            yaw_deg=place.heading_deg,
            full=True,
            sensor=sensor_for("street", rng),
        )
        shot = Shot(
            place.lat,
            place.lon,
            _GROUND_ABOVE_SEA_M,
            0.0,
            place.heading_deg + town.convergence_deg,
            0.0,
            today.day_of_year,
            today.hour,
        )
        paths.append(out / f"street_{place.index:04d}.jpg")
        write_panorama(paths[-1], picture, shot)
        progress(len(paths), count)
    return paths


def _folder(out: str | Path, count: int) -> Path:
    if count < 1:
        raise WorldError(f"{count} photos are none: ask for at least one.")
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    return out
