"""What exact ranks and every measure cost beside what they cannot do without, as ratios.

    python benchmarks/metrics.py                  # all but VIGOR's own size
    python benchmarks/metrics.py --only vigor     # that: 7 TFLOP, minutes
    python benchmarks/metrics.py --noise 100      # queries that know nothing of the references

Each case is ranked and scored (first ten, all measures, 1,000 bootstrap samples) in a process of
its own, in turns with a baseline: a chunked float32 product into memory that is used again, which
only counts what is better than the positive, or keeps the best. Beside them stands the
straightforward way, a product and a sort for each query, on a sample of queries and extrapolated.
What is printed is the quickest of several turns of each. Where other work shares the cores only CPU
time says anything, and that with one thread of BLAS: more of them wait by spinning. Peak memory is
that of another process, which does nothing else.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geobridge.evaluation.ranking import rank
from geobridge.evaluation.scores import score
from geobridge.evaluation.tasks import Items, Relevance, Sdm, Task
from geobridge.views import Direction

DIM = 768
CHUNK = (512, 4096)
SAMPLE = 30


@dataclass(frozen=True)
class Case:
    """Sizes of one comparison.

    Attributes:
        queries, references: how many.
        positives: of each query.
        semipositives: of each query, as VIGOR has them.
        baseline: which of `BASELINES` it is compared with.
        ratio: the most that the whole may take of it.
        gib: the most memory it may take.
        repeats: turns.
    """

    queries: int
    references: int
    positives: int
    semipositives: int
    baseline: str
    ratio: float
    gib: float
    repeats: int


CASES = {
    "square": Case(10_000, 10_000, 1, 3, "count", 1.5, 1, 5),
    "many": Case(701, 51_354, 54, 0, "best", 2.0, 1, 5),
    "vigor-small": Case(5_260, 9_062, 1, 3, "count", 1.5, 2, 3),
    "vigor": Case(52_605, 90_618, 1, 3, "count", 1.5, 2, 1),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES)[:3])
    parser.add_argument("--noise", type=float, default=6.0, help="of queries; 100 is by lot")
    parser.add_argument("--threads", type=int, help="of BLAS; all cores by default")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        what, name, folder = options.child
        found = {"time": seconds, "memory": memory}[what](CASES[name], Path(folder))
        print(json.dumps(found))
        return
    for name in options.only:
        with tempfile.TemporaryDirectory() as folder:
            write(CASES[name], Path(folder), options.noise)
            report(name, Path(folder), options.threads)


def report(name: str, folder: Path, threads: int | None) -> None:
    case = CASES[name]
    found = child("time", name, folder, threads)
    print(f"{name}: {case.queries:,} x {case.references:,}, {case.positives} right, R@1 ", end="")
    print(f"{found['recall']:.1%}, {threads or os.cpu_count()} threads of BLAS")
    for clock in ("wall", "cpu"):
        base, whole, plain = found["baseline"][clock], found["whole"][clock], found["plain"][clock]
        ranks = found["ranks"][clock]
        print(
            f"  {clock}: {whole / base:.2f} times the baseline, target {case.ratio} "
            f"({whole:.2f} s, baseline {base:.2f} s); ranks and first ten {ranks / base:.2f}; "
            f"straightforward {plain / base:.0f} times ({SAMPLE} queries, extrapolated)"
        )
    peak = child("memory", name, folder, threads)["gib"]
    print(f"  memory: {peak:.2f} GiB at most, target {case.gib}")


def child(what: str, name: str, folder: Path, threads: int | None) -> dict:
    """What this script says of a case in a process of its own."""
    limits = {} if threads is None else dict.fromkeys(_THREADS, str(threads))
    done = subprocess.run(
        [sys.executable, __file__, "--child", what, name, str(folder)],
        env=os.environ | limits,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(done.stdout)


_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


# Data


def write(case: Case, folder: Path, noise: float) -> None:
    """Random unit rows on the disk; a reference is its query with noise, distractors are by lot."""
    generator = np.random.default_rng(0)
    shape = (case.queries, DIM)
    queries = np.lib.format.open_memmap(folder / "queries.npy", "w+", np.float32, shape)
    for block in blocks(case.queries, CHUNK[1]):
        queries[block] = unit(generator, block.stop - block.start)
    shape = (case.references, DIM)
    references = np.lib.format.open_memmap(folder / "references.npy", "w+", np.float32, shape)
    for block in blocks(case.references, CHUNK[1]):
        rows = noise * unit(generator, block.stop - block.start)
        owner = np.arange(block.start, block.stop) // case.positives
        shown = owner < case.queries
        rows[shown] += queries[owner[shown]]
        references[block] = rows / np.linalg.norm(rows, axis=1, keepdims=True)


def unit(generator: np.random.Generator, count: int) -> np.ndarray:
    rows = generator.standard_normal((count, DIM), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def read(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    queries, references = (
        np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("queries", "references")
    )
    return queries, references


def task_of(case: Case) -> tuple[Task, Items, Items]:
    """The task, with positions by lot in a town."""
    rows = np.arange(case.queries)[:, None]
    near = case.queries * case.positives
    positives = Relevance.of(rows * case.positives + np.arange(case.positives))
    semipositives = None
    if case.semipositives:
        others = (rows + 1 + np.arange(case.semipositives)) % min(near, case.references)
        semipositives = Relevance.of(others)
    generator = np.random.default_rng(1)
    sets = [
        Items(
            modality=modality,
            names=[str(row) for row in range(count)],
            contents=["-"] * count,
            lat=generator.uniform(48.0, 48.1, count),
            lon=generator.uniform(11.0, 11.1, count),
        )
        for modality, count in (("drone", case.queries), ("satellite", case.references))
    ]
    task = Task(
        name="D2S",
        direction=Direction("drone", "satellite"),
        queries="drone",
        gallery="satellite",
        positives=positives,
        semipositives=semipositives,
        sdm=Sdm("degrees", 5e3),
    )
    return task, *sets


# Measuring


def seconds(case: Case, folder: Path) -> dict:
    """Seconds of the whole, of ranks alone, of the baseline and of the straightforward way."""
    queries, references = read(folder)
    if case.references < 60_000:  # the baseline is not slowed by the disk
        queries, references = np.array(queries), np.array(references)
    task, asked, held = task_of(case)
    found: dict = {}

    def whole() -> None:
        ranking = rank(queries, references, task)
        found["recall"] = score(task, ranking, asked, held).values["R@1"].value

    sample = np.linspace(0, case.queries - 1, SAMPLE).astype(int)
    runs = {
        "baseline": lambda: BASELINES[case.baseline](queries, references, task, case),
        "whole": whole,
        "ranks": lambda: rank(queries, references, task),
        "plain": lambda: straightforward(queries, references, task, sample),
    }
    if case.repeats > 1:
        whole()  # warm
    taken: dict = {name: [] for name in runs}
    for _ in range(case.repeats):
        for name, run in runs.items():
            taken[name].append(timed(run))
    for name, both in taken.items():
        wall, cpu = np.min(both, axis=0) * (case.queries / SAMPLE if name == "plain" else 1)
        found[name] = {"wall": wall, "cpu": cpu}
    return found


def memory(case: Case, folder: Path) -> dict:
    """The most memory of a process that ranks and scores, in GiB."""
    queries, references = read(folder)
    task, asked, held = task_of(case)
    score(task, rank(queries, references, task), asked, held)
    return {"gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}


def timed(run: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - cpu


def count_better(queries: np.ndarray, references: np.ndarray, task: Task, case: Case) -> np.ndarray:  # noqa: ARG001
    """How many references are better than the positive, in float32: a product and a comparison."""
    right = np.vecdot(queries, references[task.positives.rows])
    better = np.zeros(len(queries), np.int64)
    product, above = np.empty(CHUNK, np.float32), np.empty(CHUNK, bool)
    for columns in blocks(len(references), CHUNK[1]):
        for rows in blocks(len(queries), CHUNK[0]):
            shape = (rows.stop - rows.start, columns.stop - columns.start)
            similar, is_above = fitted(product, shape), fitted(above, shape)
            np.matmul(queries[rows], references[columns].T, out=similar)
            np.greater(similar, right[rows, None], out=is_above)
            better[rows] += np.count_nonzero(is_above, axis=1)
    return better


def keep_best(queries: np.ndarray, references: np.ndarray, task: Task, case: Case) -> np.ndarray:  # noqa: ARG001
    """The most similar references, as many as are right: a product and a partition."""
    k = case.positives
    product = np.empty((CHUNK[0] // 4, len(references)), np.float32)
    best = np.empty((len(queries), k), np.int64)
    for rows in blocks(len(queries), len(product)):
        similar = np.matmul(queries[rows], references.T, out=product[: rows.stop - rows.start])
        best[rows] = np.argpartition(similar, -k, axis=1)[:, -k:]
    return best


BASELINES = {"count": count_better, "best": keep_best}


def straightforward(
    queries: np.ndarray, references: np.ndarray, task: Task, sample: np.ndarray
) -> list[float]:
    """Average precision of some queries: each a product, a sort and a look for the positives."""
    found = []
    for query in sample:
        order = np.argsort(-(references @ queries[query]))
        ranks = np.flatnonzero(np.isin(order, task.positives[query])) + 1
        found.append(float(np.mean(np.arange(1, len(ranks) + 1) / ranks)))
    return found


def fitted(room: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return room.reshape(-1)[: shape[0] * shape[1]].reshape(shape)


def blocks(count: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


if __name__ == "__main__":
    main()
