"""Splits by geography: no place of one split is near to a place of another.

Places nearer to each other than `apart_m` are one group, and a group goes into one split as a
whole. Where places follow each other through a whole town, all of it is one group: `block_m` then
cuts the ground into blocks, and leaves out places along the cuts.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import Self

import numpy as np
import shapely
from numpy.typing import NDArray
from pydantic import Field, model_validator

from geobridge.geo.distance import METRES_A_DEGREE, distance_m
from geobridge.groups import leaders
from geobridge.model.config import Settings

_LEAST_COS = 1e-3


class SplitConfig(Settings):
    """How places are divided.

    Attributes:
        shares: of each split, together 1. What comes out differs from it the more, the fewer
            groups there are.
        apart_m: least distance between places of two splits; footprints of two splits do not
            touch if it is longer than their diagonals.
        block_m: side of blocks of ground, each of which goes into one split; a place nearer than
            `apart_m` to a place of a split that stands later in `shares` is left out. None keeps
            neighbours together however far they reach, and leaves nothing out.
        seed: another one, another division.
    """

    shares: dict[str, float] = Field(
        default_factory=lambda: {"train": 0.8, "val": 0.1, "test": 0.1}, min_length=1
    )
    apart_m: float = Field(default=300.0, gt=0)
    block_m: float | None = Field(default=None, gt=0)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if min(self.shares.values()) < 0 or not math.isclose(sum(self.shares.values()), 1):
            raise ValueError("`shares` are not parts of a whole: let them be positive and sum to 1")
        if not all(name and name.isidentifier() for name in self.shares):
            raise ValueError("`shares` has a name that is no word: use letters, as in train")
        return self


def split_places(
    place_ids: Sequence[str],
    lat: NDArray[np.float64],
    lon: NDArray[np.float64],
    config: SplitConfig,
) -> tuple[list[str], list[str | None]]:
    """The split of each place, and why it has to be left out of it, or None.

    A group or block goes where a digest of its name falls, so that places that are added move no
    others, except where they join two groups.

    Args:
        place_ids: N, unique.
        lat: (N,) degrees.
        lon: (N,) degrees.
        config: how they are divided.
    """
    one, other, apart_m = _pairs(lat, lon, config.apart_m)
    if config.block_m is None:
        names = _groups(place_ids, one, other, config.seed)
        return [_drawn(name, config) for name in names], [None] * len(names)
    names = _blocks(lat, lon, config.block_m)
    splits = [_drawn(name, config) for name in names]
    return splits, _crowded(place_ids, splits, one, other, apart_m, config)


def _drawn(name: str, config: SplitConfig) -> str:
    """The split a name falls into by chance, always the same."""
    at = _chance("split", config.seed, name)
    splits = [split for split, share in config.shares.items() if share > 0]
    for split in splits:
        at -= config.shares[split]
        if at < 0:
            return split
    return splits[-1]


def _chance(*parts: object) -> float:
    """A number in [0, 1) that is drawn from words."""
    text = " ".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big") / 2**56


def _groups(
    place_ids: Sequence[str], one: NDArray[np.int64], other: NDArray[np.int64], seed: int
) -> list[str]:
    """For each place the one that gives its group its name.

    It is drawn from the group: a place that is added would rename a group that was named after
    its first place as often as one comes before it, and this one ever more rarely.
    """
    rank = [(_chance("group", seed, name), name) for name in place_ids]
    pairs = zip(one.tolist(), other.tolist(), strict=True)
    return [place_ids[row] for row in leaders(len(place_ids), pairs, rank.__getitem__)]


def _blocks(lat: NDArray[np.float64], lon: NDArray[np.float64], block_m: float) -> list[str]:
    """For each place the block it lies in; blocks are the same whatever places there are."""
    row = np.floor(lat * METRES_A_DEGREE / block_m)
    middle = (row + 0.5) * block_m / METRES_A_DEGREE
    column = np.floor(lon * _degree_east_m(middle) / block_m)
    return [f"{int(r)} {int(c)}" for r, c in zip(row, column, strict=True)]


def _degree_east_m(lat: NDArray[np.float64]) -> NDArray[np.float64]:
    metres: NDArray[np.float64] = METRES_A_DEGREE * np.maximum(np.cos(np.radians(lat)), _LEAST_COS)
    return metres


def _crowded(
    place_ids: Sequence[str],
    splits: Sequence[str],
    one: NDArray[np.int64],
    other: NDArray[np.int64],
    apart_m: NDArray[np.float64],
    config: SplitConfig,
) -> list[str | None]:
    """Why places are left out, split by split from the last, so that the first has to yield."""
    order = list(config.shares)
    rank = np.array([order.index(split) for split in splits], np.int64)
    reasons: list[str | None] = [None] * len(place_ids)
    # Each pair from the side of the one that would have to go, the nearest neighbour first.
    first, second = np.concatenate([one, other]), np.concatenate([other, one])
    both_m = np.concatenate([apart_m, apart_m])
    yields = rank[first] < rank[second]
    first, second, both_m = first[yields], second[yields], both_m[yields]
    for at in np.lexsort((second, both_m, -rank[first])).tolist():
        row, near = int(first[at]), int(second[at])
        if reasons[row] is None and reasons[near] is None:
            reasons[row] = f"{both_m[at]:.0f} m from {place_ids[near]} of the split {splits[near]}"
    return reasons


def _pairs(
    lat: NDArray[np.float64], lon: NDArray[np.float64], within_m: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Rows of places that are nearer to each other, the first lower, and how near they are."""
    # Boxes of degrees find who may be near, also from the other side of the antimeridian.
    tall = np.full(len(lat), 1.01 * within_m / METRES_A_DEGREE)
    wide = np.minimum(tall * METRES_A_DEGREE / _degree_east_m(np.abs(lat) + tall), 180.0)
    tree = shapely.STRtree(shapely.points(lon, lat))
    ones, others = [], []
    for turn in (-360.0, 0.0, 360.0):
        at = lon + turn
        one, other = tree.query(shapely.box(at - wide, lat - tall, at + wide, lat + tall))
        ones.append(one[one < other])
        others.append(other[one < other])
    one, other = np.concatenate(ones), np.concatenate(others)
    apart_m = np.atleast_1d(distance_m(lat[one], lon[one], lat[other], lon[other]))
    is_near = apart_m < within_m
    return one[is_near], other[is_near], apart_m[is_near]
