"""Exact nearest references: one matrix product for all queries, then the best of each row.

NumPy does the product: at 200,000 x 512 its matrix-vector product took 10 ms where torch took
26 ms on the same two cores, and it is no slower on batches (`benchmarks/gallery.py`). Both leave
the number of threads to BLAS.
"""

import math
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from geobridge.errors import GalleryError, QueryError

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

# Similarities held at a time, as a share of the vectors themselves.
_SCRATCH_SHARE = 0.07
_CHUNK = 512
# Copying a row costs about as much as two products with it, so that restricting a search to
# more than this share of the rows is dearer than searching all of them.
_GATHER_SHARE = 1 / 3
_GATHER_ROWS = 16_384


class ExactSearch:
    """All references in memory, searched without approximation.

    Args:
        vectors: (N, D) float32, unit norm where similarity should be the cosine. A contiguous
            array is used as it is, not copied.
    """

    def __init__(self, vectors: Floats) -> None:
        if vectors.ndim != 2:
            raise GalleryError(f"A gallery's vectors must be (N, D), these are {vectors.shape}.")
        self.vectors = np.ascontiguousarray(vectors, dtype=np.float32)

    def __len__(self) -> int:
        return len(self.vectors)

    def search(
        self, queries: Floats, k: int, mask: npt.NDArray[np.bool_] | None = None
    ) -> tuple[Floats, Indices]:
        """The `k` most similar references of each query, best first; ties go to the lower row.

        Args:
            queries: (Q, D) float32.
            k: how many; fewer come back where fewer references are allowed.
            mask: (N,) bool, the references that may be found; all where it is None.

        Returns:
            similarity (Q, k) float32, higher is better, and row of `vectors` (Q, k) int64.

        Raises:
            QueryError: the queries have another dimension, or are not finite.
        """
        queries = self._checked(queries)
        rows = None if mask is None else np.flatnonzero(mask)
        allowed = len(self) if rows is None else len(rows)
        k = min(k, allowed)
        similarity = np.empty((len(queries), k), dtype=np.float32)
        index = np.empty((len(queries), k), dtype=np.int64)
        if k == 0:
            return similarity, index
        for block in self._blocks(len(queries), allowed):
            similarity[block], index[block] = self._best(queries[block], rows, k)
        return similarity, index

    def _best(self, queries: Floats, rows: Indices | None, k: int) -> tuple[Floats, Indices]:
        """The answer for one block of queries, whose similarities are gone when it returns."""
        similarities = self._similarities(queries, rows)
        best = np.stack([top_k(row, k) for row in similarities])
        index = best if rows is None else rows[best]
        return np.take_along_axis(similarities, best, axis=1), index

    def _checked(self, queries: Floats) -> Floats:
        queries = np.asarray(queries, dtype=np.float32)
        dim = self.vectors.shape[1]
        if queries.ndim != 2 or queries.shape[1] != dim:
            raise QueryError(
                f"Queries of shape {queries.shape} cannot be looked up among references of "
                f"{dim} dimensions: embed them with the model that built the gallery."
            )
        if not np.isfinite(queries).all():
            raise QueryError(
                "A query's embedding holds numbers that are not finite: "
                "check the model's weights and the query's picture."
            )
        return queries

    def _blocks(self, queries: int, allowed: int) -> list[slice]:
        """Queries that share one product: as many as fit, in blocks of about equal size."""
        most = max(1, int(_SCRATCH_SHARE * self.vectors.size / allowed))
        edges = np.linspace(0, queries, math.ceil(queries / most) + 1).round().astype(int)
        return [slice(start, stop) for start, stop in pairwise(edges.tolist())]

    def _similarities(self, queries: Floats, rows: Indices | None) -> Floats:
        """(Q, allowed) similarities, of all references or of some `rows`."""
        if rows is None:
            return self._product(queries)
        if len(rows) > _GATHER_SHARE * len(self):
            return self._product(queries)[:, rows]
        similarity = np.empty((len(queries), len(rows)), dtype=np.float32)
        for start in range(0, len(rows), _GATHER_ROWS):
            piece = slice(start, start + _GATHER_ROWS)
            similarity[:, piece] = queries @ self.vectors[rows[piece]].T
        return similarity

    def _product(self, queries: Floats) -> Floats:
        return queries @ self.vectors.T


def top_k(similarity: Floats, k: int) -> Indices:
    """Indices of the `k` largest of (N,) values, largest first; ties go to the lower index.

    The k-th largest of the maxima of chunks is at most the k-th largest of all values, so that
    only values from there up need sorting; on real similarities these are little more than k.
    """
    chunks = len(similarity) // _CHUNK
    pool = similarity
    if chunks >= k:
        pool = similarity[: chunks * _CHUNK].reshape(chunks, _CHUNK).max(axis=1)
    floor = np.partition(pool, len(pool) - k)[len(pool) - k]
    candidates = np.flatnonzero(similarity >= floor)
    order = np.argsort(-similarity[candidates], kind="stable")[:k]
    return candidates[order]
