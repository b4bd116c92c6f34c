"""Any places data set (`geobridge.places.table`): nine directions, one right reference each.

The gallery of a direction is every place of the split that has the modality of the reference, the
queries are all places that have both, as in `evaluation.retrieval.retrieve`: a query without a
right reference could only be wrong.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from geobridge.errors import EvaluationError, PlacesError
from geobridge.evaluation.benchmarks import geoloc
from geobridge.evaluation.benchmarks.benchmark import Benchmark
from geobridge.evaluation.benchmarks.files import require
from geobridge.evaluation.tasks import Items, Loaded, Relevance, Task
from geobridge.model.config import Settings
from geobridge.places.release import is_release
from geobridge.places.table import TABLE_NAME, Place, iter_places, read_unchecked, row_faults
from geobridge.views import MODALITIES, NINE_DIRECTIONS, Direction, Modality

# What a place without a country, or a row without a split, is called.
_NO_REGION = "no country"
_NO_SPLIT = "all"

Region = Callable[[Place], str | None]
"""Names the region of a place, by which results are broken down."""


class PlacesOptions(Settings):
    """Options of a places data set.

    Attributes:
        split: which places; None is `test` where the data set has it, and otherwise all of them.
    """

    split: str | None = None


def read(root: Path, options: PlacesOptions) -> Loaded:
    """The nine directions of one split.

    Raises:
        EvaluationError: the root is no places data set, has no such split, breaks the format, or
            holds no two modalities of any place.
    """
    if not is_release(root):
        require(root, "a places data set", [TABLE_NAME])
    try:
        places = list(iter_places(root))
    except PlacesError as error:
        raise EvaluationError(str(error)) from error
    held = sorted({place.split for place in places if place.split})
    split, remarks = options.split, []
    if split is None and "test" in held:
        split = "test"
    if split is None:
        named = f" ({', '.join(held)})" if held else ""
        remarks.append(f"The data set has no split `test`: all its places are measured{named}.")
    else:
        if split not in held:
            raise EvaluationError(
                f"{root} has no split {split!r}: choose one of {', '.join(held) or 'none'}."
            )
        places = [place for place in places if place.split == split]
    return load_places(places, str(root), remarks=remarks)


def country(place: Place) -> str | None:
    """The region of a place of which nothing more is known."""
    return place.country


def load_places(
    places: Sequence[Place],
    where: str,
    *,
    region: Region = country,
    remarks: Sequence[str] = (),
) -> Loaded:
    """The nine directions of a list of places.

    Args:
        places: with different ids.
        where: they are from, for messages.
        region: of a place; if no place has one, results are not broken down.
        remarks: to begin with.

    Raises:
        EvaluationError: no place has both modalities of any direction.
    """
    sets = {name: _set_of(places, name, region) for name in MODALITIES}
    tasks, absent = [], []
    for direction in NINE_DIRECTIONS:
        task = _task(direction, sets[direction.query], sets[direction.reference])
        if task is None:
            absent.append(direction.short)
        else:
            tasks.append(task)
    if not tasks:
        held = ", ".join(f"{len(items)} {name}" for name, items in sets.items())
        raise EvaluationError(
            f"no place of {where} has both modalities of any direction ({len(places)} places: "
            f"{held}): add pictures or texts of the same places."
        )
    notes = list(remarks)
    if absent:
        notes.append(f"No place has both modalities of {', '.join(absent)}: they are left out.")
    used = {name for task in tasks for name in (task.queries, task.gallery)}
    return Loaded(
        {name: items for name, items in sets.items() if name in used}, tuple(tasks), tuple(notes)
    )


def _set_of(places: Sequence[Place], modality: Modality, region: Region) -> Items:
    """The places that have a modality."""
    held = [place for place in places if getattr(place, modality)]
    names = [place.place_id for place in held]
    regions = [region(place) for place in held]
    return Items(
        modality=modality,
        names=names,
        contents=[getattr(place, modality) for place in held],
        places=names,
        lat=np.array([place.lat for place in held], np.float64),
        lon=np.array([place.lon for place in held], np.float64),
        regions=[name or _NO_REGION for name in regions] if any(regions) else None,
    )


def _task(direction: Direction, queries: Items, gallery: Items) -> Task | None:
    """One direction; None where no place has both modalities."""
    references = {name: row for row, name in enumerate(gallery.names)}
    asked = [row for row, name in enumerate(queries.names) if name in references]
    if not asked:
        return None
    alone = len(queries) - len(asked)
    lacking = f"{alone} {direction.query} items lack a {direction.reference} item of their place"
    return Task(
        name=direction.short,
        direction=direction,
        queries=direction.query,
        gallery=direction.reference,
        positives=Relevance.of([references[queries.names[row]]] for row in asked),
        query_rows=np.array(asked, np.int64),
        headline=("R@1", "R@5", "R@10", "AP (plain)", "median rank"),
        remarks=(f"{lacking} and are not asked.",) if alone else (),
    )


def splits(root: Path) -> dict[str, Items]:
    """Every modality of every split as the table names it, however wrong its rows are.

    Raises:
        EvaluationError: the root is no places data set.
    """
    if not (root / TABLE_NAME).is_file() and is_release(root):
        return geoloc.splits(root)
    require(root, "a places data set", [TABLE_NAME])
    try:
        frame = read_unchecked(root)
    except PlacesError as error:
        raise EvaluationError(str(error)) from error
    rows = frame.to_dict("records")
    names = _distinct([row["place_id"] for row in rows])
    found: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        for modality in MODALITIES:
            if row[modality]:
                found.setdefault(f"{row['split'] or _NO_SPLIT}/{modality}", []).append(number)
    order: dict[str, int] = {modality: number for number, modality in enumerate(MODALITIES)}
    keys = sorted(found, key=lambda key: (key.rpartition("/")[0], order[key.rpartition("/")[2]]))
    return {key: _rows_as_set(root, rows, names, found[key], key) for key in keys}


def _rows_as_set(
    root: Path, rows: Sequence[Mapping[str, Any]], names: list[str], held: list[int], key: str
) -> Items:
    modality: Any = key.rpartition("/")[2]
    contents = [rows[number][modality] for number in held]
    regions = [rows[number]["country"] for number in held]
    points = np.array([_lat_lon(rows[number]["point"]) for number in held])
    return Items(
        modality=modality,
        names=[names[number] for number in held],
        contents=contents if modality == "text" else [root / path for path in contents],
        places=[_id(rows[number]["place_id"]) for number in held],
        lat=points[:, 0],
        lon=points[:, 1],
        regions=[name or _NO_REGION for name in regions] if any(regions) else None,
    )


def _lat_lon(point: Any) -> tuple[float, float]:
    """Of a point that may be missing or empty: then NaN."""
    if getattr(point, "geom_type", None) != "Point" or point.is_empty:
        return float("nan"), float("nan")
    return point.y, point.x


def _id(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _distinct(ids: Sequence[Any]) -> list[str]:
    """Ids as names: one that is missing or repeated gets the number of its row."""
    seen: set[str] = set()
    names = []
    for number, value in enumerate(ids, 1):
        name = _id(value)
        names.append(name if name and name not in seen else f"{name} (row {number})".strip())
        seen.add(name)
    return names


def faults(root: Path) -> list[str]:
    """Rows that training and galleries would refuse, a sentence each.

    Raises:
        EvaluationError: the root is no places data set.
    """
    if not (root / TABLE_NAME).is_file():
        return geoloc.faults(root)
    try:
        return [fault for _, fault in row_faults(root)]
    except PlacesError as error:
        raise EvaluationError(str(error)) from error


BENCHMARK = Benchmark(
    name="places",
    title="Places data set",
    layout="""\
places.parquet    one row a place: docs/places.md
drone/ street/ satellite/    pictures, anywhere below the root
""",
    source="geobridge/places/table.py; protocol of geobridge/world/benchmark.py",
    read=read,
    splits=splits,
    options=PlacesOptions,
    faults=faults,
)
