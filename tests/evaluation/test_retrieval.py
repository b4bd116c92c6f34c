from pathlib import Path

import numpy as np
import pytest
from shapely import box

from geobridge.errors import EvaluationError
from geobridge.evaluation.retrieval import (
    Held,
    Retrieval,
    embed_places,
    ranks_of_positives,
    retrieve,
)
from geobridge.places.table import Place
from geobridge.views import NINE_DIRECTIONS, Direction

D2S = Direction("drone", "satellite")


def at(*angles_deg):
    """Unit rows in the plane: the nearer two angles, the more similar the rows."""
    angles = np.deg2rad(angles_deg)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_a_rank_counts_the_references_that_come_first():
    # From 0 degrees the references come in the order 10, 20, 40, 80.
    ranks = ranks_of_positives(at(0, 0, 0, 0), at(20, 80, 10, 40), np.array([0, 1, 2, 3]))

    assert ranks.tolist() == [2, 4, 1, 3]


def test_ties_count_against_the_model():
    # 10 degrees to either side are equally similar, and so are two equal references.
    assert ranks_of_positives(at(0), at(10, -10, 50), np.array([0])).tolist() == [2]
    assert ranks_of_positives(at(0), at(30, 30, 30, 50), np.array([1])).tolist() == [3]


@pytest.mark.parametrize("dim", [256, 384, 512])
def test_a_collapsed_model_comes_last(dim):
    # Whatever the order of summation in the matrix product makes of equal rows.
    row = np.random.default_rng(0).normal(size=dim)
    rows = np.repeat((row / np.linalg.norm(row)).astype(np.float32)[None], 1037, axis=0)

    assert (ranks_of_positives(rows, rows, np.arange(1037)) == 1037).all()


def test_ranks_agree_with_a_slow_count_over_several_blocks():
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(2 * 1100, 16))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    queries, references = rows[:1100], rows[1100:]
    positives = rng.permutation(1100)

    ranks = ranks_of_positives(queries, references, positives)

    for query in (0, 500, 1023, 1024, 1099):
        similar = [float(np.dot(queries[query].astype(float), r.astype(float))) for r in references]
        assert ranks[query] == sum(s >= similar[positives[query]] for s in similar)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_embeddings_that_are_not_finite_are_refused(value):
    bad = at(0, 10, 20)
    bad[1, 0] = value

    with pytest.raises(EvaluationError, match=r"query 1 of .* is not finite \(1 of 3\)"):
        ranks_of_positives(bad, at(0, 10, 20), np.arange(3))
    with pytest.raises(EvaluationError, match=r"reference 1 of .* is not finite"):
        ranks_of_positives(at(0, 10, 20), bad, np.arange(3))


def test_queries_have_both_modalities_and_the_gallery_all_references():
    # Place 7 has no satellite and is no query; place 9 has no drone and stays in the gallery.
    found = {
        "drone": Held(at(0, 50, 100), np.array([3, 7, 5])),
        "satellite": Held(at(90, 1, 4), np.array([5, 3, 9])),
    }

    result = retrieve(found, D2S)

    # Queries in the order of their places: 3 at 0 degrees finds 1, 4, 90; 5 at 100 finds 90 first.
    assert result.ranks.tolist() == [1, 1]
    assert result.gallery == 3
    back = retrieve(found, Direction("satellite", "drone"))
    # 3 at 1 degree finds 0 first; 5 at 90 degrees finds 100 before 50.
    assert back.ranks.tolist() == [1, 1]
    assert back.gallery == 3


def test_a_direction_without_queries_is_an_error():
    found = {
        "drone": Held(at(0), np.array([1])),
        "satellite": Held(at(0), np.array([2])),
    }

    with pytest.raises(EvaluationError, match="both modalities of D2S"):
        retrieve(found, D2S)


def test_recall_median_and_chance():
    result = Retrieval(D2S, np.array([1, 2, 6, 40]), 50)

    assert (result.recall(1), result.recall(2), result.recall(5)) == (0.25, 0.5, 0.5)
    assert result.median_rank == 4.0
    assert (result.chance(1), result.chance(5), result.chance(80)) == (0.02, 0.1, 1.0)


def test_the_nine_directions():
    views = {"drone", "street", "satellite"}

    assert len(set(NINE_DIRECTIONS)) == 9
    assert {d.reference for d in NINE_DIRECTIONS} == views
    assert all(d.query != d.reference for d in NINE_DIRECTIONS)
    assert sum(d.query == "text" for d in NINE_DIRECTIONS) == 3


class ModelOfNames:
    """Embeds a picture or a text as the number in it, so that rows show what they came from."""

    modalities = ("satellite", "text")

    def embed(self, modality, items):
        return np.array([[len(modality), float(Path(item).stem)] for item in items])


def test_places_are_embedded_as_far_as_they_and_the_model_have_a_modality():
    places = [
        Place("a", 1.0, 2.0, box(2, 1, 3, 2), satellite=Path("s/10.jpg"), text="20"),
        Place("b", 1.0, 2.0, box(2, 1, 3, 2), drone=Path("d/30.jpg"), text="40"),
        Place("c", 1.0, 2.0, box(2, 1, 3, 2), satellite=Path("s/50.jpg")),
    ]

    found = embed_places(ModelOfNames(), places)

    assert set(found) == {"satellite", "text"}
    assert found["satellite"].places.tolist() == [0, 2]
    assert found["satellite"].embeddings.tolist() == [[9, 10], [9, 50]]
    assert found["text"].places.tolist() == [0, 1]
    assert found["text"].embeddings.tolist() == [[4, 20], [4, 40]]
