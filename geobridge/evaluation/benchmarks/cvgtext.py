"""CVG-Text: descriptions of street scenes of three cities, looked up in satellite tiles or maps."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from geobridge.errors import EvaluationError
from geobridge.evaluation.benchmarks.benchmark import Benchmark
from geobridge.evaluation.benchmarks.by_place import pick
from geobridge.evaluation.benchmarks.files import require
from geobridge.evaluation.benchmarks.listings import complete_rows, read_json, refuse_empty
from geobridge.evaluation.distances import separation_m
from geobridge.evaluation.tasks import Geodesy, Items, Loaded, Relevance, Task
from geobridge.model.config import Settings
from geobridge.views import Direction, View

CITIES = ("NewYork", "Brisbane", "Tokyo")
CANDIDATES = 100
"""References near the truth among which the data set's own code ranks."""

GEODESY: Geodesy = "haversine-6371"

Version = Literal[
    "NewYork",
    "NewYork-photos",
    "NewYork-mixed",
    "Brisbane",
    "Brisbane-photos",
    "Brisbane-mixed",
    "Tokyo",
    "Tokyo-photos",
    "Tokyo-mixed",
]
Kind = Literal["satellite", "osm", "street"]

_VIEWS: Mapping[Kind, View] = {"satellite": "satellite", "osm": "satellite", "street": "street"}
_ENDINGS: Mapping[Kind, str] = {"satellite": "satellite", "osm": "OSM", "street": "ground"}
_POSITION = re.compile(r"([-+]?\d*\.?\d+),([-+]?\d*\.?\d+)")
_AT_ONCE = 256


class CvgTextOptions(Settings):
    """What published practice differs about.

    Attributes:
        version: descriptions of a city's panoramas (`NewYork`), of its single photos
            (`NewYork-photos`), or of both (`NewYork-mixed`).
        references: what they are looked up in.
        candidates: `nearest-100`, the references nearest to the truth, as the data set's own code
            has it; `global`, all of them; `both`, one after the other.
    """

    version: Version = "NewYork-mixed"
    references: Kind = "satellite"
    candidates: Literal["nearest-100", "global", "both"] = "both"


def _read(root: Path, options: CvgTextOptions) -> Loaded:
    parts = _parts(options.version)
    require(root, "CVG-Text", [f"CVG-text/{part}/test.json" for part in parts])
    texts, gallery, remarks = _pairs(root, parts, "test", options.references)
    refuse_empty(gallery.names, remarks, root)
    first: dict[str, int] = {}
    for row, place in enumerate(gallery.places or ()):
        first.setdefault(place, row)
    kept = np.array(sorted(first.values()), np.int64)
    if len(kept) < len(gallery):
        remarks = (
            *remarks,
            f"References of the same name count once, for which {len(gallery) - len(kept):,} of "
            f"{len(gallery):,} are left out.",
        )
        gallery = pick(gallery, kept)
    tasks = _tasks(texts, gallery, options)
    return Loaded({"text": texts, options.references: gallery}, tasks, remarks)


def _tasks(texts: Items, gallery: Items, options: CvgTextOptions) -> tuple[Task, ...]:
    direction = Direction("text", gallery.modality)
    map_remark = ("References are drawn maps, embedded as satellite pictures.",)
    everywhere = Task(
        name=f"{direction.short} global",
        direction=direction,
        queries="text",
        gallery=options.references,
        positives=Relevance.same(texts.places or (), gallery.places or ()),
        geodesy=GEODESY,
        headline=("R@1", "R@5", "R@10", "L@50", "L@100", "L@150", "mean error"),
        remarks=map_remark if options.references == "osm" else (),
    )
    near = replace(
        everywhere,
        name=f"{direction.short} nearest-{CANDIDATES}",
        candidates=Relevance.of(_nearest(texts, gallery)),
        remarks=(
            *everywhere.remarks,
            f"Only the {CANDIDATES} references nearest to the truth compete, which bounds errors "
            f"and puts chance at about 1 %.",
        ),
    )
    chosen = {"nearest-100": (near,), "global": (everywhere,), "both": (near, everywhere)}
    return chosen[options.candidates]


def _nearest(queries: Items, references: Items) -> NDArray[np.int64]:
    """The references nearest to each query, int64 (Q, 100 or all), ties in their order."""
    held = np.arange(len(references))
    found = [np.zeros((0, min(CANDIDATES, len(held))), np.int64)]
    for start in range(0, len(queries), _AT_ONCE):
        asked = np.arange(start, min(start + _AT_ONCE, len(queries)))[:, None]
        apart_m = separation_m(GEODESY, queries, asked, references, held)
        found.append(np.argsort(apart_m, axis=1, kind="stable")[:, :CANDIDATES])
    return np.concatenate(found)


