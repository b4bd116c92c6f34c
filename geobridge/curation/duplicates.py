"""Which places are there twice: by footprints that overlap, by pictures that are the same."""

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image

from geobridge.evaluation.pictures import look_of, near_pairs
from geobridge.groups import leaders
from geobridge.imagery.street import panorama_columns

KEPT = -1
"""Stands for "of none" where a row is told of which it is a duplicate."""

# How many footprints are looked at together at least; more as more are kept, so that the index
# is built a few times only.
_TOGETHER = 200

# Footprints are smaller than this.
_NEAR_DEG = 1.0


def overlapping(
    footprints: Sequence[shapely.Polygon], order: NDArray[np.int64], share: float
) -> NDArray[np.int64]:
    """Which footprints have to go so that no two that stay overlap by more than a share.

    They are taken one after the other; one stays unless it overlaps one that stays already. The
    overlap is a share of the *smaller* of the two: what lies within a larger footprint shows no
    ground of its own however large the other is, and a query of one would be answered by the
    other. (Intersection over union would call 80 m within 180 m different places.) Of two
    equal squares, half of the smaller is a third of their union.

    Areas are those in degrees, which are compared at one place only, where a square degree is as
    many square metres for both. Footprints meet across the antimeridian.

    Args:
        footprints: N valid polygons in lon/lat, continuous around their centres.
        order: int64 (N,), rows in the order they are taken in.
        share: 0..1.

    Returns:
        int64 (N,): for each footprint `KEPT`, or the row of the first in the order that stays
        and that it overlaps.
    """
    shapes = np.asarray(footprints, dtype=object)
    areas = shapely.area(shapes)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    found = np.full(len(shapes), KEPT, np.int64)
    kept = np.zeros(0, np.int64)
    start = 0
    while start < len(order):
        block = order[start : start + max(_TOGETHER, len(kept))]
        start += len(block)
        new, old = _pairs(shapes, areas, block, kept, share)
        _note_first(found, rank, new, old)
        alive = block[found[block] == KEPT]
        kept = np.concatenate([kept, _settle(shapes, areas, alive, found, rank, share)])
    return found


def _settle(
    shapes: NDArray[np.object_],
    areas: NDArray[np.float64],
    rows: NDArray[np.int64],
    found: NDArray[np.int64],
    rank: NDArray[np.int64],
    share: float,
) -> NDArray[np.int64]:
    """Settle one by one the rows that overlap each other; those that stay."""
    one, other = _pairs(shapes, areas, rows, rows, share)
    is_later = rank[one] > rank[other]
    one, other = one[is_later], other[is_later]
    for at in np.lexsort((rank[other], rank[one])).tolist():
        if found[one[at]] == KEPT and found[other[at]] == KEPT:
            found[one[at]] = other[at]
    staying: NDArray[np.int64] = rows[found[rows] == KEPT]
    return staying


def _note_first(
    found: NDArray[np.int64],
    rank: NDArray[np.int64],
    new: NDArray[np.int64],
    old: NDArray[np.int64],
) -> None:
    """Note for each of the new the first of the old that it overlaps."""
    # Of several values for one element the last remains, so the first of the old comes last.
    last_to_first = np.argsort(-rank[old])
    found[new[last_to_first]] = old[last_to_first]


def _pairs(
    shapes: NDArray[np.object_],
    areas: NDArray[np.float64],
    ones: NDArray[np.int64],
    others: NDArray[np.int64],
    share: float,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of one of `ones` and one of `others` that overlap by more than the share."""
    shown, rows = _with_other_side(shapes[others], others)
    at, there = shapely.STRtree(shown).query(shapes[ones])
    one, other, shape = ones[at], rows[there], shown[there]
    least = share * np.minimum(areas[one], areas[other])
    # Boxes are quick, and overlap at least as much as what is in them.
    may = (one != other) & (_box_overlap(shapes[one], shape) > least)
    one, other, shape, least = one[may], other[may], shape[may], least[may]
    overlaps = shapely.area(shapely.intersection(shapes[one], shape)) > least
    return one[overlaps], other[overlaps]


def _with_other_side(
    shapes: NDArray[np.object_], rows: NDArray[np.int64]
) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """The shapes, and once more 360 degrees away those that someone beyond 180 may meet."""
    bounds = shapely.bounds(shapes).reshape(-1, 4)
    east, west = bounds[:, 2] > 180 - _NEAR_DEG, bounds[:, 0] < _NEAR_DEG - 180
    shown = [shapes, _shifted(shapes[east], -360.0), _shifted(shapes[west], 360.0)]
    return np.concatenate(shown), np.concatenate([rows, rows[east], rows[west]])


def _shifted(shapes: NDArray[np.object_], degrees: float) -> NDArray[np.object_]:
    moved: NDArray[np.object_] = shapely.transform(
        shapes, lambda lonlat: np.add(lonlat, [degrees, 0.0])
    )
    return moved


def _box_overlap(ones: NDArray[np.object_], others: NDArray[np.object_]) -> NDArray[np.float64]:
    """Area that the boxes around two shapes have in common."""
    one, other = shapely.bounds(ones).reshape(-1, 4), shapely.bounds(others).reshape(-1, 4)
    sides = np.minimum(one[:, 2:], other[:, 2:]) - np.maximum(one[:, :2], other[:, :2])
    overlap: NDArray[np.float64] = sides.clip(min=0).prod(axis=1)
    return overlap


def light_deg(panorama: NDArray[np.uint8]) -> float:
    """Where a panorama is lightest on the whole: the peak of the first harmonic of its columns.

    A panorama that is turned to another heading has it as many degrees on, whatever its size and
    the quality of its JPEG.

    Args:
        panorama: uint8 (H, W, 3) that goes all the way round.

    Returns:
        Clockwise from the middle column, -360..0.
    """
    columns = np.asarray(Image.fromarray(panorama).convert("L"), np.float64).mean(axis=0)
    turned = np.exp(-2j * np.pi * np.arange(len(columns)) / len(columns))
    return float(np.degrees(-np.angle(columns @ turned))) - 180.0


def steady_look(panorama: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """The look of a panorama turned to its light, so the same whatever its heading.

    On the simulated planet, 50 copies turned, saved again and reduced to three quarters have at
    most 11 other bits of 256, to half 23 (96 % within `NEAR_BITS`), and panoramas 3 m apart 61 and
    more (`benchmarks/curation_gates.py`).
    """
    return look_of(panorama_columns(panorama, light_deg(panorama)))


def same_pictures(looks: Sequence[NDArray[np.uint8] | None]) -> list[list[int]]:
    """Rows of pictures that look the same, in groups of two and more.

    Args:
        looks: of `look_of`; None of a picture that has no look.

    Returns:
        Groups by their first row, rows of a group ascending.
    """
    rows = [row for row, look in enumerate(looks) if look is not None]
    if not rows:
        return []
    stacked = np.stack([look for look in looks if look is not None])
    groups: dict[int, list[int]] = {}
    found = leaders(len(rows), near_pairs(stacked, np.arange(len(rows))))
    for leader, row in zip(found, rows, strict=True):
        groups.setdefault(leader, []).append(row)
    return [group for group in groups.values() if len(group) > 1]
