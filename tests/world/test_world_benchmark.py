import os
import subprocess
import sys
from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import pytest
from pyproj import Geod
from typer.testing import CliRunner

from geobridge.cli.app import app
from geobridge.errors import WorldError
from geobridge.imagery.decode import read_image
from geobridge.places.table import iter_places
from geobridge.views import MODALITIES
from geobridge.world import REGIONS, World
from geobridge.world import benchmark as module
from geobridge.world.benchmark import (
    BENCHMARKS,
    DIGESTS,
    DIGESTS_VERSION,
    Benchmark,
    Truth,
    build_benchmark,
    digest,
    town_truths,
    truth_of,
)
from geobridge.world.build import TownJob, build_towns, held_modalities
from geobridge.world.seeds import BENCHMARK_SEED, PLANET_VERSION

# Printed by `python scripts/benchmark_digests.py`, as everything in DIGESTS.
FIRST_TOWN_DIGEST = "586da837896a99b906b1bcc370cdb0a3"

# What `digest` makes of the first four places of a town as each recipe tells them.
TOWN_DIGESTS = {
    ("world-1k", "levant"): "f9ad00b9bac95fb22a5277ad979c1b88",
    ("world-1k-noise", "levant"): "34677308549628361f0bbe997ac8e33b",
    ("world-1k-missing", "levant"): "ae6c8557d89ccfb3d1b5d36c79ca837c",
    ("world-1k-far", "edo"): "d6c533304304a3f14c50d79ba13a4d66",
}

BASE = BENCHMARKS["world-1k"]
JOBS = [TownJob("levant", 0, 3)]


@pytest.fixture(scope="module", autouse=True)
def _towns_are_laid_out_once():
    lay_out = World.town
    laid_out = cache(lambda seed, *name, **options: lay_out(World(seed), *name, **options))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            World, "town", lambda self, *name, **options: laid_out(self.seed, *name, **options)
        )
        yield


# -- what they are made of -------------------------------------------------------------------


def test_their_names():
    ends = ("", "-2m", "-5m", "-10m", "-missing", "-noise")

    assert set(BENCHMARKS) == {f"world-1k{far}{end}" for far in ("", "-far") for end in ends}
    assert all(name == benchmark.name for name, benchmark in BENCHMARKS.items())


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_thousand_places_of_24_towns_that_nothing_is_trained_on(name):
    benchmark = BENCHMARKS[name]
    far = "-far" in name

    assert sum(job.places for job in benchmark.jobs) == 1000
    assert sorted(job.places for job in benchmark.jobs) == [41] * 8 + [42] * 16
    assert len({job.town for job in benchmark.jobs}) == 24
    assert benchmark.recipe.seed == BENCHMARK_SEED
    towns = [job.region for job in benchmark.jobs]
    assert set(towns) == {r for r, region in REGIONS.items() if region.unseen == far}
    assert {towns.count(region) for region in towns} == {8 if far else 3}


def test_variants_differ_in_one_thing():
    for far in ("", "-far"):
        base = BENCHMARKS[f"world-1k{far}"]
        changes = {
            "-2m": {"satellite_gsd_m": 2.0},
            "-5m": {"satellite_gsd_m": 5.0},
            "-10m": {"satellite_gsd_m": 10.0},
            "-missing": {"missing": tuple((name, 0.3) for name in sorted(MODALITIES))},
            "-noise": {"anchor_noise": 0.3},
        }
        for end, change in changes.items():
            variant = BENCHMARKS[f"world-1k{far}{end}"]
            assert variant.jobs == base.jobs
            assert variant.recipe == replace(base.recipe, **change)


def test_three_in_ten_are_missing():
    recipe = BENCHMARKS["world-1k-missing"].recipe
    held = [
        held_modalities(SimpleNamespace(name=f"{job.town}@{recipe.seed}"), place, recipe)
        for job in BASE.jobs
        for place in (SimpleNamespace(index=index) for index in range(job.places))
    ]

    assert len(held) == 1000
    assert all(held)
    # Four standard deviations of 1,000 draws are 0.058.
    for modality in MODALITIES:
        assert sum(modality in one for one in held) / 1000 == pytest.approx(0.7, abs=0.058)


