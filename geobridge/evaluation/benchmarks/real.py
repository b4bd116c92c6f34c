"""Small sets of real pictures that lie beside the project, one folder each.

Their own README says what they are and what to know of them. Each has a table that names its
pictures and what is known of their places. Photos are only embedded and looked up here: `locate`
does more, turning a drone photo whose heading is not known and cutting it to the ground that
references show, so that its results differ.
"""

import csv
import json
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from geobridge.errors import EvaluationError
from geobridge.evaluation.benchmarks.benchmark import Benchmark, NoOptions
from geobridge.evaluation.benchmarks.files import require
from geobridge.evaluation.tasks import Content, Items, Loaded, Relevance, Task
from geobridge.geo.distance import distance_m
from geobridge.geo.rasters import RasterMap, RasterWindow
from geobridge.imagery.decode import read_image
from geobridge.imagery.resolution import coarsen
from geobridge.imagery.rotate import rotate
from geobridge.model.config import Settings
from geobridge.views import Direction, Modality

_SOURCE = "README of the data and benchmarks/real.py"

WINDOW_M = 100.0
"""Side on the ground of a window of the map of `fongyuan`."""

STRIDE_M = 25.0
"""Ground distance between the centres of neighbouring windows."""

NAIP_GSD_M = 0.6
"""Metres a pixel of `naip-years`."""

HELD_OUT_EVERY = 10
"""Of every scene of `ucm-scenes` each tenth picture was left out of training."""

City = Literal["claremont", "long_beach", "riverside", "santa_monica"]


class HeadingOptions(Settings):
    """Options of drone photos whose heading is on record.

    Attributes:
        heading: `unknown` looks photos up as they are, `known` turns them north up first.
    """

    heading: Literal["unknown", "known"] = "unknown"

    @property
    def remark(self) -> str:
        """What a reader of the numbers must know."""
        if self.heading == "known":
            return "Photos are turned north up by their headings before they are looked up."
        return (
            "Photos are looked up as they are, whatever their heading: `locate` tries several "
            "headings, and `heading=known` turns them north up."
        )


class NaipOptions(Settings):
    """Options of the same ground in different years.

    Attributes:
        city: whose places are measured; the built-in models have seen the other three.
        gsd_m: metres a pixel of the later year's picture, which plays the satellite.
    """

    city: City = "santa_monica"
    gsd_m: float = Field(default=NAIP_GSD_M, ge=NAIP_GSD_M, le=20)


# fongyuan: drone photos looking straight down, one satellite map


def read_fongyuan(root: Path, options: HeadingOptions) -> Loaded:
    """Drone photos in the windows of a map, right within half a window of their position.

    Raises:
        EvaluationError: the root lacks the table or the map.
        RasterError: the map cannot be read.
    """
    photos, _ = _fongyuan(root)
    lat, lon = _column(photos, "lat"), _column(photos, "lon")
    path = root / "satellite_map.tif"
    windows = list(_open_map(path).windows(WINDOW_M, STRIDE_M))
    map_lat = np.array([window.lat for window in windows])
    map_lon = np.array([window.lon for window in windows])
    near = distance_m(lat[:, None], lon[:, None], map_lat, map_lon) <= WINDOW_M / 2
    sets = {
        "drone": _photos(root, photos, options, "flight_yaw_deg", lat, lon),
        "satellite": Items(
            "satellite",
            [f"column {window.col_off} row {window.row_off}" for window in windows],
            [partial(_read_window, path, window) for window in windows],
            lat=map_lat,
            lon=map_lon,
        ),
    }
    task = _task(
        "D2S",
        Relevance.of([np.flatnonzero(row) for row in near]),
        radii_m=(25.0, 50.0, 100.0),
        headline=("L@25", "L@50", "L@100", "median error"),
    )
    rule = (
        f"References are windows of {WINDOW_M:.0f} m every {STRIDE_M:.0f} m; right are those "
        f"whose centre is within {WINDOW_M / 2:.0f} m of the photo's position, which lies some "
        f"5-15 m behind the ground at its centre."
    )
    return Loaded(sets, (task,), (rule, options.remark))


def split_fongyuan(root: Path) -> dict[str, Items]:
    """The photos, and the map as one picture."""
    photos, path = _fongyuan(root)
    lat, lon = _column(photos, "lat"), _column(photos, "lon")
    return {
        "test/drone": _photos(root, photos, HeadingOptions(), "flight_yaw_deg", lat, lon),
        "test/map": Items("satellite", [path.name], [path]),
    }


def _fongyuan(root: Path) -> tuple[list[dict[str, str]], Path]:
    require(root, "fongyuan", ["drone.csv", "satellite_map.tif"])
    return _rows(root / "drone.csv", "file"), root / "satellite_map.tif"


