"""Where the right references come among all references: exact ranks, in bounded memory.

The references are read a block at a time. A float32 product of a block of queries with a block of
references differs from the true similarities by less than a bound that is known beforehand, so that
almost every rival is surely above or surely below a positive and is only counted; the few within
the bound are computed again in float64. What is held at a time is one block of similarities (8
MiB), never a row of all of them.

Ties count against the model: of equally similar references the wrong ones come first, so that a
model which embeds everything alike comes last and not first.
"""

import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from queue import SimpleQueue
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from geobridge.errors import EvaluationError
from geobridge.evaluation.tasks import Relevance, Task

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_TIE = 1e-12
"""Similarities this near are equal: more than float64 rounds, less than float32 can tell apart."""

_NORM = 1e-3
"""How far the length of a row may be from 1."""

_QUERIES = 512
_THRESHOLDS = 1 << 16
_REFERENCES = 4096
_PAIRS = 128
# While BLAS has all cores for the product of one block, others are sorted.
_WORKERS = 4

# A product of 768 dimensions at once may be wrong by 768 roundings, one of 192 by 192, and adding
# four of them by four more: a quarter as many rivals need a second look, for 5 % more time. That
# pays where a query has many positives, around each of which rivals are looked at again.
_DEPTH = 192
_FEW = 4

# From this share of a block on, float64 for all of it is cheaper than pair by pair.
_CROWD = 1 / 32

# Similarity and column of a rival in one integer, so that one quick sort of plain integers orders a
# row of a block, says how many are above anything, and names the best.
_COLUMN_BITS = 12
_COLUMNS = (1 << _COLUMN_BITS) - 1
_SCALE = np.float32((1 << (31 - _COLUMN_BITS)) / 1.01)
_NOBODY = np.iinfo(np.int32).min
_ROW_BITS = 40
_ROWS = (1 << _ROW_BITS) - 1


class Rows(Protocol):
    """Embeddings that are read in parts: an array, a `np.memmap`, or `Picked` rows of one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, D)."""
        ...

    def __getitem__(self, index: Any, /) -> Any:
        """Rows of a slice or of an array of row numbers."""
        ...


@dataclass(frozen=True)
class Picked:
    """Some rows of embeddings, gathered only as they are needed.

    Attributes:
        array: (N, D), perhaps on the disk.
        rows: int64 (n,), which of them, in their order.
    """

    array: Rows
    rows: Integers

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, D)."""
        return (len(self.rows), *self.array.shape[1:])

    def __getitem__(self, index: Any, /) -> Any:
        return self.array[self.rows[index]]


@dataclass(frozen=True)
class Ranking:
    """Where the positives of Q queries come, and which references come first.

    Attributes:
        starts: int64 (Q + 1,), `ranks[starts[q] : starts[q + 1]]` are those of query q.
        ranks: int64, 1-based ranks of all positives, ascending within a query: 1 and the other
            references that compete and are at least as similar, of equal positives only those
            before it.
        top: int64 (Q, K), the most similar references, best first, as rows of the gallery; -1
            where fewer than K compete. Where similarities are equal a positive comes after the
            others, so that distances read off `top` do not favour the truth either, and the lower
            row before the higher. Positives, and the order, are exact; which others are in the
            list is told in float32 (at 768 dimensions one left out may be 1e-4 above the last).
        similarity: float32 (Q, K), cosines of `top`; NaN where it is -1.
        gallery: int64 (Q,), how many references compete for each query.
        hit: bool (Q,), whether nothing but positives and semipositives is at least as similar as
            the best positive; None for a task without semipositives.
        hit_top1: bool (Q,), whether nothing else is at least as similar as the best of positives
            and semipositives; None likewise.
    """

    starts: Integers
    ranks: Integers
    top: Integers
    similarity: NDArray[np.float32]
    gallery: Integers
    hit: NDArray[np.bool_] | None = None
    hit_top1: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def best(self) -> Integers:
        """int64 (Q,), rank of each query's first positive; 0 where it has none."""
        found = np.zeros(len(self), np.int64)
        held = self.starts[:-1] < self.starts[1:]
        found[held] = self.ranks[self.starts[:-1][held]]
        return found


