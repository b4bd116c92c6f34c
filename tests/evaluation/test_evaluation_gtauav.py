import json

import numpy as np
import pytest
from trees_uav import GTA_PAIRS, gtauav_entry, plant_gtauav, plant_picture

from geobridge.errors import EvaluationError
from geobridge.evaluation.benchmarks.gtauav import BENCHMARK, tile_center_m
from geobridge.evaluation.tasks import Sdm

WHOLE, TWO, HALF = GTA_PAIRS


@pytest.fixture
def root(tmp_path):
    plant_gtauav(tmp_path)
    return tmp_path


def read(root, **options):
    loaded = BENCHMARK.read(root, BENCHMARK.configure(options))
    return loaded, {task.name: task for task in loaded.tasks}


def lists(relevance):
    return [rows.tolist() for rows in map(relevance.__getitem__, range(len(relevance)))]


def test_centres_of_tiles():
    # As the data set's README has them for its example.
    assert tile_center_m("4_0_6_13.png") == pytest.approx((4492.8, 9331.2))
    assert tile_center_m("5_0_12_27.png") == pytest.approx((4320.0, 9504.0))
    # Zoom 6 is 24576 / 64 = 384 px or 172.8 m; half a tile of offset and half to the centre.
    assert tile_center_m("6_128_3_4.png") == pytest.approx((4 * 172.8, 5 * 172.8))
    # The first release has no offset.
    assert tile_center_m("5_10_20.png") == pytest.approx((3628.8, 7084.8))


@pytest.mark.parametrize("name", ["map.png", "5_10.png", "5_0_1_2_3.png", "a_b_c_d.png"])
def test_names_that_are_no_tiles_are_refused(name):
    with pytest.raises(EvaluationError, match="is no name of a tile"):
        tile_center_m(name)


def test_drone_pictures_with_a_positive_are_asked_of_all_tiles(root):
    loaded, tasks = read(root)

    assert loaded.sets["drone"].names == [WHOLE, TWO]
    assert loaded.sets["drone"].contents[0] == root / "drone/images" / WHOLE
    assert len(loaded.sets["satellite"]) == 5
    # Tiles sorted by name: 4_0_6_13, 5_0_12_27, 5_0_13_27, 6_128_3_4, 7_0_0_0.
    assert lists(tasks["D2S"].positives) == [[0], [1, 2]]
    assert tasks["D2S"].query_rows is None
    assert tasks["D2S"].gallery_rows is None
    assert loaded.remarks == (
        "1 of the 3 drone pictures of cross-area-drone2sate-test.json have no positive tile and "
        "are not asked, as in Game4Loc.",
    )


def test_tiles_that_a_drone_picture_matches_are_asked_of_those_pictures(root):
    task = read(root)[1]["S2D"]

    assert task.query_rows.tolist() == [0, 1, 2]
    assert lists(task.positives) == [[0], [1], [1]]
    assert task.direction.short == "S2D"


def test_half_matches_count_where_asked_for(root):
    loaded, tasks = read(root, positives="pos+semi")

    assert loaded.sets["drone"].names == [WHOLE, TWO, HALF]
    assert lists(tasks["D2S"].positives) == [[0, 1, 2], [1, 2], [4]]
    assert tasks["S2D"].query_rows.tolist() == [0, 1, 2, 4]
    assert lists(tasks["S2D"].positives) == [[0], [0, 1], [0, 1], [2]]
    assert loaded.remarks == ()


def test_positions_are_metres_east_and_north(root):
    sets = read(root)[0].sets

    assert sets["drone"].xy_m.tolist() == [[4472.2, -9460.9], [4400.0, -9500.0]]
    assert np.allclose(sets["satellite"].xy_m[0], (4492.8, -9331.2))
    assert sets["drone"].regions == ["500 m", "200 m"]
    assert sets["satellite"].regions == ["zoom 4", "zoom 5", "zoom 5", "zoom 6", "zoom 7"]


