import importlib
import shutil

import pytest
from pydantic import ValidationError
from trees_street import plant_cvact

from geobridge.errors import EvaluationError, MissingExtraError
from geobridge.evaluation.benchmarks import cvact
from geobridge.evaluation.benchmarks.cvact import BENCHMARK


@pytest.fixture
def root(tmp_path):
    plant_cvact(tmp_path)
    return tmp_path


def read(root, **options):
    return BENCHMARK.read(root, BENCHMARK.configure(options))


def lists(relevance):
    return [rows.tolist() for rows in map(relevance.__getitem__, range(len(relevance)))]


def test_val_has_the_ids_that_the_table_counts_from_one(root):
    loaded = read(root)

    # Rows 3 and 2 of t0, v0, v1, a, b, c.
    assert loaded.sets["street"].places == loaded.sets["satellite"].places == ["v1", "v0"]
    assert loaded.sets["street"].contents[0] == root / ("ANU_data_small/streetview/v1_grdView.jpg")
    assert loaded.sets["satellite"].contents[1] == root / (
        "ANU_data_small/satview_polish/v0_satView_polish.jpg"
    )
    assert loaded.sets["street"].xy_m.tolist() == [[2000, 0], [1000, 0]]
    assert [task.name for task in loaded.tasks] == ["P2S", "S2P"]
    for task in loaded.tasks:
        assert lists(task.positives) == [[0], [1]]
        assert task.geodesy == "plane"
        assert task.headline == ("R@1", "R@5", "R@10", "R@1% (int+1)")


def test_every_satellite_within_five_metres_is_right_on_test(root):
    loaded = read(root, split="test")

    assert loaded.sets["street"].places == ["v0", "v1", "a", "b", "c"]
    # a and c are 6 m apart, b exactly 5 m from both.
    assert lists(loaded.tasks[0].positives) == [[0], [1], [2, 3], [2, 3, 4], [3, 4]]
    assert lists(loaded.tasks[1].positives) == [[0], [1], [2, 3], [2, 3, 4], [3, 4]]
    for task in loaded.tasks:
        assert "within 5 m" in task.remarks[0]


def test_the_same_id_alone_is_right_by_the_other_rule(root):
    (root / "ANU_data_test/streetview/b_grdView.jpg").unlink()
    (root / "ACT_data.mat").unlink()  # the files alone decide

    loaded = read(root, split="test", test_rule="exact-id")

    assert loaded.sets["street"].places == ["a", "c", "v0", "v1"]
    assert lists(loaded.tasks[0].positives) == [[0], [1], [2], [3]]
    assert loaded.sets["street"].xy_m is None
    assert "count as wrong" in loaded.tasks[0].remarks[0]
    assert loaded.remarks == (
        "1 pictures of ANU_data_test are left out because the other view of their id is missing, "
        "such as of b.",
    )


def test_pairs_without_a_file_are_left_out_and_counted(root):
    (root / "ANU_data_test/satview_polish/b_satView_polish.jpg").unlink()

    loaded = read(root, split="test")

    assert loaded.sets["street"].places == ["v0", "v1", "a", "c"]
    assert lists(loaded.tasks[0].positives) == [[0], [1], [2], [3]]
    assert loaded.remarks[0].startswith("1 of 5 test pairs of ACT_data.mat are left out")
    assert BENCHMARK.faults(root) == list(loaded.remarks)


def test_splits_are_of_the_folders_that_are_there(root):
    found = BENCHMARK.splits(root)

    assert {name: list(items.places) for name, items in found.items()} == {
        "train/street": ["t0"],
        "train/satellite": ["t0"],
        "val/street": ["v1", "v0"],
        "val/satellite": ["v1", "v0"],
        "test/street": ["v0", "v1", "a", "b", "c"],
        "test/satellite": ["v0", "v1", "a", "b", "c"],
    }
    assert set(found) == set(BENCHMARK.counts)
    shutil.rmtree(root / "ANU_data_test")
    assert set(BENCHMARK.splits(root)) == {name for name in found if "test" not in name}


def test_a_wrong_root_says_what_was_looked_for_and_found(root):
    with pytest.raises(
        EvaluationError, match=r"looked for ACT_data\.mat.*found was satview_polish/"
    ):
        read(root / "ANU_data_small")
    shutil.rmtree(root / "ANU_data_test")
    with pytest.raises(EvaluationError, match="missing are ANU_data_test/streetview"):
        read(root, split="test")
    shutil.rmtree(root / "ANU_data_small")
    with pytest.raises(EvaluationError, match="ANU_data_small, ANU_data_test"):
        BENCHMARK.splits(root)


def test_a_table_of_matlab_7_3_says_what_to_do(root):
    head = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    (root / "ACT_data.mat").write_bytes(head + b"\x89HDF\r\n\x1a\n" * 20)

    with pytest.raises(EvaluationError, match=r"HDF5.*save\('ACT_data\.mat', '-v7'\)"):
        read(root)


@pytest.mark.parametrize("content", [b"", b"junk" * 50])
def test_a_damaged_table_is_refused(root, content):
    (root / "ACT_data.mat").write_bytes(content)

    with pytest.raises(EvaluationError, match="no MATLAB file that can be read"):
        read(root)


def test_a_table_of_something_else_is_refused(root):
    from scipy.io import savemat

    savemat(root / "ACT_data.mat", {"panoIds": ["a"]})

    with pytest.raises(EvaluationError, match="should hold panoIds, utm"):
        read(root)


def test_rows_beyond_the_table_are_refused(root):
    from scipy.io import loadmat, savemat

    table = loadmat(root / "ACT_data.mat")
    kept = {name: table[name] for name in ("panoIds", "utm", "trainSet", "valSetAll")}
    savemat(root / "ACT_data.mat", kept | {"valSet": {"numVal": 1, "valInd": [[7]]}})

    with pytest.raises(EvaluationError, match=r"beyond its 6 panoIds in valSet\.valInd"):
        read(root)


def test_without_scipy_the_extra_is_named(root, monkeypatch):
    def refuse(name, *args, **kwargs):
        if name.startswith("scipy"):
            raise ImportError(name)
        return importlib.import_module(name, *args, **kwargs)

    monkeypatch.setattr(cvact, "import_module", refuse)

    with pytest.raises(MissingExtraError, match=r"geobridge\[train\]"):
        read(root)
    assert len(read(root, split="test", test_rule="exact-id").tasks) == 2


def test_a_rule_of_test_is_refused_on_val():
    with pytest.raises(ValidationError, match="'val' has one rule"):
        BENCHMARK.configure({"test_rule": "exact-id"})
