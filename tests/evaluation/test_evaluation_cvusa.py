import pickle
import shutil
from itertools import pairwise

import numpy as np
import pytest
from pydantic import ValidationError
from trees_street import plant_cvusa

from geobridge.errors import EvaluationError
from geobridge.evaluation.benchmarks.cvusa import BENCHMARK
from geobridge.imagery.preprocess import Preprocess


@pytest.fixture
def root(tmp_path):
    plant_cvusa(tmp_path)
    return tmp_path


def read(root, **options):
    return BENCHMARK.read(root, BENCHMARK.configure(options))


def shown(street):
    """The grey of a made panorama's columns, in units of one column."""
    return [(picture()[0, :, 0] // 4).tolist() for picture in street.contents]


def test_pairs_are_those_of_the_validation_list_in_its_order(root):
    loaded = read(root)

    assert loaded.sets["street"].places == ["15", "16", "19"]
    assert loaded.sets["satellite"].names == [
        f"bingmap/19/{number:07d}.jpg" for number in (15, 16, 19)
    ]
    assert loaded.sets["street"].contents[2] == root / "streetview/panos/0000019.jpg"
    assert [task.name for task in loaded.tasks] == ["P2S", "S2P"]
    for task in loaded.tasks:
        assert task.positives.rows.tolist() == [0, 1, 2]
        assert task.positives.counts.tolist() == [1, 1, 1]
        assert task.headline == ("R@1", "R@5", "R@10", "R@1% (int+1)")
        assert task.remarks == ()
    assert loaded.remarks == ()


def test_whole_panoramas_are_strips_of_the_full_circle(root):
    fields = read(root).sets["street"].fields

    # 360 degrees over 1232 px; 224 px are 65.45.
    assert [field.horizontal_fov_deg for field in fields] == [360] * 3
    assert fields[0].vertical_fov_deg == pytest.approx(65.4545, abs=1e-4)


def test_a_limited_view_is_the_middle_columns_and_says_its_angles(root):
    loaded = read(root, fov_deg=90)
    street = loaded.sets["street"]

    # A quarter of 44 columns is 11; north lies between columns 21 and 22.
    assert [len(columns) for columns in shown(street)] == [11] * 3
    assert shown(street)[0] in ([*range(16, 27)], [*range(17, 28)])
    assert street.fields[0].horizontal_fov_deg == 90
    assert street.fields[0].vertical_fov_deg == pytest.approx(65.4545, abs=1e-4)
    for task in loaded.tasks:
        assert "90 degrees around north" in task.remarks[0]


def test_options_are_read_as_they_are_typed():
    typed = BENCHMARK.configure({"orientation": "unknown", "fov_deg": "90", "seed": "3"})

    assert (typed.orientation, typed.fov_deg, typed.seed) == ("unknown", 90, 3)


def test_a_limited_view_takes_its_angle_of_a_model_canvas(root):
    street = read(root, fov_deg=90).sets["street"]
    preprocess = Preprocess(height=16, width=64, mean=(0, 0, 0), fit="angular")
    picture = np.full_like(street.contents[0](), 200)

    canvas = preprocess.prepare(picture, street.fields[0])

    # 90 of 360 degrees are 16 of 64 columns; without the field it would be a plain photo of 65.
    assert np.flatnonzero(canvas[0].numpy().any(axis=0)).tolist() == list(range(24, 40))


def test_seventy_degrees_are_cut_as_published_code_cuts_them(root):
    # floor(44 * 70 / 360) = floor(8.6)
    assert {len(columns) for columns in shown(read(root, fov_deg=70).sets["street"])} == {8}


def test_unknown_orientation_turns_each_panorama_on_its_own(root):
    first = shown(read(root, orientation="unknown", seed=1).sets["street"])
    again = shown(read(root, orientation="unknown", seed=1).sets["street"])
    other = shown(read(root, orientation="unknown", seed=2).sets["street"])

    assert first == again
    assert first != other
    assert len({tuple(columns) for columns in first}) == 3
    for columns in first:
        assert sorted(columns) == list(range(44))
        assert {(right - left) % 44 for left, right in pairwise(columns)} == {1}


def test_headings_belong_to_the_lines_of_the_list(root):
    options = {"orientation": "unknown", "fov_deg": 180, "seed": 3}
    whole = shown(read(root, **options).sets["street"])
    (root / "bingmap/19/0000015.jpg").unlink()

    assert shown(read(root, **options).sets["street"]) == whole[1:]


def test_turned_pictures_can_be_sent_to_a_reader(root):
    made = read(root, fov_deg=180).sets["street"].contents[1]

    assert pickle.loads(pickle.dumps(made)) == made


def test_a_pair_without_a_file_is_left_out_and_counted(root):
    (root / "streetview/panos/0000016.jpg").unlink()

    loaded = read(root)

    assert loaded.sets["street"].places == loaded.sets["satellite"].places == ["15", "19"]
    assert loaded.tasks[0].positives.rows.tolist() == [0, 1]
    assert loaded.remarks[0].startswith("1 of 3 pairs of splits/val-19zl.csv are left out")
    assert BENCHMARK.faults(root) == list(loaded.remarks)


def test_splits_have_both_lists(root):
    found = BENCHMARK.splits(root)

    assert {name: len(items) for name, items in found.items()} == {
        "train/street": 2,
        "train/satellite": 2,
        "val/street": 3,
        "val/satellite": 3,
    }
    assert set(found) == set(BENCHMARK.counts)
    (root / "splits/train-19zl.csv").unlink()
    assert set(BENCHMARK.splits(root)) == {"val/street", "val/satellite"}


def test_a_wrong_root_says_what_was_looked_for_and_found(root):
    with pytest.raises(EvaluationError, match=r"val-19zl\.csv.*found was.*train-19zl\.csv"):
        read(root / "splits")
    with pytest.raises(EvaluationError, match="train-19zl"):
        BENCHMARK.splits(root / "streetview")


def test_a_root_without_pictures_is_refused(root):
    shutil.rmtree(root / "streetview")

    with pytest.raises(EvaluationError, match=r"nothing to be measured.*3 of 3 pairs"):
        read(root)


@pytest.mark.parametrize("line", ["bingmap/19/0000015.jpg", "a.jpg,b.jpg,c.png"])
def test_a_damaged_line_is_named(root, line):
    path = root / "splits/val-19zl.csv"
    path.write_text(path.read_text() + line + "\n")

    with pytest.raises(EvaluationError, match=r"line 4 of .*val-19zl\.csv"):
        read(root)


def test_a_pair_named_twice_is_refused(root):
    path = root / "splits/val-19zl.csv"
    path.write_text(path.read_text() * 2)

    with pytest.raises(EvaluationError, match="names 15 more than once"):
        read(root)


@pytest.mark.parametrize("options", [{"fov_deg": 100}, {"orientation": "south"}, {"sed": 1}])
def test_options_that_are_none_are_refused(options):
    with pytest.raises(ValidationError):
        BENCHMARK.configure(options)
