from collections import Counter

import numpy as np
import pytest
from pydantic import ValidationError

from geobridge.curation.splits import SplitConfig, split_places
from geobridge.geo.distance import LocalFrame, distance_m

APART_M = 200.0


def town(count=300, lat=48.1, lon=11.5, side_m=12_000, seed=0):
    """Places at random, some of them near to each other."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-side_m / 2, side_m / 2, (2, count))
    at_lon, at_lat = LocalFrame(lat, lon).to_lonlat(x, y)
    return [f"p{index:04d}" for index in range(count)], at_lat, at_lon


def nearest_of_another_split_m(lat, lon, splits):
    """By comparing each with each."""
    nearest = np.inf
    for row in range(len(lat)):
        others = [other for other in range(len(lat)) if splits[other] != splits[row]]
        if others:
            apart = np.atleast_1d(distance_m(lat[row], lon[row], lat[others], lon[others]))
            nearest = min(nearest, apart.min())
    return nearest


@pytest.mark.parametrize("centre", [(48.1, 11.5), (-17.0, 179.999), (0.001, 0.001), (78.2, 15.6)])
@pytest.mark.parametrize("block_m", [None, 1000.0])
def test_places_of_two_splits_are_apart(centre, block_m):
    names, lat, lon = town(lat=centre[0], lon=centre[1])
    shares = {"train": 0.5, "val": 0.25, "test": 0.25}
    config = SplitConfig(shares=shares, apart_m=APART_M, block_m=block_m)

    splits, reasons = split_places(names, lat, lon, config)

    kept = [row for row in range(len(names)) if reasons[row] is None]
    assert len({splits[row] for row in kept}) == 3
    assert (
        nearest_of_another_split_m(lat[kept], lon[kept], [splits[row] for row in kept]) >= APART_M
    )
    # It is the division that keeps them apart, not their rarity.
    assert nearest_of_another_split_m(lat, lon, names) < APART_M
    if block_m is None:
        assert len(kept) == len(names)
    else:
        assert 0.6 * len(names) < len(kept) < len(names)


def test_neighbours_of_neighbours_are_of_one_split():
    # A street of 40 places 150 m apart, and a copy of it 500 m north of it.
    x = np.tile(np.arange(40) * 150.0, 2)
    y = np.repeat([0.0, 500.0], 40)
    lon, lat = LocalFrame(10.0, 20.0).to_lonlat(x, y)
    names = [f"{row}" for row in range(80)]

    for seed in range(8):
        config = SplitConfig(shares={"a": 0.5, "b": 0.5}, apart_m=APART_M, seed=seed)
        splits, _ = split_places(names, lat, lon, config)
        assert len(set(splits[:40])) == 1
        assert len(set(splits[40:])) == 1


def test_shares_come_out_where_there_are_many_groups():
    names, lat, lon = town(3000, side_m=400_000)

    splits, _ = split_places(names, lat, lon, SplitConfig(apart_m=APART_M))

    count = Counter(splits)
    assert count["train"] / 3000 == pytest.approx(0.8, abs=0.03)
    assert count["val"] / 3000 == pytest.approx(0.1, abs=0.03)
    assert count["test"] / 3000 == pytest.approx(0.1, abs=0.03)


@pytest.mark.parametrize("block_m", [None, 2000.0])
def test_places_that_are_added_move_no_others(block_m):
    names, lat, lon = town(400)
    config = SplitConfig(apart_m=APART_M, block_m=block_m)
    before, _ = split_places(names[:200], lat[:200], lon[:200], config)

    after, _ = split_places(names, lat, lon, config)

    moved = [row for row in range(200) if before[row] != after[row]]
    if block_m:
        assert not moved
    else:
        # Only where two groups of different splits became one, or a group has a new name.
        assert len(moved) < 20


def test_far_away_places_that_are_added_move_nothing():
    names, lat, lon = town(200)
    more, far_lat, far_lon = town(200, lat=10.0)
    config = SplitConfig(apart_m=APART_M)
    before, _ = split_places(names, lat, lon, config)

    after, _ = split_places(
        [f"far-{name}" for name in more] + names,
        np.concatenate([far_lat, lat]),
        np.concatenate([far_lon, lon]),
        config,
    )

    assert after[200:] == before


def test_the_order_of_places_does_not_matter_and_the_seed_does():
    names, lat, lon = town()
    mixed = np.random.default_rng(1).permutation(len(names))
    config = SplitConfig(apart_m=APART_M)
    splits, _ = split_places(names, lat, lon, config)

    shuffled, _ = split_places([names[row] for row in mixed], lat[mixed], lon[mixed], config)

    assert shuffled == [splits[row] for row in mixed]
    other, _ = split_places(names, lat, lon, SplitConfig(apart_m=APART_M, seed=1))
    assert other != splits


def test_the_split_that_stands_first_yields():
    names, lat, lon = town()
    config = SplitConfig(
        shares={"train": 0.4, "val": 0.3, "test": 0.3}, apart_m=APART_M, block_m=1500.0
    )

    splits, reasons = split_places(names, lat, lon, config)

    left_out = Counter(split for split, reason in zip(splits, reasons, strict=True) if reason)
    assert left_out["test"] == 0
    assert left_out["train"] > 0
    told = [reason for reason in reasons if reason]
    assert all(reason.endswith((" val", " test")) for reason in told)


def test_one_place_and_none():
    config = SplitConfig(shares={"all": 1.0})

    assert split_places(["a"], np.array([1.0]), np.array([2.0]), config) == (["all"], [None])
    assert split_places([], np.zeros(0), np.zeros(0), config) == ([], [])


@pytest.mark.parametrize(
    "shares", [{"train": 0.5}, {"train": 1.5, "val": -0.5}, {"train": 0.8, "../val": 0.2}, {}]
)
def test_shares_that_are_no_parts_of_a_whole_are_refused(shares):
    with pytest.raises(ValidationError):
        SplitConfig(shares=shares)
