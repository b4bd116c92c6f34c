"""Whether a description fits each of its place's pictures, by the eyes of a model.

A cosine similarity says little by itself: it differs between models, views and kinds of land, and
some descriptions are like every picture. So a description is compared with descriptions of other
places, in front of the same picture: its *agreement* with a view is the share of those that gain
less by this picture, taken for what it has beyond the mean picture of its view (a tie counts half).
1 is the best; a description that has nothing to do with its place has, on average, one half.
"""

import hashlib
import math
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

    On unseen towns of the simulated planet, each judged for itself with one description of twenty
    swapped within it (`benchmarks/curation_fit.py`, shipped model), the defaults lose 5.0 % of the
    good descriptions and catch 81 % of the swapped ones where the model knows the land, 7.4 % and
    60 % where it does not. Without the cap on what is rejected it would be 9 % and 83 %, 30 % and
    90 %. So this finds what describes another kind of place, and is no proof of every detail: look
    at the report.

    Attributes:
        model: name or folder of a GeoBridge model that embeds text.
        least_agreement: with each view, 0..1.
        most_rejected: share of the places whose first description is refused for not fitting, at
            most. Where more fall short of `least_agreement` the model does not know the land, and
            the cut-off is lowered; 1 never lowers it.
        others: most descriptions of other places that one is compared with.
        device: where the model computes.
    """

    model: str = Field(min_length=1)
    least_agreement: float = Field(default=0.7, ge=0, le=1)
    most_rejected: float = Field(default=0.1, ge=0, le=1)
    others: int = Field(default=200, ge=LEAST_OTHERS)
    device: str = "cpu"


@dataclass(frozen=True)
class Fit:
    """How a description and one picture of its place go together.

    Attributes:
        similarity: cosine of their embeddings.
        agreement: share of the other descriptions that gain less by this picture, 0..1; None among
            fewer than `LEAST_OTHERS`.
    """

    similarity: float
    agreement: float | None


def lowest_agreement(fits: Iterable[Fit]) -> float:
    """With the view that a description fits least; NaN where it was not judged."""
    return min((fit.agreement for fit in fits if fit.agreement is not None), default=math.nan)


def share_below(others: NDArray[np.floating], own: np.floating) -> float:
    """Share of others that are lower, 0..1; an equal one counts half."""
    return float((others < own).mean() + 0.5 * (others == own).mean())


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
        self._means: dict[View, NDArray[np.float32]] = {}

    def compare_with(self, texts: Mapping[str, str]) -> None:
        """Set the descriptions that others are compared with, by their places' ids.

        Which of them are taken is drawn by digests of the ids, so it is the same every time. The
        pictures of their places make the mean picture of each view.
        """
        drawn = sorted(texts, key=lambda name: hashlib.sha256(name.encode()).digest())
        # One more than needed, since no description is compared with itself.
        names = drawn[: self._config.others + 1]
        rows = self._embed_texts([texts[name] for name in names])
        self._others = dict(zip(names, rows, strict=True))
        self._see(names)
        for view in self._views:
            seen = [self._rows[name, view] for name in names if (name, view) in self._rows]
            if seen:
                self._means[view] = np.mean(seen, axis=0)

    def judge(self, texts: Mapping[str, str]) -> dict[str, dict[View, Fit]]:
        """How descriptions fit each picture of their places that the model has a view for."""
        names = sorted(texts)
        self._see(names)
        rows = self._embed_texts([texts[name] for name in names])
        return {
            name: {
                view: self._fit(name, row, view)
                for view in self._views
                if view in self._pictures[name]
            }
            for name, row in zip(names, rows, strict=True)
        }

    def _fit(self, name: str, text: NDArray[np.float32], view: View) -> Fit:
        picture = self._rows[name, view]
        similarity = float(picture @ text)
        others = [row for other, row in self._others.items() if other != name]
        others = others[: self._config.others]
        if len(others) < LEAST_OTHERS:
            return Fit(similarity, None)
        # Row by row, so that equal descriptions gain exactly the same.
        gains = (np.stack([text, *others]) * (picture - self._means[view])).sum(axis=1)
        return Fit(similarity, share_below(gains[1:], gains[0]))

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
