import re
from pathlib import Path

import pytest
import rasterio
from typer.testing import CliRunner

from geobridge.cli.app import app
from geobridge.geo.distance import distance_m
from geobridge.places.table import iter_places
from geobridge.world.planet import Town


def run(*words):
    return CliRunner().invoke(app, ["world", *map(str, words)])


def test_build_writes_places_and_says_how_many(tmp_path):
    options = ["--regions", "prairie", "--towns", 1, "--places", 3, "--size", 16, "--workers", 1]
    done = run("build", tmp_path / "p", *options, "--missing", "street=1")
    assert done.exit_code == 0, done.output
    assert "3 places of 1 towns" in done.output
    assert [place.street for place in iter_places(tmp_path / "p")] == [None] * 3


def test_build_gives_neighbours_two_by_two_where_asked(tmp_path):
    options = ["--regions", "prairie", "--towns", 1, "--places", 4, "--size", 16, "--workers", 1]
    done = run("build", tmp_path / "p", *options, "--missing", "street=1,drone=1", "--pairs")
    assert done.exit_code == 0, done.output
    places = list(iter_places(tmp_path / "p"))
    for one, other in zip(places[::2], places[1::2], strict=True):
        assert 25 <= distance_m(one.lat, one.lon, other.lat, other.lon) < 40


def test_a_town_with_less_room_is_filled_and_named(tmp_path, monkeypatch):
    places = Town.places

    def with_room_for_two(self, n, seed=0, *, at_most=False):
        return places(self, min(n, 2) if self.name == "edo/0@0" and at_most else n, seed)

    monkeypatch.setattr(Town, "places", with_room_for_two)
    options = ["--regions", "prairie,edo", "--towns", 1, "--places", 3, "--size", 16]
    for _ in range(2):
        done = run("build", tmp_path / "p", *options, "--workers", 1)
        assert done.exit_code == 0, done.output
        assert "5 places of 2 towns" in done.output
        assert "1 of the towns had no room for 3 places: 2 in edo/0." in done.output
    assert len(list(iter_places(tmp_path / "p"))) == 5


def test_two_processes_write_the_same_as_one(tmp_path):
    options = ["--regions", "prairie,edo", "--towns", 1, "--places", 2, "--size", 16]
    for workers in (1, 2):
        done = run("build", tmp_path / str(workers), *options, "--workers", workers)
        assert done.exit_code == 0, done.output
    one, two = (
        {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*g")}
        for folder in (tmp_path / "1", tmp_path / "2")
    )
    assert len(one) == 12
    assert one == two
    tables = [(tmp_path / str(workers) / "places.parquet").read_bytes() for workers in (1, 2)]
    assert tables[0] == tables[1]


def test_map_fly_and_walk_write_their_files(tmp_path):
    assert run("map", "edo/0@3", "--gsd", 3, "--out", tmp_path / "a.tif").exit_code == 0
    with rasterio.open(tmp_path / "a.tif") as raster:
        assert raster.width == 300
    fly = run(
        "fly", "edo/0", "--count", 2, "--width", 32, "--pitch-deg=-60", "--out", tmp_path / "f"
    )
    assert fly.exit_code == 0, fly.output
    walk = run("walk", "edo/0", "--count", 1, "--height", 16, "--out", tmp_path / "w")
    assert walk.exit_code == 0, walk.output
    assert len(list((tmp_path / "f").glob("*.jpg"))) == 2
    assert len(list((tmp_path / "w").glob("*.jpg"))) == 1
    assert "1 panoramas of edo/0@0" in walk.output
    walk = run("walk", "edo/0", "--count", 2, "--height", 16, "--fov-deg", 90, "--out", tmp_path)
    assert "2 street photos of edo/0@0" in walk.output


def test_the_track_of_the_help_can_be_flown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = " ".join(run("fly", "--help").output.split())
    printed = re.search(r"printf '([^']*)' > track.csv", shown)
    Path("track.csv").write_text(printed[1].replace("\\n", "\n"))
    words = re.search(r"geobridge world (fly \S+ --track .* --out photos)", shown)[1].split()
    done = run(*words, "--width", 16)
    assert done.exit_code == 0, done.output
    # 515 m of way: one photo at its beginning, 17 every 30 m, and one at its end.
    assert "19 drone photos of albion/0@0 in photos" in done.output
    assert len(list(Path("photos").iterdir())) == 19


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["map", "atlantis/0", "--out", "a.tif"], "no region 'atlantis'"),
        (["map", "edo", "--out", "a.tif"], "names no town"),
        (["fly", "edo/0", "--out", "f", "--count", "0"], "at least one"),
        (["walk", "edo/0", "--out", "f", "--fov-deg", "5"], "choose 15 to 120"),
        (["fly", "edo/0", "--out", "f", "--track", "a.csv"], "a.csv cannot be read"),
        (["build", "p", "--regions", "atlantis"], "no region 'atlantis'"),
        (["build", "p", "--missing", "boat=1"], "no share"),
        (["build", "p", "--size", "2"], "8 to 1024 px"),
        (["build", "p", "--towns", "0"], "at least one"),
        (["build", "p", "--satellite-m", "nan"], "has nan px a side"),
        (["walk", "edo/0", "--out", "w", "--height", "1"], "choose a height of 8 to 8192"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    done = run(*words)
    assert done.exit_code == 2
    assert message in done.output
    assert len(done.output.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words",
    [
        ["build", "taken", "--regions", "edo"],
        ["build", "taken/below", "--regions", "edo"],
        ["fly", "edo/0", "--out", "taken"],
        ["walk", "edo/0", "--out", "taken"],
        ["map", "edo/0", "--out", "taken/below.tif"],
    ],
)
def test_a_file_where_a_folder_is_wanted_is_one_sentence(tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    Path("taken").write_text("mine")
    done = run(*words)
    assert done.exit_code == 2
    assert "cannot be made a folder" in done.output
    assert len(done.output.strip().splitlines()) == 1
    assert Path("taken").read_text() == "mine"
