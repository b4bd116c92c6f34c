import numpy as np
import pytest

from geobridge.errors import GalleryError, QueryError
from geobridge.gallery.search import ExactSearch, top_k


def by_full_sort(vectors, queries, k, mask=None):
    """The slow, obvious way: all similarities, sorted by (-similarity, row)."""
    rows = np.arange(len(vectors)) if mask is None else np.flatnonzero(mask)
    similarity, index = [], []
    for query in queries:
        scores = vectors[rows] @ query
        order = sorted(range(len(rows)), key=lambda i: (-scores[i], rows[i]))[:k]
        similarity.append([scores[i] for i in order])
        index.append([rows[i] for i in order])
    return np.array(similarity), np.array(index)


def whole(count, dim, seed):
    """Small whole numbers: their products are exact in any order of summation, and often tie."""
    return np.random.default_rng(seed).integers(-4, 5, (count, dim)).astype(np.float32)


@pytest.mark.parametrize(("count", "k"), [(1, 1), (7, 3), (7, 7), (600, 5), (5000, 9), (5000, 700)])
@pytest.mark.parametrize("queries", [1, 3, 70])
def test_search_agrees_with_a_full_sort(count, k, queries):
    vectors, asked = whole(count, 16, 0), whole(queries, 16, 1)
    similarity, index = ExactSearch(vectors).search(asked, k)
    expected_similarity, expected_index = by_full_sort(vectors, asked, k)
    np.testing.assert_array_equal(index, expected_index)
    np.testing.assert_array_equal(similarity, expected_similarity)
    assert similarity.dtype == np.float32
    assert index.dtype == np.int64


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 1.0])
def test_a_masked_search_finds_only_what_the_mask_allows(share):
    vectors, asked = whole(20_000, 8, 0), whole(4, 8, 1)
    mask = np.random.default_rng(2).random(20_000) < share
    similarity, index = ExactSearch(vectors).search(asked, 6, mask)
    expected_similarity, expected_index = by_full_sort(vectors, asked, 6, mask)
    np.testing.assert_array_equal(index, expected_index)
    np.testing.assert_array_equal(similarity, expected_similarity)
    assert mask[index].all()


def test_a_mask_over_more_rows_than_are_gathered_at_once():
    vectors, asked = whole(60_000, 4, 0), whole(2, 4, 1)
    mask = np.zeros(60_000, dtype=bool)
    mask[::3] = True
    mask[0] = False
    _, index = ExactSearch(vectors).search(asked, 5, mask)
    np.testing.assert_array_equal(index, by_full_sort(vectors, asked, 5, mask)[1])


def test_ties_go_to_the_lower_row():
    vectors = np.tile(np.array([[1, 0]], dtype=np.float32), (3000, 1))
    vectors[1234] = [2, 0]
    _, index = ExactSearch(vectors).search(np.array([[1, 0]], dtype=np.float32), 4)
    assert index.tolist() == [[1234, 0, 1, 2]]


def test_the_best_values_may_lie_behind_the_last_whole_chunk():
    values = np.zeros(512 * 4 + 3, dtype=np.float32)
    values[-3:] = [1, 3, 2]
    assert top_k(values, 3).tolist() == [512 * 4 + 1, 512 * 4 + 2, 512 * 4]


def test_negative_similarities_are_ranked_too():
    assert top_k(np.array([-3, -1, -2], dtype=np.float32), 2).tolist() == [1, 2]


def test_fewer_come_back_where_fewer_are_allowed():
    search = ExactSearch(whole(5, 3, 0))
    similarity, index = search.search(whole(2, 3, 1), 10)
    assert similarity.shape == index.shape == (2, 5)
    similarity, index = search.search(whole(2, 3, 1), 10, np.zeros(5, dtype=bool))
    assert similarity.shape == index.shape == (2, 0)
    similarity, index = ExactSearch(np.empty((0, 3), np.float32)).search(whole(2, 3, 1), 10)
    assert similarity.shape == index.shape == (2, 0)


def test_no_queries_no_answers():
    similarity, index = ExactSearch(whole(5, 3, 0)).search(np.empty((0, 3), np.float32), 2)
    assert similarity.shape == index.shape == (0, 2)


def test_vectors_are_not_copied():
    vectors = whole(5, 3, 0)
    assert ExactSearch(vectors).vectors is vectors


@pytest.mark.parametrize("queries", [np.ones((1, 4)), np.ones(3), np.array([[1, np.nan, 0]])])
def test_a_query_of_another_model_or_without_numbers_is_refused(queries):
    with pytest.raises(QueryError):
        ExactSearch(whole(5, 3, 0)).search(queries, 1)


def test_vectors_must_be_a_table():
    with pytest.raises(GalleryError, match="must be"):
        ExactSearch(np.ones(3, np.float32))
