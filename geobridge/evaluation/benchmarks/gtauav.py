"""GTA-UAV: drone pictures of a game's world, and the tiles of its map at four zoom levels.

Ji et al., 2025 (Game4Loc); layout from the README, rules from Game4Loc/game4loc/dataset/gta.py,
Game4Loc/game4loc/evaluate/gta.py and Game4Loc/eval_gta.py.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from geobridge.errors import EvaluationError
from geobridge.evaluation.benchmarks.benchmark import Benchmark
from geobridge.evaluation.benchmarks.files import find_pictures, relative_names, require
from geobridge.evaluation.tasks import Items, Loaded, Relevance, Sdm, Task
from geobridge.model.config import Settings
from geobridge.views import Direction

TITLE = "GTA-UAV"
AREAS = ("same", "cross")

MAP_SIDE_PX = 24_576
PX_M = 0.45
TILE_PX = 256

_TILES = "satellite"
_DRONES = "drone/images"
_POSITIVES = {"pos": "pair_pos_sate_img_list", "pos+semi": "pair_pos_semipos_sate_img_list"}
_SCALE = 1e-3
_HEADLINE = (
    *("R@1", "R@5", "R@10", "R@1% (round+1)", "AP (plain)"),
    *("SDM@1", "SDM@3", "SDM@5", "Dis@1", "Dis@3", "Dis@5"),
)


class GtaUavOptions(Settings):
    """What published practice differs about.

    Attributes:
        area: `cross`, tested where nothing was trained, or `same`.
        positives: of a drone picture: `pos`, the tiles that share more than 0.39 of the ground
            (intersection over union), as Game4Loc tests, or `pos+semi`, more than 0.14.
    """

    area: Literal["same", "cross"] = "cross"
    positives: Literal["pos", "pos+semi"] = "pos"


@dataclass(frozen=True)
class _Entry:
    """A drone picture of a list of pairs.

    Attributes:
        path: of the picture.
        x_m, y_m: of its centre on the map, east and south of the map's north-west corner.
        tiles: names of its positives.
    """

    path: Path
    x_m: float
    y_m: float
    tiles: tuple[str, ...]


def read(root: Path, options: GtaUavOptions) -> Loaded:
    """D2S against every tile of the map, and S2D from the tiles that some drone picture matches.

    Raises:
        EvaluationError: the root lacks a file or folder, a list of pairs or the name of a tile
            cannot be read, or no drone picture has a positive.
    """
    pairs = _list_name(options.area, "test")
    require(root, TITLE, (_TILES, _DRONES, pairs))
    listed = _entries(root, pairs, options.positives)
    tiles = _tile_items(root)
    row_of = {Path(name).name: row for row, name in enumerate(tiles.names)}
    entries = [entry for entry in listed if entry.path.is_file()]
    positives = [[row_of[tile] for tile in entry.tiles if tile in row_of] for entry in entries]
    asked = [query for query, rows in enumerate(positives) if rows]
    if not asked:
        raise EvaluationError(
            f"no drone picture of {root / pairs} is there together with a positive tile: "
            f"unpack all of {TITLE}."
        )
    held = sum(tile in row_of for entry in listed for tile in entry.tiles)
    named = sum(len(entry.tiles) for entry in listed)
    remarks = _absent(pairs, len(listed) - len(entries), named - held)
    if unmatched := sum(not entry.tiles for entry in listed):
        remarks.append(
            f"{unmatched} of the {len(listed)} drone pictures of {pairs} have no positive tile "
            f"and are not asked, as in Game4Loc."
        )
    robbed = sum(bool(entry.tiles) for entry in entries) - len(asked)
    if robbed:
        remarks.append(
            f"{robbed} drone pictures of {pairs} are not asked because none of their positive "
            f"tiles is there."
        )
    sets = {"drone": _drone_items([entries[query] for query in asked]), "satellite": tiles}
    tasks = _tasks([np.unique(positives[query]) for query in asked])
    return Loaded(sets, tasks, tuple(remarks))


def splits(root: Path) -> dict[str, Items]:
    """All drone pictures and tiles, and the drone pictures of each list of pairs that is there.

    Raises:
        EvaluationError: as `read`.
    """
    require(root, TITLE, (_TILES, _DRONES))
    drones = find_pictures(root / _DRONES)
    found = {
        "all/drone": Items("drone", relative_names(root / _DRONES, drones), drones),
        "all/satellite": _tile_items(root),
    }
    for area, split, pairs in _lists(root):
        found[f"{split}/drone {area} area"] = _drone_items(_entries(root, pairs, "pos+semi"))
    return found


def faults(root: Path) -> list[str]:
    """Lists of pairs that are not there, and pictures that one names and that are not there."""
    tiles = {Path(name).name for name in _tile_items(root).names}
    lists = _lists(root)
    sentences = [
        f"{pairs} is not there."
        for area in AREAS
        for split in ("train", "test")
        if (pairs := _list_name(area, split)) not in {name for _, _, name in lists}
    ]
    for _, _, pairs in lists:
        entries = _entries(root, pairs, "pos+semi")
        sentences += _absent(
            pairs,
            sum(not entry.path.is_file() for entry in entries),
            sum(tile not in tiles for entry in entries for tile in entry.tiles),
        )
    return sentences


def tile_center_m(name: str) -> tuple[float, float]:
    """Centre of a tile on the map, metres east and south of its north-west corner.

    A name is `<zoom>_<offset>_<x>_<y>.png`, the offset in pixels of a 256 px tile, or, in the
    first release, `<zoom>_<x>_<y>.png` without offset (`sate2loc` of Game4Loc).

    Raises:
        EvaluationError: the name is of neither form.
    """
    try:
        zoom, *offset, x, y = (int(number) for number in Path(name).stem.split("_"))
        (shift,) = offset or (0,)
    except ValueError:
        raise EvaluationError(
            f"{name} is no name of a tile: rename it to <zoom>_<offset>_<x>_<y>.png, or move it "
            f"out of the folder."
        ) from None
    side_m = MAP_SIDE_PX / 2**zoom * PX_M
    return side_m * (x + 0.5 + shift / TILE_PX), side_m * (y + 0.5 + shift / TILE_PX)


def _tasks(positives: Sequence[NDArray[np.int64]]) -> tuple[Task, Task]:
    """Both directions from the tiles of each drone picture that is asked."""
    matched = np.unique(np.concatenate(positives))
    backward: dict[int, list[int]] = {int(row): [] for row in matched}
    for drone, rows in enumerate(positives):
        for row in rows:
            backward[int(row)].append(drone)
    rules: Mapping[str, Any] = {
        "matched_only": True,
        "geodesy": "plane",
        "sdm": Sdm("metres", _SCALE),
        "headline": _HEADLINE,
    }
    return (
        Task("D2S", Direction("drone", "satellite"), "drone", "satellite",
             Relevance.of(positives), **rules),
        Task("S2D", Direction("satellite", "drone"), "satellite", "drone",
             Relevance.of(backward.values()), query_rows=matched, **rules),
    )  # fmt: skip


def _list_name(area: str, split: str) -> str:
    return f"{area}-area-drone2sate-{split}.json"


def _lists(root: Path) -> list[tuple[str, str, str]]:
    """Area, split and name of the lists of pairs that are there."""
    return [
        (area, split, _list_name(area, split))
        for area in AREAS
        for split in ("train", "test")
        if (root / _list_name(area, split)).is_file()
    ]


def _entries(root: Path, pairs: str, positives: str) -> list[_Entry]:
    path = root / pairs
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        return [_entry(root, item, _POSITIVES[positives]) for item in listed]
    except (ValueError, KeyError, TypeError) as error:
        raise EvaluationError(
            f"{path} is no list of GTA-UAV's pairs ({type(error).__name__}: {error}): get an "
            f"intact copy of it."
        ) from error


def _entry(root: Path, item: Mapping[str, Any], positives: str) -> _Entry:
    x_m, y_m = item["drone_loc_x_y"]
    path = root / item["drone_img_dir"] / item["drone_img_name"]
    return _Entry(path, float(x_m), float(y_m), tuple(item[positives]))


def _drone_items(entries: Sequence[_Entry]) -> Items:
    """Flight heights, which names begin with, are regions."""
    names = [entry.path.name for entry in entries]
    return Items(
        "drone",
        names,
        [entry.path for entry in entries],
        xy_m=_upright([(entry.x_m, entry.y_m) for entry in entries]),
        regions=[f"{name.split('_')[0]} m" for name in names],
    )


def _tile_items(root: Path) -> Items:
    """Zoom levels are regions."""
    pictures = find_pictures(root / _TILES)
    if not pictures:
        raise EvaluationError(f"{root / _TILES} holds no tile: unpack the satellite pictures.")
    names = relative_names(root / _TILES, pictures)
    return Items(
        "satellite",
        names,
        pictures,
        xy_m=_upright([tile_center_m(name) for name in names]),
        regions=[f"zoom {Path(name).name.split('_')[0]}" for name in names],
    )


def _upright(positions: Sequence[tuple[float, float]]) -> NDArray[np.float64]:
    """Metres east and north from metres east and south, float64 (N, 2)."""
    return np.array(positions, np.float64).reshape(-1, 2) * (1.0, -1.0)


def _absent(pairs: str, drones: int, tiles: int) -> list[str]:
    sentences = []
    if drones:
        sentences.append(f"{drones} drone pictures that {pairs} lists are not there.")
    if tiles:
        sentences.append(f"{tiles} pairs of {pairs} have a tile that is not there.")
    return sentences


BENCHMARK = Benchmark(
    name="gta-uav",
    title=TITLE,
    layout="""\
drone/images/<height>_<sequence>_<id>.png
satellite/<zoom>_<offset>_<x>_<y>.png               all tiles of the map
{same,cross}-area-drone2sate-{train,test}.json      pairs and positions
""",
    source="Game4Loc README.md, game4loc/dataset/gta.py, game4loc/evaluate/gta.py and eval_gta.py",
    options=GtaUavOptions,
    read=read,
    splits=splits,
    faults=faults,
    counts={"all/drone": 33_763, "all/satellite": 14_640},
    overlap="The lists of the same area train and test on one ground, and share drone pictures "
    "with those of the cross area.",
)
