"""A model whose embeddings can be worked out by hand: the mean colour of each of 4 x 4 cells."""

import csv
import time

import numpy as np
import rasterio
import torch
from affine import Affine
from PIL import Image

from geobridge.errors import TextTooLongError
from geobridge.gallery.store import GalleryStore
from geobridge.imagery.preprocess import Preprocess

CELLS = 4


class FakeModel:
    """Embeds a picture as its 4 x 4 x 3 mean colours in 0..1, plus one, to unit norm.

    A sentence becomes a vector of its length and its letters; more than 20 words are too long.
    """

    name = "fake"
    loaded_from = None
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


def write_map(
    path, pixels, *, west=500_000, north=5_400_000, gsd_m=1.0, crs="EPSG:32633", **options
):
    """A GeoTIFF of (H, W, 3) uint8; by default on the central meridian of UTM zone 33.

    There a metre of the grid is 1 / 0.9996 m of ground, so that 100 m are 99.96 pixels.
    """
    height, width, _ = pixels.shape
    profile = {"driver": "GTiff", "height": height, "width": width, "count": 3, "dtype": "uint8"}
    transform = Affine(gsd_m, 0, west, 0, -gsd_m, north)
    with rasterio.open(path, "w", **profile, crs=crs, transform=transform, **options) as raster:
        raster.write(np.moveaxis(pixels, 2, 0))
    return path


def noise(height, width, seed=0):
    """(H, W, 3) uint8 in 1..255, no two pictures alike and none of it nodata."""
    return np.random.default_rng(seed).integers(1, 256, (height, width, 3), dtype=np.uint8)


def write_photo(path, *, lat=None, lon=None, seed=0, size=(40, 60), date=None):
    """A JPEG of noise with a GPS position in its EXIF, if it has one."""
    exif = Image.Exif()
    if lat is not None:
        gps = exif.get_ifd(0x8825)
        gps.update(
            {1: "N" if lat >= 0 else "S", 2: _dms(lat), 3: "E" if lon >= 0 else "W", 4: _dms(lon)}
        )
    if date is not None:
        exif.get_ifd(0x8769)[0x9003] = date
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(*size, seed)).save(path, exif=exif, quality=95)
    return path


def _dms(degrees):
    whole = abs(degrees)
    minutes = (whole - int(whole)) * 60
    return (float(int(whole)), float(int(minutes)), (minutes - int(minutes)) * 60)


def rows_of(gallery):
    """`{ref_id: vector}` of a gallery that is whole."""
    store = GalleryStore.open(gallery)
    ids = store.metadata()["ref_id"].to_pylist()
    assert len(set(ids)) == len(ids), "a reference is in the gallery twice"
    return dict(zip(ids, store.vectors(), strict=True))


def left_out_of(gallery):
    """Lines of `skipped.csv` as dictionaries."""
    with (gallery / "skipped.csv").open(newline="") as file:
        return list(csv.DictReader(file))
