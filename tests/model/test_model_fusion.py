import numpy as np
import pytest

from geobridge.errors import QueryError
from geobridge.model.fusion import fuse

X, Y = np.array([[1.0, 0.0]], np.float32), np.array([[0.0, 1.0]], np.float32)


def test_equal_weights_meet_in_the_middle():
    assert fuse({"drone": X, "text": Y}) == pytest.approx(np.array([[1, 1]]) / np.sqrt(2))


def test_weights_pull_towards_their_modality():
    # 3 x + 4 y has length 5.
    fused = fuse({"drone": X, "text": Y}, {"drone": 3, "text": 4})

    assert fused == pytest.approx(np.array([[0.6, 0.8]]))
    assert fused.dtype == np.float32


def test_one_modality_is_itself():
    assert np.array_equal(fuse({"street": X}), X)


def test_a_weight_of_zero_leaves_a_modality_out():
    assert fuse({"drone": X, "text": Y}, {"text": 0}) == pytest.approx(X)


def test_rows_are_fused_each_with_its_own():
    both = fuse({"drone": np.vstack([X, Y]), "text": np.vstack([X, X])})

    assert both == pytest.approx(np.array([[1, 0], [1 / np.sqrt(2)] * 2]))


def test_rows_that_cancel_out_leave_the_heavier_one():
    fused = fuse({"drone": X, "text": -X})

    assert np.linalg.norm(fused) == pytest.approx(1)


@pytest.mark.parametrize(
    ("embeddings", "weights", "sentence"),
    [
        ({}, None, "a query needs a drone"),
        ({"drone": X, "text": np.ones((2, 2), np.float32)}, None, "differ in shape"),
        ({"drone": X}, {"text": 1}, "do not fit the modalities"),
        ({"drone": X}, {"drone": -1}, "at least zero"),
        ({"drone": X}, {"drone": 0}, "not all zero"),
        ({"drone": X}, {"drone": float("nan")}, "give numbers"),
    ],
)
def test_what_cannot_be_fused_says_why(embeddings, weights, sentence):
    with pytest.raises(QueryError, match=sentence):
        fuse(embeddings, weights)
