"""Which places meet in a batch, against hand-made maps and slow, obvious references."""

import tracemalloc
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.overrides import TorchFunctionMode

from geobridge.errors import TrainingError
from geobridge.geo.distance import distance_m, earth_centred_m
from geobridge.training import negatives
from geobridge.training.negatives import (
    BatchOrder,
    Forbidden,
    NegativesConfig,
    epoch_batches,
    geographic_neighbours,
    mined_neighbours,
)

NAN = np.nan
TEXT_EDGES = [("text", "drone"), ("text", "street"), ("text", "satellite")]
EDGES = [("drone", "street"), ("street", "satellite"), ("satellite", "drone"), *TEXT_EDGES]


# The map: positions and distances.


# 1e-3 degrees of longitude on the equator are 111.3 m.
ROAD = np.array([0, 1, 2, 4, 8]) * 1e-3


def test_neighbours_on_a_road_come_in_their_order():
    found = geographic_neighbours(np.zeros(5), ROAD, nearest=2, apart_m=50)

    assert found.dtype == np.int32
    # 0 and 2 are equally far from 1, 1 the nearest of 2 and 0 its next, before the equally far 3.
    assert found.tolist() == [[1, 2], [0, 2], [1, 0], [2, 1], [3, 2]]


def test_who_is_too_near_is_no_neighbour():
    found = geographic_neighbours(np.zeros(5), ROAD, nearest=2, apart_m=150)

    assert found.tolist() == [[2, 3], [3, 4], [0, 3], [2, 1], [3, 2]]


def test_missing_neighbours_and_unknown_positions_are_minus_one():
    lat, lon = np.array([0, NAN, 0, 0]), np.array([0, 0, 1e-3, NAN])

    assert geographic_neighbours(lat, lon, nearest=2, apart_m=50).tolist() == [
        [2, -1],
        [-1, -1],
        [0, -1],
        [-1, -1],
    ]
    assert (geographic_neighbours(lat[:2], lon[:2], 3, 50) == -1).all()
    assert (geographic_neighbours(lat[:0], lon[:0], 3, 50)).shape == (0, 3)


def test_neighbours_are_found_across_the_antimeridian_and_the_pole():
    lat, lon = np.array([0, 0, 89.999, 89.999]), np.array([179.999, -179.999, 0, 180])

    assert geographic_neighbours(lat, lon, 1, 50).tolist() == [[1], [0], [3], [2]]


def slow_geographic(lat, lon, nearest, apart_m):
    ground = earth_centred_m(lat, lon)
    out = np.full((len(lat), nearest), -1)
    for a in range(len(lat)):
        others = []
        for b in range(len(lat)):
            far = np.sqrt(((ground[a] - ground[b]) ** 2).sum())
            if far > apart_m:  # false where unknown
                others.append((far, b))
        best = [b for _, b in sorted(others)[:nearest]]
        out[a, : len(best)] = best
    return out


@pytest.mark.parametrize("apart_m", [0.0, 30.0, 400.0, 5000.0])
def test_neighbours_agree_with_a_double_loop_also_where_many_stand_together(apart_m):
    rng = np.random.default_rng(1)
    lat, lon = 48 + rng.uniform(0, 0.01, 120), 11 + rng.uniform(0, 0.01, 120)
    lat[:40], lon[:40] = 48.005, 11.005  # forty at one point: ties, and all within the distance
    lat[50], lon[60] = NAN, NAN

    found = geographic_neighbours(lat, lon, 7, apart_m)

    np.testing.assert_array_equal(found, slow_geographic(lat, lon, 7, apart_m))


def test_neighbours_do_not_depend_on_the_block(monkeypatch):
    rng = np.random.default_rng(2)
    lat, lon = rng.uniform(0, 0.01, 60), rng.uniform(0, 0.01, 60)
    whole = geographic_neighbours(lat, lon, 5, 100)
    monkeypatch.setattr(negatives, "_BLOCK", 200)

    np.testing.assert_array_equal(geographic_neighbours(lat, lon, 5, 100), whole)


