import math

import numpy as np
import pytest
from PIL import Image, ImageFilter

from geobridge.imagery.quality import quality_of


def grey(levels):
    return np.repeat(np.asarray(levels, np.uint8)[:, :, None], 3, axis=2)


def chequers(side=64, low=50, high=150):
    return grey(np.where(np.indices((side, side)).sum(axis=0) % 2, high, low))


def test_one_colour_has_nothing_to_see():
    found = quality_of(np.full((40, 60, 3), 120, np.uint8), "drone")

    assert (found.bh, found.contrast, found.entropy) == (0.0, 0.0, 0.0)


def test_chequers_are_as_calculated_by_hand():
    found = quality_of(chequers(), "drone")

    # Each pixel differs from its four neighbours by 100: the Laplacian is +400 or -400.
    assert found.bh == pytest.approx(400**2)
    assert found.contrast == pytest.approx(100 / 255)
    assert found.entropy == pytest.approx(1.0)


def test_entropy_counts_levels_and_contrast_leaves_out_the_few():
    four = quality_of(grey(np.repeat([[10, 20, 30, 40]], 16, axis=0)), "satellite")
    sea = np.full((100, 100), 90)
    sea[:10, :10] = 255  # a ship on one hundredth of it

    assert four.entropy == pytest.approx(2.0)
    assert quality_of(grey(sea), "satellite").contrast == 0.0


def test_blur_and_haze_lower_bh_and_haze_the_contrast():
    rng = np.random.default_rng(0)
    image = grey(rng.integers(0, 256, (128, 128)))
    blurred = np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(2)))
    hazy = (image * 0.3 + 210 * 0.7).astype(np.uint8)

    sharp = quality_of(image, "drone")

    assert quality_of(blurred, "drone").bh < sharp.bh / 50
    assert quality_of(hazy, "drone").bh == pytest.approx(0.09 * sharp.bh, rel=0.05)
    assert quality_of(hazy, "drone").contrast == pytest.approx(0.3 * sharp.contrast, abs=0.01)


def test_sky_and_road_of_a_street_picture_do_not_count():
    image = np.full((64, 128), 128)
    image[:16], image[48:] = 255, 0

    assert quality_of(grey(image), "street").contrast == 0.0
    assert quality_of(grey(image), "drone").contrast == pytest.approx(1.0)


def test_large_pictures_are_reduced_first():
    # Chequers of one pixel vanish when four pixels become one.
    assert quality_of(chequers(512), "drone").bh == 0.0


@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (3, 3), (1, 2000)])
def test_the_smallest_pictures_can_be_measured(shape):
    found = quality_of(np.zeros((*shape, 3), np.uint8), "street")

    assert math.isfinite(found.bh + found.contrast + found.entropy)