def rank(queries: Rows, references: Rows, task: Task, top: int = 10) -> Ranking:
    """Rank the references of a task for all its queries.

    Args:
        queries: float32 (Q, D), rows of unit norm, in the order of the task.
        references: float32 (G, D), likewise; a `np.memmap` is read block by block.
        task: what is right; positives, semipositives and candidates are used.
        top: how many of the first references are kept.

    Raises:
        EvaluationError: there are no queries or references, none has a positive, positives do not
            fit the embeddings, or an embedding is not finite or not of unit norm.
    """
    return rank_rows(
        queries,
        references,
        task.positives,
        semipositives=task.semipositives,
        candidates=task.candidates,
        top=top,
        name=task.name,
    )


def rank_rows(
    queries: Rows,
    references: Rows,
    positives: Relevance,
    *,
    semipositives: Relevance | None = None,
    candidates: Relevance | None = None,
    top: int = 10,
    name: str = "the ranking",
) -> Ranking:
    """The same, given what is right instead of a task; `name` begins messages."""
    _check_shapes(queries, references, name)
    count, gallery = queries.shape[0], references.shape[0]
    for what, given in (
        ("positives", positives),
        ("semipositives", semipositives),
        ("candidates", candidates),
    ):
        if given is not None:
            _check_relevance(given, count, gallery, f"{what} of {name}")
    if not len(positives.rows):
        raise EvaluationError(
            f"No query of {name} has a right reference: leave it out, or check that ids of "
            f"queries and references are written alike."
        )
    if candidates is not None:
        for what, given in (("positives", positives), ("semipositives", semipositives)):
            if given is not None:
                _check_candidates(given, candidates, gallery, f"{what} of {name}")
    _check_rows(queries, f"query {{}} of {name}")
    _check_rows(references, f"reference {{}} of {name}")

    right = _Similar.of(queries, references, positives)
    forgiven = _Similar.of(queries, references, _without(semipositives, positives, gallery))
    thresholds = right if semipositives is None else right.joined(forgiven.best_only())
    rivals, best = _count(queries, references, thresholds, right, candidates, top)

    # Similarities ascend within a query: the last positive is its first.
    back = _reversed_within(right.starts)
    places = np.arange(len(back)) - np.repeat(right.starts[:-1], np.diff(right.starts)) + 1
    first, similarity = _first(queries, references, best, right, top)
    ranking = Ranking(
        starts=positives.starts,
        ranks=rivals[~thresholds.forgiven][back] + places,
        top=first,
        similarity=similarity,
        gallery=np.full(count, gallery) if candidates is None else candidates.counts,
    )
    if semipositives is None:
        return ranking
    hit, hit_top1 = _hits(thresholds, rivals, forgiven)
    return Ranking(**(vars(ranking) | {"hit": hit, "hit_top1": hit_top1}))


@dataclass(frozen=True)
class _Similar:
    """Similarities float64 of some references of each query, ascending within a query.

    `rows` are theirs; `forgiven` marks semipositives, which are rivals of the positives.
    """

    starts: Integers
    rows: Integers
    values: Floats
    forgiven: NDArray[np.bool_]

    @classmethod
    def of(cls, queries: Rows, references: Rows, pairs: Relevance) -> "_Similar":
        query = _owners(pairs.starts)
        values = np.empty(len(query))

        def look(part: slice) -> None:
            values[part] = _dots(queries, references, query[part], pairs.rows[part])

        _in_threads(look, _blocks(len(query), _REFERENCES))
        order = np.lexsort((-pairs.rows, values, query))
        return cls(pairs.starts, pairs.rows[order], values[order], np.zeros(len(order), bool))

    def best_only(self) -> "_Similar":
        """The most similar of each query, marked as forgiven."""
        held = np.diff(self.starts) > 0
        last = self.starts[1:][held] - 1
        starts = np.concatenate([[0], np.cumsum(held)])
        return _Similar(starts, self.rows[last], self.values[last], np.ones(len(last), bool))

    def joined(self, other: "_Similar") -> "_Similar":
        """Both, ascending within a query again."""
        query = np.concatenate([_owners(self.starts), _owners(other.starts)])
        values = np.concatenate([self.values, other.values])
        order = np.lexsort((values, query))
        return _Similar(
            self.starts + other.starts,
            np.concatenate([self.rows, other.rows])[order],
            values[order],
            np.concatenate([self.forgiven, other.forgiven])[order],
        )


