import shutil

import pytest
from trees_uav import HEIGHTS, plant_picture, plant_sues200, plant_sues200_archive

from geobridge.errors import EvaluationError
from geobridge.evaluation.benchmarks.by_place import pick
from geobridge.evaluation.benchmarks.sues200 import BENCHMARK, TEST_PLACES, TRAINING_PLACES

EXPECTED_SPLITS = {
    "train/drone": 4,
    "train/satellite": 2,
    "test/query_drone": 4,
    "test/query_satellite": 2,
    "test/gallery_drone": 8,
    "test/gallery_satellite": 4,
}


@pytest.fixture(params=[plant_sues200, plant_sues200_archive])
def root(request, tmp_path):
    request.param(tmp_path)
    return tmp_path


@pytest.fixture
def archive(tmp_path):
    plant_sues200_archive(tmp_path)
    return tmp_path / "SUES-200-512x512"


def read(root, **options):
    loaded = BENCHMARK.read(root, BENCHMARK.configure(options))
    return loaded, {task.name: task for task in loaded.tasks}


def lists(relevance):
    return [rows.tolist() for rows in map(relevance.__getitem__, range(len(relevance)))]


def sides(loaded, task):
    """What a task asks and ranks, as sets of their own."""
    return (
        pick(loaded.sets[task.queries], task.query_rows),
        pick(loaded.sets[task.gallery], task.gallery_rows),
    )


def test_the_official_split_has_120_and_80_places():
    assert len(TRAINING_PLACES) == 120
    assert len(TEST_PLACES) == 80
    assert {"0001", "0013", "0200"} <= TRAINING_PLACES
    assert {"0008", "0012", "0190"} <= TEST_PLACES


def test_two_directions_at_each_of_four_heights(root):
    loaded, tasks = read(root)

    assert list(tasks) == [f"{name} {height} m" for height in HEIGHTS for name in ("D2S", "S2D")]
    assert tasks["S2D 250 m"].direction.short == "S2D"
    assert {task.percent_of for task in tasks.values()} == {None}
    assert tasks["D2S 150 m"].headline == ("R@1", "R@5", "R@10", "R@1% (round+1)",
                                           "AP (trapezoid)")  # fmt: skip
    assert len(loaded.remarks) == 4  # the tree has 2 of the 80 places, which is said


def test_training_places_are_distractors(root):
    loaded, tasks = read(root)

    # The gallery's places are 0001, 0008, 0012, 0013; asked are 0008 and 0012, twice from the air.
    for height in HEIGHTS:
        asked, held = sides(loaded, tasks[f"D2S {height} m"])
        assert asked.places == ["0008", "0008", "0012", "0012"]
        assert held.places == ["0001", "0008", "0012", "0013"]
        assert lists(tasks[f"D2S {height} m"].positives) == [[1], [1], [2], [2]]
        asked, held = sides(loaded, tasks[f"S2D {height} m"])
        assert asked.places == ["0008", "0012"]
        assert held.places == [place for place in ("0001", "0008", "0012", "0013") for _ in "ab"]
        assert lists(tasks[f"S2D {height} m"].positives) == [[2, 3], [4, 5]]


def test_a_gallery_of_test_places_still_counts_all_for_one_per_cent(root):
    loaded, tasks = read(root, gallery="test")

    asked, held = sides(loaded, tasks["D2S 200 m"])
    assert held.places == ["0008", "0012"]
    assert asked.places == ["0008", "0008", "0012", "0012"]
    assert tasks["D2S 200 m"].percent_of == 4
    assert lists(tasks["D2S 200 m"].positives) == [[0], [0], [1], [1]]
    asked, held = sides(loaded, tasks["S2D 200 m"])
    assert held.places == ["0008", "0008", "0012", "0012"]
    assert tasks["S2D 200 m"].percent_of == 8
    assert lists(tasks["S2D 200 m"].positives) == [[0, 1], [2, 3]]
    assert "4 of 8 are ranked" in tasks["S2D 200 m"].remarks[0]


