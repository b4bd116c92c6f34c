"""Lists that come with data sets: lines and JSON, the files they name, the directions they give."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geobridge.errors import EvaluationError
from geobridge.evaluation.tasks import Relevance, Task
from geobridge.views import Direction


def read_lines(path: Path) -> list[str]:
    """Lines of a text file, without their ends; empty ones are left out.

    Raises:
        EvaluationError: the file cannot be read as text.
    """
    return [line.strip() for line in _read_text(path).splitlines() if line.strip()]


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        EvaluationError: the file cannot be read, or is no JSON.
    """
    text = _read_text(path)
    try:
        return json.loads(text)
    except ValueError as error:
        raise EvaluationError(f"{path} is no JSON ({error}): get an intact copy of it.") from error


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise EvaluationError(
            f"{path} cannot be read ({error.strerror}): check the path and its permissions."
        ) from error
    except UnicodeDecodeError as error:
        raise EvaluationError(f"{path} is no UTF-8 text: get an intact copy of it.") from error


def refuse_twice(names: Sequence[str], path: Path) -> None:
    """Refuse a list that names something twice, which would count twice.

    Raises:
        EvaluationError: with the first such name.
    """
    if len(set(names)) == len(names):
        return
    twice = next(name for name, count in Counter(names).items() if count > 1)
    raise EvaluationError(f"{path} names {twice} more than once: get an intact copy of it.")


def present(paths: Sequence[Path]) -> NDArray[np.bool_]:
    """Which files are there, bool (N,); a folder is read once, however many of them it holds.

    Raises:
        EvaluationError: a folder may not be read.
    """
    held = {parent: file_names(parent) for parent in {path.parent for path in paths}}
    return np.array([path.name in held[path.parent] for path in paths], bool)


def file_names(folder: Path) -> set[str]:
    """Names of what lies in a folder; none where there is no such folder.

    Raises:
        EvaluationError: it may not be read.
    """
    if not folder.is_dir():
        return set()
    try:
        return {entry.name for entry in folder.iterdir()}
    except OSError as error:
        raise EvaluationError(
            f"{folder} may not be read ({error.strerror}): check its permissions."
        ) from error


def complete_rows(what: str, *columns: Sequence[Path]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Rows of a list whose files are all there, and what is to be said of the others.

    Args:
        what: the rows are and where they are named, in the plural, for the remark.
        columns: files of each row, N each.

    Returns:
        int64 rows, ascending, and one sentence or none.
    """
    there = np.stack([present(column) for column in columns])
    complete = there.all(axis=0)
    rows, lost = np.flatnonzero(complete), np.flatnonzero(~complete)
    if not len(lost):
        return rows, ()
    column = int(np.flatnonzero(~there[:, lost[0]])[0])
    return rows, (
        f"{len(lost):,} of {len(columns[0]):,} {what} are left out because a file is missing, such "
        f"as {columns[column][lost[0]]}.",
    )


def refuse_empty(
    rows: Sequence[Any] | NDArray[np.int64], remarks: Sequence[str], root: Path
) -> None:
    """Refuse a data set of which nothing is left to be measured.

    Raises:
        EvaluationError: with the first remark as its reason.
    """
    if not len(rows):
        reason = f" ({remarks[0].rstrip('.')})" if remarks else ""
        raise EvaluationError(
            f"{root} leaves nothing to be measured{reason}: unpack all of its pictures there."
        )


def turned_round(task: Task, references: int) -> Task:
    """The same pairs, looked up the other way.

    References that belong to no query have nothing to find and are not asked; as rivals, all
    queries stay. Candidates and remarks are of one direction and do not turn.

    Args:
        task: of whole sets, without `query_rows` and `gallery_rows`.
        references: how many its gallery has.
    """
    direction = Direction(task.direction.reference, task.direction.query)
    positives = task.positives.transposed(references)
    asked = np.flatnonzero(positives.counts)
    whole = len(asked) == references
    remark = (
        f"{references - len(asked):,} of {references:,} {task.gallery} items belong to no "
        f"{task.queries} item and are not asked.",
    )
    forgiven = task.semipositives.transposed(references) if task.semipositives else None
    return replace(
        task,
        name=task.name.replace(task.direction.short, direction.short),
        direction=direction,
        queries=task.gallery,
        gallery=task.queries,
        positives=_of_rows(positives, asked),
        semipositives=_of_rows(forgiven, asked) if forgiven else None,
        query_rows=None if whole else asked,
        candidates=None,
        remarks=() if whole else remark,
    )


def remarked(remarks: Sequence[str], *tasks: Task) -> tuple[Task, ...]:
    """Tasks with remarks that hold for all of them, before their own."""
    return tuple(replace(task, remarks=(*remarks, *task.remarks)) for task in tasks)


def _of_rows(relevance: Relevance, rows: NDArray[np.int64]) -> Relevance:
    return Relevance.of([relevance[row] for row in rows])
