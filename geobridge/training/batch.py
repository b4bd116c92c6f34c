"""What the fit consumes: places of a batch, with the modalities each of them has."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geobridge.views import MODALITIES, VIEWS, Modality, View


@dataclass(frozen=True)
class Batch:
    """B places on their way into a model; a modality holds only the places that have it.

    Attributes:
        pictures: for each view uint8 (n, 3, height, width) at the model's own size.
        texts: the sentences, one for each entry of `rows["text"]`.
        rows: for each modality int64 (n,), ascending: which place each picture or sentence is of.
        lat: float64 (B,), WGS-84 degrees, NaN where the position is unknown.
        lon: float64 (B,), the same.
        text_key: int64 (B,), equal where places may share a text.
        names: what to call each place in an error.
    """

    pictures: dict[View, Tensor]
    texts: list[str]
    rows: dict[Modality, Tensor]
    lat: Tensor
    lon: Tensor
    text_key: Tensor
    names: list[str]

    def __len__(self) -> int:
        """B."""
        return len(self.names)

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities that at least one place has."""
        return tuple(name for name in MODALITIES if len(self.rows.get(name, ())))

    def present(self, modality: Modality) -> Tensor:
        """Which places have the modality: bool (B,)."""
        out = torch.zeros(len(self), dtype=torch.bool)
        if modality in self.rows:
            out[self.rows[modality]] = True
        return out


class Source(Protocol):
    """Where training takes places from.

    Attributes:
        name: what to call it in logs and errors.
        lat: float64 (N,), WGS-84 degrees, NaN where unknown.
        lon: float64 (N,), the same.
        text_key: int64 (N,), equal where places may share a text.
    """

    name: str
    lat: NDArray[np.float64]
    lon: NDArray[np.float64]
    text_key: NDArray[np.int64]

    def __len__(self) -> int:
        """N, how many places there are to draw."""
        ...

    def draw(self, rows: Sequence[int], generator: torch.Generator | None) -> Batch:
        """The places of these rows; augmented by the generator, or plain where it is None."""
        ...


def join_batches(parts: Sequence[Batch]) -> Batch:
    """One batch from several, in their order; text keys are expected to be unique across them."""
    starts = np.cumsum([0, *(len(part) for part in parts)])
    rows: dict[Modality, Tensor] = {}
    for modality in MODALITIES:
        held = [
            part.rows[modality] + int(start)
            for part, start in zip(parts, starts, strict=False)
            if modality in part.rows
        ]
        if held:
            rows[modality] = torch.cat(held)
    pictures = {
        view: torch.cat([part.pictures[view] for part in parts if view in part.pictures])
        for view in VIEWS
        if any(view in part.pictures for part in parts)
    }
    return Batch(
        pictures,
        [text for part in parts for text in part.texts],
        rows,
        torch.cat([part.lat for part in parts]),
        torch.cat([part.lon for part in parts]),
        torch.cat([part.text_key for part in parts]),
        [name for part in parts for name in part.names],
    )
