"""What answering costs beside what it cannot do without, as ratios within one run.

    python benchmarks/locate.py --model mini

prints, for galleries of random references and for each kind of query, the time of `locate` on a
warm process over that of the encoder alone: the forward passes over the query's variants at the
model's size, from tensors ready to be encoded to embeddings. The rest of an answer is reading and
preparing the query, the search, the estimate and its candidates. One thread, float32; both are
timed in turn, and the fastest of many repeats counts, so that other work on the machine falls out.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

# Before the libraries that read it start their threads.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import shapely
import torch
from PIL import Image

from geobridge.api import Gallery
from geobridge.gallery.manifest import SourceRecord
from geobridge.gallery.sources import ReferenceItem
from geobridge.gallery.store import GalleryStore
from geobridge.gallery.writer import GalleryWriter
from geobridge.localization.query import PreparedQuery, Query, prepare_query
from geobridge.model.geobridge import GeoBridge

TARGET = 1.3
SENTENCE = (
    "A square with red roofs along a river, a church to the north and a bridge of two arches."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="mini", help="name or folder of a checkpoint")
    parser.add_argument("--references", type=int, nargs="*", default=[1_000, 10_000, 100_000])
    parser.add_argument("--side", type=int, default=1024, help="of the pictures asked with, px")
    parser.add_argument("--repeats", type=int, default=20, help="of each measurement")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = GeoBridge.load(options.model)
    print(f"locate over the encoder alone, model {model.name}, one thread; target {TARGET}")
    with tempfile.TemporaryDirectory() as folder:
        queries = write_queries(Path(folder), options.side)
        for count in options.references:
            gallery = random_gallery(Path(folder, f"{count}"), count, model)
            print(f"  {count:,} references")
            for name, query in queries.items():
                report(name, query, gallery, options.repeats)


def report(name: str, query: Query, gallery: Gallery, repeats: int) -> None:
    prepared = prepare_query(query, gallery.model, footprint_m=100)
    whole, encoder = fastest_in_turn(
        [lambda: gallery.locate(query), encoder_alone(prepared, gallery.model)], repeats
    )
    print(
        f"    {name:<12} {whole / encoder:5.2f} times the encoder "
        f"({1e3 * whole:.1f} and {1e3 * encoder:.1f} ms)"
    )


def encoder_alone(prepared: PreparedQuery, model: GeoBridge) -> Callable[[], object]:
    """The forward passes of one query, from normalised pictures and a sentence."""
    pictures = {
        view: model.config.preprocess[view].normalize(batch)
        for view, batch in prepared.pictures.items()
    }

    @torch.inference_mode()
    def forward() -> None:
        for view, batch in pictures.items():
            model.encode_images(view, batch)
        if prepared.text is not None:
            model.encode_texts([prepared.text])

    return forward


def fastest_in_turn(runs: list[Callable[[], object]], repeats: int) -> list[float]:
    """Seconds of the fastest of `repeats` of each run, which take turns."""
    seconds: list[list[float]] = [[] for _ in runs]
    for _ in range(repeats + 1):
        for run, spent in zip(runs, seconds, strict=True):
            began = time.process_time()
            run()
            spent.append(time.process_time() - began)
    # The first time warms up.
    return [min(spent[1:]) for spent in seconds]


def write_queries(folder: Path, side: int) -> dict[str, Query]:
    """A query of each kind; pictures are JPEGs on the disk."""
    photo, street = folder / "photo.jpg", folder / "street.jpg"
    Image.fromarray(picture(side, side)).save(photo, quality=90)
    Image.fromarray(picture(side // 2, side)).save(street, quality=90)
    return {
        "drone": Query(drone=photo),
        "drone, north": Query(drone=photo, yaw_deg=20.0),
        "street": Query(street=street),
        "satellite": Query(satellite=photo),
        "text": Query(text=SENTENCE),
        "drone, text": Query(drone=photo, text=SENTENCE),
    }


def picture(height: int, width: int) -> np.ndarray:
    """(height, width, 3) uint8 that compresses about as a photo does: smooth, a little noise."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
    resized = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    noise = rng.integers(-6, 7, (height, width, 3))
    return np.clip(np.array(resized) + noise, 0, 255).astype(np.uint8)


def random_gallery(out: Path, count: int, model: GeoBridge) -> Gallery:
    """A gallery of random vectors on a grid of 100 m squares every 25 m, as a build leaves it."""
    rng = np.random.default_rng(count)
    vectors = rng.standard_normal((count, model.dim), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    source = SourceRecord(kind="raster", path="map.tif", view="satellite", settings={})
    with GalleryWriter(out, model, []) as writer:
        writer.begin(source)
        for start in range(0, count, 4096):
            rows = range(start, min(start + 4096, count))
            writer.add([reference(row) for row in rows], vectors[rows.start : rows.stop])
        writer.end()
        writer.finish()
    return Gallery(GalleryStore.open(out), model)


def reference(row: int) -> ReferenceItem:
    lat, lon = 48 + row // 400 * 0.000225, 15 + row % 400 * 0.000335
    square = shapely.box(lon - 0.00067, lat - 0.00045, lon + 0.00067, lat + 0.00045)
    return ReferenceItem(f"{row:020}", "satellite", lat, lon, square, "s", "p", lambda: "")


if __name__ == "__main__":
    main()