@lru_cache(maxsize=2)
def _open_map(path: Path) -> RasterMap:
    """Open once, not for every window; a map that falls out is closed with its last reader."""
    return RasterMap(path)


def _read_window(path: Path, window: RasterWindow) -> NDArray[np.uint8]:
    return _open_map(path).read(window)[0]


# ariel: drone frames looking ahead and down, tiles of a web map


def read_ariel(root: Path, options: HeadingOptions) -> Loaded:
    """Drone frames among tiles, right is the tile whose ground holds the point looked at.

    Raises:
        EvaluationError: the root lacks a table.
    """
    drone, satellite = _ariel(root, options)
    task = _task(
        "D2S",
        Relevance.same(drone.places or (), satellite.places or ()),
        headline=("R@1", "R@5", "L@50", "L@100", "L@150", "median error"),
    )
    rule = (
        "The point looked at is estimated from flat ground and a camera 45 degrees down, good to "
        "some tens of metres; distances are from it to the centre of the first tile."
    )
    return Loaded({"drone": drone, "satellite": satellite}, (task,), (rule, options.remark))


def split_ariel(root: Path) -> dict[str, Items]:
    """Frames and tiles."""
    drone, satellite = _ariel(root, HeadingOptions())
    return {"test/drone": drone, "test/satellite": satellite}


def _ariel(root: Path, options: HeadingOptions) -> tuple[Items, Items]:
    require(root, "ariel", ["drone.csv", "satellite.csv"])
    frames, tiles = _rows(root / "drone.csv", "file"), _rows(root / "satellite.csv", "file")
    west, east = _column(tiles, "west"), _column(tiles, "east")
    south, north = _column(tiles, "south"), _column(tiles, "north")
    lat, lon = _column(frames, "ground_lat_est"), _column(frames, "ground_lon_est")
    names = [tile["file"] for tile in tiles]
    # Tiles do not overlap; a point between none is a place of its own.
    places = []
    for row, frame in enumerate(frames):
        holds = (south <= lat[row]) & (lat[row] < north) & (west <= lon[row]) & (lon[row] < east)
        places.append(names[int(holds.argmax())] if holds.any() else frame["file"])
    drone = _photos(root, frames, options, "heading_deg_from_track", lat, lon, places)
    satellite = Items(
        "satellite",
        names,
        [root / name for name in names],
        places=names,
        lat=_column(tiles, "center_lat"),
        lon=_column(tiles, "center_lon"),
    )
    return drone, satellite


# street_sat: street pictures and the aerial pictures of the same places


def read_street_sat(root: Path, options: NoOptions) -> Loaded:  # noqa: ARG001 - as all readers
    """Street pictures among aerial pictures and back, one right reference each.

    Raises:
        EvaluationError: the root lacks the table.
    """
    sets = _street_sat(root)
    same = Relevance.of([[row] for row in range(len(sets["street"]))])
    headline = ("R@1", "R@5", "mean rank")
    tasks = tuple(_task(short, same, headline=headline) for short in ("P2S", "S2P"))
    return Loaded(sets, tasks)


def split_street_sat(root: Path) -> dict[str, Items]:
    """Street and aerial pictures."""
    return {f"test/{name}": items for name, items in _street_sat(root).items()}


def _street_sat(root: Path) -> dict[str, Items]:
    require(root, "street_sat", ["pairs.csv"])
    pairs = _rows(root / "pairs.csv", "place_id", "kind", "street", "satellite")
    names = [pair["place_id"] for pair in pairs]
    kinds = [
        "panorama" if pair["kind"].startswith("panorama") else "limited field" for pair in pairs
    ]
    views: tuple[Modality, ...] = ("street", "satellite")
    return {
        view: Items(view, names, [root / pair[view] for pair in pairs], places=names, regions=kinds)
        for view in views
    }


# naip_years: the same ground in different years


def read_naip(root: Path, options: NaipOptions) -> Loaded:
    """One city: its first year as the drone's view, its last as the satellite's, both ways.

    Raises:
        EvaluationError: the root lacks the table, or the city is not in it.
    """
    years = _naip(root).get(options.city, {})
    if len(years) < 2:
        raise EvaluationError(
            f"{root / 'tiles.csv'} has {len(years)} years of {options.city}, and two are needed: "
            f"restore the table, or choose another city."
        )
    first, last = min(years), max(years)
    places = sorted(set(years[first]) & set(years[last]))
    factor = options.gsd_m / NAIP_GSD_M
    sets = {
        "drone": _naip_items("drone", root, years[first], places),
        "satellite": _naip_items("satellite", root, years[last], places, factor),
    }
    same = Relevance.of([[row] for row in range(len(places))])
    tasks = tuple(_task(short, same, headline=("R@1", "R@5", "mean rank")) for short in _BOTH_WAYS)
    remark = (
        f"{options.city} {first} plays the drone, {last} at {options.gsd_m:g} m a pixel the "
        f"satellite: both are the same family of aerial cameras."
    )
    return Loaded(sets, tasks, (remark,))


