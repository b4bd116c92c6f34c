"""RSICD, UCM-Captions and RSIEval: sentences about satellite pictures, looked up both ways."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from geobridge.errors import EvaluationError
from geobridge.evaluation.benchmarks.benchmark import Benchmark, NoOptions
from geobridge.evaluation.benchmarks.files import require
from geobridge.evaluation.benchmarks.listings import (
    complete_rows,
    read_json,
    refuse_empty,
    turned_round,
)
from geobridge.evaluation.tasks import Items, Loaded, Relevance, Task
from geobridge.views import Direction

MEAN_RECALL = (
    "mR, the published summary, is the mean of R@1, R@5 and R@10 of T2S and S2T, six numbers."
)


@dataclass(frozen=True)
class _Layout:
    """Where a data set of A. Karpathy's layout has its list and its pictures."""

    title: str
    lists: tuple[str, ...]
    folders: tuple[str, ...]


@dataclass(frozen=True)
class _Picture:
    name: str
    captions: tuple[str, ...]


_RSICD = _Layout("RSICD", ("dataset_rsicd.json",), ("RSICD_images", "images"))
_UCM = _Layout("UCM-Captions", ("dataset_ucm.json", "dataset.json"), ("UCM_images", "imgs"))


def _read(layout: _Layout, root: Path, _: NoOptions) -> Loaded:
    folder = _folder(layout, root)
    pictures = _pictures(_list_of(layout, root)).get("test", [])
    sets, remarks = _sets(folder, pictures, f"test pictures of {layout.title}")
    return _both_ways(root, sets, (*remarks, MEAN_RECALL))


def _both_ways(root: Path, sets: Mapping[str, Items], remarks: tuple[str, ...]) -> Loaded:
    """Each sentence has one right picture, each picture all of its sentences."""
    texts, pictures = sets["text"], sets["satellite"]
    refuse_empty(texts.names, remarks, root)
    forward = Task(
        name="T2S",
        direction=Direction("text", "satellite"),
        queries="text",
        gallery="satellite",
        positives=Relevance.same(texts.places or (), pictures.names),
        remarks=_shared(texts),
    )
    return Loaded(sets, (forward, turned_round(forward, len(pictures))), remarks)


def _shared(texts: Items) -> tuple[str, ...]:
    """How many sentences are said of several pictures, of which one alone is right."""
    said = set(zip(texts.contents, texts.places or (), strict=True))
    told = Counter(text for text, _ in said)
    count = sum(told[text] > 1 for text in texts.contents)
    if not count:
        return ()
    return (
        f"{count:,} of {len(texts):,} sentences are said word for word of several pictures; only "
        f"the picture that a sentence belongs to is right.",
    )


def _splits(layout: _Layout, root: Path) -> Mapping[str, Items]:
    folder, found = _folder(layout, root), {}
    for split, pictures in _pictures(_list_of(layout, root)).items():
        sets, _ = _sets(folder, pictures, "")
        found[f"{split}/satellite"], found[f"{split}/text"] = sets["satellite"], sets["text"]
    return found


def _faults(layout: _Layout, root: Path) -> Sequence[str]:
    folder, listed = _folder(layout, root), _list_of(layout, root)
    return [
        remark
        for split, pictures in _pictures(listed).items()
        for remark in _sets(folder, pictures, f"{split} pictures of {listed.name}")[1]
    ]


def _sets(
    folder: Path, pictures: Sequence[_Picture], what: str
) -> tuple[dict[str, Items], tuple[str, ...]]:
    """Pictures that are there, by name, and their sentences."""
    ordered = sorted(pictures, key=lambda picture: picture.name)
    paths = [folder / picture.name for picture in ordered]
    rows, remarks = complete_rows(what, paths)
    held = [ordered[row] for row in rows]
    said = [
        (f"{picture.name}#{number}", caption, picture.name)
        for picture in held
        for number, caption in enumerate(picture.captions)
    ]
    names, captions, places = ([row[column] for row in said] for column in range(3))
    own = [picture.name for picture in held]
    return {
        "satellite": Items("satellite", own, [paths[row] for row in rows], own),
        "text": Items("text", names, captions, places),
    }, remarks


def _list_of(layout: _Layout, root: Path) -> Path:
    return _first_there(layout.title, root, layout.lists)


def _folder(layout: _Layout, root: Path) -> Path:
    return _first_there(layout.title, root, layout.folders)


