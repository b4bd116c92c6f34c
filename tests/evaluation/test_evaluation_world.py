"""`world-1k` and its variants are made where they are asked for, and checked."""

from pathlib import Path

import pytest
from PIL import Image
from shapely import box

from geobridge.errors import EvaluationError, WorldError
from geobridge.evaluation.benchmarks import benchmark_named
from geobridge.evaluation.benchmarks import world as module
from geobridge.places.table import Place, iter_places, write_places
from geobridge.world.benchmark import BENCHMARKS, digest, truth_of


def write(folder, *names):
    rows = []
    for name in names:
        (folder / "drone").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(folder / "drone" / f"{name}.jpg")
        rows.append(
            Place(
                place_id=name, lat=45.0, lon=9.0, footprint=box(9.0, 45.0, 9.001, 45.001),
                drone=Path(f"drone/{name}.jpg"), text=f"place {name}", split="test",
                country="albion",
            )
        )  # fmt: skip
    write_places(folder, rows)


@pytest.fixture
def planet(monkeypatch):
    """Stands for the planet: writes two places instead of 1,000."""
    asked = []

    def build(name, root):
        asked.append(name)
        if (root / "other.txt").exists():
            raise WorldError(f"{root} is not empty and no data set of the planet.")
        write(root, "albion-0-2512-00000", "albion-1-2512-00000")

    monkeypatch.setattr(module, "build_benchmark", build)
    return asked


def test_every_benchmark_of_the_planet_has_its_name():
    for name in BENCHMARKS:
        benchmark = benchmark_named(name)
        assert benchmark.name == name
        assert benchmark.counts == (
            {}
            if name.endswith("-missing")
            else dict.fromkeys(("test/drone", "test/street", "test/satellite", "test/text"), 1000)
        )
    with pytest.raises(EvaluationError, match="world-1k"):
        module.world_benchmark("world-2k")


def test_it_is_built_where_it_is_read_and_broken_down_by_town(planet, tmp_path):
    benchmark = benchmark_named("world-1k-2m")

    loaded = benchmark.read(tmp_path / "new", benchmark.configure({}))

    assert planet == ["world-1k-2m"]
    assert [task.name for task in loaded.tasks] == ["T2D"]
    assert list(loaded.sets["text"].regions) == ["albion-0-2512", "albion-1-2512"]


def test_a_folder_of_something_else_is_refused(planet, tmp_path):  # noqa: ARG001
    (tmp_path / "other.txt").write_text("x")
    benchmark = benchmark_named("world-1k")

    with pytest.raises(EvaluationError, match="no data set of the planet"):
        benchmark.read(tmp_path, benchmark.configure({}))
    with pytest.raises(EvaluationError, match=r"found was other\.txt"):
        benchmark.splits(tmp_path)


def test_other_places_than_the_benchmarks_are_a_fault(monkeypatch, tmp_path):
    write(tmp_path, "a-0-0", "a-0-1")
    benchmark = benchmark_named("world-1k")

    assert len(benchmark.splits(tmp_path)["test/drone"]) == 2
    assert "other places or texts than world-1k" in benchmark.faults(tmp_path)[0]
    recorded = digest(map(truth_of, iter_places(tmp_path)))
    monkeypatch.setitem(module.DIGESTS, "world-1k", recorded)
    assert benchmark.faults(tmp_path) == []
