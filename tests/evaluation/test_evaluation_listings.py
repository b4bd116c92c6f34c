import numpy as np
import pytest

from geobridge.errors import EvaluationError
from geobridge.evaluation.benchmarks.listings import (
    complete_rows,
    present,
    read_json,
    read_lines,
    refuse_twice,
    turned_round,
)
from geobridge.evaluation.tasks import Relevance, Task
from geobridge.views import Direction


def lists(relevance):
    return [rows.tolist() for rows in map(relevance.__getitem__, range(len(relevance)))]


def test_lines_have_no_ends_and_are_not_empty(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbfa b\r\n\r\n c \n")

    assert read_lines(tmp_path / "list.txt") == ["a b", "c"]


@pytest.mark.parametrize(
    ("content", "message"), [(b"{", "no JSON"), (b"\xff\xfe\x00", "no UTF-8 text")]
)
def test_a_damaged_list_is_refused_by_name(tmp_path, content, message):
    (tmp_path / "list.json").write_bytes(content)

    with pytest.raises(EvaluationError, match=rf"list\.json is {message}"):
        read_json(tmp_path / "list.json")


def test_a_list_that_cannot_be_read_says_why(tmp_path):
    with pytest.raises(EvaluationError, match="No such file"):
        read_lines(tmp_path / "none.txt")


def test_a_name_that_comes_twice_is_refused(tmp_path):
    with pytest.raises(EvaluationError, match="names b more than once"):
        refuse_twice(["a", "b", "c", "b"], tmp_path / "list.txt")


def test_files_that_are_there_are_told_from_others(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.jpg").touch()

    there = present([tmp_path / "a/1.jpg", tmp_path / "a/2.jpg", tmp_path / "b/1.jpg"])

    assert there.tolist() == [True, False, False]


def test_rows_that_lack_a_file_are_left_out_and_told(tmp_path):
    for name in ("s0", "s1", "g0", "g2"):
        (tmp_path / name).touch()
    satellites = [tmp_path / f"s{row}" for row in range(3)]
    streets = [tmp_path / f"g{row}" for row in range(3)]

    rows, remarks = complete_rows("pairs", satellites, streets)

    assert rows.tolist() == [0]
    assert remarks == (
        f"2 of 3 pairs are left out because a file is missing, such as {streets[1]}.",
    )
    assert complete_rows("pairs", satellites[:1])[1] == ()


def test_a_task_turns_round_with_its_pairs():
    task = Task(
        "P2S near",
        Direction("street", "satellite"),
        "street",
        "satellite",
        positives=Relevance.of([[2], [0], [2]]),
        semipositives=Relevance.of([[0, 1], [], [3]]),
        candidates=Relevance.of([[2], [0], [2]]),
        remarks=("of one way",),
    )

    turned = turned_round(task, 4)

    assert (turned.name, turned.direction.short) == ("S2P near", "S2P")
    assert (turned.queries, turned.gallery) == ("satellite", "street")
    # Of the four references, 0 belongs to query 1, and 2 to queries 0 and 2.
    assert turned.query_rows.tolist() == [0, 2]
    assert lists(turned.positives) == [[1], [0, 2]]
    assert lists(turned.semipositives) == [[0], []]
    assert turned.candidates is None
    assert turned.remarks == ("2 of 4 satellite items belong to no street item and are not asked.",)


def test_a_whole_set_is_asked_where_every_reference_belongs_to_a_query():
    task = Task(
        "P2S",
        Direction("street", "satellite"),
        "street",
        "satellite",
        positives=Relevance.of([[1], [0]]),
    )

    turned = turned_round(task, 2)

    assert turned.query_rows is None
    assert turned.remarks == ()
    assert lists(turned.positives) == [[1], [0]]


def test_relevance_transposes_to_a_reference_with_no_query():
    relevance = Relevance.of([[0, 2], [2], []]).transposed(4)

    assert lists(relevance) == [[0], [], [0, 1], []]
    assert relevance.rows.dtype == relevance.starts.dtype == np.int64