def _check_shapes(queries: Rows, references: Rows, name: str) -> None:
    for what, rows in (("queries", queries), ("references", references)):
        if len(rows.shape) != 2:
            raise EvaluationError(
                f"Embeddings of the {what} of {name} have the shape {tuple(rows.shape)}: "
                f"give one row for each item."
            )
        if not rows.shape[0]:
            raise EvaluationError(f"{name} has no {what}: leave it out, or check the data set.")
    if queries.shape[1] != references.shape[1]:
        raise EvaluationError(
            f"Queries of {name} have {queries.shape[1]} dimensions and references "
            f"{references.shape[1]}: embed both with the same model."
        )


def _check_relevance(given: Relevance, queries: int, gallery: int, what: str) -> None:
    if len(given) != queries:
        raise EvaluationError(
            f"The {what} are of {len(given)} queries, the embeddings of {queries}: give the same "
            f"queries in the same order."
        )
    if len(given.rows) and not (given.rows.min() >= 0 and given.rows.max() < gallery):
        raise EvaluationError(
            f"The {what} name references {given.rows.min()} to {given.rows.max()} of {gallery}: "
            f"count them from 0 within the references that are ranked."
        )
    pairs = np.sort(_pairs(given, gallery))
    if (pairs[1:] == pairs[:-1]).any():
        query, row = divmod(int(pairs[1:][pairs[1:] == pairs[:-1]][0]), gallery)
        raise EvaluationError(
            f"The {what} name reference {row} twice for query {query}: name each once."
        )


def _check_candidates(given: Relevance, candidates: Relevance, gallery: int, what: str) -> None:
    outside = ~np.isin(_pairs(given, gallery), _pairs(candidates, gallery))
    if outside.any():
        query = int(_owners(given.starts)[outside][0])
        raise EvaluationError(
            f"{outside.sum()} of the {what} are no candidates (first for query {query}), so that "
            f"they could never be found: leave them out or add them to the candidates."
        )


def _check_rows(rows: Rows, what: str) -> None:
    """Refuse rows that are not finite, or not of unit norm; `what` has a place for the number."""
    bad: list[int] = []
    finite = True
    for block in _blocks(rows.shape[0], _REFERENCES):
        part = _float32(rows[block])
        squares = np.vecdot(part, part)
        # Not finite fails every comparison.
        good = (squares >= (1 - _NORM) ** 2) & (squares <= (1 + _NORM) ** 2)
        bad += (np.flatnonzero(~good) + block.start).tolist()
        finite &= bool(np.isfinite(squares).all())
    if bad:
        fault = "of unit norm" if finite else "finite"
        raise EvaluationError(
            f"The embedding of {what.format(bad[0])} is not {fault} ({len(bad)} of "
            f"{rows.shape[0]}): a ranking would count it as right or wrong by accident, so embed "
            f"it again."
        )


