"""GeoText-1652: descriptions of University-1652's pictures, looked up at the level of buildings."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from geobridge.errors import EvaluationError
from geobridge.evaluation.benchmarks.benchmark import Benchmark
from geobridge.evaluation.benchmarks.files import require
from geobridge.evaluation.benchmarks.listings import (
    complete_rows,
    read_json,
    refuse_empty,
    refuse_twice,
    turned_round,
)
from geobridge.evaluation.tasks import Items, Loaded, Relevance, Task
from geobridge.model.config import Settings
from geobridge.views import VIEWS, Direction, View

MAX_WORDS = 50

_TRAINING = "train.json"
_DROPPED = re.compile(r"[,.'!?\"()*#:;~]")


class GeoText1652Options(Settings):
    """What published practice differs about.

    Attributes:
        test: `951`, the whole test of 951 buildings, or `24G`, about 190 of them, which the
            release offers for smaller machines.
        buildings: by `folder`, which pictures lie in; or as the `release` counts them: there the
            first picture of every building has the id of the building before it.
    """

    test: Literal["951", "24G"] = "951"
    buildings: Literal["folder", "release"] = "folder"


@dataclass(frozen=True)
class _Entry:
    """A picture of an annotation file: its path below `images`, captions and building."""

    image: str
    captions: tuple[str, ...]
    building: str

    @property
    def view(self) -> View:
        return view_of(self.image)


def normalized(caption: str) -> str:
    """A caption as the release reads it: lower case, no punctuation, at most 50 words.

    As `pre_caption` of X-VLM's dataset/utils.py, on which the release builds: commas, full stops,
    quotes, question and exclamation marks, brackets, `*#:;~` vanish; dashes and slashes part
    words.
    """
    bare = _DROPPED.sub("", caption.lower()).replace("-", " ").replace("/", " ")
    return " ".join(bare.replace("<person>", "person").split()[:MAX_WORDS])


def view_of(image: str) -> View:
    """The view of a picture, by its path, named as University-1652 names its files.

    `0839/image-43.jpeg` is a drone's, `0839/0839.jpg` a satellite's, every other the street's;
    names with `drone`, `satellite` or `street` in them are taken by their word.
    """
    *_, folder, name = ("", *image.split("/"))
    stem = Path(name).stem.lower()
    for view in VIEWS:
        if view in stem:
            return view
    if stem.startswith("image"):
        return "drone"
    return "satellite" if stem == folder else "street"


def release_buildings(folders: Sequence[str]) -> list[str]:
    """Ids as re_bbox_dataset.py counts them: a picture gets its id before the count goes on.

    Args:
        folders: of the pictures, in the order of the annotation file.
    """
    ids, count = [], 0
    for row, folder in enumerate(folders):
        ids.append(str(count))
        count += row > 0 and folder != folders[row - 1]
    return ids


def _read(root: Path, options: GeoText1652Options) -> Loaded:
    name = f"test_{options.test}_version.json"
    require(root, "GeoText-1652", [name])
    entries = _entries(root / name)
    if options.buildings == "release":
        ids = release_buildings([entry.building for entry in entries])
        entries = [
            _Entry(entry.image, entry.captions, building)
            for entry, building in zip(entries, ids, strict=True)
        ]
    sets, remarks = _sets(root, name, entries)
    views = [view for view in VIEWS if view in sets]
    refuse_empty(views, remarks, root)
    tasks = [task for view in views for task in _both_ways(sets, view)]
    return Loaded(sets, tuple(tasks), (*remarks, *_remarks(views, options)))


def _both_ways(sets: Mapping[str, Items], view: View) -> tuple[Task, Task]:
    """From descriptions to pictures of a view, and back: those of the same building are right."""
    texts, pictures = sets[_captions_of(view)], sets[view]
    direction = Direction("text", view)
    forward = Task(
        name=direction.short,
        direction=direction,
        queries=_captions_of(view),
        gallery=view,
        positives=Relevance.same(texts.places or (), pictures.places or ()),
    )
    return forward, turned_round(forward, len(pictures))


def _remarks(views: Sequence[View], options: GeoText1652Options) -> list[str]:
    found = [
        "The release's tables call their columns Text Query and Image Query, its code has them the "
        "other way round, and it ranks the first 256 again with a cross-encoder; here T2D is from "
        "text to drone picture, D2T back, by cosine alone."
    ]
    if len(views) > 1:
        found.append(
            "The release ranks the pictures of all views of the file together; here each view is "
            "ranked on its own."
        )
    if options.buildings == "release":
        found.append(
            "Building ids are the release's, which are off by one for the first picture of each "
            "building."
        )
    return found


def _splits(root: Path) -> Mapping[str, Items]:
    return {
        f"{split}/{name}": items
        for split, path in _files(root).items()
        for name, items in _sets(root, path.name, _entries(path))[0].items()
    }


def _faults(root: Path) -> Sequence[str]:
    return [
        remark
        for path in _files(root).values()
        for remark in _sets(root, path.name, _entries(path))[1]
    ]


def _files(root: Path) -> dict[str, Path]:
    require(root, "GeoText-1652", ["test_951_version.json"])
    files = {"train": root / _TRAINING, "test": root / "test_951_version.json"}
    return {split: path for split, path in files.items() if path.is_file()}


def _sets(
    root: Path, listed: str, entries: Sequence[_Entry]
) -> tuple[dict[str, Items], tuple[str, ...]]:
    """Pictures and descriptions of every view there is, of the pictures that are there."""
    images = root / "images" if (root / "images").is_dir() else root
    paths = [images / entry.image for entry in entries]
    rows, remarks = complete_rows(f"pictures of {listed}", paths)
    sets: dict[str, Items] = {}
    for view in VIEWS:
        held = [row for row in rows if entries[row].view == view]
        if held:
            sets[view] = Items(
                view,
                [entries[row].image for row in held],
                [paths[row] for row in held],
                [entries[row].building for row in held],
            )
            sets[_captions_of(view)] = _texts([entries[row] for row in held])
    return sets, remarks


def _texts(entries: Sequence[_Entry]) -> Items:
    said = [
        (f"{entry.image}#{number}", text, entry.building)
        for entry in entries
        for number, text in enumerate(entry.captions)
    ]
    names, texts, buildings = ([row[column] for row in said] for column in range(3))
    return Items("text", names, texts, buildings)


def _captions_of(view: View) -> str:
    return f"{view} text"


def _entries(path: Path) -> list[_Entry]:
    found = read_json(path)
    if not isinstance(found, list):
        raise EvaluationError(f"{path} is no list of pictures: get an intact copy of it.")
    entries = [_entry(item, path, number) for number, item in enumerate(found)]
    refuse_twice([entry.image for entry in entries], path)
    return entries


def _entry(item: Any, path: Path, number: int) -> _Entry:
    try:
        captions = item["caption"]
        said = [captions] if isinstance(captions, str) else captions
        texts = tuple(text for text in map(normalized, said) if text)
        return _Entry(str(item["image"]), texts, str(item["image_id"]).split("/")[0])
    except (KeyError, TypeError, AttributeError) as error:
        raise EvaluationError(
            f"picture {number} of {path} lacks image, image_id or caption ({error}): get an intact "
            f"copy of it."
        ) from error


BENCHMARK = Benchmark[GeoText1652Options](
    name="geotext-1652",
    title="GeoText-1652",
    layout="""\
images/train/<id>/*                        pictures, named as University-1652 names them
images/test/query(701)/<id>/*
images/test/gallery_no_train(250)/<id>/*
train.json                                 image_id, image, caption of each picture
test_951_version.json                      the same, three captions each
test_24G_version.json                      a part of it, for test=24G""",
    source="MultimodalGeo/GeoText-1652 README and method/dataset/re_bbox_dataset.py, re_bbox.py",
    options=GeoText1652Options,
    read=_read,
    splits=_splits,
    faults=_faults,
    counts={
        "train/drone": 37_854,
        "train/satellite": 701,
        "train/street": 11_663,
        "train/drone text": 113_562,
        "train/satellite text": 2_103,
        "train/street text": 34_989,
        "test/drone": 51_355,
        "test/satellite": 951,
        "test/street": 2_921,
        "test/drone text": 154_065,
        "test/satellite text": 2_853,
        "test/street text": 8_763,
        "test/drone places": 951,
        "test/satellite places": 951,
        "test/street places": 793,
    },
)
