"""CVACT: street panoramas of Canberra and the satellite picture of each place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from geobridge.errors import EvaluationError, MissingExtraError
from geobridge.evaluation.benchmarks.benchmark import Benchmark
from geobridge.evaluation.benchmarks.by_place import pick
from geobridge.evaluation.benchmarks.files import require
from geobridge.evaluation.benchmarks.listings import (
    complete_rows,
    file_names,
    refuse_empty,
    refuse_twice,
    remarked,
    turned_round,
)
from geobridge.evaluation.tasks import Items, Loaded, Relevance, Task
from geobridge.model.config import Settings
from geobridge.views import Direction

TABLE = "ACT_data.mat"
WITHIN_M = 5.0
"""A satellite picture so near to a test panorama is right, RecallGeo.m of OriCNN."""

_INDEXED = {
    "train": ("trainSet", "trainInd"),
    "val": ("valSet", "valInd"),
    "test": ("valSetAll", "valInd"),
}
_FOLDERS = {"train": "ANU_data_small", "val": "ANU_data_small", "test": "ANU_data_test"}
_STREET, _SATELLITE = "_grdView.jpg", "_satView_polish.jpg"


class CvactOptions(Settings):
    """What published practice differs about.

    Attributes:
        split: `val`, 8,884 pairs, or `test`, ten times as many, of which those of val are a part.
        test_rule: what is right on test. `within-5m`: every satellite picture within 5 m, as the
            data set's own code has it; `exact-id`: the one of the same id alone, among the pairs
            whose files are there, as Sample4Geo and its successors have it.
    """

    split: Literal["val", "test"] = "val"
    test_rule: Literal["within-5m", "exact-id"] = "within-5m"

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.split == "val" and "test_rule" in self.model_fields_set:
            raise ValueError("test_rule is of split 'test', and 'val' has one rule only")
        return self


@dataclass(frozen=True)
class _Table:
    """What `ACT_data.mat` says: N ids, their UTM coordinates (N, 2), and rows of each split."""

    ids: Sequence[str]
    utm_m: NDArray[np.float64]
    rows: Mapping[str, NDArray[np.int64]]


def _read(root: Path, options: CvactOptions) -> Loaded:
    exact = options.split == "val" or options.test_rule == "exact-id"
    if options.split == "test" and exact:
        # The files alone decide: the table is not read, and may be absent.
        streets, satellites, remarks = _test_files(root)
    else:
        streets, satellites, rows, remarks = _pairs(root, options.split, _table(root))
        streets, satellites = pick(streets, rows), pick(satellites, rows)
    refuse_empty(streets.names, remarks, root)
    forward = Task(
        name="P2S",
        direction=Direction("street", "satellite"),
        queries="street",
        gallery="satellite",
        positives=_exact(len(streets)) if exact else _near(satellites),
        geodesy="plane",
        headline=("R@1", "R@5", "R@10", "R@1% (int+1)"),
    )
    rule = () if options.split == "val" else (_RULES[options.test_rule],)
    tasks = remarked(rule, forward, turned_round(forward, len(satellites)))
    return Loaded({"street": streets, "satellite": satellites}, tasks, remarks)


_RULES = {
    "within-5m": "A query is right when any of its first k references is within 5 m, not "
    "comparable with results that ask for the same id.",
    "exact-id": "A query is right when the reference of its id is among the first k; those within "
    "5 m, which the data set's own rule takes as well, count as wrong.",
}


def _exact(count: int) -> Relevance:
    return Relevance.of([[row] for row in range(count)])


def _near(items: Items) -> Relevance:
    """All within 5 m, inclusive, by UTM coordinates; both pictures of a pair have the same."""
    tree = _scipy("scipy.spatial").cKDTree(items.xy_m)
    return Relevance.of(tree.query_ball_point(items.xy_m, WITHIN_M, return_sorted=True))


def _splits(root: Path) -> Mapping[str, Items]:
    table, found = _table(root), {}
    for split in _held(root):
        streets, satellites, rows, _ = _pairs(root, split, table)
        found[f"{split}/street"] = pick(streets, rows)
        found[f"{split}/satellite"] = pick(satellites, rows)
    return found


def _faults(root: Path) -> Sequence[str]:
    table = _table(root)
    return [remark for split in _held(root) for remark in _pairs(root, split, table)[3]]


def _held(root: Path) -> list[str]:
    held = [split for split, folder in _FOLDERS.items() if (root / folder).is_dir()]
    if not held:
        require(root, "CVACT", [TABLE, *dict.fromkeys(_FOLDERS.values())])
    return held


def _pairs(
    root: Path, split: str, table: _Table
) -> tuple[Items, Items, NDArray[np.int64], tuple[str, ...]]:
    """Street and satellite pictures as listed, the rows with both files, and a remark."""
    folder = _FOLDERS[split]
    require(root, "CVACT", [TABLE, *_views_of(folder)])
    chosen = table.rows[split]
    ids = [table.ids[row] for row in chosen]
    refuse_twice(ids, root / TABLE)
    streets, satellites = _items(root, folder, ids, table.utm_m[chosen])
    rows, remarks = complete_rows(
        f"{split} pairs of {TABLE}",
        [root / name for name in streets.names],
        [root / name for name in satellites.names],
    )
    return streets, satellites, rows, remarks


def _test_files(root: Path) -> tuple[Items, Items, tuple[str, ...]]:
    """The pairs of which both files lie in the folder of the test, in the order of their ids.

    And what is said of files without a partner.
    """
    folder = _FOLDERS["test"]
    wanted = _views_of(folder)
    require(root, "CVACT", wanted)
    streets, satellites = (
        {name.removesuffix(ending) for name in file_names(root / view) if name.endswith(ending)}
        for view, ending in zip(wanted, (_STREET, _SATELLITE), strict=True)
    )
    alone = sorted(streets ^ satellites)
    remarks: tuple[str, ...] = ()
    if alone:
        remarks = (
            f"{len(alone):,} pictures of {folder} are left out because the other view of their id "
            f"is missing, such as of {alone[0]}.",
        )
    return *_items(root, folder, sorted(streets & satellites), None), remarks


def _views_of(folder: str) -> list[str]:
    return [f"{folder}/streetview", f"{folder}/satview_polish"]


def _items(
    root: Path, folder: str, ids: Sequence[str], utm_m: NDArray[np.float64] | None
) -> tuple[Items, Items]:
    street, satellite = _views_of(folder)
    named = (
        [f"{street}/{name}{_STREET}" for name in ids],
        [f"{satellite}/{name}{_SATELLITE}" for name in ids],
    )
    return (
        Items("street", named[0], [root / name for name in named[0]], ids, xy_m=utm_m),
        Items("satellite", named[1], [root / name for name in named[1]], ids, xy_m=utm_m),
    )


def _table(root: Path) -> _Table:
    path = root / TABLE
    require(root, "CVACT", [TABLE])
    found = _matlab(path)
    try:
        ids = [str(name).strip() for name in np.ravel(found["panoIds"])]
        utm_m = np.asarray(found["utm"], np.float64).reshape(len(ids), 2)
        # MATLAB counts from one.
        rows = {
            split: np.ravel(found[group][key]).astype(np.int64) - 1
            for split, (group, key) in _INDEXED.items()
        }
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise EvaluationError(
            f"{path} lacks or breaks what CVACT's table has ({error}): it should hold panoIds, "
            f"utm, trainSet.trainInd, valSet.valInd and valSetAll.valInd: get an intact copy."
        ) from error
    for split, chosen in rows.items():
        if len(chosen) and not (chosen.min() >= 0 and chosen.max() < len(ids)):
            raise EvaluationError(
                f"{path} counts beyond its {len(ids):,} panoIds in {'.'.join(_INDEXED[split])}: "
                f"get an intact copy of it."
            )
    return _Table(ids, utm_m, rows)


def _matlab(path: Path) -> Mapping[str, Any]:
    scipy_io = _scipy("scipy.io")
    try:
        found: Mapping[str, Any] = scipy_io.loadmat(path, simplify_cells=True)
        return found
    except NotImplementedError as error:
        raise EvaluationError(
            f"{path} is a MATLAB v7.3 file, which is HDF5 and not read here: in MATLAB, `load` it "
            f"and write it again with `save('{path.name}', '-v7')`."
        ) from error
    except Exception as error:  # the reader lets every kind through on damaged files
        raise EvaluationError(
            f"{path} is no MATLAB file that can be read ({error}): get an intact copy of it."
        ) from error


def _scipy(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError("CVACT", "scipy", "train") from error


BENCHMARK = Benchmark[CvactOptions](
    name="cvact",
    title="CVACT",
    layout="""\
ACT_data.mat                                                  ids, UTM coordinates and splits
ANU_data_small/streetview/<id>_grdView.jpg                    panoramas of train and val
ANU_data_small/satview_polish/<id>_satView_polish.jpg
ANU_data_test/{streetview,satview_polish}/                    the same of test""",
    source="Liumouliu/OriCNN Matlab/RecallGeo.m and OriNet_CVACT; Skyy93/Sample4Geo "
    "sample4geo/dataset/cvact.py for test_rule=exact-id",
    options=CvactOptions,
    read=_read,
    splits=_splits,
    faults=_faults,
    counts={
        "train/street": 35_532,
        "train/satellite": 35_532,
        "val/street": 8_884,
        "val/satellite": 8_884,
        "test/street": 92_802,
        "test/satellite": 92_802,
    },
    overlap="the pairs of val are a part of those of test",
)
