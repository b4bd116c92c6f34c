"""Data sets in which the right references of a picture are those of the same place.

Each has folders of places below one of pictures, `drone/0839/image-43.jpeg`, and follows the
rules of University-1652, which DenseUAV and SUES-200 took over.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geobridge.errors import EvaluationError
from geobridge.evaluation.benchmarks.files import find_pictures, relative_names
from geobridge.evaluation.tasks import Items, Relevance, Task
from geobridge.views import Direction, View

HEADLINE = ("R@1", "R@5", "R@10", "R@1% (round+1)", "AP (trapezoid)")
"""What U1652-Baseline evaluate_gpu.py prints."""


@dataclass(frozen=True)
class Part:
    """Some items of a set.

    Attributes:
        name: of the set.
        rows: int64, which of its items; None for all.
    """

    name: str
    rows: NDArray[np.int64] | None = None


def read_by_place(folder: Path, view: View) -> Items:
    """All pictures below a folder; the first folder on their way is the id of their place.

    Names are paths from the folder, such as `0839/image-43.jpeg`.

    Raises:
        EvaluationError: there are none, or one lies in no folder of a place.
    """
    pictures = find_pictures(folder)
    if not pictures:
        raise EvaluationError(
            f"{folder} holds no picture: it should hold a folder of pictures for each place."
        )
    names = relative_names(folder, pictures)
    astray = next((name for name in names if "/" not in name), None)
    if astray:
        raise EvaluationError(
            f"{folder / astray} lies in no folder of a place: move it to the one of its place."
        )
    return Items(view, names, pictures, places=[name.split("/")[0] for name in names])


def rows_at(items: Items, places: Collection[str]) -> NDArray[np.int64]:
    """Which items show one of some places, int64, ascending."""
    wanted = set(places)
    return np.array([row for row, place in enumerate(_places(items)) if place in wanted], np.int64)


def pick(items: Items, rows: NDArray[np.int64] | None) -> Items:
    """Some items as a set of their own, all where the rows are None."""
    if rows is None:
        return items
    picked = {
        field.name: _take(getattr(items, field.name), rows)
        for field in fields(items)
        if field.name != "modality"
    }
    return Items(items.modality, **picked)


def task_by_place(
    sets: Mapping[str, Items],
    name: str,
    queries: Part,
    gallery: Part,
    *,
    keep_distractors: bool = True,
    **settings: Any,
) -> Task:
    """Look up pictures among those of another view; those of the same place are right.

    Args:
        sets: of pictures.
        name: of the task.
        queries: what is asked.
        gallery: what is ranked.
        keep_distractors: otherwise only references of places that are asked are ranked, while
            one per cent is still taken of the whole gallery, as Sample4Geo and its successors do
            (Sample4Geo dataset/university.py:237-240, evaluate/university.py:76, 92-93).
        settings: further fields of the task.
    """
    asked, held = pick(sets[queries.name], queries.rows), pick(sets[gallery.name], gallery.rows)
    if not keep_distractors:
        kept = rows_at(held, _places(asked))
        settings |= {
            "percent_of": len(held),
            "remarks": (
                f"References of places without a query are left out: {len(kept)} of {len(held)} "
                f"are ranked, while R@1% is taken of all.",
            ),
        }
        gallery = Part(gallery.name, kept if gallery.rows is None else gallery.rows[kept])
        held = pick(held, kept)
    return Task(
        name=name,
        direction=Direction(asked.modality, held.modality),
        queries=queries.name,
        gallery=gallery.name,
        positives=Relevance.same(_places(asked), _places(held)),
        query_rows=queries.rows,
        gallery_rows=gallery.rows,
        **({"headline": HEADLINE} | settings),
    )


def unpaired(sets: Mapping[str, Items], pairs: Iterable[tuple[str, str]]) -> list[str]:
    """A sentence for each pair of sets whose first shows places that the second does not."""
    sentences = []
    for one, other in pairs:
        if one in sets and other in sets:
            alone = sorted(set(_places(sets[one])) - set(_places(sets[other])))
            if alone:
                sentences.append(
                    f"Places of {one} that are not in {other}: {len(alone)}, the first is "
                    f"{alone[0]}."
                )
    return sentences


def _places(items: Items) -> Sequence[str]:
    if items.places is None:
        raise ValueError(f"a set of {items.modality} items without places")
    return items.places


def _take(values: Any, rows: NDArray[np.int64]) -> Any:
    if values is None or isinstance(values, np.ndarray):
        return values if values is None else values[rows]
    return [values[row] for row in rows]
