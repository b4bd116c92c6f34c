"""Pictures as a coarser sensor would have taken them."""

import numpy as np
import numpy.typing as npt
from PIL import Image

Picture = npt.NDArray[np.uint8]


def coarsen(image: Picture, factor: float) -> Picture:
    """The same ground in pixels `factor` times as large, each the mean of what it covers.

    Args:
        image: (H, W, 3) uint8.
        factor: at least 1, such as 10 / 0.6 from 0.6 m to 10 m a pixel.

    Returns:
        uint8 (H / factor, W / factor, 3), sides rounded, at least one pixel.

    Raises:
        ValueError: the factor is below 1.
    """
    if not factor >= 1:
        raise ValueError(f"a factor of {factor} does not make pixels coarser: give 1 or more.")
    height, width = (max(1, round(side / factor)) for side in image.shape[:2])
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BOX))