def _first_there(title: str, root: Path, names: Sequence[str]) -> Path:
    there = [name for name in names if (root / name).exists()]
    if not there:
        require(root, title, names[:1])
    return root / there[0]


def _pictures(path: Path) -> dict[str, list[_Picture]]:
    """Pictures of each split, each once; sentences begin with a capital, as RemoteCLIP reads them.

    `str.capitalize` is meant: the rest of a sentence becomes lower case.
    """
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for split, name, sentences in _listed(path):
        held = found.setdefault(split, {})
        held[name] = (*held.get(name, ()), *(sentence.capitalize() for sentence in sentences))
    return {
        split: [_Picture(name, captions) for name, captions in held.items()]
        for split, held in found.items()
    }


def _listed(path: Path) -> list[tuple[str, str, list[str]]]:
    """Split, file name and sentences of each picture."""
    try:
        return [
            (
                str(image["split"]),
                str(image["filename"]),
                [str(sentence["raw"]) for sentence in image["sentences"]],
            )
            for image in read_json(path)["images"]
        ]
    except (KeyError, TypeError) as error:
        raise _no_list(
            path, "images with split, filename and sentences of raw text", error
        ) from error


def _no_list(path: Path, wanted: str, error: Exception) -> EvaluationError:
    return EvaluationError(
        f"{path} lacks {wanted} ({type(error).__name__} {error}): get an intact copy of it."
    )


def _read_rsieval(root: Path, _: NoOptions) -> Loaded:
    sets, remarks = _rsieval(root)
    missing_rule = (
        "No source states rules for retrieval on RSIEval: each of its sentences has one right "
        "picture, and with about 100 queries one of them is worth a point.",
    )
    return _both_ways(root, sets, (*remarks, *missing_rule))


def _rsieval(root: Path) -> tuple[dict[str, Items], tuple[str, ...]]:
    folder = root / "RSIEval" if (root / "RSIEval").is_dir() else root
    require(folder, "RSIEval", ["annotations.json", "images"])
    path = folder / "annotations.json"
    try:
        said: dict[str, tuple[str, ...]] = {}
        annotations: list[Any] = read_json(path)["annotations"]
        for item in annotations:
            name = str(item["filename"])
            said[name] = (*said.get(name, ()), str(item["caption"]))
    except (KeyError, TypeError) as error:
        raise _no_list(path, "annotations with filename and caption", error) from error
    pictures = [_Picture(name, captions) for name, captions in said.items()]
    return _sets(folder / "images", pictures, "pictures of RSIEval")


def _splits_rsieval(root: Path) -> Mapping[str, Items]:
    return {f"test/{name}": items for name, items in _rsieval(root)[0].items()}


RSICD = Benchmark[NoOptions](
    name="rsicd",
    title="RSICD",
    layout="""\
dataset_rsicd.json     images: filename, split, sentences with raw text
RSICD_images/*.jpg     or images/""",
    source="201528014227051/RSICD_optimal; ChenDelong1999/RemoteCLIP retrieval.py",
    options=NoOptions,
    read=partial(_read, _RSICD),
    splits=partial(_splits, _RSICD),
    faults=partial(_faults, _RSICD),
    counts={
        "train/satellite": 8_734,
        "val/satellite": 1_094,
        "test/satellite": 1_093,
        "test/text": 5_465,
    },
)

UCM_CAPTIONS = Benchmark[NoOptions](
    name="ucm-captions",
    title="UCM-Captions",
    layout="""\
dataset_ucm.json       or dataset.json; images: filename, split, sentences with raw text
UCM_images/*.tif       or imgs/""",
    source="201528014227051/RSICD_optimal; rules of RSICD, as ChenDelong1999/RemoteCLIP "
    "retrieval.py has them",
    options=NoOptions,
    read=partial(_read, _UCM),
    splits=partial(_splits, _UCM),
    faults=partial(_faults, _UCM),
    counts={
        "train/satellite": 1_680,
        "val/satellite": 210,
        "test/satellite": 210,
        "test/text": 1_050,
    },
)

RSIEVAL = Benchmark[NoOptions](
    name="rsieval",
    title="RSIEval",
    layout="""\
RSIEval/annotations.json     annotations: filename, caption; the folder itself may be named
RSIEval/images/*""",
    source="Lavender105/RSGPT README",
    options=NoOptions,
    read=_read_rsieval,
    splits=_splits_rsieval,
    faults=lambda root: _rsieval(root)[1],
    counts={"test/satellite": 100, "test/text": 100},
)