def test_both_layouts_ask_for_the_same_pictures(tmp_path):
    plant_sues200(tmp_path / "split")
    plant_sues200_archive(tmp_path / "archive")
    split, split_tasks = read(tmp_path / "split")
    archive, archive_tasks = read(tmp_path / "archive")

    for name, task in split_tasks.items():
        for one, other in zip(sides(split, task), sides(archive, archive_tasks[name]), strict=True):
            assert [path.read_bytes() for path in one.contents] == [
                path.read_bytes() for path in other.contents
            ]


def test_the_archives_folder_itself_is_a_root_too(archive):
    loaded = read(archive)[0]

    assert loaded.sets["drone 300 m"].names[0] == "0001/300/0.jpg"
    assert loaded.sets["satellite"].names == ["0001/0.png", "0008/0.png", "0012/0.png",
                                              "0013/0.png"]  # fmt: skip


def test_a_height_that_is_not_there_is_left_out_and_said(root, tmp_path):
    for folder in tmp_path.rglob("250"):
        shutil.rmtree(folder)

    loaded, tasks = read(root)

    assert len(tasks) == 6
    assert "D2S 250 m" not in tasks
    assert loaded.remarks[0] == "Pictures from 250 m are not there."
    assert BENCHMARK.faults(root)[0] == "Pictures from 250 m are not there."


def test_another_split_than_the_official_one_is_said(tmp_path):
    plant_sues200(tmp_path)
    for role in ("query_drone", "query_satellite"):
        (tmp_path / "Testing/150" / role / "0012").rename(tmp_path / "Testing/150" / role / "0013")

    assert read(tmp_path)[0].remarks[0] == (
        "2 places are asked at 150 m, 1 of them not among the 80 official ones: do not compare "
        "with published numbers."
    )


def test_a_wrong_root_is_refused(tmp_path):
    plant_picture(tmp_path / "pictures/1.jpg")

    with pytest.raises(EvaluationError) as caught:
        read(tmp_path)
    assert "looked for satellite-view, drone_view_512;" in str(caught.value)
    assert "found was pictures/" in str(caught.value)


def test_an_unfinished_split_is_refused(tmp_path):
    plant_sues200(tmp_path)
    shutil.rmtree(tmp_path / "Testing/300/gallery_drone")

    with pytest.raises(EvaluationError, match="missing are Testing/300/gallery_drone, and"):
        read(tmp_path)


def test_drone_pictures_in_another_order_of_folders_are_refused(archive):
    drone = archive / "drone_view_512"
    shutil.rmtree(drone)
    plant_picture(drone / "150/0008/0.jpg")

    with pytest.raises(EvaluationError, match="no pictures at <id>/<height>"):
        read(archive)


def test_splits_have_the_same_names_in_both_layouts(root):
    splits = BENCHMARK.splits(root)

    assert {name: len(items) for name, items in splits.items()} == {
        f"{name} {height} m": count for name, count in EXPECTED_SPLITS.items() for height in HEIGHTS
    }
    assert set(splits["train/drone 150 m"].places) == {"0001", "0013"}
    assert {name.removesuffix(" places") for name in BENCHMARK.counts} == set(splits)
    assert BENCHMARK.counts["train/drone 150 m"] == 6_000
    assert BENCHMARK.counts["test/gallery_drone 150 m"] == 10_000
    assert BENCHMARK.counts["test/query_satellite 300 m places"] == 80


def test_places_of_one_view_are_faults(root, tmp_path):
    before = BENCHMARK.faults(root)
    for folder in tmp_path.rglob("*satellite*/0012"):
        shutil.rmtree(folder)

    added = [fault for fault in BENCHMARK.faults(root) if fault not in before]

    assert added == [
        f"Places of test/query_drone {height} m that are not in test/gallery_satellite "
        f"{height} m: 1, the first is 0012."
        for height in HEIGHTS
    ]
