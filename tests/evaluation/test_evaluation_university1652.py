import shutil

import pytest
from pydantic import ValidationError
from trees_uav import plant_picture, plant_university1652

from geobridge.errors import EvaluationError
from geobridge.evaluation.benchmarks.university1652 import BENCHMARK
from geobridge.evaluation.tasks import Relevance


@pytest.fixture
def root(tmp_path):
    plant_university1652(tmp_path)
    return tmp_path


def read(root, **options):
    loaded = BENCHMARK.read(root, BENCHMARK.configure(options))
    return loaded, {task.name: task for task in loaded.tasks}


def lists(relevance):
    return [rows.tolist() for rows in map(relevance.__getitem__, range(len(relevance)))]


def test_sets_are_folders_and_names_paths_from_them(root):
    sets = read(root)[0].sets

    assert {name: len(items) for name, items in sets.items()} == {
        "query_drone": 6,
        "gallery_drone": 10,
        "query_street": 3,
        "gallery_street": 4,
        "query_satellite": 3,
        "gallery_satellite": 5,
    }
    assert sets["query_drone"].names[:3] == [
        "0003/image-01.jpeg",
        "0003/image-02.jpeg",
        "0004/image-01.jpeg",
    ]
    assert sets["query_drone"].contents[0] == root / "test/query_drone/0003/image-01.jpeg"
    assert sets["query_drone"].places == ["0003", "0003", "0004", "0004", "0005", "0005"]
    assert sets["gallery_satellite"].modality == "satellite"
    assert sets["gallery_street"].modality == "street"


def test_six_directions_and_what_is_right_in_each(root):
    loaded, tasks = read(root)

    assert set(tasks) == {"D2S", "S2D", "D2P", "P2D", "S2P", "P2S"}
    assert {name: task.direction.short for name, task in tasks.items()} == {n: n for n in tasks}
    # Galleries are of the places 3 to 7: satellites are rows 0 to 4, drones two rows a place.
    assert lists(tasks["D2S"].positives) == [[0], [0], [1], [1], [2], [2]]
    assert lists(tasks["S2D"].positives) == [[0, 1], [2, 3], [4, 5]]
    # Streets are 3, 3, 5 and the distractor 6; place 4 has none and counts as wrong.
    assert lists(tasks["S2P"].positives) == [[0, 1], [], [2]]
    assert lists(tasks["D2P"].positives) == [[0, 1], [0, 1], [], [], [2], [2]]
    assert lists(tasks["P2S"].positives) == [[0], [0], [2]]
    assert lists(tasks["P2D"].positives) == [[0, 1], [0, 1], [4, 5]]
    assert (tasks["D2S"].queries, tasks["D2S"].gallery) == ("query_drone", "gallery_satellite")
    assert tasks["S2P"].matched_only is False
    assert loaded.remarks == ()


def test_the_data_sets_own_rule_keeps_distractors(root):
    for task in read(root)[1].values():
        assert task.query_rows is None
        assert task.gallery_rows is None
        assert task.percent_of is None
        assert task.remarks == ()
        assert task.headline == ("R@1", "R@5", "R@10", "R@1% (round+1)", "AP (trapezoid)")


def test_dropped_distractors_still_count_for_one_per_cent(root):
    tasks = read(root, distractors="drop")[1]

    assert tasks["D2S"].gallery_rows.tolist() == [0, 1, 2]
    assert tasks["D2S"].percent_of == 5
    assert lists(tasks["D2S"].positives) == [[0], [0], [1], [1], [2], [2]]
    assert tasks["S2D"].gallery_rows.tolist() == [0, 1, 2, 3, 4, 5]
    assert tasks["S2D"].percent_of == 10
    assert tasks["S2P"].gallery_rows.tolist() == [0, 1, 2]
    assert "3 of 5 are ranked" in tasks["D2S"].remarks[0]


