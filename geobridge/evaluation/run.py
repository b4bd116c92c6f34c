"""A model on a benchmark: embed, rank, score, and leave everything behind that a report needs.

    OUT/evaluation.json          model, benchmark, options, versions and every measure
    OUT/queries/<task>.parquet   one row a query: rank, error, first references
    OUT/embeddings/              of every set, so that scoring again takes seconds

Stopped at any moment, the same call goes on; embeddings that are there are only read.
"""

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import ValidationError

from geobridge import __version__
from geobridge.errors import EvaluationError
from geobridge.evaluation.benchmarks.benchmark import Benchmark
from geobridge.evaluation.distances import have_positions, separation_m
from geobridge.evaluation.embeddings import Embedded, embed_items, refuse_other_model, slug
from geobridge.evaluation.ranking import Picked, Ranking, Rows, rank
from geobridge.evaluation.scores import Score, score
from geobridge.evaluation.tasks import Items, Task
from geobridge.files import write_atomically
from geobridge.model.config import first_problem
from geobridge.model.geobridge import GeoBridge
from geobridge.progress import Step, silent
from geobridge.views import Direction, Modality

RESULT = "evaluation.json"
QUERIES = "queries"
EMBEDDINGS = "embeddings"
SHOWN = 5
"""First references of each query that are kept with it."""

_RANKED = 10
_LIBRARIES = ("torch", "numpy")