# -- what is built ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Three places of a town as each benchmark makes them, by the end of its name."""
    folder = tmp_path_factory.mktemp("benchmarks")
    for end in ("", "-2m", "-5m", "-10m", "-missing", "-noise"):
        recipe = BENCHMARKS[f"world-1k{end}"].recipe
        build_towns(folder / f"base{end}", JOBS, recipe, split="test", workers=1)
    return {path.name.removeprefix("base"): list(iter_places(path)) for path in folder.iterdir()}


def test_the_base(built):
    places = built[""]

    assert len({place.place_id for place in places}) == len(places) == 3
    assert {place.split for place in places} == {"test"}
    for place in places:
        assert read_image(place.drone).shape == read_image(place.satellite).shape == (128, 128, 3)
        assert read_image(place.street).shape == (128, 512, 3)
        assert place.text
    apart = Geod(ellps="WGS84").inv(places[0].lon, places[0].lat, places[1].lon, places[1].lat)[2]
    assert 24.9 < apart < 60


@pytest.mark.parametrize(("end", "side"), [("-2m", 51), ("-5m", 20), ("-10m", 10)])
def test_low_resolution_changes_the_satellite_alone(built, end, side):
    for place, coarse in zip(built[""], built[end], strict=True):
        assert read_image(coarse.satellite).shape == (side, side, 3)
        assert coarse.drone.read_bytes() == place.drone.read_bytes()
        assert coarse.street.read_bytes() == place.street.read_bytes()
        assert truth_of(coarse) == truth_of(place)
        assert coarse.footprint == place.footprint
        area, _ = Geod(ellps="WGS84").geometry_area_perimeter(coarse.footprint)
        assert abs(area) == pytest.approx(102.4**2, rel=2e-3)


def test_low_resolution_shows_the_same_ground(built):
    for place, coarse in zip(built[""], built["-10m"], strict=True):
        whole = read_image(place.satellite).mean(axis=(0, 1))
        assert read_image(coarse.satellite).mean(axis=(0, 1)) == pytest.approx(whole, abs=4)


def test_what_is_not_missing_is_the_same(built):
    lacking = 0
    for place, other in zip(built[""], built["-missing"], strict=True):
        assert (other.place_id, other.lat, other.lon) == (place.place_id, place.lat, place.lon)
        assert other.text in (place.text, None)
        lacking += other.text is None
        for view in ("drone", "street", "satellite"):
            if (picture := getattr(other, view)) is None:
                lacking += 1
            else:
                assert picture.read_bytes() == getattr(place, view).read_bytes()
    assert lacking > 0


def test_noise_changes_the_texts_alone(built):
    assert [p.text for p in built[""]] != [p.text for p in built["-noise"]]
    for place, other in zip(built[""], built["-noise"], strict=True):
        for view in ("drone", "street", "satellite"):
            assert getattr(other, view).read_bytes() == getattr(place, view).read_bytes()


# -- the truth -------------------------------------------------------------------------------


def test_the_recorded_truth_is_of_this_planet():
    # Where this fails, record what `python scripts/benchmark_digests.py` prints.
    job = BASE.jobs[0]
    town = World(BENCHMARK_SEED).town(job.region, job.index)

    assert DIGESTS_VERSION == PLANET_VERSION
    assert digest(town_truths(town, job, BASE.recipe)) == FIRST_TOWN_DIGEST


@pytest.mark.parametrize(("name", "region"), TOWN_DIGESTS)
def test_the_recorded_truth_is_of_each_recipe(name, region):
    town, job = World(BENCHMARK_SEED).town(region, 0), TownJob(region, 0, 4)

    recorded = TOWN_DIGESTS[name, region]
    assert digest(town_truths(town, job, BENCHMARKS[name].recipe)) == recorded


def test_a_digest_is_recorded_for_every_benchmark():
    assert set(DIGESTS) == set(BENCHMARKS)
    for far in ("", "-far"):
        same = {DIGESTS[f"world-1k{far}{end}"] for end in ("", "-2m", "-5m", "-10m")}
        assert len(same) == 1
    assert len(set(DIGESTS.values())) == 6


def test_the_truth_needs_no_pictures(built):
    town = World(BENCHMARK_SEED).town("levant", 0)
    for end, places in built.items():
        recipe = BENCHMARKS[f"world-1k{end}"].recipe
        assert town_truths(town, JOBS[0], recipe) == list(map(truth_of, places))


