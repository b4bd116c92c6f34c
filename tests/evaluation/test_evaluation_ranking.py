import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geobridge.errors import EvaluationError
from geobridge.evaluation import ranking
from geobridge.evaluation.ranking import Picked, rank, rank_rows
from geobridge.evaluation.tasks import Relevance, Task
from geobridge.views import Direction

TIE = 1e-12


def at(*angles_deg):
    """Unit rows in the plane: the nearer two angles, the more similar the rows."""
    angles = np.deg2rad(angles_deg)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def listed(found):
    return [found.ranks[a:b].tolist() for a, b in zip(found.starts, found.starts[1:], strict=False)]


def test_positives_have_ascending_ranks_among_all_references():
    # From 0 degrees the references come in the order 5, 10, 20, 40, 80: rows 3, 2, 0, 4, 1.
    found = rank_rows(at(0, 0, 0), at(20, 80, 10, 5, 40), Relevance.of([[1, 3], [0], []]), top=3)

    assert listed(found) == [[1, 5], [3], []]
    assert found.best.tolist() == [1, 3, 0]
    assert found.top.tolist() == [[3, 2, 0]] * 3
    np.testing.assert_allclose(found.similarity[0], np.cos(np.deg2rad([5, 10, 20])), atol=1e-6)
    assert found.gallery.tolist() == [5, 5, 5]
    assert found.hit is None
    assert found.hit_top1 is None


def test_rivals_come_before_an_equal_positive_and_positives_do_not_harm_each_other():
    # 10 degrees to either side are equally similar.
    found = rank_rows(at(0, 0), at(10, -10, 10, 50), Relevance.of([[0, 2], [1]]), top=2)

    # Row 1 comes before both positives of the first query; rows 0 and 2 before that of the second.
    assert listed(found) == [[2, 3], [3]]
    assert found.top.tolist() == [[1, 0], [0, 2]]
    # Without a rival two equal positives are first and second.
    assert listed(rank_rows(at(0), at(10, 10, 50), Relevance.of([[0, 1]]))) == [[1, 2]]


@pytest.mark.parametrize("positives", [1, 3, 7])
def test_a_collapsed_model_comes_last(positives):
    row = unit(np.random.default_rng(0).normal(size=(1, 300)))
    count = 1100
    right = (np.arange(count)[:, None] + np.arange(positives)) % count

    found = rank_rows(
        np.repeat(row, count, axis=0), np.repeat(row, count, axis=0), Relevance.of(right), top=10
    )

    last = list(range(count - positives + 1, count + 1))
    assert (found.ranks.reshape(count, positives) == last).all()
    # Ten others of equal similarity come before any that is right.
    assert not (found.top[:, :, None] == right[:, None]).any()


def test_only_candidates_compete():
    # From 0: 5, 10, 20, 40, 80 degrees are rows 3, 2, 0, 4, 1.
    found = rank_rows(
        at(0, 0),
        at(20, 80, 10, 5, 40),
        Relevance.of([[0], [1]]),
        candidates=Relevance.of([[4, 0, 2], [1]]),
        top=3,
    )

    assert listed(found) == [[2], [1]]
    assert found.gallery.tolist() == [3, 1]
    assert found.top.tolist() == [[2, 0, 4], [1, -1, -1]]
    assert np.isnan(found.similarity[1]).tolist() == [False, True, True]


def test_the_two_readings_of_a_hit():
    # From 0: row 0 at 10, row 1 at 20, row 2 at 30 degrees. The positive is row 2 but in the last.
    found = rank_rows(
        at(0, 0, 0, 0),
        at(10, 20, 30),
        Relevance.of([[2], [2], [2], [0]]),
        semipositives=Relevance.of([[0, 1], [0], [], [1, 2]]),
    )

    # Both before it are forgiven; row 1 is not, though row 0 is first; nothing is forgiven; first.
    assert found.hit.tolist() == [True, False, False, True]
    assert found.hit_top1.tolist() == [True, True, False, True]
    # Semipositives are rivals all the same.
    assert listed(found) == [[3], [3], [3], [1]]


def test_a_hit_that_is_equal_to_a_rival_is_none():
    found = rank_rows(
        at(0, 0), at(10, -10, 40), Relevance.of([[0], [2]]), semipositives=Relevance.of([[], [0]])
    )

    assert found.hit.tolist() == [False, False]
    assert found.hit_top1.tolist() == [False, False]


