import json
import shutil

import pytest
from pydantic import ValidationError
from trees_text import plant_geotext1652
from trees_uav import plant_picture

from geobridge.errors import EvaluationError
from geobridge.evaluation.benchmarks.geotext1652 import (
    BENCHMARK,
    normalized,
    release_buildings,
    view_of,
)


@pytest.fixture
def root(tmp_path):
    plant_geotext1652(tmp_path)
    return tmp_path


def read(root, **options):
    return BENCHMARK.read(root, BENCHMARK.configure(options))


def lists(relevance):
    return [rows.tolist() for rows in map(relevance.__getitem__, range(len(relevance)))]


def edit(path, change):
    entries = json.loads(path.read_text())
    change(entries)
    path.write_text(json.dumps(entries))


def test_pictures_and_captions_of_one_building_belong_together(root):
    loaded = read(root)
    forward, back = loaded.tasks

    assert (forward.name, back.name) == ("T2D", "D2T")
    assert loaded.sets["drone"].names[-1] == "test/gallery_no_train(250)/0003/image-05.jpeg"
    assert all(path.is_file() for path in loaded.sets["drone"].contents)
    assert loaded.sets["drone"].places == ["0001", "0001", "0002", "0002", "0003", "0003"]
    # Three captions a picture, two pictures a building.
    assert lists(forward.positives) == [[0, 1]] * 6 + [[2, 3]] * 6 + [[4, 5]] * 6
    assert lists(back.positives) == [
        *[[0, 1, 2, 3, 4, 5]] * 2,
        *[[6, 7, 8, 9, 10, 11]] * 2,
        *[[12, 13, 14, 15, 16, 17]] * 2,
    ]
    assert back.query_rows is None
    assert forward.headline == ("R@1", "R@5", "R@10")
    assert "T2D is from text to drone picture" in loaded.remarks[0]


def test_the_release_gives_first_pictures_the_building_before():
    # PROTOCOLS C8, from a run of the release's code.
    folders = ["0001", "0001", "0002", "0002", "0003", "0003"]

    assert release_buildings(folders) == ["0", "0", "0", "1", "1", "2"]
    assert release_buildings([]) == []


def test_buildings_of_the_release_are_a_choice(root):
    loaded = read(root, buildings="release")

    assert loaded.sets["drone"].places == ["0", "0", "0", "1", "1", "2"]
    assert lists(loaded.tasks[0].positives)[::3] == [[0, 1, 2]] * 3 + [[3, 4]] * 2 + [[5]]
    assert "off by one" in loaded.remarks[-1]


def test_ids_of_the_release_count_pictures_that_are_missing(root):
    (root / "images/test/query(701)/0002/image-02.jpeg").unlink()

    assert read(root, buildings="release").sets["drone"].places == ["0", "0", "1", "1", "2"]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("A Tall, red-roofed building; it's old!", "a tall red roofed building its old"),
        ('  "North/South"\n(main)  gate. ', "north south main gate"),
        (" ".join(str(word) for word in range(60)), " ".join(str(word) for word in range(50))),
        ("...", ""),
    ],
)
def test_captions_are_read_as_the_release_reads_them(caption, expected):
    assert normalized(caption) == expected


def test_texts_are_normalized_and_named_after_their_picture(root):
    texts = read(root).sets["drone text"]

    assert texts.contents[:3] == [f"building 0001 seen {n} times" for n in (1, 2, 3)]
    assert texts.names[1] == "test/query(701)/0001/image-00.jpeg#1"


@pytest.mark.parametrize(
    ("image", "view"),
    [
        ("test/query(701)/0839/image-43.jpeg", "drone"),
        ("train/0839/0839.jpg", "satellite"),
        ("train/0839/2.jpg", "street"),
        ("train/0001/drone_view.jpg", "drone"),
        ("train/0001/satellite_view.jpg", "satellite"),
        ("train/0001/street_view.jpg", "street"),
        ("1.jpg", "street"),
    ],
)
def test_names_tell_the_view(image, view):
    assert view_of(image) == view


def test_each_view_of_a_file_is_ranked_on_its_own(root):
    def add(entries):
        for name in ("0001.jpg", "3.jpg"):
            image = f"test/query(701)/0001/{name}"
            plant_picture(root / "images" / image)
            entries.append({"image_id": f"0001/{name}", "image": image, "caption": ["A", "B", ""]})

    edit(root / "test_951_version.json", add)

    loaded = read(root)

    assert [task.name for task in loaded.tasks] == ["T2D", "D2T", "T2P", "P2T", "T2S", "S2T"]
    assert lists(loaded.tasks[2].positives) == [[0], [0]]  # an empty caption is none
    assert "each view is ranked on its own" in loaded.remarks[1]


def test_the_small_test_has_a_file_of_its_own(root):
    assert len(read(root, test="24G").sets["drone"]) == 2
    (root / "test_24G_version.json").unlink()
    with pytest.raises(EvaluationError, match="missing are test_24G_version"):
        read(root, test="24G")


def test_pictures_that_are_missing_are_counted(root):
    (root / "images/test/query(701)/0001/image-00.jpeg").unlink()

    loaded = read(root)

    assert len(loaded.sets["drone"]) == 5
    assert loaded.remarks[0].startswith("1 of 6 pictures of test_951_version.json are left out")
    assert BENCHMARK.faults(root) == [loaded.remarks[0]]
    shutil.rmtree(root / "images")
    with pytest.raises(EvaluationError, match="6 of 6 pictures"):
        read(root)


def test_pictures_may_lie_beside_the_lists(root):
    for folder in ("test", "train"):
        shutil.move(root / "images" / folder, root / folder)
    (root / "images").rmdir()

    assert len(read(root).sets["drone"]) == 6


def test_splits_have_pictures_and_captions(root):
    found = BENCHMARK.splits(root)

    assert {name: len(items) for name, items in found.items()} == {
        "train/drone": 1,
        "train/drone text": 1,
        "test/drone": 6,
        "test/drone text": 18,
    }
    assert set(found) <= set(BENCHMARK.counts)


@pytest.mark.parametrize(
    ("content", "message"),
    [("{}", "no list of pictures"), ('[{"image": "a"}]', "picture 0 of .* lacks")],
)
def test_a_damaged_list_is_refused(root, content, message):
    (root / "test_951_version.json").write_text(content)

    with pytest.raises(EvaluationError, match=message):
        read(root)


def test_a_picture_named_twice_is_refused(root):
    edit(root / "test_951_version.json", lambda entries: entries.append(entries[0]))

    with pytest.raises(EvaluationError, match="more than once"):
        read(root)


def test_a_wrong_root_says_what_was_looked_for_and_found(root):
    with pytest.raises(
        EvaluationError, match=r"looked for test_951_version\.json.*found was test/"
    ):
        read(root / "images")


def test_buildings_that_are_none_are_refused():
    with pytest.raises(ValidationError):
        BENCHMARK.configure({"buildings": "json"})
