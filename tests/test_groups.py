"""Groups from pairs."""

import itertools

import numpy as np
import pytest

from geobridge.groups import leaders


def slow_leaders(count, pairs, rank=None):
    """Reaches everything from everywhere, one step at a time."""
    beside = {item: {item} for item in range(count)}
    for one, other in pairs:
        beside[one].add(other)
        beside[other].add(one)
    found = []
    for item in range(count):
        group = {item}
        while (wider := set().union(*(beside[member] for member in group))) != group:
            group = wider
        found.append(min(group, key=rank))
    return found


def test_pairs_join_also_through_others_and_the_first_leads():
    assert leaders(6, [(4, 1), (3, 5), (4, 2)]) == [0, 1, 1, 3, 1, 3]
    assert leaders(3, []) == [0, 1, 2]
    assert leaders(0, []) == []


@pytest.mark.parametrize("seed", range(5))
def test_groups_are_those_of_a_search_in_whatever_order_the_pairs_come(seed):
    rng = np.random.default_rng(seed)
    pairs = rng.integers(0, 40, (25, 2)).tolist()
    drawn = rng.permutation(40).tolist()

    for order in itertools.islice(itertools.permutations(pairs), 0, 2000, 500):
        assert leaders(40, order) == slow_leaders(40, pairs)
        assert leaders(40, order, drawn.__getitem__) == slow_leaders(40, pairs, drawn.__getitem__)
