"""Turning a nadir photo and cutting its centre."""

import numpy as np
import numpy.typing as npt
from PIL import Image

Picture = npt.NDArray[np.uint8]


def rotate(image: Picture, angle_deg: float) -> Picture:
    """Turn a picture's content clockwise about its centre.

    To turn a nadir photo whose top has heading `yaw_deg` north up, rotate by `yaw_deg`.

    Args:
        image: (H, W, 3) uint8.
        angle_deg: clockwise, any value; multiples of 90 move pixels without interpolation.

    Returns:
        (S, S, 3) uint8 with S = min(H, W): the centred square of the turned picture. Where it
        looks beyond the photo, the photo is continued by reflection.
    """
    side = min(image.shape[:2])
    quarters, rest = divmod(angle_deg % 360, 90)
    if rest == 0:
        return np.ascontiguousarray(center_square(np.rot90(image, -int(quarters)), side))
    reach = _cut_or_reflect(image, int(np.ceil(side * np.sqrt(2))) + 4)
    return _sample_turned(reach, side, np.radians(angle_deg))


def center_square(image: Picture, side_px: int) -> Picture:
    """The centred square of `side_px` pixels, as a view of the picture.

    Raises:
        ValueError: the picture is smaller than that.
    """
    height, width = image.shape[:2]
    if not 0 < side_px <= min(height, width):
        raise ValueError(f"no square of {side_px} px fits into a picture of {width}x{height} px.")
    top, left = (height - side_px) // 2, (width - side_px) // 2
    return image[top : top + side_px, left : left + side_px]


def _cut_or_reflect(image: Picture, side: int) -> Picture:
    """The centred square of `side` pixels (one more where parity asks), reflected outside."""
    for axis in (0, 1):
        length = image.shape[axis]
        if length > side:
            margin = (length - side) // 2
            image = image[margin : length - margin] if axis == 0 else image[:, margin:-margin]
        else:
            margin = -(-(side - length) // 2)
            widths = [(margin, margin) if a == axis else (0, 0) for a in range(3)]
            image = np.pad(image, widths, mode="symmetric")
    return image


def _sample_turned(image: Picture, side: int, angle: float) -> Picture:
    """The centred (side, side) square of `image` after turning it clockwise by `angle` radians."""
    center_y, center_x = image.shape[0] / 2, image.shape[1] / 2
    cos, sin = np.cos(angle), np.sin(angle)
    # Pillow asks where each output point comes from: turned back, counter-clockwise.
    half = side / 2
    coefficients = (
        cos, sin, center_x - cos * half - sin * half,
        -sin, cos, center_y + sin * half - cos * half,
    )  # fmt: skip
    turned = Image.fromarray(image).transform(
        (side, side), Image.Transform.AFFINE, coefficients, Image.Resampling.BICUBIC
    )
    return np.array(turned)