def _count(
    queries: Rows,
    references: Rows,
    thresholds: _Similar,
    positives: _Similar,
    candidates: Relevance | None,
    top: int,
) -> tuple[Integers, Integers]:
    """For each threshold the rivals at least as similar; for each query its `top` best rivals.

    Rivals are all references that compete but the positives. The second answer is (Q, top), packed
    as `_merged` says.
    """
    most = max(1, int(np.diff(thresholds.starts).max()))
    at_once = max(1, min(_QUERIES, _THRESHOLDS // most))
    depth = queries.shape[1] if most <= _FEW else min(_DEPTH, queries.shape[1])
    bound = _rounding(depth, math.ceil(queries.shape[1] / depth))
    low = _keys(np.nextafter(_float32(thresholds.values - _TIE - bound), np.float32(-2)))
    high = _keys(np.nextafter(_float32(thresholds.values + bound), np.float32(2)))
    counts = np.zeros(len(thresholds.values), np.int64)
    best = np.full((queries.shape[0], top), np.iinfo(np.int64).min)
    shape = (at_once, min(_REFERENCES, references.shape[0]))
    room: SimpleQueue[_Scratch] = SimpleQueue()
    for _ in range(_workers()):
        room.put(_Scratch(np.empty(shape, np.float32), np.empty(shape, np.float32)))

    def look(rows: slice, columns: slice, right: NDArray[np.float32]) -> None:
        scratch = room.get()
        left = _float32(queries[rows])
        keys = scratch.keys(left, right, depth)
        if candidates is not None:
            _keep(keys, rows, columns, candidates.starts, candidates.rows)
        _drop(keys, rows, columns, positives.starts, positives.rows)
        keys.sort(axis=1)
        best[rows] = _merged(best[rows], keys, columns.start)
        band = _Band.of(keys, thresholds, rows, low, high)
        counts[band.flat] += band.above(left, right)
        room.put(scratch)

    blocks = list(_blocks(queries.shape[0], at_once))
    with ThreadPoolExecutor(_workers(), "ranking") as pool:
        for columns in _blocks(references.shape[0], _REFERENCES):
            right = _float32(references[columns])
            list(pool.map(look, blocks, repeat(columns), repeat(right)))
    return counts, best


@dataclass(frozen=True)
class _Scratch:
    """Room for the similarities of one block, used again and again."""

    sums: NDArray[np.float32]
    part: NDArray[np.float32]

    def keys(
        self, left: NDArray[np.float32], right: NDArray[np.float32], depth: int
    ) -> NDArray[np.int32]:
        """int32 (q, r): similarity in the high bits, column in the low ones, lower ones larger."""
        sums = self.sums.reshape(-1)[: len(left) * len(right)].reshape(len(left), len(right))
        part = self.part.reshape(-1)[: sums.size].reshape(sums.shape)
        np.matmul(left[:, :depth], right[:, :depth].T, out=sums)
        for start in range(depth, left.shape[1], depth):
            some = slice(start, start + depth)
            np.matmul(left[:, some], right[:, some].T, out=part)
            sums += part
        keys = part.view(np.int32)
        _keys(sums, keys)
        keys <<= _COLUMN_BITS
        keys |= _COLUMNS - np.arange(len(right), dtype=np.int32)
        return keys


@dataclass(frozen=True)
class _Band:
    """Where the thresholds of a block of queries lie in the sorted keys of a block.

    Attributes:
        keys: int32 (q, r), ascending in each row.
        values: float64 (q, n), thresholds, ascending, infinite where a query has fewer.
        start, stop: int64 (q, n); rivals before `start` are surely below, from `stop` on surely
            above.
        flat: of all thresholds, those of the block.
    """

    keys: NDArray[np.int32]
    values: Floats
    start: Integers
    stop: Integers
    flat: slice

    @classmethod
    def of(
        cls,
        keys: NDArray[np.int32],
        thresholds: _Similar,
        rows: slice,
        low: NDArray[np.int32],
        high: NDArray[np.int32],
    ) -> "_Band":
        starts = thresholds.starts[rows.start : rows.stop + 1]
        flat = slice(int(starts[0]), int(starts[-1]))
        held = np.arange(np.diff(starts).max()) < np.diff(starts)[:, None]
        values = np.full(held.shape, np.inf)
        values[held] = thresholds.values[flat]
        # Both ends at a time; nothing is above an end that is not there.
        ends = np.full((len(held), 2, held.shape[1]), np.iinfo(np.int32).max, np.int32)
        ends[:, 0][held] = low[flat] << _COLUMN_BITS
        ends[:, 1][held] = (high[flat] + 1) << _COLUMN_BITS
        found = _below(keys, np.arange(len(keys))[:, None, None], ends)
        return cls(keys, values, found[:, 0], found[:, 1], flat)

    def above(self, left: NDArray[np.float32], right: NDArray[np.float32]) -> Integers:
        """int64, for each threshold of the block, the rivals at least as similar."""
        counts: Integers = self.keys.shape[1] - self.stop
        # A rival within several bands is looked at once, in the first of them.
        before = np.zeros_like(self.stop)
        before[:, 1:] = self.stop[:, :-1]
        begin = np.maximum(self.start, before)
        sizes = (self.stop - begin).ravel()
        if sizes.any():
            counts = counts + self._looked_at_again(sizes, begin, left, right)
        return counts[np.isfinite(self.values)]

    def _looked_at_again(
        self,
        sizes: Integers,
        begin: Integers,
        left: NDArray[np.float32],
        right: NDArray[np.float32],
    ) -> Integers:
        """int64 (q, n), for each threshold the rivals near it that are at least as similar."""
        queries, most = self.values.shape
        band = np.repeat(np.arange(sizes.size), sizes)
        place = np.arange(len(band)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        row, first = np.divmod(band, most)
        column = _COLUMNS - (self.keys[row, begin.ravel()[band] + place] & _COLUMNS)
        if len(band) > _CROWD * self.keys.size:
            similar = (left.astype(np.float64) @ right.astype(np.float64).T)[row, column]
        else:
            similar = _dots(left, right, row, column)
        # Surely above all thresholds before `first`; at least as similar as those before `stop`.
        stop = _below(self.values - _TIE, row, np.nextafter(similar, np.inf))
        size = queries * (most + 1)
        change = np.bincount(row * (most + 1) + first, minlength=size) - np.bincount(
            row * (most + 1) + np.maximum(stop, first), minlength=size
        )
        return np.cumsum(change.reshape(queries, most + 1), axis=1)[:, :most]


def _below(table: NDArray[Any], row: Integers, value: NDArray[Any]) -> Integers:
    """How many of `table[row]` are less than `value`; rows of the table (R, n) ascend.

    A binary search for all values at once: `row` is broadcast to the shape of `value`.
    """
    size = table.shape[1]
    flat, base = table.ravel(), row * size - 1
    found = np.zeros(value.shape, np.int64)
    step = 1 << size.bit_length()
    while step := step >> 1:
        further = found + step
        further[flat[base + np.minimum(further, size)] >= value] = 0
        further[further > size] = 0
        np.maximum(found, further, out=found)
    return found


def _hits(
    thresholds: _Similar, rivals: Integers, forgiven: _Similar
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether only semipositives are above the best positive, and above the best of both."""
    query, place = _owners(thresholds.starts), np.arange(len(thresholds.values))
    hits = []
    for is_eligible in (~thresholds.forgiven, np.ones(len(place), bool)):
        last = np.full(len(thresholds.starts) - 1, -1)
        np.maximum.at(last, query[is_eligible], place[is_eligible])
        held = last >= 0
        least = np.where(held, thresholds.values[last], np.inf) - _TIE
        owner = _owners(forgiven.starts)
        above = forgiven.values >= least[owner]
        allowed = np.bincount(owner[above], minlength=len(last))
        hits.append(held & (rivals[last] == allowed))
    return hits[0], hits[1]


def _first(
    queries: Rows,
    references: Rows,
    best: Integers,
    positives: _Similar,
    top: int,
) -> tuple[Integers, NDArray[np.float32]]:
    """`Ranking.top` and `Ranking.similarity` of the best rivals and the positives."""
    rows = np.full((len(best), top), -1)
    similarity = np.full((len(best), top), np.nan, np.float32)

    def look(block: slice) -> None:
        found = _ROWS - (best[block] & _ROWS)
        found[best[block] >> _ROW_BITS <= _NOBODY >> _COLUMN_BITS] = -1
        similar = np.full(found.shape, -np.inf)
        query, column = np.nonzero(found >= 0)
        row = found[query, column]
        similar[query, column] = _dots(queries, references, query + block.start, row)
        right, right_similar = _last_of_each(positives, block, top)
        found = np.concatenate([found, right], axis=1)
        # Positives come last where similarities are equal.
        order_by = np.concatenate([similar, right_similar - _TIE], axis=1)
        similar = np.concatenate([similar, right_similar], axis=1)
        order = np.lexsort((found, -order_by), axis=1)[:, :top]
        rows[block] = np.take_along_axis(found, order, axis=1)
        similarity[block] = np.take_along_axis(similar, order, axis=1)

    _in_threads(look, _blocks(len(best), _QUERIES))
    similarity[rows < 0] = np.nan
    return rows, similarity


def _last_of_each(held: _Similar, block: slice, most: int) -> tuple[Integers, Floats]:
    """The `most` most similar of each query of a block, -1 and -inf where there are fewer."""
    starts, stops = held.starts[block], held.starts[block.start + 1 : block.stop + 1]
    width = min(most, int((stops - starts).max()))
    place = stops[:, None] - 1 - np.arange(width)
    exists = place >= starts[:, None]
    place = np.where(exists, place, 0)
    return np.where(exists, held.rows[place], -1), np.where(exists, held.values[place], -np.inf)


def _merged(best: Integers, keys: NDArray[np.int32], first: int) -> Integers:
    """The best of both: (q, top) packed so far, and the last of sorted keys of a block.

    Packed is similarity in the high bits and row in the low ones, lower ones larger; `first` is
    the row of the block's first column.
    """
    top = best.shape[1]
    last = keys[:, max(0, keys.shape[1] - top) :].astype(np.int64)
    row = first + _COLUMNS - (last & _COLUMNS)
    packed = ((last >> _COLUMN_BITS) << _ROW_BITS) | (_ROWS - row)
    return np.sort(np.concatenate([best, packed], axis=1), axis=1)[:, packed.shape[1] :]


def _keys(
    similarity: NDArray[np.float32], out: NDArray[np.int32] | None = None
) -> NDArray[np.int32]:
    """Similarities in steps of 1.9e-6, toward zero; never in another order than theirs."""
    out = np.empty(similarity.shape, np.int32) if out is None else out
    return np.multiply(similarity, _SCALE, out=out, casting="unsafe")


def _rounding(depth: int, parts: int) -> float:
    """The most by which a block's float32 product may be wrong, for rows of almost unit norm.

    A sum of n products in any order is wrong by at most n u / (1 - n u) times the norms of both,
    with u = 2^-24 (N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2002, eq. 3.5);
    the sum of the parts adds one rounding each. 1 % covers the norms and terms of second order.
    """
    return 1.01 * (depth + parts) * 2.0**-24


def _dots(left: Rows, right: Rows, row: Integers, other: Integers) -> Floats:
    """float64 products of pairs of rows, a few pairs at a time."""
    found = np.empty(len(row))
    # Room that is used again: new memory for each part took up to seven times as long.
    ones, others = np.empty((2, min(_PAIRS, len(row)), left.shape[1]))
    for pairs in _blocks(len(row), _PAIRS):
        count = pairs.stop - pairs.start
        ones[:count], others[:count] = left[row[pairs]], right[other[pairs]]
        found[pairs] = np.vecdot(ones[:count], others[:count])
    return found


def _keep(
    keys: NDArray[np.int32], rows: slice, columns: slice, starts: Integers, others: Integers
) -> None:
    """Let nobody compete but the given pairs."""
    row, column = _inside(rows, columns, starts, others)
    held = keys[row, column]
    keys.fill(_NOBODY)
    keys[row, column] = held


def _drop(
    keys: NDArray[np.int32], rows: slice, columns: slice, starts: Integers, others: Integers
) -> None:
    """Let the given pairs not compete."""
    keys[_inside(rows, columns, starts, others)] = _NOBODY


def _inside(
    rows: slice, columns: slice, starts: Integers, others: Integers
) -> tuple[Integers, Integers]:
    """Row and column within a block of the pairs that are in it."""
    inner = starts[rows.start : rows.stop + 1]
    column = others[inner[0] : inner[-1]] - columns.start
    held = (column >= 0) & (column < columns.stop - columns.start)
    return _owners(inner - inner[0])[held], column[held]


def _without(given: Relevance | None, others: Relevance, gallery: int) -> Relevance:
    """Pairs that are not among the others; none where nothing is given."""
    if given is None:
        return Relevance(np.zeros(len(others) + 1, np.int64), np.zeros(0, np.int64))
    kept = ~np.isin(_pairs(given, gallery), _pairs(others, gallery))
    counts = np.bincount(_owners(given.starts)[kept], minlength=len(given))
    return Relevance(np.concatenate([[0], np.cumsum(counts)]), given.rows[kept])


def _pairs(given: Relevance, gallery: int) -> Integers:
    """One number for each pair of query and reference."""
    return _owners(given.starts) * gallery + given.rows


def _owners(starts: Integers) -> Integers:
    """int64 (n,), the query of each entry of compressed rows."""
    return np.repeat(np.arange(len(starts) - 1), np.diff(starts))


def _reversed_within(starts: Integers) -> Integers:
    """An order of all entries of compressed rows that turns each row round."""
    return np.repeat(starts[:-1] + starts[1:] - 1, np.diff(starts)) - np.arange(starts[-1])


def _workers() -> int:
    return min(_WORKERS, os.cpu_count() or 1)


def _in_threads(look: Callable[[slice], None], parts: Iterator[slice]) -> None:
    with ThreadPoolExecutor(_workers(), "ranking") as pool:
        list(pool.map(look, parts))


def _float32(rows: Any) -> NDArray[np.float32]:
    return np.ascontiguousarray(rows, np.float32)


def _blocks(count: int, size: int) -> Iterator[slice]:
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