def test_an_array_on_the_disk_and_picked_rows_rank_like_arrays(tmp_path):
    rng = np.random.default_rng(3)
    rows = unit(rng.normal(size=(500, 24)))
    np.save(tmp_path / "rows.npy", rows)
    on_disk = np.load(tmp_path / "rows.npy", mmap_mode="r")
    asked, gallery = rng.permutation(500)[:40], rng.permutation(500)[:300]
    positives = Relevance.of(rng.integers(0, 300, (40, 1)))

    whole = rank_rows(rows[asked], rows[gallery], positives)
    read = rank_rows(Picked(on_disk, asked), Picked(on_disk, gallery), positives)

    assert read.ranks.tolist() == whole.ranks.tolist()
    assert read.top.tolist() == whole.top.tolist()


def test_a_task_is_ranked_by_what_it_says():
    task = Task(
        name="D2S",
        direction=Direction("drone", "satellite"),
        queries="q",
        gallery="r",
        positives=Relevance.of([[1]]),
        semipositives=Relevance.of([[0]]),
        candidates=Relevance.of([[0, 1]]),
    )

    found = rank(at(0), at(10, 20, 5), task, top=1)

    assert listed(found) == [[2]]
    assert found.hit.tolist() == [True]
    assert found.top.tolist() == [[0]]


def slowly(queries, references, positives, semipositives, candidates, top):
    """The definitions, pair by pair."""
    similar = queries.astype(np.float64) @ references.astype(np.float64).T
    found = {"ranks": [], "top": [], "hit": [], "hit_top1": []}
    for query, row in enumerate(similar):
        right = set(positives[query])
        forgiven = right | set(semipositives[query])
        competing = candidates[query] if candidates else range(len(row))
        rivals = [other for other in competing if other not in right]
        found["ranks"].append(
            [
                place + 1 + sum(row[other] >= row[one] - TIE for other in rivals)
                for place, one in enumerate(sorted(right, key=lambda one: -row[one]))
            ]
        )
        by_rank = sorted(competing, key=lambda one: (-round(row[one], 11), one in right, one))
        found["top"].append([row[one] for one in by_rank[:top]])
        for name, own in (("hit", right), ("hit_top1", forgiven)):
            best = max((row[one] for one in own), default=None)
            found[name].append(
                best is not None
                and all(one in forgiven or row[one] < best - TIE for one in competing)
            )
    return found


