"""Places that are hard to tell apart, because each has a neighbour that shows much the same."""

import math
import sys
from dataclasses import replace

from geobridge.world.planet import Town, WorldPlace


def place_pairs(town: Town, n: int, apart_m: float = 25.0) -> list[WorldPlace]:
    """`n` places of a town, or as many as it has room for, in pairs of neighbours.

    The first of each pair lies anywhere in the town. The second follows it and is the nearest
    place that is left, at least `apart_m` metres away and mostly not much more; an odd `n` leaves
    the last place alone. The places are numbered in this order.
    """
    room = town.places(sys.maxsize, apart_m=apart_m, at_most=True)
    n = min(n, len(room))
    firsts, free = room[: (n + 1) // 2], room[(n + 1) // 2 :]
    chosen: list[WorldPlace] = []
    for first in firsts:
        chosen.append(first)
        if len(chosen) < n:
            nearest = min(free, key=lambda other: _apart_cm(first, other))
            free.remove(nearest)
            chosen.append(nearest)
    return [replace(place, index=index) for index, place in enumerate(chosen)]


def _apart_cm(a: WorldPlace, b: WorldPlace) -> int:
    # Whole centimetres, or the last bit would choose between two sides of a straight street.
    return round(100 * math.hypot(a.x_m - b.x_m, a.y_m - b.y_m))
