"""Print what is recorded of the benchmarks' truth, to be pasted where the headings say.

python scripts/benchmark_digests.py
python scripts/benchmark_digests.py --check

To be run whenever PLANET_VERSION is raised. It draws no picture and takes about a minute.
"""

import argparse
import sys
from collections import defaultdict

from geobridge.world import World
from geobridge.world.benchmark import (
    BENCHMARKS,
    DIGESTS,
    DIGESTS_VERSION,
    Truth,
    digest,
    town_truths,
)
from geobridge.world.seeds import BENCHMARK_SEED, PLANET_VERSION


def truths_of_all() -> dict[str, list[Truth]]:
    """The truth of every benchmark. A town is laid out once for all that share it."""
    rows: dict[str, list[Truth]] = defaultdict(list)
    for job in dict.fromkeys(job for one in BENCHMARKS.values() for job in one.jobs):
        town = World(BENCHMARK_SEED).town(job.region, job.index)
        for name, benchmark in BENCHMARKS.items():
            if job in benchmark.jobs:
                rows[name] += town_truths(town, job, benchmark.recipe)
    return rows


def main() -> None:
    """Print the blocks, or with --check fail if another truth is recorded."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="print nothing, fail if stale")
    check = parser.parse_args().check
    rows = truths_of_all()
    digests = {name: digest(rows[name]) for name in BENCHMARKS}
    if check:
        if digests != DIGESTS or DIGESTS_VERSION != PLANET_VERSION:
            sys.exit("The benchmarks are stale: run `python scripts/benchmark_digests.py`.")
        return
    print("# geobridge/world/benchmark.py")
    print(f"DIGESTS_VERSION = {PLANET_VERSION}\nDIGESTS: dict[str, str] = {{")
    for name, value in digests.items():
        print(f'    "{name}": "{value}",')
    print("}\n\n# tests/world/test_world_benchmark.py")
    town = BENCHMARKS["world-1k"].jobs[0]
    print(f'FIRST_TOWN_DIGEST = "{digest(rows["world-1k"][: town.places])}"')


if __name__ == "__main__":
    main()
