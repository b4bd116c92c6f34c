"""`world-1k` and its variants: towns of the simulated planet, made where they are first asked for.

Places, variants and protocol: `geobridge.world.benchmark`.
"""

from functools import partial
from pathlib import Path

from geobridge.errors import EvaluationError, PlacesError, WorldError
from geobridge.evaluation.benchmarks import places
from geobridge.evaluation.benchmarks.benchmark import Benchmark, NoOptions
from geobridge.evaluation.tasks import Loaded
from geobridge.places.table import Place, iter_places
from geobridge.views import MODALITIES
from geobridge.world.benchmark import (
    DIGESTS,
    benchmark_named,
    build_benchmark,
    digest,
    truth_of,
)  # fmt: skip


def world_benchmark(name: str) -> Benchmark[NoOptions]:
    """The benchmark of that name of `geobridge.world.benchmark.BENCHMARKS`.

    Raises:
        EvaluationError: there is none.
    """
    try:
        made_of = benchmark_named(name)
    except WorldError as error:
        raise EvaluationError(str(error)) from error
    total = sum(job.places for job in made_of.jobs)
    # Which places lack what is in the digest; only where nothing is missing is it also known here.
    counts = {} if made_of.recipe.missing else {f"test/{held}": total for held in MODALITIES}
    return Benchmark(
        name=name,
        title=name,
        layout="""\
places.parquet               one row a place: docs/places.md
drone/ street/ satellite/    pictures
world.json                   what it was made by
An empty or absent folder is built first, which takes minutes.
""",
        source="geobridge/world/benchmark.py",
        read=partial(read, name),
        splits=places.splits,
        options=NoOptions,
        counts=counts,
        faults=partial(faults, name),
    )


def read(name: str, root: Path, options: NoOptions) -> Loaded:  # noqa: ARG001 - as all readers
    """The nine directions; the data set is built or finished first where it is not there.

    Args:
        name: one of `geobridge.world.benchmark.BENCHMARKS`.
        root: of the data set, or a folder to be made.
        options: none.

    Raises:
        EvaluationError: the folder holds something else, or the planet is another one.
        MissingExtraError: it has to be built, and the extra `world` is not installed.
    """
    try:
        build_benchmark(name, root)
        held = list(iter_places(root))
    except (WorldError, PlacesError) as error:
        raise EvaluationError(str(error)) from error
    return places.load_places(held, str(root), region=town)


def town(place: Place) -> str:
    """The town of a place: its id without the last number, such as `albion-0-7`."""
    return place.place_id.rpartition("-")[0]


def faults(name: str, root: Path) -> list[str]:
    """What differs from the benchmark that the planet makes, a sentence each.

    Raises:
        EvaluationError: the root is no places data set.
    """
    found = places.faults(root)
    if not found and digest(map(truth_of, iter_places(root))) != DIGESTS[name]:
        found.append(
            f"{root} holds other places or texts than {name}: delete the folder and build it again."
        )
    return found
