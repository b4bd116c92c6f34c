import numpy as np
import pytest
import shapely
from shapely import box

from geobridge.curation.duplicates import (
    KEPT,
    light_deg,
    overlapping,
    same_pictures,
    steady_look,
)
from geobridge.geo.footprint import footprint_around


def slowly(footprints, order, share):
    """All pairs, one after the other."""
    kept, found = [], np.full(len(footprints), KEPT)
    for row in order:
        shape = footprints[row]
        for other in kept:
            common = shape.intersection(footprints[other]).area
            if common > share * min(shape.area, footprints[other].area):
                found[row] = other
                break
        else:
            kept.append(row)
    return found


@pytest.mark.parametrize("share", [0.25, 0.5, 0.9])
def test_the_index_finds_what_all_pairs_find(share, monkeypatch):
    monkeypatch.setattr("geobridge.curation.duplicates._TOGETHER", 37)
    rng = np.random.default_rng(1)
    shapes = [
        footprint_around(48 + lat, 11 + lon, side, side, yaw)
        for lat, lon, side, yaw in zip(
            rng.uniform(0, 0.01, 400),
            rng.uniform(0, 0.01, 400),
            rng.choice([80, 100, 180], 400),
            rng.choice([0, 0, 30], 400),
            strict=True,
        )
    ]
    order = rng.permutation(400)

    found = overlapping(shapes, order, share)

    assert found.tolist() == slowly(shapes, order, share).tolist()
    assert 20 < (found == KEPT).sum() < 380


def test_half_of_the_smaller_one_decides():
    large, within, half, less = box(0, 0, 4, 4), box(1, 1, 2, 2), box(3, 0, 5, 1), box(0, 3.6, 1, 5)

    found = overlapping([large, within, half, less], np.arange(4), 0.5)

    # `half` has exactly half of its ground in common, which is not more than half.
    assert found.tolist() == [KEPT, 0, KEPT, KEPT]


def test_who_comes_first_stays():
    shapes = [box(0, 0, 1, 1), box(0.2, 0, 1.2, 1), box(0.4, 0, 1.4, 1), box(0.6, 0, 1.6, 1)]

    assert overlapping(shapes, np.array([0, 1, 2, 3]), 0.5).tolist() == [KEPT, 0, 0, KEPT]
    assert overlapping(shapes, np.array([1, 0, 2, 3]), 0.5).tolist() == [1, KEPT, 1, 1]


def test_footprints_meet_across_the_antimeridian():
    # The same 100 m, seen from either side, and 100 m a little to the east that does not cross.
    shapes = [
        footprint_around(10, 179.9999, 100, 100),
        footprint_around(10, -179.9999, 100, 100),
        footprint_around(10, -179.9995, 100, 100),
    ]

    found = overlapping(shapes, np.arange(3), 0.5)

    assert shapes[0].bounds[2] > 180
    assert shapes[1].bounds[0] < -180
    assert found.tolist() == [KEPT, 0, KEPT]
    assert overlapping(shapes, np.array([2, 1, 0]), 0.1).tolist() == [2, 2, KEPT]


def test_nothing_and_one_are_no_duplicates():
    assert overlapping([], np.arange(0), 0.5).tolist() == []
    assert overlapping([shapely.box(0, 0, 1, 1)], np.arange(1), 0.5).tolist() == [KEPT]


def test_pictures_of_one_look_are_a_group():
    rng = np.random.default_rng(0)
    one, other, third = rng.integers(0, 256, (3, 32)).astype(np.uint8)
    nearly = one.copy()
    nearly[0] ^= 0b111

    groups = same_pictures([other, one, None, nearly, third, one, other])

    assert groups == [[0, 6], [1, 3, 5]]
    assert same_pictures([None, None]) == []


def panorama(seed):
    """Blocks of grey, uint8 (64, 256, 3)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (16, 32)).astype(np.uint8)
    return coarse.repeat(4, 0).repeat(8, 1)[:, :, None].repeat(3, 2)


@pytest.mark.parametrize("columns", [1, 37, 128, 255])
def test_a_turned_panorama_has_the_same_look(columns):
    one = panorama(0)
    other = np.roll(one, columns, axis=1)

    apart = np.bitwise_count(steady_look(one) ^ steady_look(other)).sum()

    assert apart <= 8
    by = (light_deg(other) - light_deg(one)) % 360
    assert by == pytest.approx(columns * 360 / 256, abs=1e-6)
    assert np.bitwise_count(steady_look(one) ^ steady_look(panorama(1))).sum() > 60


def test_light_is_counted_from_the_middle():
    picture = np.zeros((8, 360, 3), np.uint8)
    picture[:, 270] = 255

    assert light_deg(picture) % 360 == pytest.approx(90)
