"""Random footprints and random sensors, on tensors: how training sees one piece of ground twice.

`GroundCrop` says where a picture of the ground looks; `crop_ground` resamples a whole batch of
them in one warp; `random_sensor` changes what a sensor, a season and a processing chain change
and leaves the ground alone. Warps, blur and equalization come from kornia (DESIGN: geometry and
augmentation on tensors).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from geobridge.errors import MissingExtraError

try:
    import kornia.augmentation
    import kornia.geometry
except ImportError as error:  # pragma: no cover - exercised where the extra is absent
    raise MissingExtraError("Augmentation", "kornia", "train") from error

# Rec. 601 luma, what "grey" means to every JPEG decoder.
LUMA = (0.299, 0.587, 0.114)


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


def uniform(low: float, high: float, *shape: int, generator: torch.Generator) -> Tensor:
    """Float32 samples in [low, high) of the given shape."""
    return torch.rand(*shape, generator=generator) * (high - low) + low


def crop_ground(pictures: Tensor, crop: GroundCrop, size: int) -> Tensor:
    """Resample square pictures, uint8 (B, 3, S, S), at the crops: float32 (B, 3, size, size), 0..1.

    Ground outside a picture is filled by reflection, as `imagery.rotate` fills a rotated photo.
    """
    source_px = pictures.shape[-1]
    target = torch.tensor([[0.0, 0.0], [size, 0.0], [size, size], [0.0, size]])
    # kornia counts pixels from their centres: shift both frames by half a pixel.
    transform = kornia.geometry.get_perspective_transform(
        crop.corners(source_px) - 0.5, target.expand(len(pictures), 4, 2) - 0.5
    )
    return kornia.geometry.warp_perspective(
        pictures.float() / 255, transform, (size, size), padding_mode="reflection"
    )


def random_sensor(pictures: Tensor, generator: torch.Generator, *, strength: float = 1.0) -> Tensor:
    """Another sensor, light and processing for each picture, float32 (B, 3, H, W) in 0..1.

    In order: a random colour response (a 3x3 matrix near the identity, which turns hue and mixes
    channels as two cameras differ), saturation, gain, contrast and gamma, histogram equalization,
    grey, blur, coarse resolution by blur, haze, grain and erased patches (cars, clouds, trees).

    Args:
        pictures: float32 (B, 3, H, W), 0..1.
        generator: source of the colour part; kornia's parts draw from torch's global generator.
        strength: 1 is what bridges two sensors; 0 would leave colours alone.
    """
    count = len(pictures)

    def amount(spread: float) -> Tensor:
        return uniform(-spread, spread, count, 1, 1, 1, generator=generator) * strength

    response = torch.eye(3) + torch.randn(count, 3, 3, generator=generator) * 0.06 * strength
    mixed = torch.einsum("bij,bjhw->bihw", response, pictures)
    luma = torch.einsum("c,bchw->bhw", torch.tensor(LUMA), mixed)[:, None]
    saturated = luma + (mixed - luma) * torch.exp(amount(0.5))
    mean = saturated.mean(dim=(1, 2, 3), keepdim=True)
    lit = (saturated - mean) * torch.exp(amount(0.45)) + mean * torch.exp(amount(0.35))
    gamma = lit.clamp(1e-4, 1) ** torch.exp(amount(0.4))
    haze = uniform(0.0, 0.25, count, 1, 1, 1, generator=generator) * strength
    hazy = torch.rand(count, 1, 1, 1, generator=generator) < 0.25
    processed = _PROCESSING(torch.where(hazy, gamma * (1 - haze) + 0.8 * haze, gamma))
    grain = torch.randn(processed.shape, generator=generator)
    spread = uniform(0.0, 0.04, count, 1, 1, 1, generator=generator) * strength
    noisy: Tensor = (processed + grain * spread).clamp(0, 1)
    return noisy


_PROCESSING = kornia.augmentation.AugmentationSequential(
    kornia.augmentation.RandomEqualize(p=0.25),
    kornia.augmentation.RandomGrayscale(p=0.15),
    kornia.augmentation.RandomGaussianBlur((5, 5), (0.3, 1.6), p=0.4),
    kornia.augmentation.RandomErasing(scale=(0.02, 0.10), ratio=(0.4, 2.5), p=0.3),
    data_keys=["input"],
)
