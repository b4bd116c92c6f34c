import os

import pytest
from trees_uav import plant_picture

from geobridge.errors import EvaluationError
from geobridge.evaluation.benchmarks.files import find_pictures, relative_names, require


def test_pictures_are_found_below_a_folder_in_the_order_of_their_paths(tmp_path):
    for name in ("b/2.JPG", "b/10.png", "a.tif", ".hidden.jpg", ".git/x.jpg", "b/c/1.jpeg"):
        plant_picture(tmp_path / name)
    (tmp_path / "b" / "notes.txt").write_text("no picture")

    assert relative_names(tmp_path, find_pictures(tmp_path)) == [
        "a.tif",
        "b/10.png",
        "b/2.JPG",
        "b/c/1.jpeg",
    ]
    assert relative_names(tmp_path, find_pictures(tmp_path, {".jpg"})) == ["b/2.JPG"]


def test_a_folder_of_pictures_that_is_none_is_refused(tmp_path):
    with pytest.raises(EvaluationError, match="nothing is no folder"):
        find_pictures(tmp_path / "nothing")


def test_a_picture_whose_name_is_not_utf_8_is_named(tmp_path):
    try:
        (tmp_path / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")

    with pytest.raises(EvaluationError, match=r"is not UTF-8, 'caf.udce9.jpg': rename it"):
        find_pictures(tmp_path)


def test_a_root_that_holds_what_is_needed_is_taken(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b.txt").write_text("")

    require(tmp_path, "some data set", ["a", "b.txt"])


def test_a_wrong_root_says_what_was_looked_for_and_what_was_found(tmp_path):
    for name in "abcdefghij":
        (tmp_path / name).mkdir()
    (tmp_path / "0.txt").write_text("")

    with pytest.raises(EvaluationError) as caught:
        require(tmp_path, "some data set", ["a", "test/drone"])

    assert str(caught.value) == (
        f"{tmp_path} is not some data set: looked for a, test/drone; missing are test/drone, and "
        f"found was 0.txt, a/, b/, c/, d/, e/, f/, g/ and 3 more: name the folder that holds them."
    )


@pytest.mark.parametrize(
    ("root", "found"), [("empty", "an empty folder"), ("none", "no such folder"), ("f", "a file")]
)
def test_roots_that_hold_nothing(tmp_path, root, found):
    (tmp_path / "empty").mkdir()
    (tmp_path / "f").write_text("")

    with pytest.raises(EvaluationError, match=f"found was {found}: "):
        require(tmp_path / root, "some data set", ["a"])
