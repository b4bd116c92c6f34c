"""Seconds that finding overlapping footprints takes, and whether all pairs find the same.

    python benchmarks/curation_clean.py
    python benchmarks/curation_clean.py --footprints 200000

Footprints of the five ground sizes of GeoLoc lie around panoramas every few metres along streets,
as a provider's answers do. They are taken in an order drawn by chance, as the stage does. The
brute force compares every footprint of a part of the region with every other that stays.
"""

import argparse
import time

import numpy as np
import shapely
from numpy.typing import NDArray

from geobridge.curation.duplicates import KEPT, overlapping
from geobridge.geo.distance import LocalFrame

TARGET_S = 30.0
SIDES_M = (80.0, 100.0, 120.0, 150.0, 180.0)
STEP_M = 10.0
STREET_M = 1_000.0
SHARE = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--footprints", type=int, default=100_000)
    parser.add_argument("--region-km", type=float, default=40.0, help="side of the region")
    parser.add_argument("--sample", type=int, default=3_000, help="compared with all pairs")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    shapes = footprints(rng, options.footprints, options.region_km * 1000)
    order = rng.permutation(len(shapes))
    start = time.perf_counter()
    found = overlapping(shapes, order, SHARE)
    seconds = time.perf_counter() - start
    print(
        f"{len(shapes):,} footprints in {seconds:.1f} s (target {TARGET_S:.0f} s), "
        f"{(found == KEPT).sum():,} stay"
    )
    part = shapes[: options.sample]
    order = rng.permutation(len(part))
    start = time.perf_counter()
    fast = overlapping(part, order, SHARE)
    between = time.perf_counter()
    slow = brute_force(part, order)
    end = time.perf_counter()
    print(
        f"{len(part):,} of them: {between - start:.2f} s, all pairs {end - between:.1f} s, "
        f"{int((fast != slow).sum())} differ"
    )


def footprints(rng: np.random.Generator, count: int, region_m: float) -> NDArray[np.object_]:
    """Squares of every size around panoramas along straight streets."""
    panoramas = -(-count // len(SIDES_M))
    each = round(STREET_M / STEP_M)
    streets = -(-panoramas // each)
    begin = rng.uniform(-region_m / 2, region_m / 2, (streets, 1, 2))
    heading = rng.uniform(0, 2 * np.pi, (streets, 1, 1))
    along = np.arange(each)[None, :, None] * STEP_M
    path = begin + along * np.concatenate([np.sin(heading), np.cos(heading)], axis=2)
    centres = np.repeat(path.reshape(-1, 2)[:panoramas], len(SIDES_M), axis=0)[:count]
    half = np.resize(SIDES_M, count)[:, None] / 2
    low, high = centres - half, centres + half
    squares = shapely.box(low[:, 0], low[:, 1], high[:, 0], high[:, 1])
    frame = LocalFrame(48.1, 11.5)
    placed: NDArray[np.object_] = shapely.transform(
        squares, lambda xy: np.column_stack(frame.to_lonlat(xy[:, 0], xy[:, 1]))
    )
    return placed


def brute_force(shapes: NDArray[np.object_], order: NDArray[np.int64]) -> NDArray[np.int64]:
    """What `overlapping` finds, by comparing each with all that stay."""
    found = np.full(len(shapes), KEPT, np.int64)
    kept: list[int] = []
    areas = shapely.area(shapes)
    for row in order.tolist():
        common = shapely.area(shapely.intersection(shapes[kept], shapes[row]))
        hits = np.flatnonzero(common > SHARE * np.minimum(areas[kept], areas[row]))
        if len(hits):
            found[row] = kept[hits[0]]
        else:
            kept.append(row)
    return found


if __name__ == "__main__":
    main()
