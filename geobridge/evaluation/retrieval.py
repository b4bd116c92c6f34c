"""Where the right reference comes among all references, one right reference a query."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geobridge.errors import EvaluationError
from geobridge.evaluation.ranking import rank_rows
from geobridge.evaluation.tasks import Relevance
from geobridge.model.geobridge import GeoBridge
from geobridge.places.table import Place
from geobridge.views import Direction, Modality


@dataclass(frozen=True)
class Held:
    """Embeddings of one modality, and whose they are.

    Attributes:
        embeddings: float (N, D), rows of unit norm.
        places: int (N,), the place of each row, none twice.
    """

    embeddings: NDArray[np.float32]
    places: NDArray[np.int64]


@dataclass(frozen=True)
class Retrieval:
    """What came of the queries of one direction, each with one right reference.

    Attributes:
        direction: from which modality to which.
        ranks: int64 (Q,), 1-based rank of the right reference of each query.
        gallery: how many references every query was compared with.
    """

    direction: Direction
    ranks: NDArray[np.int64]
    gallery: int

    def recall(self, k: int) -> float:
        """Share of the queries whose right reference is among the first `k`."""
        return float(np.mean(self.ranks <= k))

    def chance(self, k: int) -> float:
        """The same where the order is drawn by lot."""
        return min(1.0, k / self.gallery)

    @property
    def median_rank(self) -> float:
        """Median of the ranks; (gallery + 1) / 2 where the order is drawn by lot."""
        return float(np.median(self.ranks))


def embed_places(model: GeoBridge, places: Sequence[Place]) -> dict[Modality, Held]:
    """Embed all that places hold of the modalities a model has.

    Returns:
        For each modality of the model, the embeddings of the places that have it; a place's
        number is its index in `places`.

    Raises:
        ImageError: a picture cannot be decoded.
        TextTooLongError: a text has more tokens than the model takes.
    """
    found = {}
    for modality in model.modalities:
        rows = [row for row, place in enumerate(places) if getattr(place, modality)]
        items = [getattr(places[row], modality) for row in rows]
        found[modality] = Held(model.embed(modality, items), np.array(rows, np.int64))
    return found


def ranks_of_positives(
    queries: NDArray[np.float32], references: NDArray[np.float32], positives: NDArray[np.int64]
) -> NDArray[np.int64]:
    """1-based rank of the one right reference of each query, ties counted against it.

    Args:
        queries: float (Q, D), rows of unit norm.
        references: float (R, D), rows of unit norm.
        positives: int (Q,), which reference is right.

    Returns:
        int64 (Q,), 1 to R.

    Raises:
        EvaluationError: an embedding is not finite or not of unit norm, or there is none.
    """
    right = Relevance.of(positives[:, None])
    return rank_rows(queries, references, right, top=0).ranks


def retrieve(found: Mapping[Modality, Held], direction: Direction) -> Retrieval:
    """Rank the references of a direction for all its queries, one right reference each.

    The gallery is every place that has the modality of the reference. The queries are the places
    that have both modalities: a query without a right reference could only be wrong.

    Raises:
        EvaluationError: no place has both modalities, or an embedding is not finite or not of
            unit norm.
    """
    asked, gallery = found[direction.query], found[direction.reference]
    both, asked_rows, gallery_rows = np.intersect1d(
        asked.places, gallery.places, assume_unique=True, return_indices=True
    )
    if not len(both):
        raise EvaluationError(
            f"No place has both modalities of {direction.short}: leave the direction out, or add "
            f"what is missing."
        )
    ranks = ranks_of_positives(asked.embeddings[asked_rows], gallery.embeddings, gallery_rows)
    return Retrieval(direction, ranks, len(gallery.places))
