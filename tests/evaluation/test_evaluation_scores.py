import json
import math

import numpy as np
import pytest

from geobridge.errors import EvaluationError
from geobridge.evaluation.ranking import Ranking, rank
from geobridge.evaluation.scores import Score, score
from geobridge.evaluation.tasks import Items, Relevance, Sdm, Task
from geobridge.views import Direction


def items(count, modality="drone", **given):
    return Items(modality, [str(row) for row in range(count)], ["-"] * count, **given)


def task(positives, **given):
    return Task(
        name="D2S",
        direction=Direction("drone", "satellite"),
        queries="drone",
        gallery="satellite",
        positives=Relevance.of(positives),
        **given,
    )


def ranking(ranks, gallery=50, top=(), **given):
    """A ranking with these ranks of positives, without embeddings."""
    relevance = Relevance.of(ranks)
    return Ranking(
        starts=relevance.starts,
        ranks=relevance.rows,
        top=np.array(top, np.int64).reshape(len(ranks), -1),
        similarity=np.zeros((len(ranks), 0), np.float32),
        gallery=np.full(len(ranks), gallery),
        **given,
    )


def scored(ranks, gallery=50, references=None, queries=None, top=(), hits=None, **given):
    """Score ranks; which references are right does not matter any more, but how many are."""
    chosen = task([list(range(len(one))) for one in ranks], **given)
    return score(
        chosen,
        ranking(ranks, gallery, top, **(hits or {})),
        queries or items(len(ranks)),
        references or items(gallery, "satellite"),
    )


def values(found):
    return {name: value.value for name, value in found.values.items()}


def test_measures_of_ranks():
    found = scored([[1, 3, 6], [2], [40], [7, 8]])

    assert values(found) == pytest.approx(
        {
            "R@1": 1 / 4,
            "R@5": 2 / 4,
            "R@10": 3 / 4,
            # Of 50: round(0.5) is 0, so that the first; the first; none; the first.
            "R@1% (round+1)": 1 / 4,
            "R@1% (int+1)": 1 / 4,
            "R@1% (floor)": 0,
            "R@1% (floor, at least 1)": 1 / 4,
            "AP (trapezoid)": (0.677778 + 1 / 4 + 1 / 80 + (1 / 14 + (1 / 7 + 1 / 4) / 2) / 2) / 4,
            "AP (plain)": (0.722222 + 1 / 2 + 1 / 40 + (1 / 7 + 1 / 4) / 2) / 4,
            "AP (reciprocal)": (1 + 1 / 2 + 1 / 40 + 1 / 7) / 4,
            "mean rank": 12.5,
            "median rank": 4.5,
        },
        abs=1e-6,
    )
    assert found.per_query["rank"].tolist() == [1, 2, 40, 7]
    assert found.per_query["R@5"].tolist() == [1, 1, 0, 0]
    assert (found.task, found.direction, found.queries, found.gallery) == ("D2S", "D2S", 4, 50)
    assert found.values["R@5"].low < 0.5 < found.values["R@5"].high
    # A right one first by lot: 3, 1, 1 and 2 of 50.
    assert found.chance["R@1"] == pytest.approx((3 + 1 + 1 + 2) / 50 / 4)
    assert found.chance["R@1% (floor)"] == 0
    assert set(found.definitions) == set(found.values)
    assert "first 1: round(N / 100) + 1 of N = 50" in found.definitions["R@1% (round+1)"]


def test_queries_without_a_positive_are_counted_and_wrong():
    found = scored([[1], []])
    strict = values(found)

    assert found.without_positive == 1
    assert strict["R@1"] == strict["AP (plain)"] == strict["AP (reciprocal)"] == 0.5
    assert strict["R@1% (int+1)"] == 0.5
    assert strict["mean rank"] == strict["median rank"] == 1
    assert found.remarks == (
        "1 of 2 queries have no right reference: they are wrong in every recall, count 0 in "
        "average precision and have no rank.",
    )
    # The release of GeoBridge: AP over those that have one, R@1% over all.
    matched = scored([[1], []], matched_only=True)
    assert values(matched)["AP (reciprocal)"] == 1
    assert values(matched)["R@1% (floor, at least 1)"] == 0.5
    assert "are left out of average precision" in matched.remarks[0]
    np.testing.assert_equal(matched.per_query["AP (plain)"], [1, math.nan])
    np.testing.assert_equal(matched.per_query["rank"], [1, math.nan])


def test_one_per_cent_of_another_number():
    found = scored([[9], [10]], gallery=701, percent_of=951)

    assert values(found)["R@1% (floor)"] == 0.5
    assert values(found)["R@1% (int+1)"] == 1
    assert "first 9: N // 100 of N = 951" in found.definitions["R@1% (floor)"]
    assert found.gallery == 701


