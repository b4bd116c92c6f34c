"""Random footprints and random sensors, on tensors: how training sees one piece of ground twice.

`GroundCrop` says where a picture of the ground looks; `crop_ground` resamples a whole batch of
them; `random_season` and `random_sensor` change what a season, a light, a sensor and a processing
chain change and leave the ground alone. Homographies, blur and equalization come from kornia
(DESIGN: geometry and augmentation on tensors); every random number comes from the generator that
is handed in, so that a picture is a pure function of it.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from geobridge.errors import MissingExtraError

try:
    import kornia.enhance
    import kornia.filters
    import kornia.geometry
except ImportError as error:  # pragma: no cover - exercised where the extra is absent
    raise MissingExtraError("Augmentation", "kornia", "train") from error

# Rec. 601 luma, what "grey" means to every JPEG decoder.
LUMA = (0.299, 0.587, 0.114)

# Pictures resampled at once: their float copies stay in the processor's cache, which is three to
# five times as fast as converting the whole batch.
_CROPPED_AT_ONCE = 4


@dataclass(frozen=True)
class GroundCrop:
    """One square look at each picture of a batch; all tensors float32.

    Attributes:
        center: (B, 2), x right and y down, as fractions of the source's side in 0..1.
        side: (B,), side of the square as a fraction of the source's side.
        yaw_deg: (B,), compass direction of the top of the crop, clockwise from the source's top.
        skew: (B, 4, 2), displacement of the corners (top-left, top-right, bottom-right,
            bottom-left) as fractions of the crop's side: perspective of a camera not quite nadir.
    """

    center: Tensor
    side: Tensor
    yaw_deg: Tensor
    skew: Tensor

    def corners(self, source_px: int) -> Tensor:
        """Source pixels of the crop's four corners, (B, 4, 2), x and y, pixel-corner origin."""
        unit = torch.tensor([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]) + self.skew
        angle = torch.deg2rad(self.yaw_deg)
        cos, sin = torch.cos(angle)[:, None], torch.sin(angle)[:, None]
        # y points down, so this matrix turns the crop's top clockwise, as a heading does.
        x = unit[..., 0] * cos - unit[..., 1] * sin
        y = unit[..., 0] * sin + unit[..., 1] * cos
        offset = torch.stack([x, y], dim=-1) * self.side[:, None, None]
        return (self.center[:, None, :] + offset) * source_px


def tilt_skew(tilt_deg: Tensor, fov_deg: float) -> Tensor:
    """The skew of a camera tilted forwards from straight down, over flat ground.

    A pinhole camera of square picture whose optical axis meets the ground at the crop's centre,
    from where the crop's side is seen in full: the far (top) edge spans more ground, the near one
    less.

    Args:
        tilt_deg: (B,), angle of the axis from nadir; 0 gives no skew.
        fov_deg: angle across the picture; `tilt_deg + fov_deg / 2` must stay below 90.

    Returns:
        float32 (B, 4, 2), for `GroundCrop.skew`.
    """
    tilt, half = torch.deg2rad(tilt_deg), math.tan(math.radians(fov_deg) / 2)
    right = torch.tensor([-1.0, 1.0, 1.0, -1.0]) * half
    up = torch.tensor([1.0, 1.0, -1.0, -1.0]) * half
    sin, cos = torch.sin(tilt)[:, None], torch.cos(tilt)[:, None]
    # Distance along each corner's ray to the ground, in units of the distance along the axis.
    reach = cos / (cos - up * sin)
    across = right * reach / (2 * half)
    ahead = (up * cos + sin) * reach - sin
    unit = torch.stack([across, -ahead / (2 * half)], dim=-1)
    return unit - torch.tensor([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])


def uniform(low: float, high: float, *shape: int, generator: torch.Generator) -> Tensor:
    """Float32 samples in [low, high) of the given shape."""
    return torch.rand(*shape, generator=generator) * (high - low) + low


def crop_ground(pictures: Tensor, crop: GroundCrop, size: int) -> Tensor:
    """Resample square pictures, uint8 (B, 3, S, S), at the crops: float32 (B, 3, size, size), 0..1.

    Ground outside a picture is filled by reflection, as `imagery.rotate` fills a rotated photo.
    """
    source_px = pictures.shape[-1]
    grid = _sampling_grid(crop, source_px, size)
    out = torch.empty(len(pictures), pictures.shape[1], size, size)
    for start in range(0, len(pictures), _CROPPED_AT_ONCE):
        part = slice(start, start + _CROPPED_AT_ONCE)
        out[part] = F.grid_sample(
            pictures[part].float(), grid[part], padding_mode="reflection", align_corners=False
        )
    return out.div_(255)


def _sampling_grid(crop: GroundCrop, source_px: int, size: int) -> Tensor:
    """Where each pixel of the crops comes from, (B, size, size, 2) as `grid_sample` counts."""
    count = len(crop.side)
    target = torch.tensor([[0.0, 0.0], [size, 0.0], [size, size], [0.0, size]])
    homography = kornia.geometry.get_perspective_transform(
        target.expand(count, 4, 2), crop.corners(source_px)
    )
    middle = torch.arange(size) + 0.5
    y, x = torch.meshgrid(middle, middle, indexing="ij")
    points = torch.stack([x.flatten(), y.flatten(), torch.ones(size * size)])
    found = homography @ points  # (B, 3, size * size)
    found = found[:, :2] / found[:, 2:] * (2 / source_px) - 1
    return found.transpose(1, 2).reshape(count, size, size, 2)


