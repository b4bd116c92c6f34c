import numpy as np
import pytest

from geobridge.curation.cutoffs import capped


def rejected(scores, least, most):
    return (scores < capped(scores, least, most)).any(axis=1)


def test_few_low_scores_are_judged_by_what_is_asked_for():
    scores = np.array([[0.1], [0.8], [0.9], [0.75], [0.9]])

    assert capped(scores, np.array([0.7]), 0.2).tolist() == [0.7]
    assert rejected(scores, np.array([0.7]), 0.2).tolist() == [True] + [False] * 4


def test_where_many_are_low_the_worst_are_rejected():
    scores = np.linspace(0.0, 0.6, 20)[:, None]

    found = rejected(scores, np.array([0.7]), 0.1)

    assert found.tolist() == [True] * 2 + [False] * 18
    assert rejected(scores, np.array([0.7]), 1.0).all()
    assert not rejected(scores, np.array([0.7]), 0.0).any()


def test_the_cap_counts_rows_of_any_gate_and_ties_stay():
    # Two gates whose worst rows are different ones: one of ten may go, so none of the two does.
    scores = np.ones((10, 2))
    scores[0, 0] = scores[1, 1] = 0.0

    assert rejected(scores, np.array([0.5, 0.5]), 0.2).sum() == 2
    assert rejected(scores, np.array([0.5, 0.5]), 0.1).sum() == 0
    assert rejected(np.zeros((10, 1)), np.array([0.5]), 0.5).sum() == 0


def test_what_was_not_judged_neither_counts_nor_is_rejected():
    scores = np.array([[np.nan]] * 30 + [[0.1], [0.9]])

    assert not rejected(scores, np.array([0.5]), 0.1).any()
    assert rejected(scores, np.array([0.5]), 0.5).tolist() == [False] * 30 + [True, False]
    assert capped(scores[:30], np.array([0.5]), 0.1).tolist() == pytest.approx([0.5])
