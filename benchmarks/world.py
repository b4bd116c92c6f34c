"""Speed and memory of the simulated planet on one core.

    python benchmarks/world.py

Prints milliseconds of CPU time for each view and for the text, places a second with all four,
the time for a town and for its dates, and the process's largest memory.
"""

import resource
import time

import numpy as np

from geobridge.world import DATES, REGIONS, World

PLACES = 20
COLUMNS = ("satellite", "nadir", "oblique", "street", "text", "place", "town", "dates")


def cpu_ms(work, items):
    """Mean CPU time of `work(item)`."""
    start = time.process_time()
    for item in items:
        work(item)
    return (time.process_time() - start) / len(items) * 1000


def measure(region, index):
    """Milliseconds of one town, as `COLUMNS` names them."""
    towns = []
    town_ms = cpu_ms(lambda name: towns.append(World(0).town(name, index)), [region])
    town = towns.pop()
    places = town.places(PLACES)
    dates_ms = cpu_ms(
        lambda date: town.render("satellite", places[0], size=8, date=date), range(DATES)
    )
    rng = np.random.default_rng(0)
    works = (
        lambda place: town.render("satellite", place),
        lambda place: town.render("drone", place),
        lambda place: town.render("drone", place, pitch_deg=-55),
        lambda place: town.render("street", place),
        lambda place: town.describe(place),
        lambda place: (town.render_all(place, rng), town.describe(place)),
    )
    return [*(cpu_ms(work, places) for work in works), town_ms, dates_ms * DATES]


def main() -> None:
    """Compile everything once, then time it region by region."""
    measure("mesa", 9)
    print(f"{'ms':9s}" + "".join(f"{name:>10s}" for name in COLUMNS))
    rows = {region: measure(region, 0) for region in REGIONS}
    rows["mean"] = np.mean(list(rows.values()), axis=0).tolist()
    for region, values in rows.items():
        print(f"{region:9s}" + "".join(f"{value:10.1f}" for value in values))
    print(f"places a second, all views and text: {1000 / rows['mean'][5]:.1f}")
    print(f"largest memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
