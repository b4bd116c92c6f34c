import json
import shutil

import numpy as np
import pytest
from pydantic import ValidationError
from trees_text import CVG_NAMES, CVG_PHOTOS, plant_cvgtext

from geobridge.errors import EvaluationError
from geobridge.evaluation.benchmarks.cvgtext import BENCHMARK


@pytest.fixture
def root(tmp_path):
    plant_cvgtext(tmp_path)
    return tmp_path


def read(root, **options):
    return BENCHMARK.read(root, BENCHMARK.configure(options))


def lists(relevance):
    return [rows.tolist() for rows in map(relevance.__getitem__, range(len(relevance)))]


def plant_many(root, positions):
    """A test of one picture at each latitude and longitude."""
    names = [f"{lat},{lon}_2020_{row}_d0_z3.jpg" for row, (lat, lon) in enumerate(positions)]
    for name in names:
        path = root / "Tokyo-satellite" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    said = dict.fromkeys(names, "a street")
    (root / "CVG-text/Tokyo").mkdir(parents=True)
    (root / "CVG-text/Tokyo/test.json").write_text(json.dumps(said))


def test_panoramas_are_looked_up_near_the_truth_and_everywhere(root):
    loaded = read(root, version="NewYork")
    near, everywhere = loaded.tasks

    assert (near.name, everywhere.name) == ("T2S nearest-100", "T2S global")
    assert near.direction.short == everywhere.direction.short == "T2S"
    assert lists(near.positives) == lists(everywhere.positives) == [[0], [1], [2]]
    # Places lie on a line; the middle one is as near to both others.
    assert lists(near.candidates)[::2] == [[0, 1, 2], [2, 1, 0]]
    assert near.candidates[1][0] == 1
    assert everywhere.candidates is None
    for task in loaded.tasks:
        assert task.geodesy == "haversine-6371"
        assert task.headline == ("R@1", "R@5", "R@10", "L@50", "L@100", "L@150", "mean error")
        assert task.radii_m == (50, 100, 150)
    assert loaded.sets["text"].contents[1] == "NewYork street 1"
    assert loaded.sets["satellite"].contents[1] == root / "NewYork-satellite" / CVG_NAMES[1]
    assert loaded.sets["text"].lat.tolist() == loaded.sets["satellite"].lat.tolist()
    assert (loaded.sets["text"].lat[1], loaded.sets["text"].lon[1]) == (40.001, -74.0)


@pytest.mark.parametrize(
    ("candidates", "names"),
    [("nearest-100", ["T2S nearest-100"]), ("global", ["T2S global"])],
)
def test_one_kind_of_candidates_can_be_asked_for(root, candidates, names):
    assert [task.name for task in read(root, candidates=candidates).tasks] == names


def test_mixed_versions_join_and_a_name_counts_once(root):
    loaded = read(root)
    gallery = loaded.sets["satellite"]

    # The second photo has the name of the first panorama: one reference, right for both.
    assert list(gallery.places) == [*CVG_NAMES, CVG_PHOTOS[0]]
    assert lists(loaded.tasks[1].positives) == [[0], [1], [2], [3], [0]]
    assert "1 of 5 are left out" in loaded.remarks[0]
    assert list(loaded.sets["text"].regions) == ["NewYork panoramas"] * 3 + ["NewYork photos"] * 2


def test_a_hundred_references_compete_and_the_truth_is_one_of_them(tmp_path):
    # Every 111 m to the north, 130 of them.
    plant_many(tmp_path, [(35 + row / 1000, 139.0) for row in range(130)])

    task = read(tmp_path, version="Tokyo").tasks[0]

    assert set(task.candidates.counts.tolist()) == {100}
    assert task.candidates[0].tolist() == list(range(100))
    assert sorted(task.candidates[129].tolist()) == list(range(30, 130))
    assert all(row in task.candidates[row] for row in range(130))


def test_near_is_told_in_metres_and_not_in_degrees(tmp_path):
    # At 60 degrees north a degree of longitude is half one of latitude.
    plant_many(tmp_path, [(60.0, 10.0), (60.0, 10.0015), (60.001, 10.0)])

    task = read(tmp_path, version="Tokyo").tasks[0]

    assert task.candidates[0].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("references", "direction", "folder"),
    [("osm", "T2S", "NewYork-OSM"), ("street", "T2P", "NewYork-ground")],
)
def test_references_are_a_choice(root, references, direction, folder):
    loaded = read(root, version="NewYork", references=references)

    assert loaded.tasks[0].direction.short == direction
    assert loaded.tasks[0].gallery == references
    assert loaded.sets[references].contents[0] == root / folder / CVG_NAMES[0]
    assert any("drawn maps" in text for text in loaded.tasks[1].remarks) == (references == "osm")


def test_single_photos_have_their_street_pictures_in_either_folder(root):
    street = read(root, version="NewYork-photos", references="street").sets["street"]
    assert street.contents[0] == root / "NewYork-photo" / CVG_PHOTOS[0]

    shutil.move(root / "NewYork-photo", root / "NewYork-photos-ground")
    street = read(root, version="NewYork-photos", references="street").sets["street"]
    assert street.contents[0] == root / "NewYork-photos-ground" / CVG_PHOTOS[0]


def test_an_underscore_in_the_root_changes_nothing(tmp_path):
    root = tmp_path / "my_data_set_here"
    plant_cvgtext(root)

    assert set(read(root).sets["text"].regions) == {"NewYork panoramas", "NewYork photos"}


def test_pictures_that_are_missing_are_counted(root):
    (root / "NewYork-satellite" / CVG_NAMES[1]).unlink()

    loaded = read(root, version="NewYork")

    assert len(loaded.sets["text"]) == len(loaded.sets["satellite"]) == 2
    assert loaded.remarks[0].startswith("1 of 3 satellite pictures named for test are left out")
    assert any("satellite pictures named for test" in fault for fault in BENCHMARK.faults(root))


def test_splits_are_of_every_version_that_is_there(root):
    found = BENCHMARK.splits(root)

    assert {name: len(items) for name, items in found.items()} == {
        "train/NewYork text": 1,
        "train/NewYork satellite": 1,
        "test/NewYork text": 3,
        "test/NewYork satellite": 3,
        "test/NewYork osm": 3,
        "test/NewYork street": 3,
        "test/NewYork-photos text": 2,
        "test/NewYork-photos satellite": 2,
        "test/NewYork-photos osm": 2,
        "test/NewYork-photos street": 2,
    }
    for items in found.values():
        assert np.isfinite(items.lat).all()


def test_a_wrong_root_says_what_was_looked_for_and_found(root):
    with pytest.raises(EvaluationError, match=r"looked for CVG-text/Tokyo/test\.json.*NewYork-OSM"):
        read(root, version="Tokyo")
    with pytest.raises(EvaluationError, match="looked for CVG-text"):
        BENCHMARK.splits(root / "NewYork-OSM")
    shutil.rmtree(root / "NewYork-satellite")
    with pytest.raises(EvaluationError, match="missing are NewYork-satellite"):
        read(root)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('["a"]', "does not name a description"),
        ('{"40.0,-74.0_a.jpg": 3}', "does not name a description"),
        ('{"place_40.jpg": "a street"}', "does not begin with a latitude"),
    ],
)
def test_a_damaged_list_is_refused(root, content, message):
    (root / "CVG-text/NewYork/test.json").write_text(content)

    with pytest.raises(EvaluationError, match=message):
        read(root)


def test_a_city_that_is_none_is_refused():
    with pytest.raises(ValidationError):
        BENCHMARK.configure({"version": "Paris"})
