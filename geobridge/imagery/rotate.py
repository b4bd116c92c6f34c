"""Turning a nadir photo and cutting its centre."""

import math

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

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
    # What lies farther from the centre is not seen; four pixels more for the interpolation.
    return _sample_turned(center_crop(image, math.ceil(side * math.sqrt(2)) + 4), side, angle_deg)


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


def center_crop(image: Picture, side_px: int) -> Picture:
    """The middle of a picture, as a view: `side_px` pixels each way, one more where parity asks.

    The centre of the picture stays its centre; sides that are shorter stay as they are.
    """
    top, left = (max(0, length - side_px) // 2 for length in image.shape[:2])
    return image[top : image.shape[0] - top, left : image.shape[1] - left]


def _sample_turned(image: Picture, side: int, angle_deg: float) -> Picture:
    """The centred (side, side) square of `image` after turning it clockwise."""
    cos, sin = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    across, down = side / image.shape[1], side / image.shape[0]
    # Where each output point comes from: turned back, in units of half the picture's sides.
    turn = torch.tensor([[[across * cos, across * sin, 0.0], [-down * sin, down * cos, 0.0]]])
    grid = F.affine_grid(turn, [1, 3, side, side], align_corners=False)
    pixels = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32)).permute(2, 0, 1)[None]
    sampled = F.grid_sample(
        pixels, grid, mode="bicubic", padding_mode="reflection", align_corners=False
    )
    turned = sampled[0].round_().clamp_(0, 255).to(torch.uint8).permute(1, 2, 0)
    return np.ascontiguousarray(turned.numpy())
