"""VIGOR: street panoramas of four cities, looked up in satellite tiles that cover each city."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from geobridge.errors import EvaluationError
from geobridge.evaluation.benchmarks.benchmark import Benchmark
from geobridge.evaluation.benchmarks.by_place import pick
from geobridge.evaluation.benchmarks.files import require
from geobridge.evaluation.benchmarks.listings import (
    complete_rows,
    read_lines,
    refuse_empty,
    refuse_twice,
    turned_round,
)
from geobridge.evaluation.tasks import Items, Loaded, Relevance, Task
from geobridge.model.config import Settings
from geobridge.views import Direction, View

CITIES = ("Chicago", "NewYork", "SanFrancisco", "Seattle")
CROSS_CITIES = ("Chicago", "SanFrancisco")
"""Of the cross-area test; NewYork and Seattle are trained on."""

TILE_PX = 640
"""Side of a tile, in whose pixels labels count."""

Labels = Literal["original", "corrected"]

_FOLDERS = {"original": "splits", "corrected": "splits__corrected"}
_ENDINGS = {"original": ".txt", "corrected": "__corrected.txt"}
_NUMBER = r"[-+]?\d+(?:\.\d+)?"
_STREET_NAME = re.compile(rf".*,({_NUMBER}),({_NUMBER}),\.\w+")
_SATELLITE_NAME = re.compile(rf".*_({_NUMBER})_({_NUMBER})\.\w+")


class VigorOptions(Settings):
    """What published practice differs about.

    Attributes:
        area: `same`: all four cities, of which other panoramas are trained on; `cross`: all
            panoramas of Chicago and San Francisco, of which none is.
        labels: `original`, of `splits`, whose ground resolution of 0.114 m is wrong, or
            `corrected`, of SliceMatch's `splits__corrected`.
    """

    area: Literal["same", "cross"] = "same"
    labels: Labels = "original"


@dataclass(frozen=True)
class Label:
    """A line of a list of panoramas.

    Attributes:
        panorama: name of its file.
        tiles: names of four tiles, the positive first, then the semi-positives.
        offsets_px: how far each tile's centre lies north and east of the panorama, in pixels.
    """

    panorama: str
    tiles: tuple[str, ...]
    offsets_px: tuple[tuple[float, float], ...]

    @classmethod
    def parse(cls, line: str) -> "Label":
        """Read `name tile north east tile north east ...`.

        Raises:
            ValueError: the line is of another form.
        """
        words = line.split()
        if len(words) != 13:
            raise ValueError(f"{len(words)} words and not 13")
        offsets = tuple((float(words[at + 1]), float(words[at + 2])) for at in (1, 4, 7, 10))
        return cls(words[0], tuple(words[1::3]), offsets)

    @property
    def inside(self) -> bool:
        """Whether the panorama lies within its positive tile, as SliceMatch requires."""
        return max(map(abs, self.offsets_px[0])) <= TILE_PX / 2


def pixel_in_tile(north_px: float, east_px: float) -> tuple[float, float]:
    """Where a panorama is in a tile, x right and y down from the tile's upper left corner.

    Offsets are those of the tile's centre from the panorama: a tile to the north has the
    panorama below its middle, one to the east has it left of its middle (VIGOR data/DATASET.md
    and evaluate_from_npy.py, where a position is the tile's less the offset).
    """
    return TILE_PX / 2 - east_px, TILE_PX / 2 + north_px


def _read(root: Path, options: VigorOptions) -> Loaded:
    cities = CITIES if options.area == "same" else CROSS_CITIES
    listed = "same_area_balanced_test" if options.area == "same" else "pano_label_balanced"
    satellites, tile_remarks = _tiles(root, options.labels, cities)
    streets, labels, remarks = _panoramas(root, options.labels, cities, listed)
    tiles = _labelled(labels, streets, satellites)
    # What is asked must have its answer in the gallery.
    asked = np.flatnonzero(tiles[:, 0] >= 0)
    remarks = (*tile_remarks, *remarks, *_lost(len(labels) - len(asked), len(labels)))
    refuse_empty(asked, remarks, root)
    tiles, outside = tiles[asked], sum(not labels[row].inside for row in asked)
    forward = Task(
        name="P2S",
        direction=Direction("street", "satellite"),
        queries="street",
        gallery="satellite",
        positives=Relevance.of(tiles[:, :1]),
        semipositives=Relevance.of([np.unique(row[row >= 0]) for row in tiles[:, 1:]]),
        geodesy="cosines-6371.004",
        headline=("R@1", "R@5", "R@10", "R@1% (int+1)", "hit rate (code)"),
        remarks=(
            f"By the {options.labels} labels, {outside:,} of {len(asked):,} panoramas lie outside "
            f"their positive tile.",
        ),
    )
    sets = {"street": pick(streets, asked), "satellite": satellites}
    return Loaded(sets, (forward, turned_round(forward, len(satellites))), remarks)


def _lost(count: int, of: int) -> tuple[str, ...]:
    if not count:
        return ()
    return (f"{count:,} of {of:,} panoramas are left out because their positive tile is missing.",)


def _labelled(labels: Sequence[Label], streets: Items, satellites: Items) -> NDArray[np.int64]:
    """Rows of each panorama's four tiles, int64 (N, 4), -1 where a tile is missing."""
    rows = {name: row for row, name in enumerate(satellites.names)}
    cities = streets.regions or ()
    return np.array(
        [
            [rows.get(f"{city}/{tile}", -1) for tile in label.tiles]
            for city, label in zip(cities, labels, strict=True)
        ],
        np.int64,
    ).reshape(len(labels), 4)


def _splits(root: Path) -> Mapping[str, Items]:
    """Of the same-area protocol, whose lists have all panoramas."""
    labels = _labels_held(root)
    found = {
        f"{split}/street": _panoramas(root, labels, CITIES, f"same_area_balanced_{split}")[0]
        for split in ("train", "test")
    }
    return found | {"gallery/satellite": _tiles(root, labels, CITIES)[0]}


def _faults(root: Path) -> Sequence[str]:
    labels = _labels_held(root)
    found = [*_tiles(root, labels, CITIES)[1]]
    for split in ("train", "test"):
        found += _panoramas(root, labels, CITIES, f"same_area_balanced_{split}")[2]
    return found


def _labels_held(root: Path) -> Labels:
    return "original" if (root / "splits").is_dir() else "corrected"


def _tiles(root: Path, labels: Labels, cities: Sequence[str]) -> tuple[Items, tuple[str, ...]]:
    """The tiles that are there, in the order of the lists, and what is said of the others."""
    wanted = [f"{_FOLDERS[labels]}/{city}/satellite_list.txt" for city in cities]
    require(root, "VIGOR", wanted)
    names: list[tuple[str, str]] = []
    for city, path in zip(cities, wanted, strict=True):
        tiles = read_lines(root / path)
        refuse_twice(tiles, root / path)
        names += [(city, tile) for tile in tiles]
    items, rows, remarks = _items(root, "satellite", names)
    return pick(items, rows), remarks


def _panoramas(
    root: Path, labels: Labels, cities: Sequence[str], listed: str
) -> tuple[Items, list[Label], tuple[str, ...]]:
    """The panoramas that are there, their labels, and what is said of the others."""
    wanted = [f"{_FOLDERS[labels]}/{city}/{listed}{_ENDINGS[labels]}" for city in cities]
    require(root, "VIGOR", wanted)
    names: list[tuple[str, str]] = []
    found: list[Label] = []
    for city, path in zip(cities, wanted, strict=True):
        lines = _parsed(root / path)
        refuse_twice([label.panorama for label in lines], root / path)
        names += [(city, label.panorama) for label in lines]
        found += lines
    items, rows, remarks = _items(root, "street", names)
    return pick(items, rows), [found[row] for row in rows], remarks


def _parsed(path: Path) -> list[Label]:
    found = []
    for number, line in enumerate(read_lines(path), 1):
        try:
            found.append(Label.parse(line))
        except ValueError as error:
            raise EvaluationError(
                f"line {number} of {path} is no label ({error}): it should name a panorama, then "
                f"four tiles with an offset north and east each, so get an intact copy of it."
            ) from error
    return found


def _items(
    root: Path, view: View, names: Sequence[tuple[str, str]]
) -> tuple[Items, NDArray[np.int64], tuple[str, ...]]:
    """Pictures by city and name, the rows that are there, and a remark on the others."""
    folders = {city: _folder(root, city, view) for city in dict.fromkeys(city for city, _ in names)}
    paths = [folders[city] / name for city, name in names]
    pattern = _STREET_NAME if view == "street" else _SATELLITE_NAME
    positions = np.array([_position(name, pattern) for _, name in names]).reshape(-1, 2)
    items = Items(
        view,
        [f"{city}/{name}" for city, name in names],
        paths,
        lat=positions[:, 0],
        lon=positions[:, 1],
        regions=[city for city, _ in names],
    )
    rows, remarks = complete_rows(f"listed {view} pictures", paths)
    return items, rows, remarks


def _folder(root: Path, city: str, view: View) -> Path:
    """Of a city's pictures: the official layout, or that of Sample4Geo's snapshot."""
    official, snapshot = (
        (f"{city}/panorama", f"ground/{city}")
        if view == "street"
        else (f"{city}/satellite", f"satellite/{city}")
    )
    if not (root / snapshot).is_dir():
        require(root, "VIGOR", [official])
        return root / official
    return root / snapshot


def _position(name: str, pattern: re.Pattern[str]) -> tuple[float, float]:
    """Latitude and longitude in degrees, from a file's name."""
    found = pattern.fullmatch(name)
    if not found:
        raise EvaluationError(
            f"VIGOR's lists name {name!r}, which tells no latitude and longitude: get an intact "
            f"copy of them."
        )
    return float(found[1]), float(found[2])


BENCHMARK = Benchmark[VigorOptions](
    name="vigor",
    title="VIGOR",
    layout="""\
<City>/panorama/<prefix>,<lat>,<lon>,.jpg        or ground/<City>/
<City>/satellite/satellite_<lat>_<lon>.png       or satellite/<City>/
splits/<City>/satellite_list.txt                 every tile of the gallery
splits/<City>/same_area_balanced_{train,test}.txt
splits/<City>/pano_label_balanced.txt            all panoramas, for area=cross
splits__corrected/<City>/*__corrected.txt        for labels=corrected""",
    source="Jeff-Zilence/VIGOR data/DATASET.md, dataloader.py, train_overall.py and "
    "evaluate_from_npy.py; tudelft-iv/SliceMatch VIGOR_corrected_labels; "
    "Skyy93/Sample4Geo sample4geo/dataset/vigor.py",
    options=VigorOptions,
    read=_read,
    splits=_splits,
    faults=_faults,
    counts={"train/street": 52_609, "test/street": 52_605, "gallery/satellite": 90_618},
    overlap="panoramas of training and of the same-area test look at the same tiles",
)
