"""A model whose embeddings can be worked out by hand: the mean colour of each of 4 x 4 cells."""

import time

import numpy as np
import torch

from geobridge.errors import TextTooLongError
from geobridge.imagery.preprocess import Preprocess

CELLS = 4


class FakeModel:
    """Embeds a picture as its 4 x 4 x 3 mean colours in 0..1, plus one, to unit norm.

    A sentence becomes a vector of its length and its letters; more than 20 words are too long.
    """

    name = "fake"
    fingerprint = "f" * 40
    dim = CELLS * CELLS * 3
    modalities = ("drone", "street", "satellite", "text")

    def __init__(self, *, seconds: float = 0.0):
        self.seconds = seconds
        self.pictures = 0
        self._preprocess = Preprocess(height=16, width=16, fit="squash")

    def prepare(self, view, image, field=None):
        assert view in self.modalities
        return self._preprocess.prepare(image, field)

    def embed_prepared(self, view, batch):
        assert batch.dtype == torch.uint8
        assert view in self.modalities
        time.sleep(self.seconds)
        self.pictures += len(batch)
        return embed_cells(batch.numpy())

    def embed(self, modality, items):
        assert modality == "text"
        if any(len(text.split()) > 20 for text in items):
            raise TextTooLongError("a sentence has more than 20 words: shorten it.")
        rows = [
            [len(text), *(text.count(c) for c in "abcdefghijklmnopqrstuvwxyz")] for text in items
        ]
        vectors = np.zeros((len(items), self.dim), dtype=np.float32)
        vectors[:, :27] = rows
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def embed_cells(batch):
    """(B, 3, H, W) uint8 to (B, 48) float32 of unit norm."""
    count, channels, height, width = batch.shape
    cells = batch.reshape(count, channels, CELLS, height // CELLS, CELLS, width // CELLS)
    means = cells.mean(axis=(3, 5), dtype=np.float64).reshape(count, -1) / 255 + 1
    return (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)