def test_candidates_are_said():
    chosen = task([[0], [1]], candidates=Relevance.of([[0, 1], [0, 1, 2]]))
    place = Ranking(
        starts=chosen.positives.starts,
        ranks=np.array([1, 2]),
        top=np.zeros((2, 0), np.int64),
        similarity=np.zeros((2, 0), np.float32),
        gallery=np.array([2, 3]),
    )

    found = score(chosen, place, items(2), items(3, "satellite"))

    assert found.gallery == 3
    assert found.chance["R@1"] == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert found.remarks[0].startswith("Each query is compared with 2 to 3 candidates only")


def test_hit_rates():
    hits = {"hit": np.array([True, False, True, False]), "hit_top1": np.array([True] * 3 + [False])}

    found = scored([[1], [2], [3], [4]], hits=hits, headline=("R@1", "hit rate (code)"))

    assert values(found)["hit rate (code)"] == 0.5
    assert values(found)["hit rate (top-1)"] == 0.75
    assert found.headline == ("R@1", "hit rate (code)")


# On a map: one query at the origin, references 4, 10, 50, 100 and 0 m to the east of it.
EAST_M = (4.0, 10.0, 50.0, 100.0, 0.0)


def on_map(top, **given):
    xy_m = np.array([(east, 0.0) for east in EAST_M])
    return scored(
        [[1]] * len(top),
        gallery=len(EAST_M),
        queries=items(len(top), xy_m=np.zeros((len(top), 2))),
        references=items(len(EAST_M), "satellite", xy_m=xy_m),
        top=top,
        geodesy="plane",
        **given,
    )


def test_measures_of_distance():
    found = on_map(
        [[0, 1, 2, 3, 4], [1, 0, 2, 3, 4], [2, 4, 3, 1, 0], [3, 2, 1, 0, 4]],
        sdm=Sdm("metres", 0.1),
    )
    got = values(found)

    # First ones are 4, 10, 50 and 100 m away: less than, and at most.
    assert [got[f"MA@{d}"] for d in (5, 10, 20, 50)] == [0.25, 0.25, 0.5, 0.5]
    assert [got[f"L@{d}"] for d in (50, 100, 150)] == [0.75, 1, 1]
    assert got["mean error"] == got["Dis@1"] == 41
    assert got["median error"] == 30
    assert got["error q75"] == 62.5
    assert got["error q90"] == pytest.approx(85)
    assert got["Dis@3"] == pytest.approx((64 / 3 + 64 / 3 + 150 / 3 + 160 / 3) / 4)
    assert got["Dis@5"] == pytest.approx(164 / 5)
    assert got["SDM@1"] == pytest.approx(np.mean(np.exp([-0.4, -1, -5, -10])))
    first = (3 * math.exp(-0.4) + 2 * math.exp(-1) + math.exp(-5)) / 6
    assert found.per_query["SDM@3"][0] == pytest.approx(first)
    # Ten are asked for where five compete: over the five.
    weights = np.array([10, 9, 8, 7, 6])
    terms = np.exp(-0.1 * np.array([4, 10, 50, 100, 0]))
    assert found.per_query["SDM@10"][0] == pytest.approx((weights * terms).sum() / weights.sum())
    assert found.per_query["error_m"].tolist() == [4, 10, 50, 100]
    assert found.definitions["SDM@3"] == (
        "Mean of exp(-0.1 d) over the first 3 references, weighted 3 down to 1, d in metres."
    )
    assert found.remarks == ()


def test_radii_and_rows_are_the_tasks():
    xy_m = np.array([(east, 0.0) for east in EAST_M])
    chosen = task(
        [[0], [0]],
        query_rows=np.array([2, 0]),
        gallery_rows=np.array([3, 1, 4]),
        radii_m=(7.5, 10.0),
        geodesy="plane",
    )

    found = score(
        chosen,
        ranking([[1], [1]], 3, [[1, 2, 0], [2, 0, 1]]),
        items(3, xy_m=np.array([(0.0, 0.0), (9.0, 9.0), (0.0, 5.0)])),
        items(5, "satellite", xy_m=xy_m),
    )

    # Query 2 at (0, 5) finds reference 1 at 10 m; query 0 at the origin finds reference 4 there.
    assert found.per_query["error_m"] == pytest.approx([math.hypot(10, 5), 0])
    assert found.per_query["L@7.5"].tolist() == [0, 1]
    assert "L@50" not in found.values


