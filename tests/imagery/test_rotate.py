"""Turning a picture clockwise about its centre."""

import numpy as np
import pytest

from geobridge.imagery.rotate import center_crop, center_square, rotate


def compass(height=81, width=121):
    """A red mark north of the centre, a blue one west of it, on grey."""
    picture = np.full((height, width, 3), 100, np.uint8)
    y, x = height // 2, width // 2
    picture[y - 31 : y - 28, x - 1 : x + 2] = (255, 0, 0)
    picture[y - 1 : y + 2, x - 31 : x - 28] = (0, 0, 255)
    return picture


def mark(picture, channel):
    """Offset (right, down) of a mark from the centre, in pixels."""
    others = [c for c in range(3) if c != channel]
    strength = picture[:, :, channel].astype(int) - picture[:, :, others].max(axis=2)
    rows, cols = np.nonzero(strength > 60)
    center = (np.array(picture.shape[:2]) - 1) / 2
    right, down = cols - center[1], rows - center[0]
    # Beyond the photo's edge its reflection shows the mark again.
    real = np.hypot(right, down) < 40
    return right[real].mean(), down[real].mean()


@pytest.mark.parametrize("angle_deg", [0, 30, 45, 90, 137.5, 180, 270, 359, -60, 720 + 20])
@pytest.mark.parametrize("shape", [(81, 121), (121, 81), (81, 81)])
def test_marks_move_clockwise(angle_deg, shape):
    turned = rotate(compass(*shape), angle_deg)
    angle = np.radians(angle_deg)

    # Clockwise: what was up, 30 px from the centre, is at (sin, -cos) right and down.
    assert turned.shape == (81, 81, 3)
    assert turned.flags.c_contiguous
    np.testing.assert_allclose(mark(turned, 0), (30 * np.sin(angle), -30 * np.cos(angle)), atol=1)
    np.testing.assert_allclose(mark(turned, 2), (-30 * np.cos(angle), -30 * np.sin(angle)), atol=1)


def test_quarter_turns_move_pixels_without_changing_them():
    picture = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)

    np.testing.assert_array_equal(rotate(picture, 0), picture)
    np.testing.assert_array_equal(rotate(picture, 90), np.rot90(picture, -1))
    np.testing.assert_array_equal(rotate(picture, 180), picture[::-1, ::-1])
    np.testing.assert_array_equal(rotate(picture, -90), np.rot90(picture, 1))


@pytest.mark.parametrize("shape", [(60, 60), (60, 61), (61, 200), (7, 5), (1, 1)])
def test_nothing_outside_the_photo_shows(shape):
    # Reflection keeps to the photo's own colours; a fill colour would be 0.
    picture = np.full((*shape, 3), 150, np.uint8)

    turned = rotate(picture, 33)

    assert turned.shape == (min(shape), min(shape), 3)
    np.testing.assert_allclose(turned, 150, atol=1)


def test_a_turned_picture_is_as_bright_as_before():
    # Truncated instead of rounded, it would be half a grey level darker.
    picture = np.random.default_rng(0).integers(100, 110, (200, 200, 3), dtype=np.uint8)

    assert rotate(picture, 33).mean() == pytest.approx(picture.mean(), abs=0.1)


def test_points_beyond_the_photo_are_those_reflected_at_its_edge():
    # 41 x 41 px, a ramp from left to right; turned by 45 degrees.
    picture = np.repeat(np.arange(0, 205, 5, dtype=np.uint8)[None, :, None], 41, 0).repeat(3, 2)

    turned = rotate(picture, 45)

    # The left end of the middle row lies at 20 / sqrt(2) px left of the centre in the photo, the
    # top left corner at 20 sqrt(2), which is 7.78 px beyond the edge (20.5) and comes back.
    assert turned[20, 0, 0] == pytest.approx(5 * (20 - 20 / np.sqrt(2)), abs=1)
    assert turned[0, 0, 0] == pytest.approx(5 * (20 - (41 - 20 * np.sqrt(2))), abs=2)


@pytest.mark.parametrize("shape", [(9, 14), (10, 13), (5, 4), (7, 20)])
def test_the_middle_of_a_picture_keeps_its_centre(shape):
    picture = np.arange(shape[0] * shape[1] * 3, dtype=np.uint8).reshape(*shape, 3)

    middle = center_crop(picture, 6)

    for length, kept, whole in zip((6, 6), middle.shape, shape, strict=False):
        assert kept == (whole if whole <= length else length + (whole - length) % 2)
    top, left = (shape[0] - middle.shape[0]) // 2, (shape[1] - middle.shape[1]) // 2
    np.testing.assert_array_equal(middle[0, 0], picture[top, left])
    np.testing.assert_array_equal(middle[-1, -1], picture[-1 - top, -1 - left])


def test_a_centred_square_is_cut_without_copying():
    picture = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)

    square = center_square(picture, 4)

    np.testing.assert_array_equal(square, picture[1:5, 2:6])
    assert np.shares_memory(square, picture)


@pytest.mark.parametrize("side_px", [0, -1, 7])
def test_a_square_must_fit(side_px):
    with pytest.raises(ValueError, match="8x6"):
        center_square(np.zeros((6, 8, 3), np.uint8), side_px)
