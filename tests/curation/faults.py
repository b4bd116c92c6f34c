"""Faults that are planted in pictures, to see what catches them.

The strength of a blur is the standard deviation of a Gaussian, in pixels of a picture whose shorter
side is 256 pixels; haze is the share of a light grey laid over the picture.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from geobridge.imagery.quality import QUALITY_SIDE

Picture = NDArray[np.uint8]
Fault = Callable[[Picture, np.random.Generator], Picture]


def blurred(strength: float) -> Fault:
    def blur(image: Picture, _: np.random.Generator) -> Picture:
        radius = strength * min(image.shape[:2]) / QUALITY_SIDE
        return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))

    return blur


def hazy(share: float) -> Fault:
    return lambda image, _: (image * (1 - share) + 215 * share).astype(np.uint8)


def flat(image: Picture, rng: np.random.Generator) -> Picture:
    """One colour with a camera's noise."""
    colour = rng.integers(40, 220, 3)
    return (colour + rng.normal(0, 2, image.shape)).clip(0, 255).astype(np.uint8)


def sea(image: Picture, rng: np.random.Generator) -> Picture:
    """Waves: noise in bands of several widths across the wind, with a little glint."""
    height, width = image.shape[:2]
    level = np.zeros((height, width))
    for scale, strength in ((2, 2.0), (6, 3.0), (20, 3.0)):
        coarse = rng.normal(0, 1, (max(2, height // scale), max(2, width // (3 * scale))))
        band = Image.fromarray(coarse.astype(np.float32)).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        level += strength * np.asarray(band)
    waves = np.array([35, 75, 95]) + level[:, :, None]
    glint = rng.random((height, width, 1)) < 0.001
    return np.where(glint, 230, waves).clip(0, 255).astype(np.uint8)


FAULTS: dict[str, Fault] = {
    **{f"blur {strength:g}": blurred(strength) for strength in (1, 1.5, 2, 3, 4)},
    **{f"haze {share:.0%}": hazy(share) for share in (0.5, 0.7, 0.8, 0.9)},
    "flat": flat,
    "sea": sea,
}