def split_naip(root: Path) -> dict[str, Items]:
    """Every year of every city."""
    return {
        f"{city}/{year}": _naip_items("satellite", root, tiles, sorted(tiles))
        for city, years in sorted(_naip(root).items())
        for year, tiles in sorted(years.items())
    }


_BOTH_WAYS = ("D2S", "S2D")


def _naip(root: Path) -> dict[str, dict[str, dict[str, dict[str, str]]]]:
    """Rows of the table by city, year and place."""
    require(root, "naip_years", ["tiles.csv"])
    found: dict[str, dict[str, dict[str, dict[str, str]]]] = {}
    for tile in _rows(root / "tiles.csv", "city", "year", "place", "file"):
        found.setdefault(tile["city"], {}).setdefault(tile["year"], {})[tile["place"]] = tile
    return found


def _naip_items(
    view: Modality,
    root: Path,
    tiles: dict[str, dict[str, str]],
    places: Sequence[str],
    factor: float = 1.0,
) -> Items:
    rows = [tiles[place] for place in places]
    contents: list[Content] = [root / row["file"] for row in rows]
    if factor > 1:
        contents = [partial(_read_coarse, root / row["file"], factor) for row in rows]
    return Items(
        view,
        [row["file"] for row in rows],
        contents,
        places=places,
        lat=(_column(rows, "south") + _column(rows, "north")) / 2,
        lon=(_column(rows, "west") + _column(rows, "east")) / 2,
        regions=[row["city"] for row in rows],
    )


def _read_coarse(path: Path, factor: float) -> NDArray[np.uint8]:
    return coarsen(read_image(path), factor)


# ucm_captions: aerial pictures and captions, right if the scene is right


def read_ucm(root: Path, options: NoOptions) -> Loaded:  # noqa: ARG001 - as all readers
    """Captions to pictures and back over the pictures that were left out of training.

    Raises:
        EvaluationError: the root lacks the captions.
    """
    splits = split_ucm(root)
    pictures, captions = splits["test/satellite"], splits["test/text"]
    scenes = list(pictures.regions or ())
    told = list(captions.regions or ())
    words = [str(text) for text in captions.contents]
    first = {text: row for row, text in reversed(list(enumerate(words)))}
    distinct = sorted(first.values())
    scenes_of: dict[str, set[str]] = {}
    for text, scene in zip(words, told, strict=True):
        scenes_of.setdefault(text, set()).add(scene)
    of_scene = {
        scene: [row for row, at in enumerate(distinct) if scene in scenes_of[words[at]]]
        for scene in set(scenes)
    }
    headline = ("R@1", "R@5")
    tasks = (
        _task("T2S", Relevance.same(told, scenes), headline=headline),
        _task(
            "S2T",
            Relevance.of([of_scene[scene] for scene in scenes]),
            headline=headline,
            gallery_rows=np.array(distinct, np.int64),
        ),
    )
    remarks = (
        f"Right is whatever shows or tells the scene: captions repeat within one of the "
        f"{len(set(scenes))} scenes, so that single pictures cannot be told apart by them.",
        f"Measured are the pictures left out of training, each {HELD_OUT_EVERY}th of a scene; "
        f"S2T ranks each of their {len(distinct)} different captions once.",
    )
    return Loaded({"satellite": pictures, "text": captions}, tasks, remarks)


def split_ucm(root: Path) -> dict[str, Items]:
    """Pictures and captions, those left out of training as `test`."""
    require(root, "ucm_captions", ["captions.json", "images"])
    path = root / "captions.json"
    seen: dict[str, int] = {}
    entries: dict[str, list[tuple[str, str, list[str]]]] = {"train": [], "test": []}
    try:
        for entry in json.loads(path.read_text(encoding="utf-8")):
            scene = entry["scene"]
            seen[scene] = seen.get(scene, 0) + 1
            split = "train" if seen[scene] % HELD_OUT_EVERY else "test"
            # A picture may tell the same twice.
            entries[split].append((entry["image"], scene, sorted(set(entry["captions"]))))
    except (ValueError, KeyError, TypeError) as error:
        raise EvaluationError(
            f"{path} is no list of entries with image, scene and captions ({error}): restore it."
        ) from error
    sets = {}
    for split, found in entries.items():
        names = [image for image, _, _ in found]
        captions = [
            (f"{image} {number}", text, image, scene)
            for image, scene, texts in found
            for number, text in enumerate(texts, 1)
        ]
        sets[f"{split}/satellite"] = Items(
            "satellite",
            names,
            [root / name for name in names],
            places=names,
            regions=[scene for _, scene, _ in found],
        )
        sets[f"{split}/text"] = Items(
            "text",
            [name for name, _, _, _ in captions],
            [text for _, text, _, _ in captions],
            places=[image for _, _, image, _ in captions],
            regions=[scene for _, _, _, scene in captions],
        )
    return sets


