"""What a gallery costs beside what it cannot do without, as ratios within one run.

    python benchmarks/gallery.py

prints, for a map and for photos, the CPU time of embedding references over the sum of its parts
measured alone (reading, resizing, forward pass); for exact search, the time over that of a plain
float32 product and top-k, and the memory over that of the vectors. Nothing else should be running.
"""

import os

# Threads of the forward pass that wait by spinning take the readers' cores, and on a busy machine
# made the pass five times slower. Read once, when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import lance  # noqa: F401 - so that importing it is not measured as embedding
import numpy as np
import rasterio
import shapely
import torch
from affine import Affine
from PIL import Image

from geobridge.gallery.build import build_gallery
from geobridge.gallery.search import ExactSearch
from geobridge.gallery.sources import ReferenceItem, Source, open_source
from geobridge.gallery.store import GalleryStore
from geobridge.gallery.writer import GalleryWriter
from geobridge.model.geobridge import GeoBridge

BATCH = 32
TOP = 10
GROUND_M = 900


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--references", type=int, default=200_000, help="searched")
    parser.add_argument("--dim", type=int, default=512, help="of the vectors searched")
    parser.add_argument("--stride-m", type=float, default=25, help="between windows of the map")
    parser.add_argument("--photos", type=int, default=300, help="embedded")
    parser.add_argument("--preset", default="mini", help="model that embeds (weights are drawn)")
    parser.add_argument("--workers", type=int, default=2, help="reading threads")
    parser.add_argument("--repeats", type=int, default=5, help="of each measurement")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        print(json.dumps(memory_of_search(Path(options.memory_of))))
        return
    with tempfile.TemporaryDirectory() as folder:
        report_embedding(Path(folder), options)
        report_search(Path(folder), options)


# Embedding