def test_queries_without_a_position_are_left_out_and_references_without_one_are_far():
    lat, lon = np.array([48.0, math.nan, 48.0]), np.array([11.0, 11.0, 11.0])
    found = scored(
        [[1], [1], [1]],
        gallery=2,
        queries=items(3, lat=lat, lon=lon),
        references=items(2, "satellite", lat=np.array([48.0, math.nan]), lon=np.array([11.0, 11])),
        top=[[0, 1], [0, 1], [1, 0]],
        sdm=Sdm("degrees", 5e3),
    )
    got = values(found)

    np.testing.assert_equal(found.per_query["L@50"], [1, math.nan, 0])
    np.testing.assert_equal(found.per_query["error_m"], [0, math.nan, math.nan])
    np.testing.assert_equal(found.per_query["SDM@1"], [1, math.nan, 0])
    assert got["L@50"] == got["MA@5"] == got["SDM@1"] == 0.5
    assert got["mean error"] == 0
    assert "Dis@3" not in got  # one of the two has no position
    assert found.remarks == (
        "1 of 3 queries have no position and are left out of every distance.",
        "The first reference of 1 queries has no position: it is not within any distance and is "
        "left out of errors.",
    )


def test_sdm_in_float32():
    # Longitudes that float32 rounds to the same number, a step of 2^-17 being 7.6e-6.
    lon = 120.0
    sets = {
        "queries": items(1, lat=np.array([30.3]), lon=np.array([lon])),
        "references": items(1, "satellite", lat=np.array([30.3]), lon=np.array([lon + 3e-6])),
    }

    exact = scored([[1]], gallery=1, top=[[0]], sdm=Sdm("degrees", 5e3), **sets)
    rounded = scored([[1]], gallery=1, top=[[0]], sdm=Sdm("degrees", 5e3, float32=True), **sets)

    assert values(exact)["SDM@1"] == pytest.approx(math.exp(-0.015))
    assert values(rounded)["SDM@1"] == 1
    assert rounded.definitions["SDM@1"].endswith("with coordinates in float32.")


def test_a_short_list_gives_what_it_can():
    found = scored(
        [[1]],
        gallery=50,
        top=[[0, 1, 2]],
        queries=items(1, xy_m=np.zeros((1, 2))),
        references=items(50, "satellite", xy_m=np.ones((50, 2))),
        geodesy="plane",
    )

    assert {"Dis@1", "Dis@3"} <= set(found.values)
    assert "Dis@5" not in found.values


def test_a_measure_that_is_asked_for_and_cannot_be_had_is_an_error():
    with pytest.raises(EvaluationError, match=r"D2S asks for L@50, which cannot be had"):
        scored([[1]], headline=("R@1", "L@50"))


def test_a_ranking_of_another_task_is_refused():
    with pytest.raises(EvaluationError, match=r"D2S asks 3 queries, .* 2 and ranks for 2"):
        scored([[1], [1]], queries=items(3))


def test_a_score_is_kept_as_json():
    found = scored([[1], [3], []], remarks=("A remark.",))

    again = Score.from_json(json.loads(json.dumps(found.to_json())))

    assert again.values == found.values
    assert again.chance == found.chance
    assert (again.headline, again.remarks) == (found.headline, found.remarks)
    assert again.per_query == {}
    assert again.to_json() == found.to_json()


def test_a_collapsed_model_scores_nothing():
    row = np.full((1, 16), 0.25, np.float32)
    rows = np.repeat(row, 64, axis=0)
    place = np.arange(64.0)
    sets = [
        items(64, modality, lat=48 + place / 100, lon=np.full(64, 11.0))
        for modality in ("drone", "satellite")
    ]
    chosen = task(np.arange(64)[:, None], sdm=Sdm("degrees", 5e3), radii_m=(50.0,))

    got = values(score(chosen, rank(rows, rows, chosen), *sets))

    zero = ("R@1", "R@10", "R@1% (round+1)", "L@50", "MA@50", "SDM@1")
    assert [got[name] for name in zero] == pytest.approx([0] * len(zero), abs=1e-9)
    assert got["mean rank"] == got["median rank"] == 64
    assert got["AP (reciprocal)"] == 1 / 64


def test_shares_of_all_or_none_have_an_interval_too():
    found = scored([[3], [2], [4], [5]]).values

    # Wilson's ends n / (n + z^2) from the other side: 4 / (4 + 1.96^2).
    assert (found["R@1"].low, found["R@1"].high) == pytest.approx((0, 1 - 0.5101), abs=1e-4)
    assert (found["R@5"].low, found["R@5"].high) == pytest.approx((0.5101, 1), abs=1e-4)
    # Among the first 0 of 50 nothing can be found.
    assert (found["R@1% (floor)"].low, found["R@1% (floor)"].high) == (0, 0)


def test_a_share_that_can_be_nothing_else_is_sure():
    found = scored([[1], [2]], gallery=5).values

    assert (found["R@5"].low, found["R@5"].high) == (1, 1)
