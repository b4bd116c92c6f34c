"""Speed and memory of `WorldDataset`'s workers.

    python benchmarks/world_dataset.py --seconds 60

For 0 workers (this process draws), 1 and 2: places a second of time and of CPU time once the
workers run, seconds to the first batch, and each worker's largest resident and largest private
memory (the rest of the resident is what processes share). Then what a town and a date of it cost,
and how near the hard negatives of a batch are.
"""

import argparse
import multiprocessing
import os
import re
import time
from pathlib import Path

import numpy as np
import torch

from geobridge.world import REGIONS, World, WorldDataset, world_batches

BATCH = 128


def memory_mb(pid, file, field):
    """Megabytes of one field of Linux' account of a process."""
    text = Path(f"/proc/{pid}/{file}").read_text()
    return sum(int(value) for value in re.findall(rf"^{field}:\s+(\d+) kB", text, re.M)) / 1024


def private_mb(pid):
    return memory_mb(pid, "smaps_rollup", "Private_(?:Clean|Dirty)")


def cpu_s(pid):
    """Seconds of CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def stream(workers, seconds, options):
    """One line about batches from so many workers."""
    begin = time.perf_counter()
    batches = world_batches(WorldDataset(**options), BATCH, num_workers=workers)
    next(batches)
    first_s = time.perf_counter() - begin
    # The first towns were drawn ahead: they are not counted.
    for _ in range(4):
        next(batches)
    pids = [child.pid for child in multiprocessing.active_children()] or ["self"]
    begin, cpu, places, private = time.perf_counter(), sum(map(cpu_s, pids)), 0, 0.0
    while time.perf_counter() - begin < seconds:
        next(batches)
        places += BATCH
        private = max(private, *(private_mb(pid) for pid in pids))
    spent_s, used_s = time.perf_counter() - begin, sum(map(cpu_s, pids)) - cpu
    resident = max(memory_mb(pid, "status", "VmHWM") for pid in pids)
    batches.close()
    print(
        f"{workers:7d}{places / spent_s:10.1f}{places / used_s:14.1f}{first_s:10.1f}"
        f"{resident:14.0f}{private:13.0f}",
        flush=True,
    )


def costs():
    """Milliseconds and megabytes of a town and of one of its dates, mean over all regions."""
    towns, dates = [], []
    for region in REGIONS:
        begin = time.process_time()
        town = World(1).town(region, 7)
        towns.append(time.process_time() - begin)
        places = town.places(1)
        for date in range(8):
            begin = time.process_time()
            town.render("satellite", places[0], size=8, date=date)
            dates.append(time.process_time() - begin)
    print(f"a town {np.mean(towns) * 1000:.0f} ms, a date of it {np.mean(dates) * 1000:.0f} ms")


def nearest(pairs):
    """Distance from each place of a batch to the nearest other of the batch."""
    dataset = WorldDataset(seed=1, size=8, pairs=pairs)
    batch = next(world_batches(dataset, BATCH, num_workers=0))
    lat, lon = batch["lat"].numpy(), batch["lon"].numpy()
    north, east = lat * 111_200, lon * 111_200 * np.cos(np.deg2rad(lat))
    distance = np.hypot(north[:, None] - north, east[:, None] - east)
    np.fill_diagonal(distance, np.inf)
    median, ninth = np.quantile(distance.min(axis=1), (0.5, 0.9))
    name = "in pairs" if pairs else "anywhere"
    print(f"places {name}: nearest of the batch {median:.0f} m (median), 90 % within {ninth:.0f} m")


def main() -> None:
    """Print the table, the costs and the distances."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, help="measured for each row")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--dates", type=int, default=4, help="dates a visit")
    parser.add_argument("--places", type=int, default=64, help="places a visit")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    options = {
        "seed": 1,
        "size": arguments.size,
        "dates_per_visit": arguments.dates,
        "places_per_visit": arguments.places,
    }
    print("workers  places/s  places/CPU s  first, s  resident, MB  private, MB")
    for workers in (0, 1, 2):
        stream(workers, arguments.seconds, options)
    costs()
    nearest(pairs=False)
    nearest(pairs=True)


if __name__ == "__main__":
    main()