def test_a_crowd_is_searched_in_bounded_memory(monkeypatch):
    # 1000 places in one spot: each needs all 1000 to be looked at, 16 MB of answers if at once.
    monkeypatch.setattr(negatives, "_BLOCK", 2**17)
    lat, lon = np.zeros(1001), np.zeros(1001)
    lon[-1] = 1.0
    tracemalloc.start()
    found = geographic_neighbours(lat, lon, 4, 10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert (found[:-1, 0] == 1000).all()
    assert (found[:-1, 1:] == -1).all()
    assert found[-1].tolist() == [0, 1, 2, 3]
    assert peak < 4 * 2**20


# What a model confuses.


def nowhere(count, text_key=None, radius_m=50.0):
    """Places of unknown position, with texts of their own."""
    unknown = np.full(count, NAN)
    keys = np.arange(count) if text_key is None else np.asarray(text_key, np.int64)
    return Forbidden(unknown, unknown, keys, radius_m)


def angles(*degrees):
    """Unit rows at these angles of a circle: the nearer in angle, the more similar."""
    radians = np.radians(np.array(degrees, np.float64))
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def test_the_most_similar_of_both_ways_alternate():
    found = mined_neighbours(
        {"drone": angles(0, 30, 100, 180), "satellite": angles(0, 110, 40, 180)},
        {"drone": np.arange(4), "satellite": np.arange(4)},
        [("drone", "satellite")],
        nearest=2,
        forbidden=nowhere(4),
    )

    # Drone 0 (0 deg) sees satellites 2 (40), 1 (110), 3; satellite 0 (0) sees drones 1 (30), 2.
    # Drone 1 (30) sees 2 (10 away), 0 (30); satellite 1 (110) sees 2 (10), 3 (70).
    # Drone 2 (100) sees 1 (10), 3 (80); satellite 2 (40) sees 1 (10), 0 (40).
    # Drone 3 (180) sees 1 (70), 2 (140); satellite 3 (180) sees 2 (80), 1 (150).
    assert found.dtype == np.int32
    assert found.tolist() == [[2, 1], [2, 0], [1, 3], [1, 2]]


def test_every_edge_has_its_say():
    # On drone-satellite all prefer 1, then 2; on text-satellite place 0 is confused with 3.
    found = mined_neighbours(
        {
            "drone": angles(0, 1, 2, 90),
            "satellite": angles(0, 1, 2, 90),
            "text": angles(90, 200, 210, 0),
        },
        {name: np.arange(4) for name in ("drone", "satellite", "text")},
        [("drone", "satellite"), ("text", "satellite")],
        nearest=2,
        forbidden=nowhere(4),
    )

    assert found[0].tolist() == [1, 3]


def test_equally_similar_places_come_by_index():
    same = np.tile(angles(0), (6, 1))
    rows = np.array([5, 3, 1, 0, 2, 4])

    found = mined_neighbours(
        {"drone": same, "street": same},
        {"drone": rows, "street": rows},
        [("drone", "street")],
        nearest=3,
        forbidden=nowhere(6),
    )

    assert found.tolist() == [
        [1, 2, 3],
        [0, 2, 3],
        [0, 1, 3],
        [0, 1, 2],
        [0, 1, 2],
        [0, 1, 2],
    ]


def test_the_same_text_hides_a_place_from_text_edges_only():
    # Text 0 is most similar to place 1, which has the same words.
    rows = {"text": np.arange(3), "drone": np.arange(3), "street": np.arange(3)}
    table = angles(0, 10, 90)
    embeddings = dict.fromkeys(rows, table)

    with_text = mined_neighbours(
        embeddings, rows, [("text", "drone")], 2, nowhere(3, text_key=[7, 7, 8])
    )
    of_images = mined_neighbours(
        embeddings, rows, [("drone", "street")], 2, nowhere(3, text_key=[7, 7, 8])
    )

    assert with_text.tolist() == [[2, -1], [2, -1], [1, 0]]
    assert of_images.tolist() == [[1, 2], [0, 2], [1, 0]]


def test_the_same_ground_hides_a_place_from_every_edge():
    lon = np.array([0, 1e-4, 1e-3])  # 11 m and 111 m
    forbidden = Forbidden(np.zeros(3), lon, np.arange(3), radius_m=50)
    rows = {"text": np.arange(3), "drone": np.arange(3), "street": np.arange(3)}

    for edge in [("drone", "street"), ("text", "drone")]:
        found = mined_neighbours(dict.fromkeys(rows, angles(0, 1, 90)), rows, [edge], 2, forbidden)
        assert found.tolist() == [[2, -1], [2, -1], [1, 0]]


def test_only_places_with_both_modalities_of_an_edge_are_compared():
    # Place 1 has no street picture, place 3 no drone picture: the objective leaves both out.
    found = mined_neighbours(
        {"drone": angles(0, 1, 50), "street": angles(0, 50, 2)},
        {"drone": np.array([0, 1, 2]), "street": np.array([0, 2, 3])},
        [("drone", "street"), ("drone", "satellite")],
        nearest=2,
        forbidden=nowhere(5),
    )

    assert found.tolist() == [[2, -1], [-1, -1], [0, -1], [-1, -1], [-1, -1]]


def test_edges_that_nobody_has_give_no_neighbours():
    found = mined_neighbours({"drone": angles(0, 1)}, {"drone": np.arange(2)}, EDGES, 2, nowhere(2))

    assert (found == -1).all()


def slow_mined(embeddings, rows, edges, nearest, lat, lon, text_key, radius_m):
    """Integer-valued embeddings make every product exact, whatever the order of the sum."""
    held = {
        name: {int(place): embeddings[name][i] for i, place in enumerate(rows[name])}
        for name in rows
    }
    out = np.full((len(lat), nearest), -1)
    for a in range(len(lat)):
        lists = []
        for edge in edges:
            for query, reference in (edge, edge[::-1]):
                ranked = []
                for b in range(len(lat)):
                    both = all(x in held[m] for x in (a, b) for m in edge)
                    near = distance_m(lat[a], lon[a], lat[b], lon[b]) <= radius_m
                    same = "text" in edge and text_key[a] == text_key[b]
                    if a != b and both and not near and not same:
                        ranked.append((-float(held[query][a] @ held[reference][b]), b))
                lists.append([b for _, b in sorted(ranked)])
        merged = []
        for rank in range(len(lat)):
            for ranked in lists:
                if rank < len(ranked) and ranked[rank] not in merged:
                    merged.append(ranked[rank])
        merged = merged[:nearest]
        out[a, : len(merged)] = merged
    return out


@pytest.fixture
def confusing():
    """Forty places with modalities missing, ties, near neighbours, shared texts, unknown ground."""
    rng = np.random.default_rng(3)
    count = 40
    rows = {}
    embeddings = {}
    for name in ("drone", "street", "satellite", "text"):
        rows[name] = rng.permutation(count)[: rng.integers(20, count)]
        embeddings[name] = rng.integers(-2, 3, (len(rows[name]), 6)).astype(np.float32)
    lat, lon = rng.uniform(0, 0.002, count), rng.uniform(0, 0.002, count)
    lat[5] = lon[9] = NAN
    text_key = rng.integers(0, 12, count)
    return embeddings, rows, lat, lon, text_key


@pytest.mark.parametrize("nearest", [1, 6, 60])
@pytest.mark.parametrize("block", [2**24, 7 * 40])
def test_mining_agrees_with_a_double_loop(confusing, nearest, block, monkeypatch):
    embeddings, rows, lat, lon, text_key = confusing
    monkeypatch.setattr(negatives, "_BLOCK", block)

    found = mined_neighbours(embeddings, rows, EDGES, nearest, Forbidden(lat, lon, text_key, 60.0))

    expected = slow_mined(embeddings, rows, EDGES, nearest, lat, lon, text_key, 60.0)
    np.testing.assert_array_equal(found, expected)


def test_tensors_are_mined_like_arrays(confusing):
    embeddings, rows, lat, lon, text_key = confusing
    forbidden = Forbidden(lat, lon, text_key, 60.0)
    tensors = {name: torch.from_numpy(rows_).requires_grad_() for name, rows_ in embeddings.items()}
    row_tensors = {name: torch.from_numpy(places) for name, places in rows.items()}

    np.testing.assert_array_equal(
        mined_neighbours(tensors, row_tensors, EDGES, 6, forbidden),
        mined_neighbours(embeddings, rows, EDGES, 6, forbidden),
    )


class Largest(TorchFunctionMode):
    """Notes the most elements that any tensor had."""

    elements = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for leaf in out if isinstance(out, tuple) else (out,):
            if isinstance(leaf, torch.Tensor):
                self.elements = max(self.elements, leaf.numel())
        return out


def test_no_intermediate_of_mining_is_larger_than_a_block(monkeypatch):
    count, block = 200, 8_000
    monkeypatch.setattr(negatives, "_BLOCK", block)
    rng = np.random.default_rng(4)
    names = ("drone", "street", "satellite", "text")
    embeddings = {name: rng.normal(size=(count, 4)).astype(np.float32) for name in names}
    rows = {name: np.arange(count) for name in names}
    forbidden = Forbidden(np.zeros(count), np.arange(count) * 1e-3, np.arange(count), 50.0)

    with Largest() as largest:
        mined_neighbours(embeddings, rows, EDGES, 8, forbidden)

    assert count < largest.elements <= block < count * count


@pytest.mark.parametrize(
    ("embeddings", "rows", "words"),
    [
        (angles(0, 1), [0], "2 embeddings of drone but 1 rows"),
        (angles(0, 1), [0, 0], "more than one embedding of drone"),
        (angles(0, 1), [0, 3], "places 0 to 3, but there are 3"),
        (angles(0, 1), [-1, 0], "places -1 to 0"),
        (angles(0, NAN), [0, 2], r"place 2 in drone is not finite \(1 of 2\)"),
    ],
)
def test_embeddings_that_do_not_fit_are_refused(embeddings, rows, words):
    with pytest.raises(TrainingError, match=words):
        mined_neighbours({"drone": embeddings}, {"drone": np.array(rows)}, EDGES, 2, nowhere(3))


# The batches of an epoch.


def test_random_batches_hold_each_place_once_and_have_one_shape():
    batches = epoch_batches(103, 10, seed=0, epoch=0, neighbours=None, share=0.5)

    assert batches.dtype == np.int64
    assert batches.shape == (10, 10)
    assert len(np.unique(batches)) == 100
    assert batches.min() >= 0
    assert batches.max() < 103


def test_batches_are_a_pure_function_of_seed_and_epoch():
    def draw(seed, epoch):
        near = geographic_neighbours(np.zeros(90), np.arange(90) * 1e-3, 8, 50)
        return epoch_batches(90, 9, seed, epoch, near, 0.5)

    np.testing.assert_array_equal(draw(1, 2), draw(1, 2))
    assert (draw(1, 2) != draw(1, 3)).any()
    assert (draw(1, 2) != draw(2, 2)).any()


def test_half_of_a_batch_are_the_neighbours_of_the_other_half():
    # Places 2i and 2i + 1 are each other's only neighbours.
    partner = np.arange(600, dtype=np.int32)[:, None] ^ 1

    batches = epoch_batches(600, 6, 0, 0, partner, 0.5)

    assert len(set((batches[0, :3] // 2).tolist())) == 3
    np.testing.assert_array_equal(batches[0, 3:], batches[0, :3] ^ 1)
    assert len(np.unique(batches)) == 600


def test_growth_takes_the_nearest_of_each_before_the_second_and_then_goes_on():
    # From place 0: neighbours 1, 2; from 1: 3; from 2: 4; and so on, a tree.
    near = np.array([[2 * i + 1, 2 * i + 2] for i in range(15)], np.int32)
    near[near >= 15] = -1
    free = np.ones(15, np.bool_)
    free[[0, 1]] = False

    grown = negatives._grow(np.array([0, 1]), 5, near, free)

    # Nearest of 0 is 1 (taken), of 1 is 3; second of 0 is 2, of 1 is 4; then of 3, 2 and 4.
    assert grown.tolist() == [3, 2, 4, 7, 5]
    assert np.flatnonzero(~free).tolist() == [0, 1, 2, 3, 4, 5, 7]
    assert negatives._grow(np.array([14]), 3, near, free).tolist() == []


def test_where_no_neighbours_are_left_batches_are_filled_at_random():
    nobody = np.full((25, 3), -1, np.int32)

    batches = epoch_batches(25, 5, 0, 0, nobody, 0.8)

    assert sorted(batches.ravel()) == list(range(25))


def test_a_batch_keeps_one_random_place_whatever_the_share():
    ring = np.array([[(i + 1) % 20, (i - 1) % 20] for i in range(20)], np.int32)

    batches = epoch_batches(20, 5, 0, 0, ring, 1.0)

    assert sorted(batches.ravel()) == list(range(20))
    # The whole first batch is one stretch of the ring, around its first place.
    stretch = {(int(batches[0, 0]) + step) % 20 for step in range(-2, 3)}
    assert set(batches[0].tolist()) == stretch


def filled(batches, near, hard):
    """Share of the hard slots that hold a neighbour of a place before them in the batch."""
    slots = range(batches.shape[1] - hard, batches.shape[1])
    return np.mean([np.isin(row[slot], near[row[:slot]]) for row in batches for slot in slots])


@pytest.mark.parametrize(("share", "hard"), [(0.25, 4), (0.5, 8), (0.75, 12), (0.9, 14)])
def test_the_share_is_reached_where_neighbours_exist(share, hard):
    rng = np.random.default_rng(5)
    lat, lon = rng.uniform(0, 1, 2000), rng.uniform(0, 1, 2000)
    near = geographic_neighbours(lat, lon, 32, 50)

    # Towards the end of an epoch some have no free neighbour left.
    assert filled(epoch_batches(2000, 16, 0, 0, near, share), near, hard) > 0.95
    # By chance up to 15 of 2000 are before a slot, with 32 neighbours each: less than a quarter.
    assert filled(epoch_batches(2000, 16, 0, 0, None, share), near, hard) < 0.25


def test_chosen_hard_places_are_never_false_negatives_of_who_brought_them():
    rng = np.random.default_rng(6)
    lat, lon = rng.uniform(0, 0.01, 300), rng.uniform(0, 0.01, 300)

    near = geographic_neighbours(lat, lon, 16, 100)

    own = np.arange(300)[:, None]
    assert (distance_m(lat[own], lon[own], lat[near], lon[near]) > 100).all()


def test_too_few_places_are_refused():
    with pytest.raises(TrainingError, match="there are 5 places, and one batch takes 6"):
        epoch_batches(5, 6, 0, 0, None, 0.0)


# Settings.


def test_the_hard_share_rises_between_two_shares_of_the_run():
    config = NegativesConfig(kind="neighbours", share=0.6, starts=0.2, full=0.6)

    shares = [config.share_at(progress) for progress in (0, 0.2, 0.3, 0.4, 0.6, 1)]

    assert shares == pytest.approx([0, 0, 0.15, 0.3, 0.6, 0.6])


def test_the_hard_share_may_come_at_once_or_never():
    at_once = NegativesConfig(kind="mined", share=0.5, starts=0, full=0)

    assert at_once.share_at(0.0) == 0.5
    assert NegativesConfig(kind="random", starts=0, full=0).share_at(1.0) == 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kind": "neighbors"}, "neighbours"),
        ({"share": 1.5}, "less than or equal to 1"),
        ({"nearest": 0}, "greater than or equal to 1"),
        ({"refresh_epochs": 0}, "greater than or equal to 1"),
        ({"starts": 0.7, "full": 0.6}, "full 0.6 comes before starts 0.7"),
        ({"shares": 0.5}, "did you mean 'share'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, words):
    with pytest.raises(ValidationError, match=words):
        NegativesConfig(**settings)


# The order of a run.


@dataclass
class Road:
    """Places 111 m apart on the equator; every text its own."""

    count: int
    name: str = "the road"
    lat: np.ndarray = field(init=False)
    lon: np.ndarray = field(init=False)
    text_key: np.ndarray = field(init=False)

    def __post_init__(self):
        self.lat, self.lon = np.zeros(self.count), np.arange(self.count) * 1e-3
        self.text_key = np.arange(self.count)

    def __len__(self):
        return self.count


_OF_THE_RUN = ("rank", "world_size", "trained")


def order_of(count=50, batch=8, kind="neighbours", edges=(("drone", "satellite"),), **changes):
    parts = {name: changes.pop(name) for name in _OF_THE_RUN if name in changes}
    settings = {"share": 0.5, "starts": 0.2, "full": 0.6, "nearest": 4} | changes
    config = NegativesConfig(kind=kind, **settings)
    return BatchOrder(config, Road(count), edges, batch, seed=3, radius_m=50.0, **parts)


def progress(step):
    return step / 60  # ten epochs of six batches


def run(order, steps):
    return np.stack([order.rows(step, progress) for step in steps])


def test_an_epoch_holds_every_place_at_most_once_and_the_next_another_order():
    order = order_of()

    rows = run(order, range(60))

    assert order.batches_per_epoch == 6
    assert rows.shape == (60, 8)
    assert rows.dtype == np.int64
    for epoch in rows.reshape(10, 48):
        assert len(np.unique(epoch)) == 48
    assert (rows[:6] != rows[6:12]).any()


def test_the_share_is_that_of_the_first_step_of_the_epoch():
    order = order_of()
    near = geographic_neighbours(np.zeros(50), np.arange(50) * 1e-3, 4, 50.0)

    # Epoch 3 begins at step 18, progress 0.3: a quarter of the way to 0.5.
    expected = epoch_batches(50, 8, 3, 3, near, 0.125)

    np.testing.assert_array_equal(run(order, range(18, 24)), expected)


def test_neighbours_come_in_during_the_run():
    near = geographic_neighbours(np.zeros(50), np.arange(50) * 1e-3, 4, 50.0)
    order = order_of()

    early, late = run(order, range(6)), run(order, range(54, 60))

    np.testing.assert_array_equal(early, epoch_batches(50, 8, 3, 0, None, 0.0))
    assert filled(late, near, 4) > filled(early, near, 4) + 0.3
    assert filled(late, near, 4) > 0.85


def test_any_step_can_be_asked_for_alone():
    whole = run(order_of(), range(60))

    for step in (59, 0, 33, 12):
        np.testing.assert_array_equal(order_of().rows(step, progress), whole[step])


def test_what_a_caller_does_to_the_rows_stays_with_the_caller():
    order = order_of()
    before = order.rows(0, progress).copy()
    order.rows(0, progress)[:] = -1

    np.testing.assert_array_equal(order.rows(0, progress), before)


def test_processes_share_the_joint_batch():
    alone = run(order_of(batch=8), range(60))
    first = run(order_of(batch=4, rank=0, world_size=2), range(60))
    second = run(order_of(batch=4, rank=1, world_size=2), range(60))

    np.testing.assert_array_equal(np.concatenate([first, second], axis=1), alone)


def far_apart(count):
    """Embeddings in which each place is most similar to the one 25 further."""
    table = np.eye(count, dtype=np.float32)
    other = np.roll(table, 25, axis=0) * 0.9 + table * 0.1
    rows = np.arange(count)
    return {"drone": table, "satellite": other}, {"drone": rows, "satellite": rows}


def test_geography_comes_first_and_mining_after():
    order, like = order_of(kind="mined"), order_of(kind="neighbours")

    np.testing.assert_array_equal(run(order, range(12, 30)), run(like, range(12, 30)))
    order.mine(*far_apart(50), epoch=5)
    mined = run(order, range(36, 60))

    assert (mined != run(like, range(36, 60))).any()
    # The place 25 further (of 50, so also 25 back) and then, all equally unlike, those by index.
    others = [[j for j in range(50) if j not in (i, (i + 25) % 50)] for i in range(50)]
    near = np.array([[(i + 25) % 50, *others[i][:3]] for i in range(50)], np.int32)
    np.testing.assert_array_equal(mined[-6:], epoch_batches(50, 8, 3, 9, near, 0.5))


def test_a_new_mining_takes_effect_within_the_epoch_that_asked_for_it():
    order = order_of(kind="mined")
    before = run(order, range(54, 60))
    order.mine(*far_apart(50), epoch=9)

    assert (run(order, range(54, 60)) != before).any()


def test_mining_is_due_every_few_epochs_once_hard_places_come_in():
    order = order_of(kind="mined", refresh_epochs=3)
    due = []
    for epoch in range(10):
        if order.needs_mining(epoch, progress):
            due.append(epoch)
            order.mine(*far_apart(50), epoch=epoch)
            assert not order.needs_mining(epoch, progress)

    # Hard places come in after progress 0.2, which is where epoch 2 begins: with a share of 0.
    assert due == [3, 6, 9]


def test_mining_waits_for_hard_places_and_for_its_kind():
    late = order_of(kind="mined", starts=0.5, full=0.6)

    assert [epoch for epoch in range(10) if late.needs_mining(epoch, progress)] == [6, 7, 8, 9]
    assert not order_of(kind="neighbours").needs_mining(9, progress)
    assert not order_of(kind="random").needs_mining(9, progress)


def test_drawn_weights_are_not_mined_with_before_the_first_epoch():
    order = order_of(kind="mined", starts=0, full=0)

    assert not order.needs_mining(0, progress)
    assert order.needs_mining(1, progress)


def test_trained_weights_are_mined_with_as_soon_as_hard_places_come_in():
    at_once = order_of(kind="mined", starts=0, full=0, refresh_epochs=3, trained=True)
    later = order_of(kind="mined", starts=0.2, full=0.5, refresh_epochs=8, trained=True)

    due = []
    for epoch in range(8):
        if at_once.needs_mining(epoch, progress):
            due.append(epoch)
            at_once.mine(*far_apart(50), epoch=epoch)

    assert due == [0, 3, 6]
    # At progress 0.2, where epoch 2 begins, the share is still 0.
    assert [epoch for epoch in range(10) if later.needs_mining(epoch, progress)] == [
        3, 4, 5, 6, 7, 8, 9,
    ]  # fmt: skip


def test_a_trained_run_that_mined_before_its_first_epoch_does_not_mine_again_when_resumed():
    order = order_of(kind="mined", starts=0, full=0, trained=True)
    order.mine(*far_apart(50), epoch=0)

    resumed = order_of(kind="mined", starts=0, full=0, trained=True)
    resumed.load_state_dict(order.state_dict())

    assert not resumed.needs_mining(0, progress)
    assert resumed.needs_mining(1, progress)
    np.testing.assert_array_equal(run(resumed, range(3, 6)), run(order, range(3, 6)))


def test_a_killed_run_goes_on_in_the_middle_of_an_epoch(tmp_path):
    order = order_of(kind="mined")
    order.mine(*far_apart(50), epoch=7)
    whole = run(order, range(42, 48))
    torch.save(order.state_dict(), tmp_path / "state.pt")

    resumed = order_of(kind="mined")
    run(resumed, range(42, 43))
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))

    assert not resumed.needs_mining(7, progress)
    assert resumed.needs_mining(8, progress)
    np.testing.assert_array_equal(run(resumed, range(45, 48)), whole[3:])


def test_a_run_that_mined_nothing_goes_on_too():
    order = order_of(kind="mined")
    order.load_state_dict(order_of(kind="mined").state_dict())

    np.testing.assert_array_equal(run(order, range(60)), run(order_of(), range(60)))


def test_a_state_of_other_places_is_refused():
    with pytest.raises(TrainingError, match="the road had 50 places, and now it has 60"):
        order_of(60).load_state_dict(order_of(50).state_dict())
    # The same places in another order.
    road = Road(50)
    turned = Forbidden(road.lat[::-1].copy(), road.lon[::-1].copy(), road.text_key, 50.0)
    state = order_of(50).state_dict() | {"digest": turned.digest()}
    with pytest.raises(TrainingError, match="places of the road lie elsewhere, tell something e"):
        order_of(50).load_state_dict(state)


def test_a_source_smaller_than_its_batch_is_refused():
    with pytest.raises(
        TrainingError, match="the road has 7 places, and one batch takes 8 of them:"
    ):
        order_of(7)
    with pytest.raises(TrainingError, match="takes 16 of them for 2 processes"):
        order_of(15, batch=8, world_size=2)


def test_places_of_unknown_position_meet_at_random():
    source = Road(50)
    source.lat = np.full(50, NAN)
    config = NegativesConfig(kind="neighbours", starts=0, full=0)
    order = BatchOrder(config, source, EDGES, 8, seed=3, radius_m=50.0)

    rows = np.stack([order.rows(step, progress) for step in range(6)])

    assert len(np.unique(rows)) == 48
