"""Which items belong together, from pairs that do."""

from collections.abc import Callable, Iterable


def leaders(
    count: int, pairs: Iterable[tuple[int, int]], rank: Callable[[int], object] | None = None
) -> list[int]:
    """For each item the first of its group; items are joined by pairs, also through others.

    Args:
        count: N items, numbered from 0.
        pairs: numbers of two items of one group each.
        rank: what decides who is the first of a group, so that it does not hang on the order of
            the pairs; no two items of one rank. The number itself by default.

    Returns:
        N numbers; equal for the items of a group.
    """
    above = list(range(count))

    def leader_of(item: int) -> int:
        while above[item] != item:
            above[item] = above[above[item]]  # halves the way for the next who asks
            item = above[item]
        return item

    for one, other in pairs:
        first, second = sorted((leader_of(one), leader_of(other)), key=rank)  # type: ignore[arg-type]
        above[second] = first
    return [leader_of(item) for item in range(count)]
