"""GeoLoc's own layout and the rules of its release."""

import numpy as np
import pytest
from PIL import Image

from geobridge.errors import EvaluationError
from geobridge.evaluation.benchmarks.geoloc import BENCHMARK, GeoLocOptions
from geobridge.evaluation.benchmarks.places import BENCHMARK as PLACES

A = "9.0_45.0_9.002_45.001"  # centre 45.0005 N, 9.001 E
B = "9.1_45.1_9.102_45.101"
ACROSS = "179.999_-17.0_-179.999_-16.998"  # centre 16.999 S, 180 E


@pytest.fixture
def release(tmp_path):
    """A and B of both views, one more satellite, and a drone photo without a box in its name."""
    for view, stems in {
        "drone": [A, B, "IMG_0001"],
        "satellite": [A, B, ACROSS],
        "street": [],
    }.items():
        folder = tmp_path / "test" / view
        folder.mkdir(parents=True)
        for stem in stems:
            Image.new("RGB", (8, 8)).save(folder / f"{stem}.jpg")
    (tmp_path / "test" / "satellite.csv").write_text(f"id,text\n{A}.jpg,a church\n{B},a mill\n")
    # Without a column `id`, the first other column names the picture.
    (tmp_path / "test" / "drone.csv").write_text(f"text,image,more\na river,{B}.jpg,x\n")
    return tmp_path


def test_every_file_asks_and_every_file_is_ranked(release):
    loaded = BENCHMARK.read(release, GeoLocOptions())
    tasks = {task.name: task for task in loaded.tasks}

    assert list(tasks) == ["D2S", "S2D", "T2D", "T2S"]
    task = tasks["D2S"]
    assert task.query_rows is None
    assert task.gallery_rows is None
    assert task.matched_only
    assert task.geodesy == "haversine-6371"
    assert task.radii_m == (50.0, 100.0, 150.0)
    assert list(loaded.sets["drone"].names) == [f"{A}.jpg", f"{B}.jpg", "IMG_0001.jpg"]
    assert list(loaded.sets["satellite"].places) == [ACROSS, A, B]
    assert [task.positives[query].tolist() for query in range(3)] == [[1], [2], []]
    assert len(task.remarks) == 2
    assert task.remarks[0].startswith("1 of the 3 queries have no satellite picture")
    assert task.remarks[1].startswith("1 of the 3 names of drone hold no box")
    assert loaded.remarks == (
        "D2P, P2D, P2S, S2P, T2P are left out: their pictures or texts are not there.",
    )


def test_each_view_has_texts_of_its_own(release):
    loaded = BENCHMARK.read(release, GeoLocOptions())
    tasks = {task.name: task for task in loaded.tasks}

    assert tasks["T2S"].queries == "satellite text"
    assert list(loaded.sets["satellite text"].contents) == ["a church", "a mill"]
    assert list(loaded.sets["drone text"].contents) == ["a river"]
    assert tasks["T2D"].positives[0].tolist() == [1]


def test_a_name_is_a_box_and_its_centre_the_position(release):
    items = BENCHMARK.read(release, GeoLocOptions()).sets["satellite"]

    np.testing.assert_allclose(items.lat, [-16.999, 45.0005, 45.1005])
    np.testing.assert_allclose(items.lon, [-180.0, 9.001, 9.101])


def test_names_that_are_no_place_have_no_position(release):
    Image.new("RGB", (8, 8)).save(release / "test" / "drone" / "45.0_95.0_45.002_95.002.jpg")
    name = "45.0_95.0_45.002_95.002.jpg"

    items = BENCHMARK.read(release, GeoLocOptions()).sets["drone"]
    assert np.isnan(items.lat[list(items.names).index(name)])
    # The doctor sees them as they are.
    listed = BENCHMARK.splits(release)["test/drone"]
    row = list(listed.names).index(name)
    assert (listed.lat[row], listed.lon[row]) == pytest.approx((95.001, 45.001))
    told = BENCHMARK.faults(release)
    assert len(told) == 2
    assert "swapped" in told[0]
    assert "IMG_0001.jpg is not named by its footprint" in told[1]


def test_the_same_folder_as_places(release):
    (release / "test" / "drone" / "IMG_0001.jpg").unlink()

    loaded = PLACES.read(release, PLACES.configure({}))

    assert [len(task.positives) for task in loaded.tasks] == [2, 2, 2, 2]
    assert list(PLACES.splits(release)) == [
        "test/drone", "test/satellite", "test/drone text", "test/satellite text",
    ]  # fmt: skip
    assert PLACES.faults(release) == []


def test_wrong_roots(tmp_path, release):
    with pytest.raises(EvaluationError, match=r"looked for val; .* found was test/"):
        BENCHMARK.read(release, GeoLocOptions(split="val"))
    with pytest.raises(EvaluationError, match="found was no such folder"):
        BENCHMARK.splits(tmp_path / "gone")
    empty = tmp_path / "lonely" / "test" / "drone"
    empty.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(empty / f"{A}.jpg")
    with pytest.raises(EvaluationError, match="test/street"):
        BENCHMARK.read(tmp_path / "lonely", GeoLocOptions())
    (release / "test" / "drone.csv").write_text("words\nx\n")
    with pytest.raises(EvaluationError, match="columns id and text"):
        BENCHMARK.read(release, GeoLocOptions())
