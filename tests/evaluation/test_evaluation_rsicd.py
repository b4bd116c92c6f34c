import json
import shutil

import pytest
from trees_text import plant_rsicd, plant_rsieval, plant_ucm

from geobridge.errors import EvaluationError
from geobridge.evaluation.benchmarks.rsicd import RSICD, RSIEVAL, UCM_CAPTIONS

PLANTED = [(RSICD, plant_rsicd), (UCM_CAPTIONS, plant_ucm)]


@pytest.fixture
def root(tmp_path):
    plant_rsicd(tmp_path)
    return tmp_path


def read(root, benchmark=RSICD):
    return benchmark.read(root, benchmark.configure({}))


def lists(relevance):
    return [rows.tolist() for rows in map(relevance.__getitem__, range(len(relevance)))]


@pytest.mark.parametrize(("benchmark", "plant"), PLANTED)
def test_a_sentence_has_one_picture_and_a_picture_all_its_sentences(tmp_path, benchmark, plant):
    plant(tmp_path)
    loaded = read(tmp_path, benchmark)
    forward, back = loaded.tasks

    # Pictures in the order of their names, as numpy.unique has them.
    assert list(loaded.sets["satellite"].names) == ["port_1.jpg", "port_2.jpg"]
    assert (forward.name, back.name) == ("T2S", "S2T")
    assert lists(forward.positives) == [[0]] * 5 + [[1]] * 5
    assert lists(back.positives) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert back.query_rows is None
    for task in loaded.tasks:
        assert task.headline == ("R@1", "R@5", "R@10")
        assert task.recall_at == (1, 5, 10)
    assert "mean of R@1, R@5 and R@10" in loaded.remarks[0]


def test_sentences_are_capitalized_as_remoteclip_does(root):
    texts = read(root).sets["text"]

    assert texts.contents[5] == "Many ships are in a port ."  # "many SHIPS are in a port ."
    assert texts.names[5] == "port_2.jpg#0"


def test_sentences_of_several_pictures_are_counted(root):
    # "a port ." is said of both pictures.
    assert read(root).tasks[0].remarks[0].startswith("2 of 10 sentences are said word for word")


def test_a_picture_listed_twice_is_one_with_all_sentences(root):
    path = root / "dataset_rsicd.json"
    content = json.loads(path.read_text())
    content["images"].append(
        {"split": "test", "filename": "port_1.jpg", "sentences": [{"raw": "again ."}]}
    )
    path.write_text(json.dumps(content))

    loaded = read(root)

    assert len(loaded.sets["satellite"]) == 2
    assert loaded.tasks[1].positives.counts.tolist() == [6, 5]


def test_pictures_that_are_missing_are_counted(root):
    (root / "RSICD_images/port_1.jpg").unlink()

    loaded = read(root)

    assert loaded.sets["text"].places == ["port_2.jpg"] * 5
    assert loaded.remarks[0].startswith("1 of 2 test pictures of RSICD are left out")
    assert len(RSICD.faults(root)) == 1


@pytest.mark.parametrize(
    ("benchmark", "name", "folder"),
    [
        (RSICD, "dataset_rsicd.json", "images"),
        (UCM_CAPTIONS, "dataset.json", "imgs"),
        (UCM_CAPTIONS, "dataset_ucm.json", "imgs"),
    ],
)
def test_other_names_of_folders_are_known(tmp_path, benchmark, name, folder):
    plant_rsicd(tmp_path, listed=name, folder=folder)

    assert len(read(tmp_path, benchmark).sets["satellite"]) == 2


def test_splits_have_pictures_and_sentences(root):
    found = RSICD.splits(root)

    assert {name: len(items) for name, items in found.items()} == {
        "test/satellite": 2,
        "test/text": 10,
        "val/satellite": 1,
        "val/text": 1,
        "train/satellite": 1,
        "train/text": 1,
    }
    assert set(RSICD.counts) <= set(found)
    assert set(UCM_CAPTIONS.counts) <= set(found)


def test_a_wrong_root_says_what_was_looked_for_and_found(root):
    with pytest.raises(EvaluationError, match=r"RSICD: looked for RSICD_images.*port_1\.jpg"):
        read(root / "RSICD_images")
    with pytest.raises(EvaluationError, match="UCM-Captions: looked for UCM_images"):
        read(root, UCM_CAPTIONS)
    shutil.rmtree(root / "RSICD_images")
    with pytest.raises(EvaluationError, match=r"looked for RSICD_images.*dataset_rsicd\.json"):
        read(root)


@pytest.mark.parametrize(
    "content",
    ["[]", "{}", '{"images": [{"filename": "a.jpg"}]}', '{"images": [{"split": "test"}]}', "3"],
)
def test_a_damaged_list_is_refused(root, content):
    (root / "dataset_rsicd.json").write_text(content)

    with pytest.raises(EvaluationError, match=r"dataset_rsicd\.json lacks images with split"):
        read(root)


def test_a_list_without_a_test_is_refused(root):
    path = root / "dataset_rsicd.json"
    path.write_text(path.read_text().replace('"test"', '"train"'))

    with pytest.raises(EvaluationError, match="nothing to be measured"):
        read(root)


def test_rsieval_has_a_sentence_for_each_picture(tmp_path):
    plant_rsieval(tmp_path)
    loaded = read(tmp_path, RSIEVAL)

    assert loaded.sets["text"].contents == ["A stadium.", "A harbour."]
    assert [task.name for task in loaded.tasks] == ["T2S", "S2T"]
    assert lists(loaded.tasks[0].positives) == [[0], [1]]
    assert "No source states rules" in loaded.remarks[0]
    assert set(RSIEVAL.splits(tmp_path)) == set(RSIEVAL.counts)
    assert len(read(tmp_path / "RSIEval", RSIEVAL).tasks) == 2


def test_rsieval_counts_what_is_missing_and_refuses_what_is_damaged(tmp_path):
    plant_rsieval(tmp_path)
    (tmp_path / "RSIEval/images/a.png").unlink()

    assert read(tmp_path, RSIEVAL).remarks[0].startswith("1 of 2 pictures of RSIEval")
    assert len(RSIEVAL.faults(tmp_path)) == 1

    (tmp_path / "RSIEval/annotations.json").write_text('{"annotations": [{"caption": "a"}]}')
    with pytest.raises(EvaluationError, match="lacks annotations with filename"):
        read(tmp_path, RSIEVAL)
    shutil.rmtree(tmp_path / "RSIEval/images")
    with pytest.raises(EvaluationError, match="missing are images"):
        read(tmp_path, RSIEVAL)
