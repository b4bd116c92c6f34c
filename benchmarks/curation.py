"""What stages of the curation cost: seconds, and the most memory the process had.

    python benchmarks/curation.py seeds                  # 10,000 seeds of 20,000 x 20,000 pixels
    python benchmarks/curation.py seeds --side 4000      # a small one first

The raster is made for it below --folder, by default a temporary one: tiled and compressed, 5 cm a
pixel, a tenth of it a frame without data. Its making is not counted.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
from rasterio import Affine
from rasterio.windows import Window

PIXEL_M = 0.05
BLOCK_PX = 512
SIDE_M = 30.0


def main() -> None:
    """Read the options; make what is missing, measure in a process of its own, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("case", choices=["seeds"])
    parser.add_argument("--side", type=int, default=20_000, help="pixels of the raster")
    parser.add_argument("--seeds", type=int, default=10_000, help="at least")
    parser.add_argument("--folder", type=Path, help="where the raster is made and kept")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure_seeds(options.measure, options.side, options.seeds)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        raster = folder / f"orthomosaic_{options.side}.tif"
        if not raster.exists():
            make_raster(raster, options.side)
        print(f"{raster.name}: {raster.stat().st_size / 1e6:,.0f} MB", flush=True)
        # The making's memory must not count.
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--measure", raster], check=True)


def make_raster(path: Path, side: int) -> None:
    """Noise on slow waves, block by block, within a frame without data."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 60, (BLOCK_PX, BLOCK_PX, 3)).astype(np.uint8)
    frame = side // 20
    unfinished = path.with_suffix(".part")
    with rasterio.open(
        unfinished, "w", driver="GTiff", width=side, height=side, count=3, dtype="uint8",
        crs="EPSG:32632", transform=Affine(PIXEL_M, 0, 5e5, 0, -PIXEL_M, 5.3e6), nodata=0,
        tiled=True, blockxsize=BLOCK_PX, blockysize=BLOCK_PX, compress="deflate", zlevel=1,
    ) as dataset:  # fmt: skip
        for top in range(0, side, BLOCK_PX):
            for left in range(0, side, BLOCK_PX):
                height, width = min(BLOCK_PX, side - top), min(BLOCK_PX, side - left)
                rows, cols = np.arange(top, top + height), np.arange(left, left + width)
                wave = 60 + 50 * np.sin(rows[:, None] / 700) * np.cos(cols / 900)
                block = wave[:, :, None].astype(np.uint8) + noise[:height, :width]
                inside_rows = (rows >= frame) & (rows < side - frame)
                inside_cols = (cols >= frame) & (cols < side - frame)
                block *= (inside_rows[:, None] & inside_cols)[:, :, None]
                dataset.write(np.moveaxis(block, 2, 0), window=Window(left, top, width, height))
    unfinished.rename(path)


def measure_seeds(raster: Path, side: int, seeds: int) -> None:
    """Slide over the raster and print what it took."""
    from geobridge.curation.seeds import SeedsConfig, run
    from geobridge.curation.workspace import Workspace

    inner_m = 0.9 * side * PIXEL_M
    config = SeedsConfig(
        rasters=(str(raster),), side_m=SIDE_M, stride_m=(inner_m - SIDE_M) / (seeds**0.5 + 1)
    )
    before_mb = peak_mb()
    with tempfile.TemporaryDirectory() as folder:
        start, start_cpu = time.perf_counter(), time.process_time()
        table = run(Workspace(folder), config, lambda _: lambda _done, _total: None)
        seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    print(
        f"{len(table):,} seeds of {side:,} x {side:,} pixels: {seconds:.1f} s ({cpu:.1f} s of "
        f"CPU on {os.cpu_count()} cores), peak {peak_mb():,.0f} MB ({before_mb:,.0f} MB before)"
    )


def peak_mb() -> float:
    """The most memory this process had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
