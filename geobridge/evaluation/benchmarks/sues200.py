"""SUES-200: drone pictures from four heights above 200 places, and their satellite pictures.

Zhu et al., 2023; layout and rules from SUES-200-Benchmark (README, script/split_datasets.py,
script/indexs.yaml, test_and_evaluate.py).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from geobridge.errors import EvaluationError
from geobridge.evaluation.benchmarks.benchmark import Benchmark
from geobridge.evaluation.benchmarks.by_place import (
    Part,
    pick,
    read_by_place,
    rows_at,
    task_by_place,
    unpaired,
)
from geobridge.evaluation.benchmarks.files import require
from geobridge.evaluation.tasks import Items, Loaded
from geobridge.model.config import Settings
from geobridge.views import View

TITLE = "SUES-200"
HEIGHTS_M = (150, 200, 250, 300)

# The 120 places of training, SUES-200-Benchmark script/indexs.yaml; the other 80 are for testing.
_TRAINING = """
    1 2 3 4 5 6 7 9 10 11 13 15 16 20 21 24 25 26 27 28 29 30 31 32 33 34 36 37 39 43 44 45 51 55
    56 57 58 60 64 66 67 69 70 73 74 76 77 80 81 82 84 85 86 87 88 89 90 91 94 96 97 100 101 102
    103 104 105 106 113 116 118 119 120 123 125 126 127 129 132 134 137 139 141 142 145 146 147
    148 149 151 152 155 156 157 158 159 160 163 166 167 168 169 171 174 179 180 182 183 184 185
    186 187 191 192 193 196 197 198 199 200
