"""Several modalities of one query as one embedding."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from geobridge.errors import QueryError


def fuse(
    embeddings: Mapping[str, NDArray[np.float32]], weights: Mapping[str, float] | None = None
) -> NDArray[np.float32]:
    """Weighted mean of unit rows, brought back to unit norm.

    The modalities live in one space, so that their mean is the row most similar to all of them.

    Args:
        embeddings: unit-norm float32 (N, D) for each modality; row n is query n in all of them.
        weights: of each modality, >= 0, 1 where left out.

    Returns:
        float32 (N, D), unit norm.

    Raises:
        QueryError: nothing to fuse, shapes that differ, or a weight that is none.
    """
    if not embeddings:
        raise QueryError("a query needs a drone, street or satellite picture or a text: give one.")
    shapes = {modality: rows.shape for modality, rows in embeddings.items()}
    if len(set(shapes.values())) > 1:
        raise QueryError(
            f"the modalities of a query differ in shape ({shapes}): embed the same number of "
            f"items of each with one model."
        )
    weights = weights or {}
    unknown = sorted(weights.keys() - embeddings.keys())
    factors = {modality: float(weights.get(modality, 1.0)) for modality in embeddings}
    values = list(factors.values())
    if unknown or not all(0 <= value < np.inf for value in values) or not sum(values):
        raise QueryError(
            f"fusion weights {dict(weights)} do not fit the modalities {sorted(embeddings)}: give "
            f"numbers of at least zero, not all zero, for these."
        )
    total = np.sum([factors[name] * rows for name, rows in embeddings.items()], axis=0)
    norm = np.linalg.norm(total, axis=1, keepdims=True)
    # Rows that cancel each other say nothing about direction; the first modality decides.
    first = embeddings[max(factors, key=factors.__getitem__)]
    fused = np.where(norm > 1e-6, total / np.maximum(norm, 1e-12), first)
    return fused.astype(np.float32)
