"""Places data sets the planet writes, read as any other is."""

import json
import math
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pyproj import Geod

from geobridge.errors import WorldError
from geobridge.imagery.decode import read_image
from geobridge.places.table import iter_places, read_places
from geobridge.world import World
from geobridge.world.build import Recipe, TownJob, build_places, build_towns, parse_missing
from geobridge.world.neighbours import place_pairs
from geobridge.world.seeds import BENCHMARK_SEED, PLANET_VERSION

RECIPE = Recipe(size=16, seed=2)


def bytes_of(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_data_set_reads_back_with_every_view(tmp_path):
    calls = []
    build_places(
        tmp_path / "p", ["albion", "edo"], 1, 4, RECIPE, workers=1,
        progress=lambda done, total: calls.append((done, total)),
    )  # fmt: skip
    places = list(iter_places(tmp_path / "p"))
    assert len(places) == 8
    assert {place.split for place in places if place.country == "albion"} == {"train"}
    assert {place.split for place in places if place.country == "edo"} == {"test"}
    town = World(2).town("albion", 0)
    for place, made in zip(places, town.places(4), strict=False):
        assert (place.lat, place.lon) == (made.lat, made.lon)
        assert place.text == town.describe(made)
        assert read_image(place.street).shape == (16, 64, 3)
        assert read_image(place.satellite).shape == read_image(place.drone).shape == (16, 16, 3)
    assert calls[0] == (0, 8)
    assert calls[-1] == (8, 8)


def test_nothing_of_the_benchmarks_planet_is_for_training(tmp_path):
    recipe = Recipe(size=8, seed=BENCHMARK_SEED)
    build_places(tmp_path, ["albion", "edo"], 1, 1, recipe, workers=1)
    assert [place.split for place in iter_places(tmp_path)] == ["test", "test"]


def test_footprint_is_centred_on_the_place_and_as_large_as_the_satellite(tmp_path):
    build_places(tmp_path, ["levant"], 1, 4, RECIPE, workers=1)
    geod = Geod(ellps="WGS84")
    for place in iter_places(tmp_path):
        center = place.footprint.centroid
        assert geod.inv(place.lon, place.lat, center.x, center.y)[2] < 0.01
        area, _ = geod.geometry_area_perimeter(place.footprint)
        assert math.sqrt(abs(area)) == pytest.approx(16 * 0.8, rel=1e-3)


def test_an_interrupted_build_continues_to_the_same_bytes(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    build_places(whole, ["albion", "edo"], 1, 4, RECIPE, workers=1)

    class StopError(Exception):
        pass

    def stop(done, total):
        if 4 <= done < total:
            raise StopError

    with pytest.raises(StopError):
        build_places(broken, ["albion", "edo"], 1, 4, RECIPE, workers=1, progress=stop)
    assert not (broken / "places.parquet").exists()
    finished = (broken / ".towns" / "albion-0.json").stat().st_mtime_ns
    build_places(broken, ["albion", "edo"], 1, 4, RECIPE, workers=1)
    assert (broken / ".towns" / "albion-0.json").stat().st_mtime_ns == finished
    assert bytes_of(whole) == bytes_of(broken)


_KILLED_BUILD = """
import os, signal, sys
from multiprocessing import active_children
from pathlib import Path
from geobridge.world.build import Recipe, build_places

written, write_bytes = [], Path.write_bytes

def half_of_the_17th(self, data):
    written.append(self)
    if len(written) < 17:
        return write_bytes(self, data)
    write_bytes(self, data[: len(data) // 2])
    os.kill(os.getpid(), signal.SIGKILL)

def until_a_town_is_done(done, total):
    if done:
        print(*(child.pid for child in active_children()), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    out, workers = sys.argv[1], int(sys.argv[2])
    progress = until_a_town_is_done if workers > 1 else lambda done, total: None
    Path.write_bytes = half_of_the_17th if workers == 1 else write_bytes
    build_places(out, ["albion", "edo", "prairie"], 1, 4, Recipe(size=16, seed=2),
                 workers=workers, progress=progress)
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_build_loses_a_town_at_most_and_leaves_nobody_working(tmp_path, workers):
    (tmp_path / "build.py").write_text(_KILLED_BUILD)
    out, regions = tmp_path / "killed", ["albion", "edo", "prairie"]
    command = [sys.executable, str(tmp_path / "build.py"), str(out), str(workers)]
    # A worker that goes on holds the pipe open, so this returns when all have ended.
    killed = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL
    children = [int(word) for word in killed.stdout.split()]
    assert len(children) == (workers if workers > 1 else 0)
    deadline = time.monotonic() + 30
    while any(_lives(child) for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_lives(child) for child in children)
    finished = {path: path.stat().st_mtime_ns for path in (out / ".towns").glob("*.json")}
    # Of one process we know it: each town has 12 pictures, and the 17th belongs to the second.
    assert len(finished) == 1 if workers == 1 else finished
    assert not (out / "places.parquet").exists()
    build_places(out, regions, 1, 4, RECIPE, workers=1)
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    build_places(tmp_path / "whole", regions, 1, 4, RECIPE, workers=1)
    assert bytes_of(out) == bytes_of(tmp_path / "whole")


def _lives(pid):
    """Whether a process runs; one that nobody has buried yet does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_a_list_of_towns_gives_each_its_count_and_all_their_split(tmp_path):
    jobs = [TownJob("edo", 3, 2), TownJob("albion", 1, 3)]
    built = build_towns(tmp_path / "all", jobs, RECIPE, split="test", workers=1)
    assert (built.places, built.short) == (5, {})
    places = list(iter_places(tmp_path / "all"))
    towns = [place.source.split(", ")[1] for place in places]
    assert towns == ["edo/3@2"] * 2 + ["albion/1@2"] * 3
    assert {place.split for place in places} == {"test"}
    # One after the other comes to the same as both at once.
    for some in (jobs[1:], jobs):
        build_towns(tmp_path / "grown", some, RECIPE, split="test", workers=1)
    assert bytes_of(tmp_path / "grown") == bytes_of(tmp_path / "all")
    with pytest.raises(WorldError, match=r"another recipe \(2 places of edo/3\)"):
        build_towns(tmp_path / "all", [TownJob("edo", 3, 4)], RECIPE, split="test")
    with pytest.raises(WorldError, match=r"another recipe \(split 'test'\)"):
        build_towns(tmp_path / "all", jobs, RECIPE)


def test_towns_that_were_built_before_stay_in_the_table(tmp_path):
    first = build_places(tmp_path, ["albion"], 1, 2, RECIPE, workers=1)
    note = json.loads((tmp_path / "world.json").read_text())
    # A town that is noted and was never finished has no rows.
    note["towns"]["edo/7"] = 3
    (tmp_path / "world.json").write_text(json.dumps(note))
    second = build_places(tmp_path, ["edo"], 1, 3, RECIPE, workers=1)
    assert (first.places, first.towns) == (2, 1)
    assert (second.places, second.towns) == (5, 2)
    assert [place.country for place in iter_places(tmp_path)] == ["edo"] * 3 + ["albion"] * 2


def test_a_benchmarks_folder_takes_nothing_else(tmp_path):
    near, far = TownJob("albion", 0, 2), TownJob("edo", 0, 2)
    build_towns(tmp_path, [near], RECIPE, split="test", benchmark="near", workers=1)
    table = (tmp_path / "places.parquet").read_bytes()
    with pytest.raises(WorldError, match="holds the benchmark near, and this is the benchmark far"):
        build_towns(tmp_path, [far], RECIPE, split="test", benchmark="far", workers=1)
    with pytest.raises(WorldError, match="holds the benchmark near, and this is no benchmark"):
        build_towns(tmp_path, [far], RECIPE, split="test", workers=1)
    assert (tmp_path / "places.parquet").read_bytes() == table


@pytest.mark.parametrize(
    ("jobs", "message"),
    [
        ([], "at least one"),
        ([TownJob("edo", 0, 0)], "at least one"),
        ([TownJob("edo", -1, 2)], "numbered from 0"),
        ([TownJob("edo", 0, 2), TownJob("edo", 0, 3)], "edo/0 is listed twice"),
        ([TownJob("nowhere", 0, 2)], "no region"),
    ],
)
def test_towns_that_cannot_be_are_refused(tmp_path, jobs, message):
    with pytest.raises(WorldError, match=message):
        build_towns(tmp_path / "p", jobs, RECIPE)
    assert not (tmp_path / "p").exists()


def test_places_come_in_pairs_where_asked(tmp_path):
    recipe = Recipe(size=16, missing=parse_missing("street=1,drone=1"), in_pairs=True)
    build_towns(tmp_path, [TownJob("levant", 0, 6)], recipe, workers=1)
    points = [(place.lat, place.lon) for place in iter_places(tmp_path)]
    pairs = [(p.lat, p.lon) for p in place_pairs(World(0).town("levant", 0), 6)]
    assert points == pairs


def test_coarse_satellites_keep_their_ground(tmp_path):
    recipe = Recipe(size=16, satellite_gsd_m=2.0, satellite_m=102.4)
    build_places(tmp_path, ["levant"], 1, 2, recipe, workers=1)
    geod = Geod(ellps="WGS84")
    for place in iter_places(tmp_path):
        # 102.4 m at 2 m a pixel are 51.2 pixels.
        assert read_image(place.satellite).shape == (51, 51, 3)
        assert read_image(place.drone).shape == (16, 16, 3)
        area, _ = geod.geometry_area_perimeter(place.footprint)
        assert math.sqrt(abs(area)) == pytest.approx(102.4, rel=1e-3)


def test_the_kind_of_drone_picture_changes_nothing_else(tmp_path):
    for drone in ("camera", "crop"):
        build_places(tmp_path / drone, ["levant"], 1, 3, Recipe(size=16, drone=drone), workers=1)
    camera, crop = bytes_of(tmp_path / "camera"), bytes_of(tmp_path / "crop")
    assert camera.keys() == crop.keys()
    differ = {name.split("/")[0] for name in camera if camera[name] != crop[name]}
    assert differ == {"drone", "world.json"}


def test_what_a_place_lacks_changes_none_of_its_other_pictures(tmp_path):
    whole, recipe = tmp_path / "whole", Recipe(size=16, missing=parse_missing("street=1"))
    build_places(whole, ["levant"], 1, 3, Recipe(size=16), workers=1)
    build_places(tmp_path / "part", ["levant"], 1, 3, recipe, workers=1)
    part = {name: data for name, data in bytes_of(tmp_path / "part").items() if ".jpg" in name}
    assert len(part) == 6
    assert part.items() <= bytes_of(whole).items()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 7}, "8 to 1024 px"),
        ({"satellite_gsd_m": 0.0}, "8 to 1024 px"),
        ({"anchor_noise": 1.5}, "anchor noise 0 to 1"),
        ({"satellite_gsd_m": 10.0, "satellite_m": 50.0}, "has 5 px a side"),
        ({"satellite_m": math.nan}, "has nan px a side"),
        ({"satellite_m": math.inf}, "has inf px a side"),
        ({"satellite_m": -102.4}, "has -128 px a side"),
        ({"drone": "kite"}, "no kind of drone picture"),
        ({"missing": parse_missing("drone=1,street=1,satellite=1,text=1")}, "lack every modality"),
    ],
)
def test_recipes_that_cannot_be_are_refused(options, message):
    with pytest.raises(WorldError, match=message):
        Recipe(**options)