def test_further_distractors_join_the_satellites(root, tmp_path):
    folder = tmp_path / "160k"
    for name in ("0aX.webp.jpg", "sub/1bY.jpg"):
        plant_picture(folder / name)

    loaded, tasks = read(root, extra_distractors=folder)

    satellites = loaded.sets["gallery_satellite"]
    assert satellites.names[5:] == ["extra/0aX.webp.jpg", "extra/sub/1bY.jpg"]
    assert satellites.contents[6] == folder / "sub/1bY.jpg"
    assert lists(tasks["D2S"].positives) == [[0], [0], [1], [1], [2], [2]]
    assert tasks["D2S"].gallery_rows is None
    assert len(loaded.sets["query_satellite"]) == 3
    assert loaded.remarks == (
        "2 satellite pictures join the gallery of D2S and P2S; all count as wrong.",
    )


def test_distractors_cannot_both_join_and_be_dropped(tmp_path):
    with pytest.raises(ValidationError, match="would leave extra_distractors out"):
        BENCHMARK.configure({"distractors": "drop", "extra_distractors": tmp_path})


def test_an_empty_folder_of_distractors_is_refused(root, tmp_path):
    (tmp_path / "none").mkdir()

    with pytest.raises(EvaluationError, match="none holds no picture"):
        read(root, extra_distractors=tmp_path / "none")


def test_without_streets_four_directions_are_left_out(root):
    shutil.rmtree(root / "test/query_street")

    loaded, tasks = read(root)

    assert set(tasks) == {"D2S", "S2D"}
    assert "gallery_street" not in loaded.sets
    assert loaded.remarks == (
        "D2P, P2D, S2P and P2S are left out: test/query_street or test/gallery_street is not "
        "there.",
    )


def test_a_wrong_root_is_refused(root):
    with pytest.raises(EvaluationError, match=r"looked for test/query_drone, .* gallery_drone/"):
        read(root / "test")


def test_an_empty_folder_is_refused(root):
    shutil.rmtree(root / "test/gallery_satellite")
    (root / "test/gallery_satellite").mkdir()

    with pytest.raises(EvaluationError, match="gallery_satellite holds no picture"):
        read(root)


def test_a_picture_outside_all_places_is_refused(root):
    plant_picture(root / "test/query_drone/stray.jpg")

    with pytest.raises(EvaluationError, match=r"stray\.jpg lies in no folder of a place"):
        read(root)


def test_splits_have_every_folder_and_counts_are_of_them(root):
    splits = BENCHMARK.splits(root)

    assert {name: len(items) for name, items in splits.items()} == {
        "train/drone": 4,
        "train/satellite": 2,
        "train/street": 2,
        "train/google": 2,
        "test/query_drone": 6,
        "test/gallery_drone": 10,
        "test/query_street": 3,
        "test/gallery_street": 4,
        "test/query_satellite": 3,
        "test/gallery_satellite": 5,
    }
    assert {name.removesuffix(" places") for name in BENCHMARK.counts} <= set(splits)
    assert BENCHMARK.counts["test/gallery_drone"] == 51_355
    assert BENCHMARK.overlap is None


def test_places_of_one_view_are_faults(root):
    assert BENCHMARK.faults(root) == []
    shutil.rmtree(root / "train/satellite/0002")
    shutil.rmtree(root / "test/gallery_drone/0004")

    assert BENCHMARK.faults(root) == [
        "Places of train/drone that are not in train/satellite: 1, the first is 0002.",
        "Places of test/query_satellite that are not in test/gallery_drone: 1, the first is 0004.",
    ]


def test_relevance_agrees_with_a_slow_search(root):
    loaded, tasks = read(root)

    for task in tasks.values():
        asked, held = loaded.sets[task.queries].places, loaded.sets[task.gallery].places
        slow = [[row for row, place in enumerate(held) if place == query] for query in asked]
        assert lists(task.positives) == slow == lists(Relevance.same(asked, held))
