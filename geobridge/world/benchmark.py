"""Benchmarks on towns that nothing is trained on, fixed by their seeds.

`world-1k` has 1,000 places: 24 towns, three of each region that may be trained on. `world-1k-far`
has as many: eight towns of each region that is held back. Both lie on a planet of their own
(`BENCHMARK_SEED`). Of every three towns two have 42 places and the third 41.

Their variants have the same places, and the same bytes in all that they do not change:

- `-2m`, `-5m`, `-10m`: the satellite shows the same ground, 102.4 m wide, at 2, 5 and 10 metres a
  pixel, in 51, 20 and 10 pixels instead of 128 of 0.8 m;
- `-missing`: a place lacks each modality with a probability of 0.3;
- `-noise`: with a probability of 0.3 each, a roof colour, a wall colour or a direction that a text
  tells is wrong, a landmark or area left out, and one landmark of a place made up.

**Places** come in pairs of neighbours (`neighbours.place_pairs`): the nearest other place is 25 m
away at least and 28 m in the median. At 28 m two satellite pictures share about two thirds of their
ground and two panoramas their facades, so that a person finds the right one only by looking where
the centre lies.

**Protocol**: nine directions (`views.NINE_DIRECTIONS`), with one right reference each, that of the
same place. The gallery is every place that has the modality of the reference, the queries all
places that have both. `evaluation.retrieval.retrieve` ranks so, ties counted against the model.

**Truth**: `DIGESTS` fixes ids, positions, texts and what is missing. Every build is compared with
it, so that two results under one name are about the same places.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from geobridge.errors import WorldError
from geobridge.places.table import Place, iter_places
from geobridge.progress import Report, unheard
from geobridge.views import MODALITIES, VIEWS
from geobridge.world.build import (
    Built,
    Recipe,
    TownJob,
    build_towns,
    held_modalities,
    places_of,
)
from geobridge.world.planet import Town
from geobridge.world.seeds import BENCHMARK_SEED, PLANET_VERSION


@dataclass(frozen=True)
class Benchmark:
    """What a benchmark is made of.

    Attributes:
        name: what people call it.
        jobs: its towns, with the number of places of each.
        recipe: what their pictures and texts are like.
    """

    name: str
    jobs: tuple[TownJob, ...]
    recipe: Recipe


_BASE = Recipe(size=128, seed=BENCHMARK_SEED, satellite_gsd_m=0.8, satellite_m=102.4, in_pairs=True)
_VARIANTS = {
    "": _BASE,
    "-2m": replace(_BASE, satellite_gsd_m=2.0),
    "-5m": replace(_BASE, satellite_gsd_m=5.0),
    "-10m": replace(_BASE, satellite_gsd_m=10.0),
    "-missing": replace(_BASE, missing=tuple((name, 0.3) for name in sorted(MODALITIES))),
    "-noise": replace(_BASE, anchor_noise=0.3),
}


def _jobs(regions: tuple[str, ...], towns: int) -> tuple[TownJob, ...]:
    """The first `towns` towns of every region: 24 with 16 times 42 and 8 times 41 places."""
    names = [(region, index) for region in regions for index in range(towns)]
    return tuple(TownJob(*name, 41 if i % 3 == 2 else 42) for i, name in enumerate(names))


# Spelt out, so that a region that the planet is given one day leaves the benchmark as it is.
_TOWNS = {
    "world-1k": _jobs(
        ("prairie", "mesa", "lowland", "danube", "riviera", "albion", "formosa", "levant"), 3
    ),
    "world-1k-far": _jobs(("savanna", "boreal", "edo"), 8),
}

BENCHMARKS: dict[str, Benchmark] = {
    base + variant: Benchmark(base + variant, jobs, recipe)
    for base, jobs in _TOWNS.items()
    for variant, recipe in _VARIANTS.items()
}
"""Every benchmark by its name."""

# `python scripts/benchmark_digests.py` prints this block.
DIGESTS_VERSION = 2
DIGESTS: dict[str, str] = {
    "world-1k": "9033dba6f7f693b84ce15c3bd91652ff",
    "world-1k-2m": "9033dba6f7f693b84ce15c3bd91652ff",
    "world-1k-5m": "9033dba6f7f693b84ce15c3bd91652ff",
    "world-1k-10m": "9033dba6f7f693b84ce15c3bd91652ff",
    "world-1k-missing": "96c4afacae671d2cd8b69a899d1659d9",
    "world-1k-noise": "f539cd301b96662a8e374f47a12abddb",
    "world-1k-far": "a68b89384e9c128f27ffadc89a20e351",
    "world-1k-far-2m": "a68b89384e9c128f27ffadc89a20e351",
    "world-1k-far-5m": "a68b89384e9c128f27ffadc89a20e351",
    "world-1k-far-10m": "a68b89384e9c128f27ffadc89a20e351",
    "world-1k-far-missing": "cd3c77a97370c5b54b432276d2744ee7",
    "world-1k-far-noise": "7579621f96b8f4de4350b8741697d19f",
}
"""What `digest` makes of each benchmark on version `DIGESTS_VERSION` of the planet."""


def build_benchmark(
    name: str, out: str | Path, *, workers: int = 2, progress: Report = unheard
) -> Built:
    """Write a benchmark as a places data set, split `test`.

    Stopped at any moment, the same call continues; finished, it checks what is there.

    Args:
        name: one of `BENCHMARKS`.
        out: folder of the data set.
        workers: how many processes.
        progress: is told how many places of how many are done.

    Raises:
        WorldError: there is no such benchmark, `out` holds something else, or the planet is not
            the one that the benchmark was fixed on.
    """
    benchmark = benchmark_named(name)
    built = build_towns(
        out,
        benchmark.jobs,
        benchmark.recipe,
        split="test",
        benchmark=name,
        workers=workers,
        progress=progress,
    )
    if digest(map(truth_of, iter_places(out))) != DIGESTS.get(name):
        raise WorldError(f"{out} holds other places or texts than {name}{_way_out()}")
    return built


def _way_out() -> str:
    if DIGESTS_VERSION == PLANET_VERSION:
        return ": delete the folder and build it again, and if that fails too, report it."
    return (
        f", which was recorded on version {DIGESTS_VERSION} of the planet (this is version "
        f"{PLANET_VERSION}): build it with the release of geobridge that recorded it."
    )


def benchmark_named(name: str) -> Benchmark:
    """The benchmark called `name`.

    Raises:
        WorldError: there is none; the message lists those there are.
    """
    if name not in BENCHMARKS:
        raise WorldError(f"There is no benchmark {name!r}: choose one of {', '.join(BENCHMARKS)}.")
    return BENCHMARKS[name]


@dataclass(frozen=True)
class Truth:
    """What a benchmark fixes of a place.

    Attributes:
        place_id: unique within the benchmark.
        lat, lon: WGS-84 degrees; six decimals count.
        views: those there is a picture of, in the order of `VIEWS`.
        text: None where it is missing.
    """

    place_id: str
    lat: float
    lon: float
    views: tuple[str, ...]
    text: str | None


def truth_of(place: Place) -> Truth:
    """The truth of a place of a data set."""
    views = tuple(view for view in VIEWS if getattr(place, view))
    return Truth(place.place_id, place.lat, place.lon, views, place.text)


def town_truths(town: Town, job: TownJob, recipe: Recipe) -> list[Truth]:
    """The truth of a town's places as `recipe` makes them, without drawing a picture."""
    rows = []
    for place in places_of(town, job, recipe):
        held = held_modalities(town, place, recipe)
        views = tuple(view for view in VIEWS if view in held)
        text = town.describe(place, noise=recipe.anchor_noise) if "text" in held else None
        rows.append(Truth(place.place_id, place.lat, place.lon, views, text))
    return rows


def digest(rows: Iterable[Truth]) -> str:
    """32 hex digits, the same whatever the order of the rows.

    They are made of names, words and rounded positions, and two processes of one machine came to
    the same.
    """
    total = hashlib.sha256()
    for row in sorted(rows, key=lambda row: row.place_id):
        position = f"{row.lat:.6f} {row.lon:.6f}"
        fields = (row.place_id, position, " ".join(row.views), row.text or "")
        total.update(("\x1f".join(fields) + "\n").encode())
    return total.hexdigest()[:32]
