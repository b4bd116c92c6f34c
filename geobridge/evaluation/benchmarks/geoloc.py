"""GeoLoc in its release's own layout, by the rules of the release's own test.

Rules: GeoBridge release, test.py (query and gallery files 99-115, average precision 287-306, box in
a name 346-354) and README. Where the script drops numbers by a mistake (its L@ never counts
anything), what it says it does is done.
"""

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geobridge.errors import EvaluationError, PlacesError
from geobridge.evaluation.benchmarks.benchmark import Benchmark
from geobridge.evaluation.benchmarks.files import require
from geobridge.evaluation.tasks import Items, Loaded, Relevance, Task
from geobridge.geo.distance import unwrap_lon, wrap_lon
from geobridge.model.config import Settings
from geobridge.places.release import (
    name_faults,
    release_pictures,
    release_splits,
    release_texts,
)  # fmt: skip
from geobridge.views import NINE_DIRECTIONS, VIEWS, Direction, View

_NUMBER = r"(-?\d+(?:\.\d+)?)"
_BOX = re.compile(rf"(?<![\d.]){_NUMBER}_{_NUMBER}_{_NUMBER}_{_NUMBER}(?![\d.])")

LatLon = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Degrees north and degrees east, (N,) each."""

Centers = Callable[[Sequence[str]], LatLon]
"""Tells positions from the names of pictures."""


class GeoLocOptions(Settings):
    """Options of GeoLoc.

    Attributes:
        split: folder of the pictures.
    """

    split: str = "test"


def read(root: Path, options: GeoLocOptions) -> Loaded:
    """Six directions between views, and the text of each view to the pictures of that view.

    Raises:
        EvaluationError: the root has no such split, or no direction of it has pictures.
    """
    require(root, "a folder of GeoLoc's splits", [options.split])
    sets = _sets(root / options.split, _possible_centers)
    tasks, absent = [], []
    for direction in NINE_DIRECTIONS:
        queries = f"{direction.reference} text" if direction.query == "text" else direction.query
        gallery = direction.reference
        if queries in sets and gallery in sets:
            tasks.append(_task(direction, queries, gallery, sets))
        else:
            absent.append(direction.short)
    if not tasks:
        require(root, "GeoLoc", [f"{options.split}/{view}" for view in VIEWS])
        raise EvaluationError(
            f"{root / options.split} has pictures of {', '.join(sets) or 'no view'}, which makes "
            f"no direction: add another view, or the table of a view's texts."
        )
    remarks = []
    if absent:
        remarks.append(f"{', '.join(absent)} are left out: their pictures or texts are not there.")
    used = {name for task in tasks for name in (task.queries, task.gallery)}
    return Loaded(
        {name: items for name, items in sets.items() if name in used},
        tuple(tasks),
        tuple(remarks),
    )


def _task(direction: Direction, queries: str, gallery: str, sets: dict[str, Items]) -> Task:
    asked, references = sets[queries], sets[gallery]
    positives = Relevance.same(asked.places or (), references.places or ())
    remarks = []
    if without := int((positives.counts == 0).sum()):
        remarks.append(
            f"{without} of the {len(asked)} queries have no {gallery} picture of their name: they "
            f"count as misses in recall and are left out of the average precision."
        )
    for name, items in {queries: asked, gallery: references}.items():
        if unknown := sum(math.isnan(lat) for lat in _possible_centers(items.places or ())[0]):
            remarks.append(
                f"{unknown} of the {len(items)} names of {name} hold no box in degrees: they "
                f"are left out of the distances."
            )
    return Task(
        name=direction.short,
        direction=direction,
        queries=queries,
        gallery=gallery,
        positives=positives,
        matched_only=True,
        recall_at=(1, 5, 10),
        radii_m=(50.0, 100.0, 150.0),
        geodesy="haversine-6371",
        headline=(
            "R@1",
            "R@5",
            "R@1% (floor, at least 1)",
            "AP (reciprocal)",
            "L@50",
            "L@100",
            "L@150",
            "mean error",
        ),
        remarks=tuple(remarks),
    )


def _sets(split: Path, centers: Centers) -> dict[str, Items]:
    """Pictures `drone`, `street`, `satellite` and texts `drone text`, ... of one split."""
    sets: dict[str, Items] = {}
    for view in VIEWS:
        pictures = release_pictures(split, view)
        if pictures:
            sets[view] = _pictures(view, pictures, centers)
    for view in VIEWS:
        try:
            texts = release_texts(split, view)
        except PlacesError as error:
            raise EvaluationError(str(error)) from error
        if texts:
            sets[f"{view} text"] = _texts(texts, centers)
    return sets


def _pictures(view: View, paths: Sequence[Path], centers: Centers) -> Items:
    stems = [path.stem for path in paths]
    lat, lon = centers(stems)
    return Items(view, [path.name for path in paths], list(paths), stems, lat, lon)


def _texts(texts: dict[str, str], centers: Centers) -> Items:
    names = sorted(texts)
    lat, lon = centers(names)
    return Items("text", names, [texts[name] for name in names], names, lat, lon)


def _centers(names: Sequence[str]) -> LatLon:
    """Centre of the box lon1_lat1_lon2_lat2 in each name, NaN where there is none.

    They are as the names say, even where that is no place on the earth.
    """
    corners = np.full((len(names), 4), np.nan)
    for row, name in enumerate(names):
        if match := _BOX.search(name):
            corners[row] = [float(number) for number in match.groups()]
    lon1, lat1, lon2, lat2 = corners.T
    lon = (lon1 + unwrap_lon(lon2, lon1)) / 2
    # A longitude that is none stays as it is written.
    return (lat1 + lat2) / 2, np.where(np.abs(lon1) > 180, lon1, wrap_lon(lon))


def _possible_centers(names: Sequence[str]) -> LatLon:
    """The same, NaN also where the name says what is no place on the earth."""
    lat, lon = _centers(names)
    possible = (np.abs(lat) <= 90) & (np.abs(lon) <= 180)
    return np.where(possible, lat, np.nan), np.where(possible, lon, np.nan)


def splits(root: Path) -> dict[str, Items]:
    """Every view and every table of texts of every split.

    Raises:
        EvaluationError: the root holds no split.
    """
    found = release_splits(root)
    if not found:
        require(root, "a folder of GeoLoc's splits", ["test/drone"])
    return {
        f"{split.name}/{name}": items
        for split in found
        for name, items in _sets(split, _centers).items()
    }


def faults(root: Path) -> list[str]:
    """Pictures whose names are no footprints, a sentence each."""
    return list(name_faults(root))


BENCHMARK = Benchmark(
    name="geoloc",
    title="GeoLoc",
    layout="""\
{train,val,test}/{drone,satellite,street}/<lon1_lat1_lon2_lat2>.jpg
{train,val,test}/{drone,satellite,street}.csv    columns id, text
""",
    source="GeoBridge release, test.py and README",
    read=read,
    splits=splits,
    options=GeoLocOptions,
    faults=faults,
)
