import shutil

import numpy as np
import pytest
from trees_uav import plant_denseuav

from geobridge.errors import EvaluationError
from geobridge.evaluation.benchmarks.denseuav import BENCHMARK
from geobridge.evaluation.tasks import Sdm


@pytest.fixture
def root(tmp_path):
    plant_denseuav(tmp_path)
    return tmp_path


def read(root, **options):
    loaded = BENCHMARK.read(root, BENCHMARK.configure(options))
    return loaded, {task.name: task for task in loaded.tasks}


def lists(relevance):
    return [rows.tolist() for rows in map(relevance.__getitem__, range(len(relevance)))]


def test_galleries_hold_the_places_of_training_too(root):
    loaded, tasks = read(root)

    assert {name: len(items) for name, items in loaded.sets.items()} == {
        "query_drone": 6,
        "gallery_satellite": 24,
        "query_satellite": 12,
        "gallery_drone": 12,
    }
    # Places 0 and 1 come first, six satellites and three drones each.
    assert lists(tasks["D2S"].positives) == [list(range(12, 18))] * 3 + [list(range(18, 24))] * 3
    assert lists(tasks["S2D"].positives) == [[6, 7, 8]] * 6 + [[9, 10, 11]] * 6
    assert tasks["D2S"].gallery_rows is None
    assert loaded.remarks == ()


def test_positions_are_of_places_and_heights_are_regions(root):
    drone = read(root)[0].sets["query_drone"]

    assert drone.names == [f"{place}/{height}.JPG" for place in ("002256", "002257")
                           for height in ("H100", "H80", "H90")]  # fmt: skip
    assert drone.lat.tolist() == [30.32413] * 6
    assert drone.lon.tolist() == [120.38200] * 3 + [120.38300] * 3
    assert drone.regions == ["100 m", "80 m", "90 m"] * 2


def test_both_dates_of_a_height_are_one_region(root):
    satellite = read(root)[0].sets["gallery_satellite"]

    assert satellite.names[:3] == ["000000/H100.tif", "000000/H100_old.tif", "000000/H80.tif"]
    assert satellite.regions[:3] == ["100 m", "100 m", "80 m"]


def test_distances_are_those_of_the_data_sets_own_code(root):
    task = read(root)[1]["D2S"]

    assert task.sdm == Sdm("degrees", 5000.0, float32=False)
    assert task.geodesy == "haversine-6378.137"
    assert task.headline == (
        *("R@1", "R@5", "R@10", "R@1% (round+1)", "AP (trapezoid)"),
        *("SDM@1", "SDM@3", "SDM@5", "SDM@10", "MA@5", "MA@10", "MA@20"),
    )
    assert read(root, coordinates="float32")[1]["S2D"].sdm == Sdm("degrees", 5000.0, float32=True)


def test_positions_of_two_files_do_as_well_as_those_of_one(root):
    whole = read(root)[0].sets["gallery_satellite"]
    (root / "Dense_GPS_ALL.txt").unlink()

    parts = read(root)[0].sets["gallery_satellite"]

    assert np.array_equal(whole.lon, parts.lon)


def test_the_last_line_of_a_place_counts_and_paths_may_be_whole(root):
    with (root / "Dense_GPS_ALL.txt").open("a") as file:
        file.write("\n/data of us/test/satellite/002257/H80_old.tif E120.5 N30.25 94\n")

    drone = read(root)[0].sets["query_drone"]

    assert drone.lon.tolist() == [120.38200] * 3 + [120.5] * 3
    assert drone.lat.tolist() == [30.32413] * 3 + [30.25] * 3


def test_pictures_without_a_position_are_counted(root):
    lines = (root / "Dense_GPS_ALL.txt").read_text().splitlines(keepends=True)
    (root / "Dense_GPS_ALL.txt").write_text("".join(lines[:6]))

    loaded = read(root)[0]

    assert np.isnan(loaded.sets["query_drone"].lat).tolist() == [False] * 3 + [True] * 3
    assert loaded.remarks[0] == (
        "3 of the 6 pictures of query_drone have no position in the Dense_GPS files."
    )
    assert len(loaded.remarks) == 4
    assert BENCHMARK.faults(root)[0].startswith("3 of the 6 pictures of test/query_drone")


@pytest.mark.parametrize(
    "line",
    [
        "test/satellite/002257/H80.tif 120.5 30.2 94",
        "test/satellite/002257/H80.tif E120.5 N30.2",
        "H80.tif E120.5 N30.2 94",
        "test/satellite/002257/H80.tif Eeast N30.2 94",
    ],
)
def test_a_line_that_is_no_position_is_named(root, line):
    with (root / "Dense_GPS_ALL.txt").open("a") as file:
        file.write(line)

    with pytest.raises(EvaluationError, match=r"line 9 of .*Dense_GPS_ALL.txt is '"):
        read(root)


def test_without_satellite_queries_one_direction_is_left_out(root):
    shutil.rmtree(root / "test/gallery_drone")

    loaded, tasks = read(root)

    assert set(tasks) == {"D2S"}
    assert set(loaded.sets) == {"query_drone", "gallery_satellite"}
    assert loaded.remarks == (
        "S2D is left out: test/query_satellite or test/gallery_drone is not there.",
    )


def test_a_wrong_root_is_refused(root):
    (root / "Dense_GPS_ALL.txt").unlink()
    (root / "Dense_GPS_test.txt").unlink()

    with pytest.raises(EvaluationError) as caught:
        read(root)
    assert "missing are Dense_GPS_ALL.txt" in str(caught.value)
    assert "found was Dense_GPS_train.txt, test/, train/" in str(caught.value)


def test_splits_have_every_folder_and_counts_are_of_them(root):
    splits = BENCHMARK.splits(root)

    assert {name: len(items) for name, items in splits.items()} == {
        "train/drone": 6,
        "train/satellite": 12,
        "test/query_drone": 6,
        "test/query_satellite": 12,
        "test/gallery_drone": 12,
        "test/gallery_satellite": 24,
    }
    assert {name.removesuffix(" places") for name in BENCHMARK.counts} == set(splits)
    assert splits["train/drone"].lon[0] == 120.38
    assert BENCHMARK.overlap


def test_places_of_one_view_are_faults(root):
    assert BENCHMARK.faults(root) == []
    shutil.rmtree(root / "test/gallery_satellite/002256")

    assert BENCHMARK.faults(root) == [
        "Places of test/query_drone that are not in test/gallery_satellite: 1, the first is 002256."
    ]