def test_missing_modalities_are_missing_at_their_rate(tmp_path):
    recipe = Recipe(size=8, missing=parse_missing("text=0.5, drone=1"))
    build_places(tmp_path, ["prairie"], 1, 40, recipe, workers=1)
    frame = read_places(tmp_path)
    assert frame["drone"].isna().all()
    assert 10 <= frame["text"].isna().sum() <= 30
    assert frame["satellite"].notna().all()
    assert not list((tmp_path / "drone").iterdir())


def test_everything_rare_leaves_one_modality_that_is_not_always_missing(tmp_path):
    rare = parse_missing("drone=1,street=0.999,satellite=0.999,text=0.999")
    build_places(tmp_path, ["prairie"], 1, 20, Recipe(size=8, missing=rare), workers=1)
    frame = read_places(tmp_path)
    assert frame["drone"].isna().all()
    held = frame[["street", "satellite", "text"]].notna().sum(axis=1)
    assert (held == 1).all()


def test_another_recipe_or_a_foreign_folder_is_refused(tmp_path):
    build_places(tmp_path / "p", ["prairie"], 1, 4, RECIPE, workers=1)
    with pytest.raises(WorldError, match="another recipe"):
        build_places(tmp_path / "p", ["prairie"], 1, 4, Recipe(size=24, seed=2), workers=1)
    note = tmp_path / "p" / "world.json"
    begun = json.loads(note.read_text())
    note.write_text(json.dumps({**begun, "version": begun["version"] - 1}))
    with pytest.raises(WorldError, match=f"begun by version {begun['version'] - 1} of the planet"):
        build_places(tmp_path / "p", ["prairie"], 1, 4, RECIPE, workers=1)
    # The first version did not write its number.
    del begun["version"]
    note.write_text(json.dumps(begun))
    with pytest.raises(WorldError, match="begun by version 1 of the planet"):
        build_places(tmp_path / "p", ["prairie"], 1, 4, RECIPE, workers=1)
    towns_as_list = json.dumps({**begun, "version": PLANET_VERSION, "towns": ["prairie/0"]})
    for text in ("[]", "{", "\xff", json.dumps({"version": PLANET_VERSION}), towns_as_list):
        note.write_bytes(text.encode("latin-1"))
        with pytest.raises(WorldError, match=r"world\.json is no note of the planet's"):
            build_places(tmp_path / "p", ["prairie"], 1, 4, RECIPE, workers=1)
    foreign = tmp_path / "f"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    with pytest.raises(WorldError, match="not empty"):
        build_places(foreign, ["prairie"], 1, 4, RECIPE, workers=1)
    assert [path.name for path in foreign.iterdir()] == ["thesis.txt"]
    with pytest.raises(WorldError, match="no region"):
        build_places(tmp_path / "g", ["nowhere"], 1, 4, RECIPE)


@pytest.mark.parametrize("text", ["drone", "boat=0.1", "drone=2", "text=x"])
def test_bad_shares_are_refused(text):
    with pytest.raises(WorldError, match="no share"):
        parse_missing(text)


def test_the_recipe_lies_beside_the_places(tmp_path):
    build_places(tmp_path, ["prairie"], 1, 4, RECIPE, workers=1)
    note = json.loads((tmp_path / "world.json").read_text())
    assert (note["size"], note["version"]) == (16, PLANET_VERSION)
    assert note["towns"] == {"prairie/0": 4}