@dataclass(frozen=True)
class Evaluation:
    """What one model came to on one benchmark.

    Attributes:
        model: its name.
        fingerprint: of its embedding space.
        benchmark: name that was asked for.
        title: what papers call the benchmark.
        source: where its rules were read.
        options: that the benchmark was read with.
        versions: of what computed this.
        scores: one a task.
        remarks: what differs from what was published, or was left out, in whole sentences.
    """

    model: str
    fingerprint: str
    benchmark: str
    title: str
    source: str
    options: Mapping[str, Any]
    versions: Mapping[str, str]
    scores: tuple[Score, ...]
    remarks: tuple[str, ...]

    @classmethod
    def read(cls, folder: str | Path) -> Self:
        """What `evaluate` left in a folder; the values of single queries stay in their tables.

        Raises:
            EvaluationError: there is no finished evaluation in the folder.
        """
        path = Path(folder) / RESULT
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            for word in ("model", "fingerprint", "benchmark", "title", "source"):
                if not isinstance(found[word], str):
                    raise TypeError(f"its {word} is {found[word]!r}")
            scores = tuple(Score.from_json(item) for item in found.pop("scores"))
            return cls(scores=scores, remarks=tuple(found.pop("remarks")), **found)
        except OSError as error:
            raise EvaluationError(
                f"{path} cannot be read ({error.strerror}): name a folder that "
                f"`geobridge evaluate --out` has written."
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise EvaluationError(
                f"{path} is no evaluation ({error}): run `geobridge evaluate` again."
            ) from error


def evaluate(
    model: GeoBridge,
    benchmark: Benchmark[Any],
    root: str | Path,
    out: str | Path,
    *,
    directions: Sequence[Direction] | None = None,
    options: Mapping[str, Any] | None = None,
    resamples: int = 1000,
    step: Step | None = None,
) -> Evaluation:
    """Measure a model by the rules of a benchmark.

    Args:
        model: what is measured.
        benchmark: from `benchmarks.benchmark_named`.
        root: folder of the data set.
        out: folder of the results, see the module.
        directions: that are measured; by default all that the data and the model have.
        options: of the benchmark, by name.
        resamples: of the bootstrap behind every interval.
        step: progress.

    Raises:
        EvaluationError: the root, an option or a direction does not fit, or `out` holds the
            report of another benchmark or of other options, or embeddings of another model, or
            cannot be written.
        ModelError: a direction was asked for that the model has no encoder for.
    """
    out, step = Path(out), step or silent
    settings = configured(benchmark, options or {})
    step(f"reading {benchmark.name}")(0, None)
    loaded = benchmark.read(Path(root), settings)
    tasks, remarks = _chosen(model, benchmark.name, loaded.tasks, directions)
    salt = f"{benchmark.name} {settings.model_dump_json()}"
    with _writing(out):
        _refuse_other_report(out, benchmark.name, settings.model_dump(mode="json"))
        refuse_other_model(out / EMBEDDINGS, model)
        embedded = _embedded(model, loaded.sets, tasks, out, salt, step)
        # What is there is no longer of the tables of queries that follow, nor of tasks left out.
        (out / RESULT).unlink(missing_ok=True)
        for table in (out / QUERIES).glob("*.parquet"):
            table.unlink()
        scores = [_scored(task, loaded.sets, embedded, out, resamples, step) for task in tasks]
        remarks += [
            f"{item.cut} texts of {name} were cut to what the model takes."
            for name, item in embedded.items()
            if item.cut
        ]
        evaluation = Evaluation(
            model=model.name,
            fingerprint=model.fingerprint,
            benchmark=benchmark.name,
            title=benchmark.title,
            source=benchmark.source,
            options=settings.model_dump(mode="json"),
            versions={"geobridge": __version__} | {name: version(name) for name in _LIBRARIES},
            scores=tuple(scores),
            remarks=(*loaded.remarks, *remarks),
        )
        _write(out / RESULT, evaluation)
    return evaluation


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    """What the file system refuses, as a sentence."""
    try:
        yield
    except OSError as error:
        raise EvaluationError(
            f"{error.filename or out} cannot be written ({error.strerror or error}): free space, "
            f"or name another folder with --out."
        ) from error


def _refuse_other_report(out: Path, benchmark: str, options: Mapping[str, Any]) -> None:
    """Keep a finished report of something else; embeddings alone may serve other options."""
    if not (out / RESULT).exists():
        return
    try:
        before = Evaluation.read(out)
    except EvaluationError:
        return  # damaged, so that nothing is lost
    if (before.benchmark, before.options) != (benchmark, options):
        named = ", ".join(f"{key}={value}" for key, value in before.options.items())
        raise EvaluationError(
            f"{out} holds the report of {before.benchmark}{f' ({named})' if named else ''}: give "
            f"another --out, or delete {out / RESULT} to write over it."
        )


def _embedded(
    model: GeoBridge,
    sets: Mapping[str, Items],
    tasks: Sequence[Task],
    out: Path,
    options: str,
    step: Step,
) -> dict[str, Embedded]:
    """The sets that tasks need; files and texts stay what they are under other options."""
    found = {}
    for name in dict.fromkeys(name for task in tasks for name in (task.queries, task.gallery)):
        items = sets[name]
        is_made = items.fields is not None or any(map(callable, items.contents))
        report = step(f"embedding {name}")
        salt = options if is_made else ""
        found[name] = embed_items(model, items, out / EMBEDDINGS, name, salt, report)
    return found


def _scored(
    task: Task,
    sets: Mapping[str, Items],
    embedded: Mapping[str, Embedded],
    out: Path,
    resamples: int,
    step: Step,
) -> Score:
    """One task, whose table of queries is left in the folder."""
    step(f"scoring {task.name}")(0, None)
    queries, references = sets[task.queries], sets[task.gallery]
    ranking = rank(
        _rows(embedded[task.queries], task.query_rows),
        _rows(embedded[task.gallery], task.gallery_rows),
        task,
        top=_RANKED,
    )
    found = score(task, ranking, queries, references, resamples=resamples)
    write_queries(query_table(out, task.name), task, ranking, found, queries, references)
    return found


def configured(benchmark: Benchmark[Any], given: Mapping[str, Any]) -> Any:
    """The benchmark's options with what a person gave.

    Raises:
        EvaluationError: an option is unknown or its value does not fit.
    """
    try:
        return benchmark.configure(given)
    except ValidationError as error:
        option, problem = first_problem(error)
        raise EvaluationError(
            f"{benchmark.name} cannot be read with {option or 'these options'}: {problem}."
        ) from None


def query_table(folder: Path, task: str) -> Path:
    """Where the single queries of a task are kept."""
    return folder / QUERIES / f"{slug(task)}.parquet"


def write_queries(
    path: Path,
    task: Task,
    ranking: Ranking,
    found: Score,
    queries: Items,
    references: Items,
) -> None:
    """Write what came of each query, one row each, in the order of the task.

    Columns: query, place (the id of what it shows), query_file, region, query_lat, query_lon,
    query_x_m, query_y_m (on a map of its own); rank of the first positive (NaN without one),
    positive and positive_file (the first of its positives); of the first references top1..,
    top1_file.., similarity1.., right1.. (whether it is a positive) and distance1_m.. (from the
    truth, where positions are known); and every measure that averages over queries under its own
    name.
    """
    asked = np.arange(len(queries)) if task.query_rows is None else task.query_rows
    ranked = np.arange(len(references)) if task.gallery_rows is None else task.gallery_rows
    held = [task.positives[query] for query in range(len(asked))]
    first = [int(ranked[rows[0]]) if len(rows) else -1 for rows in held]
    table: dict[str, Any] = {
        "query": _at(queries.names, asked),
        "place": _at(queries.places, asked),
        "query_file": _at([_shown(content) for content in queries.contents], asked),
        "region": _at(queries.regions, asked),
        "query_lat": _at(queries.lat, asked),
        "query_lon": _at(queries.lon, asked),
        "query_x_m": None if queries.xy_m is None else queries.xy_m[asked, 0],
        "query_y_m": None if queries.xy_m is None else queries.xy_m[asked, 1],
        "positive": _at(references.names, first),
    }
    files = [_shown(content) for content in references.contents]
    table["positive_file"] = _at(files, first)
    located = have_positions(task.geodesy, queries, references)
    for place in range(min(SHOWN, ranking.top.shape[1])):
        rows = np.where(ranking.top[:, place] < 0, -1, ranked[ranking.top[:, place]])
        table[f"top{place + 1}"] = _at(references.names, rows)
        table[f"top{place + 1}_file"] = _at(files, rows)
        table[f"similarity{place + 1}"] = ranking.similarity[:, place]
        found_here = zip(ranking.top[:, place].tolist(), held, strict=True)
        table[f"right{place + 1}"] = [row in right for row, right in found_here]
        if located:
            distance = separation_m(task.geodesy, queries, asked, references, rows)
            table[f"distance{place + 1}_m"] = distance
    table |= found.per_query
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    pd.DataFrame(table).to_parquet(buffer, index=False)
    write_atomically(path, buffer.getvalue())


def _chosen(
    model: GeoBridge, name: str, tasks: Sequence[Task], directions: Sequence[Direction] | None
) -> tuple[list[Task], list[str]]:
    """The tasks that are measured, and what is said of those that are not."""
    if directions is not None:
        held = {task.direction for task in tasks}
        for direction in directions:
            model.require(direction.query)
            model.require(direction.reference)
            if direction not in held:
                offered = ", ".join(dict.fromkeys(task.direction.short for task in tasks))
                raise EvaluationError(
                    f"{name} has nothing to measure {direction.short} on here: choose of "
                    f"{offered or 'none'}."
                )
        return [task for task in tasks if task.direction in directions], []
    able = [task for task in tasks if _lacking(model, task) is None]
    lost = [task for task in tasks if _lacking(model, task) is not None]
    remarks = [
        f"{', '.join(task.name for task in lost if _lacking(model, task) == modality)} left out: "
        f"the model has no {modality} encoder."
        for modality in dict.fromkeys(_lacking(model, task) for task in lost)
    ]
    if not able:
        raise EvaluationError(
            f"{name} has no direction that the model embeds "
            f"({', '.join(model.modalities)}): take another model or data set."
        )
    return able, remarks


def _lacking(model: GeoBridge, task: Task) -> Modality | None:
    asked = (task.direction.query, task.direction.reference)
    return next((modality for modality in asked if modality not in model.modalities), None)


def _rows(embedded: Embedded, rows: NDArray[np.int64] | None) -> Rows:
    return embedded.rows if rows is None else Picked(embedded.rows, rows)


def _at(values: Any, rows: Iterable[int]) -> list[Any] | None:
    """Values of rows, None where the row is -1; None without values."""
    return None if values is None else [None if row < 0 else values[row] for row in rows]


def _shown(content: Any) -> str | None:
    """What a report shows of an item: a file, a text, or nothing of a picture that was made."""
    return None if callable(content) else str(content)


def _write(path: Path, evaluation: Evaluation) -> None:
    plain = asdict(replace(evaluation, scores=())) | {
        "scores": [item.to_json() for item in evaluation.scores]
    }
    write_atomically(path, json.dumps(plain, indent=1, ensure_ascii=False).encode())