def test_the_digest_is_the_same_in_another_process():
    code = (
        "from geobridge.world import World, benchmark as b\n"
        "from geobridge.world.build import TownJob\n"
        "town = World(2512).town('levant', 0)\n"
        "recipe = b.BENCHMARKS['world-1k-missing'].recipe\n"
        "print(b.digest(b.town_truths(town, TownJob('levant', 0, 3), recipe)))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        text=True,
        env=os.environ | {"PYTHONHASHSEED": "1"},
    ).stdout
    town = World(BENCHMARK_SEED).town("levant", 0)

    recipe = BENCHMARKS["world-1k-missing"].recipe
    assert printed.strip() == digest(town_truths(town, JOBS[0], recipe))


def test_the_digest_sees_what_the_truth_is_and_no_order():
    rows = [
        Truth("a", 1.0, 2.0, ("drone",), "a church"),
        Truth("b", 3.0, 4.0, ("drone", "street"), None),
    ]
    first = digest(rows)

    assert len(first) == 32
    assert digest(rows[::-1]) == first
    assert digest([replace(rows[0], lat=1.0000004), rows[1]]) == first
    for changed in (
        replace(rows[0], place_id="c"),
        replace(rows[0], lat=1.000001),
        replace(rows[0], lon=2.000001),
        replace(rows[0], views=("street",)),
        replace(rows[0], text="a temple"),
        replace(rows[0], text=None),
    ):
        assert digest([changed, rows[1]]) != first
    assert digest(rows[:1]) != first


# -- building --------------------------------------------------------------------------------


@pytest.fixture
def tiny(monkeypatch):
    """A benchmark of two places, its truth recorded."""
    recipe = replace(BASE.recipe, size=16)
    job = TownJob("levant", 0, 2)
    monkeypatch.setitem(BENCHMARKS, "tiny", Benchmark("tiny", (job,), recipe))
    town = World(BENCHMARK_SEED).town("levant", 0)
    monkeypatch.setitem(DIGESTS, "tiny", digest(town_truths(town, job, recipe)))


@pytest.mark.usefixtures("tiny")
def test_a_benchmark_is_built_once_and_checked(tmp_path):
    calls = []
    build_benchmark("tiny", tmp_path / "b", workers=1)
    table = (tmp_path / "b" / "places.parquet").read_bytes()

    again = build_benchmark(
        "tiny", tmp_path / "b", workers=1, progress=lambda *done: calls.append(done)
    )

    assert again.places == 2
    assert again.table.read_bytes() == table
    assert calls == [(2, 2)]
    assert {place.split for place in iter_places(tmp_path / "b")} == {"test"}


@pytest.mark.usefixtures("tiny")
def test_another_planet_is_not_the_benchmarks(tmp_path, monkeypatch):
    monkeypatch.setitem(DIGESTS, "tiny", "0" * 32)
    monkeypatch.setattr(module, "DIGESTS_VERSION", 77)

    with pytest.raises(WorldError, match="recorded on version 77 of the planet"):
        build_benchmark("tiny", tmp_path / "b", workers=1)
    monkeypatch.setattr(module, "DIGESTS_VERSION", PLANET_VERSION)
    with pytest.raises(WorldError, match=r"than tiny: delete the folder .* report it\."):
        build_benchmark("tiny", tmp_path / "b", workers=1)


@pytest.mark.usefixtures("tiny")
def test_a_benchmark_of_the_same_recipe_is_refused_in_its_folder(tmp_path, monkeypatch):
    monkeypatch.setitem(BENCHMARKS, "tiny-far", replace(BENCHMARKS["tiny"], name="tiny-far"))
    build_benchmark("tiny", tmp_path / "b", workers=1)

    with pytest.raises(WorldError, match="holds the benchmark tiny, and this is the benchmark "):
        build_benchmark("tiny-far", tmp_path / "b", workers=1)


@pytest.mark.usefixtures("tiny")
def test_the_command_builds_it(tmp_path):
    words = ["world", "benchmark", "tiny", "--out", str(tmp_path / "b"), "--workers", "1"]
    done = CliRunner().invoke(app, words)

    assert done.exit_code == 0, done.output
    assert "tiny: 2 places in" in done.output


def test_a_name_that_is_no_benchmark(tmp_path):
    with pytest.raises(WorldError, match="no benchmark 'world-2k': choose one of world-1k, "):
        build_benchmark("world-2k", tmp_path / "b")
    assert not (tmp_path / "b").exists()
