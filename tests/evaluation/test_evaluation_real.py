"""The sets of real pictures: tiny trees in their layouts, and the sets where they are there."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from geobridge.errors import EvaluationError
from geobridge.evaluation.benchmarks import benchmark_named

DATA = Path(os.environ.get("GEOBRIDGE_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
FOLDERS = {
    "fongyuan": "fongyuan",
    "ariel": "ariel",
    "street-sat": "street_sat",
    "naip-years": "naip_years",
    "ucm-scenes": "ucm_captions",
}


def table(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def picture(path, pixels=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8) if pixels is None else pixels).save(path)


def load(name, root, **options):
    benchmark = benchmark_named(name)
    return benchmark.read(root, benchmark.configure(options))


# fongyuan: the town of tests/conftest.py, 400 m in 169 windows of 100 m every 25 m


@pytest.fixture
def flight(tmp_path, town_map, town_position):
    """Two photos over the town: one over the centre of a window, one in the very corner."""
    (tmp_path / "satellite_map.tif").symlink_to(town_map)
    rows = []
    for name, x, y in (("a", 200.0, 200.0), ("b", 0.0, 0.0)):
        lat, lon = town_position(x, y)
        file = f"drone/{name}.png"
        # The left half is white: turned by 90 degrees clockwise, the top half.
        pixels = np.zeros((8, 8, 3), np.uint8)
        pixels[:, :4] = 255
        picture(tmp_path / file, pixels)
        rows.append({"file": file, "lat": lat, "lon": lon, "flight_yaw_deg": "90.0"})
    table(tmp_path / "drone.csv", rows)
    return tmp_path


def test_windows_are_right_within_half_a_window(flight):
    loaded = load("fongyuan", flight)
    (task,) = loaded.tasks

    assert len(loaded.sets["satellite"]) == 13 * 13
    # Steps of 25 m within 50 m: (0,0), 4 at 25, 4 at 35, 4 at 50 (on the line, up to the grid's
    # turn against north), 0 at 56; so 9 to 13. In the corner the first centre is 71 m away.
    assert 9 <= task.positives.counts[0] <= 13
    assert task.positives.counts[1] == 0
    assert task.radii_m == (25.0, 50.0, 100.0)


def test_windows_are_read_when_they_are_needed(flight, town_picture):
    items = load("fongyuan", flight).sets["satellite"]

    window = items.contents[0]()

    # The map's own pixels, up to the metre by which a UTM pixel differs from a true one.
    assert window.shape[0] == pytest.approx(100, abs=1)
    np.testing.assert_array_equal(window[:90, :90], town_picture[:90, :90])


def test_a_known_heading_turns_the_photo_north_up(flight):
    as_it_is = load("fongyuan", flight).sets["drone"].contents[0]
    turned = load("fongyuan", flight, heading="known").sets["drone"].contents[0]()

    assert as_it_is == flight / "drone" / "a.png"
    assert turned[:4].min() == 255
    assert turned[4:].max() == 0


# ariel


def test_the_tile_that_holds_the_point_is_right(tmp_path):
    bounds = {"t0.jpg": (0.0, 0.1), "t1.jpg": (0.1, 0.2)}
    table(
        tmp_path / "satellite.csv",
        [
            {"file": file, "west": west, "east": east, "south": 1.0, "north": 1.1,
             "center_lat": 1.05, "center_lon": (west + east) / 2}
            for file, (west, east) in bounds.items()
        ],
    )  # fmt: skip
    table(
        tmp_path / "drone.csv",
        [
            {"file": f"f{number}.jpg", "ground_lat_est": 1.05, "ground_lon_est": lon,
             "heading_deg_from_track": 0.0}
            for number, lon in enumerate((0.15, 0.05, 0.1, 0.3))
        ],
    )  # fmt: skip

    loaded = load("ariel", tmp_path)

    positives = loaded.tasks[0].positives
    # A point on the line between two tiles lies in the eastern one; the last lies in none.
    assert [positives[query].tolist() for query in range(4)] == [[1], [0], [1], []]
    np.testing.assert_allclose(loaded.sets["drone"].lon, [0.15, 0.05, 0.1, 0.3])
    np.testing.assert_allclose(loaded.sets["satellite"].lon, [0.05, 0.15])


# naip_years


@pytest.fixture
def years(tmp_path):
    rows = []
    for place, known in {
        "long_beach_0": ("2016", "2018", "2020"),
        "long_beach_1": ("2016",),
    }.items():
        for year in known:
            file = f"{place}_{year}.png"
            picture(tmp_path / file, np.full((64, 64, 3), int(year) - 2000, np.uint8))
            rows.append(
                {"file": file, "place": place, "city": "long_beach", "year": year,
                 "west": 9.0, "south": 45.0, "east": 9.2, "north": 45.1}
            )  # fmt: skip
    table(tmp_path / "tiles.csv", rows)
    return tmp_path


def test_the_first_year_is_looked_up_in_the_last(years):
    loaded = load("naip-years", years, city="long_beach")

    # Only the place that both years show.
    assert list(loaded.sets["drone"].names) == ["long_beach_0_2016.png"]
    assert list(loaded.sets["satellite"].names) == ["long_beach_0_2020.png"]
    assert loaded.sets["satellite"].lat.tolist() == pytest.approx([45.05])
    assert [task.name for task in loaded.tasks] == ["D2S", "S2D"]


def test_the_satellite_can_be_coarser(years):
    loaded = load("naip-years", years, city="long_beach", gsd_m=2.4)

    coarse = loaded.sets["satellite"].contents[0]()

    assert coarse.shape == (16, 16, 3)
    assert (coarse == 20).all()
    assert loaded.sets["drone"].contents[0] == years / "long_beach_0_2016.png"


def test_a_city_that_is_not_there(years):
    with pytest.raises(EvaluationError, match="0 years of santa_monica"):
        load("naip-years", years)


# ucm_captions


@pytest.fixture
def scenes(tmp_path):
    """Twenty pictures of two scenes; the tenth of each is left out of training."""
    entries = []
    for scene, captions in {
        "beach": ["A beach .", "Some sand .", "A beach ."],
        "harbor": ["Many boats .", "Some sand ."],
    }.items():
        for number in range(10):
            name = f"images/{scene}{number}.jpg"
            picture(tmp_path / name)
            entries.append({"image": name, "scene": scene, "captions": captions})
    (tmp_path / "captions.json").write_text(json.dumps(entries))
    return tmp_path


def test_right_is_what_shows_or_tells_the_scene(scenes):
    loaded = load("ucm-scenes", scenes)
    to_picture, to_text = loaded.tasks

    assert list(loaded.sets["satellite"].names) == ["images/beach9.jpg", "images/harbor9.jpg"]
    assert list(loaded.sets["text"].contents) == [
        "A beach .", "Some sand .", "Many boats .", "Some sand .",
    ]  # fmt: skip
    assert [to_picture.positives[query].tolist() for query in range(4)] == [[0], [0], [1], [1]]
    # Each different caption once: the beach, the sand that both scenes have, the boats.
    assert to_text.gallery_rows.tolist() == [0, 1, 2]
    assert [to_text.positives[query].tolist() for query in range(2)] == [[0, 1], [1, 2]]


def test_what_was_trained_on_is_the_other_split(scenes):
    splits = benchmark_named("ucm-scenes").splits(scenes)

    assert {name: len(items) for name, items in splits.items()} == {
        "train/satellite": 18, "train/text": 36, "test/satellite": 2, "test/text": 4,
    }  # fmt: skip


def test_captions_of_another_form(scenes):
    (scenes / "captions.json").write_text('[{"file": "a"}]')
    with pytest.raises(EvaluationError, match="no list of entries"):
        load("ucm-scenes", scenes)


# all


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"", r"pairs\.csv has no rows"),
        (
            b"place_id,kind,street,satellite\na,panorama,street/a.jpg\n",
            r"row 1 .* has no satellite",
        ),
        (b"place_id,kind,street\na,panorama,\xe9\n", r"pairs\.csv cannot be read"),
    ],
)
def test_a_damaged_table_is_named(table, message, tmp_path):
    (tmp_path / "pairs.csv").write_bytes(table)
    with pytest.raises(EvaluationError, match=message):
        load("street-sat", tmp_path)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_wrong_root_says_what_is_there(name, tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(EvaluationError, match="found was photos/"):
        load(name, tmp_path)
    with pytest.raises(EvaluationError, match="found was photos/"):
        benchmark_named(name).splits(tmp_path)


@pytest.mark.real
@pytest.mark.skipif(not DATA.is_dir(), reason="the real pictures are not beside the project")
@pytest.mark.parametrize("name", FOLDERS)
def test_the_real_sets(name):
    benchmark = benchmark_named(name)
    root = DATA / FOLDERS[name]

    loaded = benchmark.read(root, benchmark.configure({}))
    found = {key: len(items) for key, items in benchmark.splits(root).items()}

    for key, count in benchmark.counts.items():
        assert found[key] == count
    for task in loaded.tasks:
        assert task.positives.counts.min() >= 1