"""
TRAINING_PLACES = frozenset(f"{int(number):04d}" for number in _TRAINING.split())
TEST_PLACES = frozenset(f"{number:04d}" for number in range(1, 201)) - TRAINING_PLACES

_ARCHIVE = "SUES-200-512x512"
_SATELLITE = "satellite-view"
_ROLES: Mapping[str, View] = {
    "query_drone": "drone",
    "gallery_drone": "drone",
    "query_satellite": "satellite",
    "gallery_satellite": "satellite",
}
_Parts = dict[int, dict[str, Part]]


class Sues200Options(Settings):
    """What published practice differs about.

    Attributes:
        gallery: of references, `all` 200 places as SUES-200-Benchmark has it, or those of the 80
            `test` places only, as DAC and Game4Loc have it.
    """

    gallery: Literal["all", "test"] = "all"


def read(root: Path, options: Sues200Options) -> Loaded:
    """D2S and S2D at every height, from the archive's own layout or the one that was split.

    Raises:
        EvaluationError: the root has neither layout.
    """
    sets, parts = _testing(root)
    tasks = tuple(
        task_by_place(
            sets,
            f"{name} {height} m",
            parts[height][query],
            parts[height][gallery],
            keep_distractors=options.gallery == "all",
        )
        for height in parts
        for name, query, gallery in (
            ("D2S", "query_drone", "gallery_satellite"),
            ("S2D", "query_satellite", "gallery_drone"),
        )
    )
    return Loaded(sets, tasks, (*_lost(parts), *_other_split(sets, parts)))


def splits(root: Path) -> dict[str, Items]:
    """Training, queries and galleries of every height, the same names from either layout.

    Raises:
        EvaluationError: as `read`.
    """
    sets, parts = _testing(root)
    found = _training(root)
    for height, roles in parts.items():
        found |= {
            f"test/{role} {height} m": pick(sets[part.name], part.rows)
            for role, part in roles.items()
        }
    return found


def faults(root: Path) -> list[str]:
    """Heights that are not there, a split that is not the official one, places of one view."""
    sets, parts = _testing(root)
    pairs = [
        pair
        for height in parts
        for pair in (
            (f"train/drone {height} m", f"train/satellite {height} m"),
            (f"train/satellite {height} m", f"train/drone {height} m"),
            (f"test/query_drone {height} m", f"test/gallery_satellite {height} m"),
            (f"test/query_satellite {height} m", f"test/gallery_drone {height} m"),
        )
    ]
    return [*_lost(parts), *_other_split(sets, parts), *unpaired(splits(root), pairs)]


def _testing(root: Path) -> tuple[dict[str, Items], _Parts]:
    """Sets of pictures, and by height what of them is asked and ranked."""
    home = _home(root)
    return _split_testing(home) if (home / "Testing").is_dir() else _archive_testing(home)


def _home(root: Path) -> Path:
    return root / _ARCHIVE if (root / _ARCHIVE).is_dir() else root


def _split_testing(home: Path) -> tuple[dict[str, Items], _Parts]:
    heights = [h for h in HEIGHTS_M if (home / "Testing" / str(h)).is_dir()] or list(HEIGHTS_M)
    require(home, TITLE, [f"Testing/{height}/{role}" for height in heights for role in _ROLES])
    sets = {
        f"{role} {height} m": read_by_place(home / "Testing" / str(height) / role, view)
        for height in heights
        for role, view in _ROLES.items()
    }
    parts = {height: {role: Part(f"{role} {height} m") for role in _ROLES} for height in heights}
    return sets, parts


def _archive_testing(home: Path) -> tuple[dict[str, Items], _Parts]:
    sets = _archive(home)
    satellite = {
        "query_satellite": Part("satellite", rows_at(sets["satellite"], TEST_PLACES)),
        "gallery_satellite": Part("satellite"),
    }
    parts: _Parts = {}
    for height in HEIGHTS_M:
        name = f"drone {height} m"
        if name in sets:
            asked = Part(name, rows_at(sets[name], TEST_PLACES))
            parts[height] = {"query_drone": asked, "gallery_drone": Part(name), **satellite}
    return sets, parts


def _archive(home: Path) -> dict[str, Items]:
    """Satellite pictures, and drone pictures by height, of all places."""
    folders = (path for path in sorted(home.glob("drone*")) if path.is_dir())
    drone = next(folders, home / "drone_view_512")
    wanted = [_SATELLITE, drone.name]
    require(home, f"{TITLE}, neither split into Testing nor as in the archive", wanted)
    pictures = read_by_place(drone, "drone")
    heights = np.array([name.split("/")[1] for name in pictures.names])
    sets = {
        f"drone {height} m": pick(pictures, np.flatnonzero(heights == str(height)))
        for height in HEIGHTS_M
        if str(height) in heights
    }
    if not sets:
        raise EvaluationError(
            f"{drone} has no pictures at <id>/<height> for any height of "
            f"{', '.join(map(str, HEIGHTS_M))} m: name the unpacked archive {_ARCHIVE}."
        )
    return {"satellite": read_by_place(home / _SATELLITE, "satellite"), **sets}


def _training(root: Path) -> dict[str, Items]:
    home = _home(root)
    views: tuple[View, ...] = ("drone", "satellite")
    if (home / "Testing").is_dir():
        folders = {
            f"train/{view} {height} m": (home / "Training" / str(height) / view, view)
            for height in HEIGHTS_M
            for view in views
        }
        return {
            name: read_by_place(folder, view)
            for name, (folder, view) in folders.items()
            if folder.is_dir()
        }
    sets = _archive(home)
    satellite = pick(sets["satellite"], rows_at(sets["satellite"], TRAINING_PLACES))
    found = {}
    for height in HEIGHTS_M:
        if drone := sets.get(f"drone {height} m"):
            found[f"train/drone {height} m"] = pick(drone, rows_at(drone, TRAINING_PLACES))
            found[f"train/satellite {height} m"] = satellite
    return found


def _lost(parts: _Parts) -> list[str]:
    return [
        f"Pictures from {height} m are not there." for height in HEIGHTS_M if height not in parts
    ]


def _other_split(sets: Mapping[str, Items], parts: _Parts) -> list[str]:
    """A sentence where the places that are asked are not the official ones.

    split_datasets.py once took places in the order in which the file system gave them.
    """
    sentences = []
    for height, roles in parts.items():
        part = roles["query_drone"]
        asked = set(pick(sets[part.name], part.rows).places or ())
        if asked != TEST_PLACES:
            sentences.append(
                f"{len(asked)} places are asked at {height} m, {len(asked - TEST_PLACES)} of them "
                f"not among the {len(TEST_PLACES)} official ones: do not compare with published "
                f"numbers."
            )
    return sentences


BENCHMARK = Benchmark(
    name="sues-200",
    title=TITLE,
    layout="""\
satellite-view/<id>/*.png             the archive, SUES-200-512x512, split by the official list
drone_view_512/<id>/{150,200,250,300}/*.jpg
or, after split_datasets.py:
Training/{150,200,250,300}/{drone,satellite}/<id>/*
Testing/{150,200,250,300}/{query,gallery}_{drone,satellite}/<id>/*
""",
    source="SUES-200-Benchmark README.md, script/split_datasets.py, script/indexs.yaml and "
    "test_and_evaluate.py; DAC and Game4Loc for gallery=test",
    options=Sues200Options,
    read=read,
    splits=splits,
    faults=faults,
    counts={
        f"{name} {height} m{unit}": count
        for height in HEIGHTS_M
        for name, places, pictures in (
            ("train/drone", 120, 50),
            ("train/satellite", 120, 1),
            ("test/query_drone", 80, 50),
            ("test/query_satellite", 80, 1),
            ("test/gallery_drone", 200, 50),
            ("test/gallery_satellite", 200, 1),
        )
        for unit, count in (("", places * pictures), (" places", places))
    },
    overlap="The 120 training places are distractors in the galleries.",
)