def report_embedding(folder: Path, options: argparse.Namespace) -> None:
    model = GeoBridge.from_preset(options.preset, pretrained=False).eval()
    print(f"Embedding, preset {options.preset}, {torch.get_num_threads()} torch threads,")
    print(f"  {options.workers} readers, batches of {BATCH}; CPU time, target 1.15")
    town, photos = write_map(folder / "map.tif"), write_photos(folder / "photos", options.photos)
    sources: dict[str, Callable[[], Source]] = {
        "map windows": lambda: open_source(town, "satellite", stride_m=options.stride_m),
        "photos": lambda: open_source(photos, "drone"),
    }
    for name, opened in sources.items():
        runs = [
            embed_once(opened, model, folder / f"{name} {repeat}", options.workers)
            for repeat in range(options.repeats)
        ]
        typical = sorted(runs, key=lambda run: run.ratio)[len(runs) // 2]
        print(f"  {name}: {typical.ratio:.2f} times its parts ({typical.count} references)")
        print(f"    CPU ms each: {typical.costs()}")
        print(f"    waiting: {typical.waited:.2f} of the parts one after the other")


@dataclass(frozen=True)
class Embedded:
    """CPU seconds of the parts and of the whole, and how the whole's waiting time compares."""

    count: int
    parts: dict[str, float]
    whole: float
    waited: float

    @property
    def ratio(self) -> float:
        """CPU time of the whole over that of its parts."""
        return self.whole / sum(self.parts.values())

    def costs(self) -> str:
        """CPU milliseconds of one reference, by part and of the whole."""
        costs = {**self.parts, "whole": self.whole}
        return ", ".join(f"{name} {1e3 * cost / self.count:.2f}" for name, cost in costs.items())


def embed_once(opened: Callable[[], Source], model: GeoBridge, out: Path, workers: int) -> Embedded:
    parts, parts_wall = seconds_of_parts(opened(), model)
    with clock() as whole:
        summary = build_gallery([opened()], model, out, batch_size=BATCH, workers=workers)
    return Embedded(summary.indexed, parts, whole["cpu"], whole["wall"] / parts_wall)


def seconds_of_parts(source: Source, model: GeoBridge) -> tuple[dict[str, float], float]:
    """CPU seconds of reading, resizing and the forward pass, one after the other; and all, waited.

    The first batch warms everything up and does not count.
    """
    parts = {"read": 0.0, "resize": 0.0, "forward": 0.0}
    items = [item for item in source if isinstance(item, ReferenceItem)]
    run_parts(items[:BATCH], model, dict(parts))
    with clock() as whole:
        for start in range(0, len(items), BATCH):
            run_parts(items[start : start + BATCH], model, parts)
    source.close()
    return parts, whole["wall"]


def run_parts(items: list[ReferenceItem], model: GeoBridge, parts: dict[str, float]) -> None:
    with clock() as read:
        images = [item.load() for item in items]
    with clock() as resize:
        batch = torch.stack([model.prepare(items[0].modality, image) for image in images])
    with clock() as forward:
        model.embed_prepared(items[0].modality, batch)
    for name, spent in (("read", read), ("resize", resize), ("forward", forward)):
        parts[name] += spent["cpu"]


@contextmanager
def clock() -> Iterator[dict[str, float]]:
    spent: dict[str, float] = {}
    cpu, wall = time.process_time(), time.perf_counter()
    yield spent
    spent.update(cpu=time.process_time() - cpu, wall=time.perf_counter() - wall)


def picture(side: int, seed: int) -> np.ndarray:
    """(side, side, 3) uint8 that compresses about as a photo does: smooth, with a little noise."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (side // 16, side // 16, 3), dtype=np.uint8))
    smooth = np.array(coarse.resize((side, side), Image.Resampling.BICUBIC), dtype=np.int16)
    return np.clip(smooth + rng.integers(-6, 7, smooth.shape), 0, 255).astype(np.uint8)


def write_map(path: Path) -> Path:
    """A GeoTIFF of 900 x 900 m at 0.3 m, tiled and JPEG-compressed as maps from the web are."""
    side = round(GROUND_M / 0.3)
    profile = {"driver": "GTiff", "height": side, "width": side, "count": 3, "dtype": "uint8"}
    layout = {"tiled": True, "compress": "jpeg", "photometric": "ycbcr"}
    transform = Affine(0.3, 0, 500_000, 0, -0.3, 5_400_000)
    with rasterio.open(
        path, "w", **profile, **layout, crs="EPSG:32633", transform=transform
    ) as raster:
        raster.write(np.moveaxis(picture(side, 0), 2, 0))
    return path


def write_photos(folder: Path, count: int) -> Path:
    """JPEGs of 1024 px, and the table that says where they are, which is returned."""
    folder.mkdir()
    rows = ["path,lat,lon"]
    for number in range(count):
        Image.fromarray(picture(1024, number % 8)).save(folder / f"{number}.jpg", quality=90)
        rows.append(f"{number}.jpg,48,{15 + number / 1000}")
    table = folder / "photos.csv"
    table.write_text("\n".join(rows))
    return table


# Search


def report_search(folder: Path, options: argparse.Namespace) -> None:
    vectors, queries = unit(options.references, options.dim, 0), unit(64, options.dim, 1)
    search = ExactSearch(vectors)
    few = np.random.default_rng(2).random(len(vectors)) < 0.01
    one = queries[:1]
    print(f"\nExact search of {len(vectors):,} x {options.dim}, top {TOP}; target 1.2")
    plain = best_seconds(lambda: plain_search(vectors, one), options.repeats)
    ours = best_seconds(lambda: search.search(one, TOP), options.repeats)
    print(f"  one query: {ours / plain:.2f} times product and top-k ({ours * 1e3:.1f} ms)")
    plain_64 = best_seconds(lambda: plain_search(vectors, queries), options.repeats)
    ours_64 = best_seconds(lambda: search.search(queries, TOP), options.repeats)
    print(
        f"  64 queries: {ours_64 / plain_64:.2f} times product and top-k "
        f"({ours_64 / 64 * 1e3:.1f} ms a query)"
    )
    masked = best_seconds(lambda: search.search(one, TOP, few), options.repeats)
    print(f"  one query among 1 % of the references: {masked / ours:.2f} times one among all")
    write_gallery(folder / "large", vectors)
    command = [sys.executable, __file__, "--memory-of", str(folder / "large")]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    memory = json.loads(run.stdout)
    print(
        f"  memory to open and search it: {memory['peak'] / memory['vectors']:.2f} times the "
        f"vectors ({memory['vectors'] / 1e6:.0f} MB), {memory['seconds']:.1f} s to read"
    )


def unit(count: int, dim: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((count, dim), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def plain_search(vectors: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """A float32 product (matrix-vector for one query) and NumPy's top-k."""
    product = vectors @ queries[0] if len(queries) == 1 else queries @ vectors.T
    best = np.argpartition(product, -TOP, axis=-1)[..., -TOP:]
    order = np.argsort(-np.take_along_axis(product, best, axis=-1), axis=-1)
    return np.take_along_axis(best, order, axis=-1)


def best_seconds(run: Callable[[], object], repeats: int) -> float:
    run()
    seconds = []
    for _ in range(max(3, repeats)):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def write_gallery(out: Path, vectors: np.ndarray) -> None:
    """A gallery of these vectors, as a build would leave it."""

    class Model:
        name, loaded_from, fingerprint, dim = "benchmark", None, "0" * 40, vectors.shape[1]

    square = shapely.box(15, 48, 15.001, 48.001)
    with GalleryWriter(out, Model(), []) as writer:
        source = open_source(out.parent / "map.tif", "satellite").record
        writer.begin(source)
        for start in range(0, len(vectors), 4096):
            items = [
                ReferenceItem(f"{n:020}", "satellite", 48, 15, square, "s", "p", lambda: "")
                for n in range(start, min(start + 4096, len(vectors)))
            ]
            writer.add(items, vectors[start : start + 4096])
        writer.end()
        writer.finish()


def memory_of_search(gallery: Path) -> dict[str, float]:
    """Bytes a process grows by at most from opening a gallery to having searched it."""
    store = GalleryStore.open(gallery)
    store.metadata()
    # Lance's code and BLAS's buffers cost the same for any gallery: not what is measured here.
    ExactSearch(unit(8192, store.dim, 0)).search(unit(64, store.dim, 1), TOP)
    before = resident_bytes("VmRSS")
    began = time.perf_counter()
    vectors = store.vectors()
    seconds = time.perf_counter() - began
    search = ExactSearch(vectors)
    search.search(unit(64, store.dim, 1), TOP)
    peak = resident_bytes("VmHWM") - before
    return {"peak": peak, "vectors": vectors.nbytes, "seconds": seconds}


def resident_bytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
