"""Any places data set as a benchmark: who is asked, what is ranked, what is right."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shapely import box

from geobridge.errors import EvaluationError
from geobridge.evaluation.benchmarks.places import BENCHMARK, PlacesOptions
from geobridge.places.table import TABLE_NAME, Place, write_places


def picture(folder, name):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)
    return Path(name)


def place(folder, name, views, *, text=None, split="test", lat=45.0, country=None):
    pictures = {view: picture(folder, f"{view}/{name}.jpg") for view in views}
    return Place(
        place_id=name, lat=lat, lon=9.0, footprint=box(9.0, 45.0, 9.001, 45.001), text=text,
        split=split, country=country, **pictures,
    )  # fmt: skip


@pytest.fixture
def town(tmp_path):
    """Four places of the split `test`, which lack different things, and one of `train`."""
    write_places(
        tmp_path,
        [
            place(tmp_path, "a", ["drone", "satellite"], text="a church", country="IT"),
            place(tmp_path, "b", ["satellite"], lat=46.0),
            place(tmp_path, "c", ["drone", "satellite"], country="IT"),
            place(tmp_path, "d", ["drone"], text="a mill"),
            place(tmp_path, "e", ["drone", "satellite"], split="train"),
        ],
    )
    return tmp_path


def test_every_reference_competes_and_only_those_with_an_answer_are_asked(town):
    loaded = BENCHMARK.read(town, PlacesOptions())
    tasks = {task.name: task for task in loaded.tasks}

    assert list(tasks) == ["D2S", "S2D", "T2D", "T2S"]
    assert list(loaded.sets["satellite"].names) == ["a", "b", "c"]
    assert list(loaded.sets["drone"].names) == ["a", "c", "d"]
    assert list(loaded.sets["text"].contents) == ["a church", "a mill"]
    assert loaded.sets["drone"].contents[0] == town / "drone" / "a.jpg"

    task = tasks["D2S"]  # asked: a and c; references a, b, c
    assert task.query_rows.tolist() == [0, 1]
    assert task.gallery_rows is None
    assert [task.positives[query].tolist() for query in range(2)] == [[0], [2]]
    assert task.remarks == (
        "1 drone items lack a satellite item of their place and are not asked.",
    )
    assert tasks["T2S"].query_rows.tolist() == [0]
    assert tasks["T2D"].remarks == ()
    assert loaded.remarks == (
        "No place has both modalities of D2P, P2D, P2S, S2P, T2P: they are left out.",
    )


def test_positions_and_regions_go_along(town):
    items = BENCHMARK.read(town, PlacesOptions()).sets["satellite"]

    np.testing.assert_array_equal(items.lat, [45.0, 46.0, 45.0])
    np.testing.assert_array_equal(items.lon, [9.0, 9.0, 9.0])
    assert list(items.regions) == ["IT", "no country", "IT"]
    assert list(items.places) == ["a", "b", "c"]


def test_another_split(town):
    loaded = BENCHMARK.read(town, PlacesOptions(split="train"))

    assert list(loaded.sets["drone"].names) == ["e"]
    assert loaded.sets["drone"].regions is None
    with pytest.raises(EvaluationError, match="no split 'val': choose one of test, train"):
        BENCHMARK.read(town, PlacesOptions(split="val"))


def test_without_a_test_split_all_places_are_measured_and_it_is_said(tmp_path):
    rows = [place(tmp_path, name, ["drone", "street"], split="train") for name in "ab"]
    rows.append(place(tmp_path, "c", ["drone", "street"], split=None))
    write_places(tmp_path, rows)

    loaded = BENCHMARK.read(tmp_path, PlacesOptions())

    assert len(loaded.sets["drone"]) == 3
    assert loaded.remarks[0] == (
        "The data set has no split `test`: all its places are measured (train)."
    )


def test_roots_that_cannot_be_measured(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(EvaluationError, match=r"places\.parquet.*found was photos/"):
        BENCHMARK.read(tmp_path, PlacesOptions())
    write_places(tmp_path, [place(tmp_path, "a", ["drone"]), place(tmp_path, "b", ["street"])])
    with pytest.raises(
        EvaluationError, match=r"no place .* 1 drone, 1 street, 0 satellite, 0 text"
    ):
        BENCHMARK.read(tmp_path, PlacesOptions())
    (tmp_path / "drone" / "a.jpg").unlink()
    with pytest.raises(EvaluationError, match="does not exist"):
        BENCHMARK.read(tmp_path, PlacesOptions())


def test_all_splits_are_listed_whatever_is_wrong_with_their_rows(town):
    import geopandas
    from shapely import Point

    frame = geopandas.read_parquet(town / TABLE_NAME)
    frame.loc[1, "place_id"] = "a"
    frame.loc[2, "point"] = Point()
    frame.loc[4, "point"] = Point(9.0, 95.0)
    frame.to_parquet(town / TABLE_NAME)
    (town / "drone" / "a.jpg").unlink()

    splits = BENCHMARK.splits(town)

    assert {name: len(items) for name, items in splits.items()} == {
        "test/drone": 3, "test/satellite": 3, "test/text": 2, "train/drone": 1,
        "train/satellite": 1,
    }  # fmt: skip
    assert list(splits["test/satellite"].names) == ["a", "a (row 2)", "c"]
    assert list(splits["test/satellite"].places) == ["a", "a", "c"]
    np.testing.assert_array_equal(splits["test/satellite"].lat, [45.0, 46.0, np.nan])
    np.testing.assert_array_equal(splits["train/drone"].lat, [95.0])
    told = BENCHMARK.faults(town)
    assert len(told) == 4
    for fault, word in zip(told, ("does not exist", "twice", "no point", "lat 95"), strict=True):
        assert word in fault
