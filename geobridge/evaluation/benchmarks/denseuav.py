"""DenseUAV: drone pictures of neighbouring positions, and satellite pictures of two dates.

Dai et al., 2024; layout, counts and rules from DenseUAV (README, test.py, evaluate_gpu.py,
evaluateDistance.py).
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from geobridge.errors import EvaluationError
from geobridge.evaluation.benchmarks.benchmark import Benchmark
from geobridge.evaluation.benchmarks.by_place import (
    HEADLINE,
    Part,
    read_by_place,
    task_by_place,
    unpaired,
)
from geobridge.evaluation.benchmarks.files import require
from geobridge.evaluation.tasks import Items, Loaded, Sdm
from geobridge.model.config import Settings
from geobridge.views import View

TITLE = "DenseUAV"

_ALL_POSITIONS = "Dense_GPS_ALL.txt"
_POSITIONS = ("Dense_GPS_train.txt", "Dense_GPS_test.txt")
_NEEDED = ("test/query_drone", "test/gallery_satellite")
_FOLDERS: dict[str, View] = {
    "train/drone": "drone",
    "train/satellite": "satellite",
    "test/query_drone": "drone",
    "test/query_satellite": "satellite",
    "test/gallery_drone": "drone",
    "test/gallery_satellite": "satellite",
}
_DIRECTIONS = (
    ("D2S", "query_drone", "gallery_satellite"),
    ("S2D", "query_satellite", "gallery_drone"),
)
_SCALE = 5e3

Positions = dict[str, tuple[float, float]]
"""Degrees north and east of each place."""


class DenseUavOptions(Settings):
    """What published practice differs about.

    Attributes:
        coordinates: of SDM@K. `float32` rounds degrees as DenseUAV's own code does, in steps of
            up to 0.7 m, which changes a term by up to 4 %; published numbers were made so.
    """

    coordinates: Literal["float64", "float32"] = "float64"


def read(root: Path, options: DenseUavOptions) -> Loaded:
    """D2S, and S2D where its folders are there; galleries hold the training places too.

    Raises:
        EvaluationError: the root lacks a folder or the positions, or a position is unreadable.
    """
    positions = _positions(root)
    directions = [
        names
        for names in _DIRECTIONS
        if all((root / "test" / folder).is_dir() for folder in names[1:])
    ]
    sets = {
        folder: _placed(
            read_by_place(root / "test" / folder, _FOLDERS[f"test/{folder}"]), positions
        )
        for _, query, gallery in directions
        for folder in (query, gallery)
    }
    tasks = tuple(
        task_by_place(
            sets,
            name,
            Part(query),
            Part(gallery),
            geodesy="haversine-6378.137",
            sdm=Sdm("degrees", _SCALE, float32=options.coordinates == "float32"),
            headline=(*HEADLINE, "SDM@1", "SDM@3", "SDM@5", "SDM@10", "MA@5", "MA@10", "MA@20"),
        )
        for name, query, gallery in directions
    )
    remarks = []
    if len(directions) < len(_DIRECTIONS):
        remarks.append("S2D is left out: test/query_satellite or test/gallery_drone is not there.")
    return Loaded(sets, tasks, (*remarks, *_unplaced(sets)))


def splits(root: Path) -> dict[str, Items]:
    """Every folder of pictures there is, as `train/drone` or `test/query_drone`.

    Raises:
        EvaluationError: as `read`.
    """
    positions = _positions(root)
    return {
        folder: _placed(read_by_place(root / folder, view), positions)
        for folder, view in _FOLDERS.items()
        if (root / folder).is_dir()
    }


def faults(root: Path) -> list[str]:
    """Places without a position, and places of one view."""
    found = splits(root)
    pairs = [("train/drone", "train/satellite"), ("train/satellite", "train/drone")]
    pairs += [(f"test/{query}", f"test/{gallery}") for _, query, gallery in _DIRECTIONS]
    return [*_unplaced(found), *unpaired(found, pairs)]


def _positions(root: Path) -> Positions:
    """Of every place; the last line of a place counts, as in evaluateDistance.py."""
    files: Sequence[str] = (_ALL_POSITIONS,)
    if not (root / _ALL_POSITIONS).exists() and all((root / name).exists() for name in _POSITIONS):
        files = _POSITIONS
    require(root, TITLE, (*_NEEDED, *files))
    positions: Positions = {}
    for name in files:
        text = (root / name).read_text(encoding="utf-8", errors="replace")
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                place, position = _position(line, f"line {number} of {root / name}")
                positions[place] = position
    return positions


def _position(line: str, where: str) -> tuple[str, tuple[float, float]]:
    """Of a line such as `train/satellite/000000/H80.tif E120.38756 N30.32413 94.606`."""
    try:
        path, east, north, _ = line.rsplit(maxsplit=3)
        if not (east.startswith("E") and north.startswith("N")):
            raise ValueError(line)
        return path.split("/")[-2], (float(north[1:]), float(east[1:]))
    except (ValueError, IndexError):
        raise EvaluationError(
            f"{where} is {line.strip()!r}: write it as `train/satellite/<id>/H80.tif E<degrees> "
            f"N<degrees> <height>`."
        ) from None


def _placed(items: Items, positions: Positions) -> Items:
    """With the positions of their places, and flight heights as regions."""
    unknown = (np.nan, np.nan)
    degrees = np.array([positions.get(place, unknown) for place in items.places or ()])
    heights = [Path(name).stem.split("_")[0].removeprefix("H") + " m" for name in items.names]
    return replace(items, lat=degrees[:, 0], lon=degrees[:, 1], regions=heights)


def _unplaced(sets: dict[str, Items]) -> list[str]:
    sentences = []
    for name, items in sets.items():
        unknown = 0 if items.lat is None else int(np.isnan(items.lat).sum())
        if unknown:
            sentences.append(
                f"{unknown} of the {len(items)} pictures of {name} have no position in the "
                f"Dense_GPS files."
            )
    return sentences


BENCHMARK = Benchmark(
    name="denseuav",
    title=TITLE,
    layout="""\
Dense_GPS_ALL.txt                                   or Dense_GPS_train.txt and Dense_GPS_test.txt
train/{drone,satellite}/<id>/*
test/query_drone/<id>/{H80,H90,H100}.JPG
test/gallery_satellite/<id>/{H80,H90,H100}{,_old}.tif
test/{query_satellite,gallery_drone}/<id>/*         for S2D; optional
""",
    source="DenseUAV README.md, test.py, evaluate_gpu.py and evaluateDistance.py",
    options=DenseUavOptions,
    read=read,
    splits=splits,
    faults=faults,
    counts={
        "train/drone": 6_768,
        "train/drone places": 2_256,
        "train/satellite": 13_536,
        "train/satellite places": 2_256,
        "test/query_drone": 2_331,
        "test/query_drone places": 777,
        "test/query_satellite": 4_662,
        "test/query_satellite places": 777,
        "test/gallery_drone": 9_099,
        "test/gallery_drone places": 3_033,
        "test/gallery_satellite": 18_198,
        "test/gallery_satellite places": 3_033,
    },
    overlap="The training places are distractors in the galleries.",
)
