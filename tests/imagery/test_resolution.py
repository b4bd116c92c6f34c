import numpy as np
import pytest

from geobridge.imagery.resolution import coarsen


def test_a_coarse_pixel_is_the_mean_of_the_fine_ones():
    image = np.zeros((4, 6, 3), np.uint8)
    image[:2, :3] = 90
    image[0, 0] = 0

    coarse = coarsen(image, 2)

    assert coarse.shape == (2, 3, 3)
    # (0 + 90 + 90 + 90) / 4 = 67.5; (90 + 0 + 90 + 0) / 4 = 45
    assert coarse[0, 0, 0] in (67, 68)
    assert coarse[0, 1].tolist() == [45, 45, 45]
    assert coarse[1].max() == 0


def test_sides_are_rounded_and_never_vanish():
    image = np.full((256, 256, 3), 7, np.uint8)

    assert coarsen(image, 10 / 0.6).shape == (15, 15, 3)
    assert coarsen(image, 1000).tolist() == [[[7, 7, 7]]]
    assert (coarsen(image, 1) == image).all()


@pytest.mark.parametrize("factor", [0.5, 0, float("nan")])
def test_nothing_becomes_finer(factor):
    with pytest.raises(ValueError, match="coarser"):
        coarsen(np.zeros((4, 4, 3), np.uint8), factor)