def random_season(pictures: Tensor, generator: torch.Generator, *, strength: float = 1.0) -> Tensor:
    """Another season and light for each picture, float32 (B, 3, H, W) in 0..1.

    Plants (pixels greener than red and blue) change hue towards brown or blue-green and become
    darker or lighter; shadows (dark pixels) deepen or are lifted and take the sky's blue, or
    lose it.

    Args:
        pictures: float32 (B, 3, H, W), 0..1.
        generator: source of every random number.
        strength: 1 is a season; 0 changes nothing.
    """
    count = len(pictures)
    red, green, blue = pictures.unbind(1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    plants = ((2 * green - red - blue) * 4).clamp_(0, 1)[:, None]
    shadow = (1 - luma * 4).clamp_(0, 1)[:, None]
    shift = uniform(-0.12, 0.12, count, 3, 1, 1, generator=generator)
    shift = shift + uniform(-0.15, 0.15, count, 1, 1, 1, generator=generator)
    lifted = uniform(-0.08, 0.12, count, 1, 1, 1, generator=generator)
    tint = torch.tensor([-0.03, 0.0, 0.06])[:, None, None]
    lifted = lifted + tint * uniform(-0.5, 1.5, count, 1, 1, 1, generator=generator)
    return (pictures + plants * shift * strength + shadow * lifted * strength).clamp_(0, 1)


def random_sensor(pictures: Tensor, generator: torch.Generator, *, strength: float = 1.0) -> Tensor:
    """Another sensor, light and processing for each picture, float32 (B, 3, H, W) in 0..1.

    In order: a random colour response (a 3x3 matrix near the identity, which turns hue and mixes
    channels as two cameras differ), saturation, gain, contrast and gamma, haze, histogram
    equalization, grey, blur, erased patches (cars, clouds, trees) and grain.

    Args:
        pictures: float32 (B, 3, H, W), 0..1.
        generator: source of every random number.
        strength: how much of it: 1 bridges two sensors, 0 gives the pictures back.
    """
    count = len(pictures)

    def chosen(share: float) -> Tensor:
        share *= min(1.0, strength)
        return (torch.rand(count, generator=generator) < share).nonzero().flatten()

    out = _random_response(pictures, generator, strength)
    hazy = chosen(0.25)
    haze = uniform(0.0, 0.25, len(hazy), 1, 1, 1, generator=generator) * strength
    out[hazy] = out[hazy] * (1 - haze) + 0.8 * haze
    equalized = chosen(0.25)
    if len(equalized):
        out[equalized] = kornia.enhance.equalize(out[equalized])
    grey = chosen(0.15)
    out[grey] = torch.einsum("c,bchw->bhw", torch.tensor(LUMA), out[grey])[:, None]
    blurred = chosen(0.4)
    if len(blurred):
        sigma = uniform(0.3, 1.6, len(blurred), 1, generator=generator).expand(-1, 2)
        out[blurred] = kornia.filters.gaussian_blur2d(out[blurred], (5, 5), sigma)
    _erase(out, chosen(0.3), generator)
    # One draw for all three channels: grain of luminance, at a third of the cost.
    grain = torch.randn(count, 1, *out.shape[2:], generator=generator)
    spread = uniform(0.0, 0.04, count, 1, 1, 1, generator=generator) * strength
    noisy: Tensor = out.addcmul_(grain, spread).clamp_(0, 1)
    return noisy


def _random_response(pictures: Tensor, generator: torch.Generator, strength: float) -> Tensor:
    """Colour response, saturation, contrast and gain (one matrix and a constant), then gamma."""
    count = len(pictures)

    def amount(spread: float) -> Tensor:
        return uniform(-spread, spread, count, 1, 1, generator=generator) * strength

    response = torch.eye(3) + torch.randn(count, 3, 3, generator=generator) * 0.06 * strength
    saturation = torch.exp(amount(0.5))
    grey = torch.tensor(LUMA).expand(3, 3)
    mixed = (saturation * torch.eye(3) + (1 - saturation) * grey) @ response
    contrast, gain = torch.exp(amount(0.45)), torch.exp(amount(0.35))
    pixels = pictures.flatten(2)
    mean = (mixed @ pixels.mean(dim=2, keepdim=True)).mean(dim=1, keepdim=True)
    lit = torch.baddbmm((gain - contrast) * mean, contrast * mixed, pixels)
    gamma = torch.exp(amount(0.4))
    return lit.clamp_(1e-4, 1).pow_(gamma).view_as(pictures)


def _erase(pictures: Tensor, rows: Tensor, generator: torch.Generator) -> None:
    """Blacken a rectangle, 2 to 10 % of the area, in each of the pictures `rows`; in place."""
    height, width = pictures.shape[2:]
    area = uniform(0.02, 0.10, len(rows), generator=generator)
    ratio = torch.exp(uniform(math.log(0.4), math.log(2.5), len(rows), generator=generator))
    start = torch.rand(len(rows), 2, generator=generator)
    tall = ((area * ratio).sqrt() * height).clamp(1, height).int()
    wide = ((area / ratio).sqrt() * width).clamp(1, width).int()
    for row, down, across, (y, x) in zip(
        rows.tolist(), tall.tolist(), wide.tolist(), start.tolist(), strict=True
    ):
        top, left = int(y * (height - down + 1)), int(x * (width - across + 1))
        pictures[row, :, top : top + down, left : left + across] = 0