def _splits(root: Path) -> Mapping[str, Items]:
    found: dict[str, Items] = {}
    for part, split in _held(root):
        found[f"{split}/{part} text"] = _texts(root, [part], split)
        for kind in _kinds(root, part):
            found[f"{split}/{part} {kind}"] = _pairs(root, [part], split, kind)[1]
    return {name: items for name, items in found.items() if len(items)}


def _faults(root: Path) -> Sequence[str]:
    return [
        remark
        for part, split in _held(root)
        for kind in _kinds(root, part)
        for remark in _pairs(root, [part], split, kind)[2]
    ]


def _kinds(root: Path, part: str) -> list[Kind]:
    """What a version has a folder of."""
    return [
        kind for kind in _VIEWS if any((root / folder).is_dir() for folder in _folders(part, kind))
    ]


def _held(root: Path) -> list[tuple[str, str]]:
    """Versions and splits whose descriptions are there."""
    require(root, "CVG-Text", ["CVG-text"])
    parts = [f"{city}{kind}" for city in CITIES for kind in ("", "-photos")]
    return [
        (part, split)
        for part, split in product(parts, ("train", "test"))
        if (root / "CVG-text" / part / f"{split}.json").is_file()
    ]


def _parts(version: str) -> list[str]:
    city = version.removesuffix("-mixed")
    return [city, f"{city}-photos"] if version.endswith("-mixed") else [version]


def _folders(part: str, kind: Kind) -> list[str]:
    """Where pictures may lie; config.yaml names another folder for photos than the code reads."""
    folder = f"{part}-{_ENDINGS[kind]}"
    if kind == "street" and part.endswith("-photos"):
        return [folder, part.removesuffix("s")]
    return [folder]


def _pairs(
    root: Path, parts: Sequence[str], split: str, kind: Kind
) -> tuple[Items, Items, tuple[str, ...]]:
    """Descriptions and pictures of the same names, as listed, and what is said of missing ones."""
    texts = _texts(root, parts, split)
    folders = {_region(part): _folder(root, part, kind) for part in parts}
    pictures = [
        folders[region] / name
        for region, name in zip(texts.regions or (), texts.places or (), strict=True)
    ]
    rows, remarks = complete_rows(f"{kind} pictures named for {split}", pictures)
    gallery = replace(texts, modality=_VIEWS[kind], contents=pictures)
    return pick(texts, rows), pick(gallery, rows), remarks


def _texts(root: Path, parts: Sequence[str], split: str) -> Items:
    """All descriptions, as listed; the place is the name of the picture."""
    said = [
        (part, name, caption)
        for part in parts
        for name, caption in _captions(root / "CVG-text" / part / f"{split}.json").items()
    ]
    positions = np.array([_position(name) for _, name, _ in said]).reshape(-1, 2)
    return Items(
        "text",
        [f"{part}/{name}" for part, name, _ in said],
        [caption for _, _, caption in said],
        [name for _, name, _ in said],
        lat=positions[:, 0],
        lon=positions[:, 1],
        regions=[_region(part) for part, _, _ in said],
    )


def _folder(root: Path, part: str, kind: Kind) -> Path:
    folders = _folders(part, kind)
    found = next((folder for folder in folders if (root / folder).is_dir()), None)
    if found is None:
        require(root, "CVG-Text", folders[:1])
    return root / (found or folders[0])


def _region(part: str) -> str:
    city, _, photos = part.partition("-")
    return f"{city} {photos or 'panoramas'}"


def _captions(path: Path) -> dict[str, str]:
    found = read_json(path)
    if not (isinstance(found, dict) and all(isinstance(text, str) for text in found.values())):
        raise EvaluationError(
            f"{path} does not name a description for each picture: get an intact copy of it."
        )
    return found


def _position(name: str) -> tuple[float, float]:
    """Latitude and longitude in degrees, with which every name begins."""
    found = _POSITION.match(name)
    if not found:
        raise EvaluationError(
            f"CVG-Text names {name!r}, which does not begin with a latitude and longitude: get an "
            f"intact copy of it."
        )
    return float(found[1]), float(found[2])


BENCHMARK = Benchmark[CvgTextOptions](
    name="cvg-text",
    title="CVG-Text",
    layout="""\
CVG-text/<version>/{train,test}.json     {picture name: description}
<version>-satellite/<lat>,<lon>_*.jpg    version is NewYork, Brisbane, Tokyo for panoramas,
<version>-OSM/                           NewYork-photos and so on for single photos
<version>-ground/                        or <city>-photo for single photos""",
    source="CVG-Text/CVG-Text README; yejy53/CVG-Text config.yaml, dataset.py, zeroshot.py and "
    "evaluate.py (cal_score)",
    options=CvgTextOptions,
    read=_read,
    splits=_splits,
    faults=_faults,
)