def test_distances_are_those_of_the_data_sets_own_code(root):
    for task in read(root)[1].values():
        assert task.sdm == Sdm("metres", 0.001)
        assert task.geodesy == "plane"
        assert task.matched_only
        assert task.headline == (
            *("R@1", "R@5", "R@10", "R@1% (round+1)", "AP (plain)"),
            *("SDM@1", "SDM@3", "SDM@5", "Dis@1", "Dis@3", "Dis@5"),
        )


def test_areas_have_lists_of_their_own(root):
    entry = gtauav_entry(TWO, *GTA_PAIRS[TWO])
    (root / "same-area-drone2sate-test.json").write_text(json.dumps([entry]))

    assert read(root, area="same")[0].sets["drone"].names == [TWO]
    assert read(root, area="cross")[0].sets["drone"].names == [WHOLE, TWO]


def test_a_drone_picture_that_lost_all_its_tiles_is_counted(root):
    (root / "satellite/4_0_6_13.png").unlink()

    loaded, _ = read(root)

    assert loaded.sets["drone"].names == [TWO]
    assert loaded.remarks[-1] == (
        "1 drone pictures of cross-area-drone2sate-test.json are not asked because none of their "
        "positive tiles is there."
    )


def test_files_that_are_not_there_are_counted(root):
    (root / "drone/images" / WHOLE).unlink()
    (root / "satellite/5_0_13_27.png").unlink()

    loaded, tasks = read(root)

    assert loaded.sets["drone"].names == [TWO]
    assert lists(tasks["D2S"].positives) == [[1]]
    assert loaded.remarks[:2] == (
        "1 drone pictures that cross-area-drone2sate-test.json lists are not there.",
        "1 pairs of cross-area-drone2sate-test.json have a tile that is not there.",
    )
    # Half matches are pairs too.
    assert BENCHMARK.faults(root)[-2:] == [
        "1 drone pictures that cross-area-drone2sate-test.json lists are not there.",
        "2 pairs of cross-area-drone2sate-test.json have a tile that is not there.",
    ]


def test_a_list_without_any_pair_that_is_there_is_refused(root):
    for tile in (root / "satellite").glob("[45]*"):
        tile.unlink()

    with pytest.raises(EvaluationError, match=r"no drone picture of .* with a positive tile"):
        read(root)


def test_a_wrong_root_is_refused(root):
    with pytest.raises(EvaluationError, match=r"looked for satellite, drone/images, cross-area"):
        read(root / "drone")


@pytest.mark.parametrize("text", ["{", "[{}]", "[3]", '{"a": 1}', '[{"drone_loc_x_y": [1]}]'])
def test_a_damaged_list_is_refused(root, text):
    (root / "cross-area-drone2sate-test.json").write_text(text)

    with pytest.raises(EvaluationError, match=r"test\.json is no list of GTA-UAV's pairs"):
        read(root)


def test_splits_have_all_pictures_and_every_list(root):
    plant_picture(root / "drone/images/100_0001_0000000009.png")

    splits = BENCHMARK.splits(root)

    assert {name: len(items) for name, items in splits.items()} == {
        "all/drone": 4,
        "all/satellite": 5,
        "train/drone same area": 1,
        "test/drone same area": 3,
        "train/drone cross area": 1,
        "test/drone cross area": 3,
    }
    assert BENCHMARK.counts == {"all/drone": 33_763, "all/satellite": 14_640}
    assert set(BENCHMARK.counts) <= set(splits)
    assert BENCHMARK.overlap


def test_lists_that_are_not_there_are_faults(root):
    assert BENCHMARK.faults(root) == []
    (root / "same-area-drone2sate-train.json").unlink()

    assert BENCHMARK.faults(root) == ["same-area-drone2sate-train.json is not there."]
    assert "train/drone same area" not in BENCHMARK.splits(root)
