"""University-1652: drone, satellite and street pictures of 1,652 university buildings.

Zheng, Wei and Yang, 2020; layout, counts and rules from U1652-Baseline (README, test.py,
evaluate_gpu.py).
"""

from collections.abc import Mapping
from itertools import permutations
from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator

from geobridge.errors import EvaluationError
from geobridge.evaluation.benchmarks.benchmark import Benchmark
from geobridge.evaluation.benchmarks.by_place import (
    Part,
    read_by_place,
    task_by_place,
    unpaired,
)
from geobridge.evaluation.benchmarks.files import find_pictures, relative_names, require
from geobridge.evaluation.tasks import Items, Loaded
from geobridge.model.config import Settings
from geobridge.views import VIEWS, Direction, View

TITLE = "University-1652"

_NEEDED = tuple(
    f"test/{role}_{view}" for role in ("query", "gallery") for view in ("drone", "satellite")
)
# Street pictures found by an image search are pictures of the street for our purpose.
_TRAINING: Mapping[str, View] = {
    "drone": "drone",
    "satellite": "satellite",
    "street": "street",
    "google": "street",
}
_PAIRED = (
    ("train/drone", "train/satellite"),
    ("train/satellite", "train/drone"),
    ("test/query_drone", "test/gallery_satellite"),
    ("test/query_satellite", "test/gallery_drone"),
)


class University1652Options(Settings):
    """What published practice differs about.

    Attributes:
        distractors: `keep` the 250 buildings that nobody asks for in the gallery, as
            U1652-Baseline does, or `drop` them, as Sample4Geo and its successors do: D2S is then
            ranked among 701 and not 951 satellite pictures.
        extra_distractors: a folder of satellite pictures that join the gallery, such as the
            167,486 of University-160k. Pictures of the 951 buildings must not be among them, as
            they are in the folder of the challenge, since all count as wrong.
    """

    distractors: Literal["keep", "drop"] = "keep"
    extra_distractors: Path | None = None

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.distractors == "drop" and self.extra_distractors:
            raise ValueError("distractors 'drop' would leave extra_distractors out, use 'keep'")
        return self


def read(root: Path, options: University1652Options) -> Loaded:
    """The six directions between drone, street and satellite pictures.

    Raises:
        EvaluationError: the root lacks a folder of drone or satellite pictures, or one is empty.
    """
    require(root, TITLE, _NEEDED)
    held = [
        view
        for view in VIEWS
        if all((root / "test" / f"{role}_{view}").is_dir() for role in ("query", "gallery"))
    ]
    sets = {
        f"{role}_{view}": read_by_place(root / "test" / f"{role}_{view}", view)
        for view in held
        for role in ("query", "gallery")
    }
    remarks = []
    if "street" not in held:
        remarks.append(
            "D2P, P2D, S2P and P2S are left out: test/query_street or test/gallery_street is not "
            "there."
        )
    if options.extra_distractors:
        extra = _distractors(options.extra_distractors)
        sets["gallery_satellite"] = _joined(sets["gallery_satellite"], extra)
        remarks.append(
            f"{len(extra)} satellite pictures join the gallery of D2S and P2S; all count as wrong."
        )
    tasks = tuple(
        task_by_place(
            sets,
            Direction(query, reference).short,
            Part(f"query_{query}"),
            Part(f"gallery_{reference}"),
            keep_distractors=options.distractors == "keep",
        )
        for query, reference in permutations(held, 2)
    )
    return Loaded(sets, tasks, tuple(remarks))


def _distractors(folder: Path) -> Items:
    pictures = find_pictures(folder)
    if not pictures:
        raise EvaluationError(
            f"extra_distractors {folder} holds no picture: name the folder of satellite pictures."
        )
    names = [f"extra/{name}" for name in relative_names(folder, pictures)]
    return Items("satellite", names, pictures, places=names)


def _joined(first: Items, second: Items) -> Items:
    return Items(
        first.modality,
        [*first.names, *second.names],
        [*first.contents, *second.contents],
        places=[*(first.places or ()), *(second.places or ())],
    )


def splits(root: Path) -> dict[str, Items]:
    """Every folder of pictures there is, as `train/drone` or `test/query_drone`.

    Raises:
        EvaluationError: as `read`.
    """
    require(root, TITLE, _NEEDED)
    folders: dict[str, View] = {f"train/{name}": view for name, view in _TRAINING.items()}
    folders |= {f"test/{role}_{view}": view for view in VIEWS for role in ("query", "gallery")}
    folders["test/4K_drone"] = "drone"
    return {
        folder: read_by_place(root / folder, view)
        for folder, view in folders.items()
        if (root / folder).is_dir()
    }


def faults(root: Path) -> list[str]:
    """Places that have a drone picture and no satellite picture, or the other way round."""
    return unpaired(splits(root), _PAIRED)


BENCHMARK = Benchmark(
    name="university-1652",
    title=TITLE,
    layout="""\
train/{drone,satellite,street,google}/<id>/*
test/{query,gallery}_{drone,satellite}/<id>/*
test/{query,gallery}_street/<id>/*    for directions from and to the street; optional
""",
    source="U1652-Baseline README.md, test.py and evaluate_gpu.py; Sample4Geo "
    "dataset/university.py and evaluate/university.py for distractors=drop",
    options=University1652Options,
    read=read,
    splits=splits,
    faults=faults,
    counts={
        "train/drone places": 701,
        "train/satellite places": 701,
        "test/query_drone": 37_855,
        "test/query_drone places": 701,
        "test/query_satellite": 701,
        "test/query_satellite places": 701,
        "test/query_street": 2_579,
        "test/query_street places": 701,
        "test/gallery_drone": 51_355,
        "test/gallery_drone places": 951,
        "test/gallery_satellite": 951,
        "test/gallery_satellite places": 951,
        "test/gallery_street": 2_921,
        "test/gallery_street places": 793,
    },
)
