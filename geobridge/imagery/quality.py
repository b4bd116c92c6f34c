"""How much there is to see in a picture: three numbers of its grey values.

They are those that the GeoLoc paper cleans its pictures with (arXiv 2512.02697, its gates BH, C
and UN); the paper names them without formulas, so what exactly is measured is stated here.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geobridge.views import View

Picture = NDArray[np.uint8]

QUALITY_SIDE = 256
"""Pixels that a picture's shorter side is reduced to before it is measured: what a model of today
is shown, so that blur that nobody will see counts for nothing, and pictures of any size compare."""

# Of a street picture the middle half of its height counts: a bright sky above and the road or the
# car's roof below give a panorama contrast and entropy whatever the place looks like.
_STREET_MARGIN = 0.25
_LOWEST, _HIGHEST = 5.0, 95.0
_LEVELS = 256


@dataclass(frozen=True)
class Quality:
    """What was measured on one picture.

    Attributes:
        bh: "blur and haze", 0 or more: variance of the Laplacian (four neighbours less four
            times the pixel) of grey levels 0..255. Both blur and haze lower it.
        contrast: 0..1: grey levels between the 5th and the 95th percentile, over 255. Unlike a
            standard deviation, a ship does not make a sea rich in contrast.
        entropy: 0..8 bits: Shannon entropy of the histogram of the 256 grey levels. Low for sky,
            water and uniform texture.
    """

    bh: float
    contrast: float
    entropy: float


def quality_of(image: Picture, view: View) -> Quality:
    """Measure a picture.

    Args:
        image: uint8 (H, W, 3) RGB; larger pictures are reduced to `QUALITY_SIDE`, smaller ones
            measured as they are.
        view: where it was taken from; of a street picture the middle half of its height counts.
    """
    grey = _grey(image)
    if view == "street":
        margin = int(grey.shape[0] * _STREET_MARGIN)
        grey = grey[margin : grey.shape[0] - margin]
    return Quality(_laplacian_variance(grey), _contrast(grey), _entropy(grey))


def _grey(image: Picture) -> NDArray[np.uint8]:
    grey = Image.fromarray(image).convert("L")
    scale = QUALITY_SIDE / min(grey.size)
    if scale < 1:
        size = (max(1, round(grey.width * scale)), max(1, round(grey.height * scale)))
        grey = grey.resize(size, Image.Resampling.BOX)
    return np.asarray(grey)


def _laplacian_variance(grey: NDArray[np.uint8]) -> float:
    if min(grey.shape) < 3:
        return 0.0
    levels = grey.astype(np.int32)
    around = levels[:-2, 1:-1] + levels[2:, 1:-1] + levels[1:-1, :-2] + levels[1:-1, 2:]
    return float((around - 4 * levels[1:-1, 1:-1]).var())


def _contrast(grey: NDArray[np.uint8]) -> float:
    low, high = np.percentile(grey, (_LOWEST, _HIGHEST))
    return float(high - low) / (_LEVELS - 1)


def _entropy(grey: NDArray[np.uint8]) -> float:
    shares = np.bincount(grey.ravel(), minlength=_LEVELS) / grey.size
    shares = shares[shares > 0]
    # Adding 0 turns the -0 of a single level into 0.
    return float(-(shares * np.log2(shares)).sum()) + 0.0
