"""Whether a description fits each of its place's pictures, by the eyes of a model.

A cosine similarity says little by itself: it differs between models, views and kinds of land. So
a description is compared with descriptions of other places, in front of the same picture: its
*agreement* with a view is the share of those that the model finds less similar to that picture (a
tie counts half). 1 is the best; a description that has nothing to do with its place has, on
average, one half.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from geobridge.errors import CurationError
from geobridge.model.config import Settings
from geobridge.model.geobridge import GeoBridge
from geobridge.model.tokens import shortened
from geobridge.views import VIEWS, View

LEAST_OTHERS = 20
"""Among fewer other descriptions an agreement would be too coarse to judge by."""

_AT_ONCE = 64


class FitConfig(Settings):
    """Who judges whether a description fits, and how strictly.

    On 320 places of the simulated planet that the shipped model was not trained on, no true
    description missed an agreement of 0.7 with some view, while 90 % of those swapped with places
    of other regions did, and 35 % of those swapped within a region (0.8: 0.9 %, 95 % and 51 %;
    `benchmarks/curation_fit.py`). So it finds what describes another kind of place, and is no
    proof of every detail. A model that knows the land less well loses more: look at the report
    before you rely on it.

    Attributes:
        model: name or folder of a GeoBridge model that embeds text.
        least_agreement: with each view, 0..1.
        others: most descriptions of other places that one is compared with.
        device: where the model computes.
    """

    model: str = Field(min_length=1)
    least_agreement: float = Field(default=0.7, ge=0, le=1)
    others: int = Field(default=200, ge=LEAST_OTHERS)
    device: str = "cpu"


@dataclass(frozen=True)
class Fit:
    """How a description and one picture of its place go together.

    Attributes:
        similarity: cosine of their embeddings.
        agreement: share of the other descriptions that are less similar, 0..1; None among fewer
            than `LEAST_OTHERS`.
    """

    similarity: float
    agreement: float | None


class Judge:
    """A model in front of the pictures of all places.

    Args:
        config: who judges.
        pictures: of each place, by its id.

    Raises:
        ModelError: there is no such model.
        CurationError: it reads no text.
    """

    def __init__(self, config: FitConfig, pictures: Mapping[str, Mapping[View, Path]]) -> None:
        self._config = config
        self._model = GeoBridge.load(config.model, config.device)
        if "text" not in self._model.modalities:
            raise CurationError(
                f"model {self._model.name!r} reads no text, so it cannot judge descriptions: "
                f"name another one in `fit.model`."
            )
        self._pictures = pictures
        self._views = [view for view in VIEWS if view in self._model.modalities]
        self._rows: dict[tuple[str, View], NDArray[np.float32]] = {}
        self._others: dict[str, NDArray[np.float32]] = {}

    def compare_with(self, texts: Mapping[str, str]) -> None:
        """Set the descriptions that others are compared with, by their places' ids.

        Which of them are taken is drawn by digests of the ids, so it is the same every time.
        """
        drawn = sorted(texts, key=lambda name: hashlib.sha256(name.encode()).digest())
        # One more than needed, since no description is compared with itself.
        names = drawn[: self._config.others + 1]
        rows = self._embed_texts([texts[name] for name in names])
        self._others = dict(zip(names, rows, strict=True))

    def judge(self, texts: Mapping[str, str]) -> dict[str, dict[View, Fit]]:
        """How descriptions fit each picture of their places that the model has a view for."""
        names = sorted(texts)
        self._see(names)
        rows = self._embed_texts([texts[name] for name in names])
        return {
            name: {
                view: self._fit(name, row, self._rows[name, view])
                for view in self._views
                if view in self._pictures[name]
            }
            for name, row in zip(names, rows, strict=True)
        }

    def _fit(self, name: str, text: NDArray[np.float32], picture: NDArray[np.float32]) -> Fit:
        own = float(picture @ text)
        others = [row for other, row in self._others.items() if other != name]
        others = others[: self._config.others]
        if len(others) < LEAST_OTHERS:
            return Fit(own, None)
        found = np.stack(others) @ picture
        return Fit(own, float((found < own).mean() + 0.5 * (found == own).mean()))

    def _see(self, names: Iterable[str]) -> None:
        for view in self._views:
            new = [
                name
                for name in names
                if view in self._pictures[name] and (name, view) not in self._rows
            ]
            rows = self._model.embed(view, [self._pictures[name][view] for name in new], _AT_ONCE)
            self._rows.update(((name, view), row) for name, row in zip(new, rows, strict=True))

    def _embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        tokenizer, settings = self._model.tokenizer, self._model.config.text
        if tokenizer is not None and settings is not None:
            texts = [shortened(tokenizer, text, settings.max_tokens) for text in texts]
        return self._model.embed("text", texts, _AT_ONCE)