# What they share


def _task(
    short: str,
    positives: Relevance,
    *,
    headline: tuple[str, ...],
    gallery_rows: NDArray[np.int64] | None = None,
    radii_m: tuple[float, ...] = (50.0, 100.0, 150.0),
) -> Task:
    """A task between the sets that are named after their modalities."""
    direction = Direction.parse(short)
    return Task(
        name=short,
        direction=direction,
        queries=direction.query,
        gallery=direction.reference,
        positives=positives,
        gallery_rows=gallery_rows,
        radii_m=radii_m,
        headline=headline,
    )


def _photos(
    root: Path,
    rows: Sequence[dict[str, str]],
    options: HeadingOptions,
    heading: str,
    lat: NDArray[np.float64],
    lon: NDArray[np.float64],
    places: Sequence[str] | None = None,
) -> Items:
    """Drone photos of a table, turned north up by the column `heading` where that is asked for."""
    paths = [root / row["file"] for row in rows]
    contents: list[Content] = list(paths)
    if options.heading == "known":
        yaws = _column(rows, heading)
        contents = [
            partial(_read_north_up, path, float(yaw)) for path, yaw in zip(paths, yaws, strict=True)
        ]
    return Items("drone", [row["file"] for row in rows], contents, places, lat, lon)


def _read_north_up(path: Path, yaw_deg: float) -> NDArray[np.uint8]:
    return rotate(read_image(path), yaw_deg)


def _rows(path: Path, *wanted: str) -> list[dict[str, str]]:
    """The rows of a table with a header.

    Args:
        path: of the table.
        wanted: columns that every row must have words in.

    Raises:
        EvaluationError: it cannot be read, has no rows, or one lacks a word.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise EvaluationError(f"{path} cannot be read ({error}): restore the table.") from error
    if not rows:
        raise EvaluationError(f"{path} has no rows: restore the table.")
    for number, row in enumerate(rows, 1):
        lacking = next((name for name in wanted if not row.get(name)), None)
        if lacking:
            raise EvaluationError(f"row {number} of {path} has no {lacking}: restore the table.")
    return rows


def _column(rows: Sequence[dict[str, str]], name: str) -> NDArray[np.float64]:
    """A column of numbers, float64 (N,).

    Raises:
        EvaluationError: a row has no number in it.
    """
    try:
        return np.array([float(row[name]) for row in rows], np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise EvaluationError(
            f"a table has no number in its column {name!r} ({error}): restore the table."
        ) from error


FONGYUAN = Benchmark(
    name="fongyuan",
    title="Fongyuan: drone photos in a satellite map",
    layout="drone.csv\ndrone/*.jpg\nsatellite_map.tif\n",
    source=_SOURCE,
    read=read_fongyuan,
    splits=split_fongyuan,
    options=HeadingOptions,
    counts={"test/drone": 51, "test/map": 1},
)
ARIEL = Benchmark(
    name="ariel",
    title="Ariel: oblique drone frames among tiles",
    layout="drone.csv\ndrone/*.jpg\nsatellite.csv\nsatellite/<z_x_y>.jpg\n",
    source=_SOURCE,
    read=read_ariel,
    splits=split_ariel,
    options=HeadingOptions,
    counts={"test/drone": 111, "test/satellite": 132},
)
STREET_SAT = Benchmark(
    name="street-sat",
    title="Street and aerial pairs",
    layout="pairs.csv\nstreet/*.jpg\nsatellite/*.jpg\n",
    source=_SOURCE,
    read=read_street_sat,
    splits=split_street_sat,
    options=NoOptions,
    counts={"test/street": 46, "test/satellite": 46},
)
NAIP_YEARS = Benchmark(
    name="naip-years",
    title="NAIP: the same ground in different years",
    layout="tiles.csv\n<city>_<year>_<number>.tif\n",
    source=_SOURCE,
    read=read_naip,
    splits=split_naip,
    options=NaipOptions,
)
UCM_SCENES = Benchmark(
    name="ucm-scenes",
    title="UCM-Captions by scene",
    layout="captions.json\nimages/*.jpg\n",
    source=_SOURCE,
    read=read_ucm,
    splits=split_ucm,
    options=NoOptions,
    counts={"train/satellite": 1701, "test/satellite": 189},
)
