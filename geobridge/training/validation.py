"""R@1 by direction on places that training does not see: what chooses the best checkpoint."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geobridge.evaluation.retrieval import Held, retrieve
from geobridge.model.geobridge import GeoBridge
from geobridge.training.sources import FileSource
from geobridge.views import NINE_DIRECTIONS, Direction, Modality

_AT_ONCE = 64


@dataclass(frozen=True)
class Validation:
    """What one look at the validation sets gave.

    Attributes:
        recall: R@1 in 0..1 by short direction (`D2S`), the mean over the sets that have it.
        gallery: mean number of references behind each figure; chance is 1 / gallery.
    """

    recall: dict[str, float]
    gallery: dict[str, float]

    @property
    def score(self) -> float:
        """Mean over the directions, what the best checkpoint is chosen by; 0 without any."""
        return float(np.mean(list(self.recall.values()))) if self.recall else 0.0


def embed_source(
    model: GeoBridge, source: FileSource
) -> tuple[dict[Modality, Tensor], dict[Modality, Tensor]]:
    """Embed all places of a source, seen plainly.

    Returns:
        Embeddings float32 (n, D) and the rows int64 (n,) they belong to, by modality; only
        modalities that some place has and the model embeds.

    Raises:
        ModelError: an embedding is not finite.
        ImageError: a picture cannot be decoded, or is gone.
    """
    embeddings: dict[Modality, list[Tensor]] = {}
    rows: dict[Modality, list[Tensor]] = {}
    for start in range(0, len(source), _AT_ONCE):
        batch = source.draw(range(start, min(start + _AT_ONCE, len(source))), None)
        for modality in batch.modalities:
            if modality not in model.modalities:
                continue
            held = batch.rows[modality]
            if modality == "text":
                found = model.embed("text", batch.texts)
            else:
                names = [batch.names[row] for row in held.tolist()]
                found = model.embed_prepared(modality, batch.pictures[modality], names)
            embeddings.setdefault(modality, []).append(torch.from_numpy(found))
            rows.setdefault(modality, []).append(held + start)
    return (
        {modality: torch.cat(parts) for modality, parts in embeddings.items()},
        {modality: torch.cat(parts) for modality, parts in rows.items()},
    )


def validate(model: GeoBridge, sources: Sequence[FileSource]) -> Validation:
    """R@1 of every direction that the places allow.

    Queries are the places that have both modalities, references all that have the second.

    Raises:
        ModelError: an embedding is not finite.
        ImageError: a picture cannot be decoded, or is gone.
    """
    recall: dict[str, list[float]] = {}
    gallery: dict[str, list[int]] = {}
    for source in sources:
        embeddings, rows = embed_source(model, source)
        held = {m: Held(embeddings[m].numpy(), rows[m].numpy()) for m in embeddings}
        for direction in NINE_DIRECTIONS:
            if not _shared(rows, direction):
                continue
            found = retrieve(held, direction)
            recall.setdefault(direction.short, []).append(found.recall(1))
            gallery.setdefault(direction.short, []).append(found.gallery)
    return Validation(
        {way: float(np.mean(values)) for way, values in recall.items()},
        {way: float(np.mean(values)) for way, values in gallery.items()},
    )


def _shared(rows: Mapping[Modality, Tensor], direction: Direction) -> bool:
    """Whether any place has both modalities of a direction."""
    if direction.query not in rows or direction.reference not in rows:
        return False
    return bool(torch.isin(rows[direction.query], rows[direction.reference]).any())
