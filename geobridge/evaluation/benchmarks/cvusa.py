"""CVUSA: street panoramas of the United States and the aerial picture of each place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from geobridge.errors import EvaluationError
from geobridge.evaluation.benchmarks.benchmark import Benchmark
from geobridge.evaluation.benchmarks.by_place import pick
from geobridge.evaluation.benchmarks.files import require
from geobridge.evaluation.benchmarks.listings import (
    complete_rows,
    read_lines,
    refuse_empty,
    refuse_twice,
    remarked,
    turned_round,
)
from geobridge.evaluation.tasks import Content, Items, Loaded, Relevance, Task
from geobridge.imagery.decode import read_image
from geobridge.imagery.street import StreetField, panorama_columns, street_field
from geobridge.model.config import Settings
from geobridge.views import Direction

PANORAMA_PX = (1232, 224)
"""Width and height of the panoramas: strips of the full circle, north in the middle column."""


def _number(given: Any) -> Any:
    """What a person typed, as a number where it is one: a `Literal` does not read words."""
    return int(given) if isinstance(given, str) and given.isdecimal() else given


class CvusaOptions(Settings):
    """What published practice differs about.

    Attributes:
        orientation: `aligned` panoramas have north in their middle, as the files have;
            `unknown` turns each by an angle of its own, drawn evenly from the full circle.
        fov_deg: how much of the circle is shown, 360 for all; less is cut out around north, or
            around the drawn heading.
        seed: of the drawn headings, which belong to the lines of the list.
    """

    orientation: Literal["aligned", "unknown"] = "aligned"
    fov_deg: Annotated[Literal[360, 180, 90, 70], BeforeValidator(_number)] = 360
    seed: int = Field(default=0, ge=0)


@dataclass(frozen=True)
class Turned:
    """A part of a panorama file, cut out when it is called: uint8 (H, W, 3).

    Attributes:
        path: of the panorama.
        heading_deg: of the part's middle, clockwise from the panorama's middle column.
        fov_deg: in (0, 360].
    """

    path: Path
    heading_deg: float
    fov_deg: float

    def __call__(self) -> NDArray[np.uint8]:
        """Read and cut; raises ImageError where the file cannot be decoded."""
        return panorama_columns(read_image(self.path), self.heading_deg, self.fov_deg)


def _read(root: Path, options: CvusaOptions) -> Loaded:
    """The validation pairs, which are the test; street to satellite and back.

    Raises:
        EvaluationError: the root is no CVUSA, its list is damaged, or no pair is complete.
    """
    require(root, "CVUSA", ["splits/val-19zl.csv"])
    satellites, streets, rows, remarks = _pairs(root, "val")
    refuse_empty(rows, remarks, root)
    headings = _headings_deg(options, len(streets.names))
    streets = _shown(pick(streets, rows), headings[rows], options)
    forward = Task(
        name="P2S",
        direction=Direction("street", "satellite"),
        queries="street",
        gallery="satellite",
        positives=Relevance.of([[row] for row in range(len(rows))]),
        headline=("R@1", "R@5", "R@10", "R@1% (int+1)"),
    )
    sets = {"street": streets, "satellite": pick(satellites, rows)}
    tasks = remarked(_remarks(options), forward, turned_round(forward, len(rows)))
    return Loaded(sets, tasks, remarks)


def _splits(root: Path) -> Mapping[str, Items]:
    """Both sides of the lists that are there, training included."""
    found: dict[str, Items] = {}
    for split in _listed(root):
        satellites, streets, rows, _ = _pairs(root, split)
        found[f"{split}/street"] = pick(streets, rows)
        found[f"{split}/satellite"] = pick(satellites, rows)
    return found


def _faults(root: Path) -> Sequence[str]:
    """Pairs of which a file is missing."""
    return [remark for split in _listed(root) for remark in _pairs(root, split)[3]]


def _listed(root: Path) -> list[str]:
    held = [split for split in ("train", "val") if _list_of(root, split).is_file()]
    if not held:
        require(root, "CVUSA", ["splits/train-19zl.csv", "splits/val-19zl.csv"])
    return held


def _list_of(root: Path, split: str) -> Path:
    return root / "splits" / f"{split}-19zl.csv"


def _pairs(root: Path, split: str) -> tuple[Items, Items, NDArray[np.int64], tuple[str, ...]]:
    """Satellite and street pictures as listed, the rows with both files, and a remark."""
    path = _list_of(root, split)
    lines = [_fields(line, path, number) for number, line in enumerate(read_lines(path), 1)]
    satellite, street, places = ([line[column] for line in lines] for column in range(3))
    refuse_twice(places, path)
    rows, remarks = complete_rows(
        f"pairs of splits/{path.name}",
        [root / name for name in satellite],
        [root / name for name in street],
    )
    return (
        Items("satellite", satellite, [root / name for name in satellite], places),
        Items("street", street, [root / name for name in street], places),
        rows,
        remarks,
    )


def _fields(line: str, path: Path, number: int) -> tuple[str, str, str]:
    """Satellite path, street path and id of a line; the third column is an annotation."""
    columns = [column.strip() for column in line.split(",")]
    stem = Path(columns[0]).stem
    if len(columns) < 2 or not stem.isdigit():
        raise EvaluationError(
            f"line {number} of {path} is {line!r}, not a satellite and a street path whose names "
            f"are numbers: get an intact copy of it."
        )
    return columns[0], columns[1], str(int(stem))


def _headings_deg(options: CvusaOptions, count: int) -> NDArray[np.float64]:
    if options.orientation == "aligned":
        return np.zeros(count)
    return np.random.default_rng(options.seed).uniform(-180, 180, count)


def _shown(streets: Items, headings_deg: NDArray[np.float64], options: CvusaOptions) -> Items:
    """The street pictures under the options, with the angles that their shape may not tell."""
    field = StreetField(options.fov_deg, street_field(*PANORAMA_PX).vertical_fov_deg)
    contents: list[Content] = list(streets.contents)
    if options != CvusaOptions(seed=options.seed):
        contents = [
            Turned(Path(str(path)), float(heading), options.fov_deg)
            for path, heading in zip(contents, headings_deg, strict=True)
        ]
    return Items("street", streets.names, contents, streets.places, fields=[field] * len(contents))


def _remarks(options: CvusaOptions) -> tuple[str, ...]:
    if options.orientation == "aligned" and options.fov_deg == 360:
        return ()
    heading = "north" if options.orientation == "aligned" else f"a heading of seed {options.seed}"
    return (
        f"Street pictures show {options.fov_deg} degrees around {heading}: not comparable with "
        f"results on whole aligned panoramas.",
    )


BENCHMARK = Benchmark[CvusaOptions](
    name="cvusa",
    title="CVUSA (CVPR subset)",
    layout="""\
splits/train-19zl.csv            satellite path, street path, annotation path; no header
splits/val-19zl.csv              the same, of the 8,884 pairs that are tested
bingmap/19/<id>.jpg              satellite pictures, or wherever the lists say
streetview/panos/<id>.jpg        panoramas, 1232 x 224, north in the middle""",
    source="viibridges/crossnet README and #11; Skyy93/Sample4Geo sample4geo/dataset/cvusa.py; "
    "R@1% as in Liumouliu/OriCNN",
    options=CvusaOptions,
    read=_read,
    splits=_splits,
    faults=_faults,
    counts={
        "train/street": 35_532,
        "train/satellite": 35_532,
        "val/street": 8_884,
        "val/satellite": 8_884,
    },
)