@st.composite
def cases(draw):
    """A few rows, of whole numbers so that ties abound, or of any direction; and what is right."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    asked, held, dim = draw(st.integers(1, 7)), draw(st.integers(1, 13)), draw(st.integers(2, 5))
    if draw(st.booleans()):
        queries, references = (
            rng.integers(-1, 2, (count, dim)) + 0.5 * np.eye(1, dim) for count in (asked, held)
        )
    else:
        queries, references = (rng.normal(size=(count, dim)) for count in (asked, held))

    def some(share):
        return [rng.permutation(np.flatnonzero(rng.random(held) < share)) for _ in range(asked)]

    positives = some(draw(st.sampled_from([0.1, 0.4, 1.0])))
    semipositives = some(draw(st.sampled_from([0.0, 0.3])))
    candidates = None
    if draw(st.booleans()):
        candidates = [
            rng.permutation(np.unique(np.concatenate(lists)))
            for lists in zip(positives, semipositives, some(0.3), strict=True)
        ]
    return unit(queries), unit(references), positives, semipositives, candidates


@given(
    case=cases(),
    queries_at_once=st.sampled_from([2, 512]),
    references_at_once=st.sampled_from([3, 4096]),
    depth=st.sampled_from([2, 192]),
    few=st.sampled_from([0, 4]),
    crowd=st.sampled_from([0.0, 1.0]),
    top=st.integers(1, 6),
)
@settings(max_examples=300, deadline=None, derandomize=True, database=None)
def test_ranks_lists_and_hits_agree_with_the_definitions(
    case, queries_at_once, references_at_once, depth, few, crowd, top
):
    queries, references, positives, semipositives, candidates = case
    if not sum(map(len, positives)):
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "_QUERIES", queries_at_once)
        patch.setattr(ranking, "_REFERENCES", references_at_once)
        patch.setattr(ranking, "_DEPTH", depth)
        patch.setattr(ranking, "_FEW", few)
        patch.setattr(ranking, "_CROWD", crowd)
        found = rank_rows(
            queries,
            references,
            Relevance.of(positives),
            semipositives=Relevance.of(semipositives),
            candidates=None if candidates is None else Relevance.of(candidates),
            top=top,
        )

    expected = slowly(queries, references, positives, semipositives, candidates, top)
    assert listed(found) == expected["ranks"]
    assert found.hit.tolist() == expected["hit"]
    assert found.hit_top1.tolist() == expected["hit_top1"]
    for row, similar, best in zip(found.top, found.similarity, expected["top"], strict=True):
        assert (row >= 0).sum() == len(best) == len(set(row[row >= 0]))
        np.testing.assert_allclose(similar[row >= 0], best, atol=2e-6)


def test_near_rivals_are_told_apart_though_float32_products_cannot():
    # Rivals a billionth to either side of the positive: far below what a float32 product knows.
    rng = np.random.default_rng(5)
    query = unit(rng.normal(size=(1, 512)))
    references = unit(query + 0.05 * rng.normal(size=(1, 512)))
    references = np.repeat(references, 2001, axis=0)
    column = rng.integers(0, 512, 2000)
    step = np.nextafter(references[1:, :][np.arange(2000), column], np.float32(2))
    references[np.arange(1, 2001), column] = step
    similar = references.astype(np.float64) @ query[0].astype(np.float64)

    found = rank_rows(query, references, Relevance.of([[0]]))

    assert found.ranks.tolist() == [1 + (similar[1:] >= similar[0] - TIE).sum()]
    assert 0 < (similar[1:] > similar[0] + TIE).sum() < 2000


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_embeddings_that_are_not_finite_are_refused(value):
    bad = at(0, 10, 20)
    bad[1, 0] = value

    with pytest.raises(EvaluationError, match=r"query 1 of D2S is not finite \(1 of 3\)"):
        rank_rows(bad, at(0), Relevance.of([[0]] * 3), name="D2S")
    with pytest.raises(EvaluationError, match="reference 1 of D2S is not finite"):
        rank_rows(at(0), bad, Relevance.of([[0]]), name="D2S")


def test_embeddings_that_are_not_of_unit_norm_are_refused():
    with pytest.raises(EvaluationError, match=r"query 0 of D2S is not of unit norm \(2 of 2\)"):
        rank_rows(2 * at(0, 1), at(0), Relevance.of([[0]] * 2), name="D2S")
    with pytest.raises(EvaluationError, match="reference 1 of D2S is not of unit norm"):
        rank_rows(at(0), at(0, 1) * [[1], [0]], Relevance.of([[0]]), name="D2S")


def refused(match, queries=2, references=3, positives=((0,), (1,)), **given):
    lists = {name: Relevance.of(rows) for name, rows in given.items()}
    with pytest.raises(EvaluationError, match=match):
        rank_rows(
            at(*range(queries)),
            at(*range(references)),
            Relevance.of(positives),
            name="S2D",
            **lists,
        )


def test_what_cannot_be_ranked_is_refused():
    refused("S2D has no queries", queries=0, positives=[])
    refused("S2D has no references", references=0)
    refused("No query of S2D has a right reference", positives=[[], []])
    refused("positives of S2D are of 1 queries, the embeddings of 2", positives=[[0]])
    refused("positives of S2D name references 0 to 3 of 3", positives=[[0], [3]])
    refused("positives of S2D name references -1 to 0 of 3", positives=[[0], [-1]])
    refused("positives of S2D name reference 2 twice for query 1", positives=[[0], [2, 2]])
    refused("semipositives of S2D are of 1", semipositives=[[0]])
    refused(
        r"1 of the positives of S2D are no candidates \(first for query 1\)",
        candidates=[[0, 2], [0, 2]],
    )
    with pytest.raises(EvaluationError, match="have 2 dimensions and references 3"):
        rank_rows(at(0), np.eye(3, dtype=np.float32), Relevance.of([[0]]))
    with pytest.raises(EvaluationError, match=r"shape \(2,\): give one row"):
        rank_rows(at(0)[0], at(0), Relevance.of([[0]]))
