"""Weather, light and sensor, added to pictures: each a pure function of seed and picture number.

All take float32 (H, W, 3) in 0..1, sRGB, and draw the same streaks, flakes and grain at every
strength, so that a stronger one shows more of the same. Lengths are shares of the picture's height.

- fog: I t + A (1 - t), t = exp(-b), patchy b, grey A of 0.9: Koschmieder's law (Narasimhan,
  Nayar, IJCV 48(3), 2002), in patches as ImageNet-C has it
- rain: slanted streaks, brighter than what is behind them (Garg, Nayar, IJCV 75(1), 2007), over a
  thin grey veil; streaks are drawn as ImageNet-C draws falling snow
- snow: falling flakes, and grey turns white: ImageNet-C `snow`, with flakes of less blur
- night: 2, 3.5 and 5 stops less light, counted in electrons and read with noise (Foi et al., IEEE
  TIP 17(10), 2008)
- overexposure: 1, 2 and 3 stops more light, cut at white, in the linear light of IEC 61966-2-1
- motion blur: the mean along a line of 4, 8 and 16 % of the height: ImageNet-C `motion_blur`
- JPEG: quality 25, 15 and 7: ImageNet-C `jpeg_compression` at severities 1, 3 and 5
- sensor noise: Gaussian of standard deviation 0.08, 0.18 and 0.38: ImageNet-C `gaussian_noise` at
  severities 1, 3 and 5

ImageNet-C: Hendrycks, Dietterich, ICLR 2019. Weathers are those of MuSe-Net (Wang et al., Pattern
Recognition 2024), with which drone benchmarks are changed.
"""

import io
import math
import zlib
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

Picture = NDArray[np.uint8]
Pixels = NDArray[np.float32]

STRENGTHS = (0, 1, 2, 3)
"""0 leaves a picture as it is."""


def corrupt(kind: str, picture: Picture, strength: int, seed: int, number: int) -> Picture:
    """A picture as it would look in other weather or light, or from a worse camera.

    Args:
        kind: one of `CORRUPTIONS`.
        picture: uint8 (H, W, 3) RGB.
        strength: one of `STRENGTHS`.
        seed: with `number`, decides everything that is drawn.
        number: of the picture within its set.

    Returns:
        uint8 (H, W, 3).
    """
    if strength == 0:
        return picture
    rng = generator(kind, seed, number)
    pixels = picture.astype(np.float32) / np.float32(255)
    return _uint8(CORRUPTIONS[kind](pixels, strength - 1, rng))


def generator(what: str, seed: int, number: int) -> np.random.Generator:
    """Draws for one picture, other ones for each `what`."""
    return np.random.default_rng([seed, zlib.crc32(what.encode()), number])


def _fog(pixels: Pixels, level: int, rng: np.random.Generator) -> Pixels:
    depth = (0.5, 1.0, 2.0)[level] * (0.6 + 0.8 * _patches(pixels.shape[:2], rng))
    through = np.exp(-depth).astype(np.float32)[..., None]
    foggy: Pixels = pixels * through + np.float32(0.9) * (1 - through)
    return foggy


def _rain(pixels: Pixels, level: int, rng: np.random.Generator) -> Pixels:
    height, width = pixels.shape[:2]
    slant = rng.uniform(-20, 20)
    share = (0.006, 0.012, 0.024)[level]
    drops = (rng.random((height, width)) < share).astype(np.float32)
    line = _line_kernel(0.12 * height, 90 + slant)
    # Half as bright as the sky where a single streak passes.
    streaks = np.clip(_filtered(drops, line) / line.max() * 0.5, 0, 1)[..., None]
    through = np.float32((0.85, 0.75, 0.65)[level])
    veiled = pixels * through + np.float32(0.55) * (1 - through)
    rainy: Pixels = veiled + (np.float32(0.9) - veiled).clip(min=0) * streaks
    return rainy


def _snow(pixels: Pixels, level: int, rng: np.random.Generator) -> Pixels:
    height, width = pixels.shape[:2]
    share = (0.01, 0.02, 0.04)[level]
    flakes = (rng.random((height, width)) < share) * rng.uniform(0.4, 1, (height, width))
    line = _line_kernel(max(2.0, 0.02 * height), rng.uniform(45, 135))
    falling = np.clip(_filtered(flakes.astype(np.float32), line) / line.max(), 0, 1)[..., None]
    kept = np.float32((0.8, 0.6, 0.4)[level])
    grey = pixels @ np.array([0.299, 0.587, 0.114], np.float32)
    covered = np.maximum(pixels, np.minimum(1.0, grey * 1.5 + 0.5)[..., None])
    snowy: Pixels = pixels * kept + covered * (1 - kept) + falling
    return snowy


# Electrons of a white pixel, and those that reading it adds: a small sensor at a high gain.
_FULL, _READ = 2000.0, 4.0


def _night(pixels: Pixels, level: int, rng: np.random.Generator) -> Pixels:
    electrons = _linear(pixels) * (_FULL / 2 ** (2.0, 3.5, 5.0)[level])
    # Poisson noise as a Gaussian, so that the draws are the same whatever the light.
    noise = rng.standard_normal(pixels.shape, np.float32) * np.sqrt(electrons + _READ**2)
    return _srgb((electrons + noise) / _FULL)


def _overexposure(pixels: Pixels, level: int, _: np.random.Generator) -> Pixels:
    return _srgb(_linear(pixels) * 2.0 ** (level + 1))


def _motion_blur(pixels: Pixels, level: int, rng: np.random.Generator) -> Pixels:
    length = (0.04, 0.08, 0.16)[level] * pixels.shape[0]
    line = _line_kernel(length, rng.uniform(0, 180))
    return np.stack([_filtered(channel, line) for channel in np.moveaxis(pixels, 2, 0)], axis=2)


def _jpeg(pixels: Pixels, level: int, _: np.random.Generator) -> Pixels:
    file = io.BytesIO()
    Image.fromarray(_uint8(pixels)).save(file, "JPEG", quality=(25, 15, 7)[level])
    return np.asarray(Image.open(file), np.float32) / np.float32(255)


def _sensor_noise(pixels: Pixels, level: int, rng: np.random.Generator) -> Pixels:
    grain = rng.standard_normal(pixels.shape, np.float32)
    return pixels + np.float32((0.08, 0.18, 0.38)[level]) * grain


CORRUPTIONS: dict[str, Callable[[Pixels, int, np.random.Generator], Pixels]] = {
    "fog": _fog,
    "rain": _rain,
    "snow": _snow,
    "night": _night,
    "overexposure": _overexposure,
    "motion blur": _motion_blur,
    "JPEG": _jpeg,
    "sensor noise": _sensor_noise,
}
"""What can be added to a picture, by name."""


def _uint8(pixels: Pixels) -> Picture:
    rounded: Picture = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    return rounded


def _patches(shape: tuple[int, int], rng: np.random.Generator) -> Pixels:
    """Smooth random patches (H, W) in 0..1: grids of 2, 4 and 8 draws a side, each half as strong.

    Value noise (Perlin, SIGGRAPH 1985).
    """
    total = np.zeros(shape, np.float32)
    for octave in range(3):
        side = 2 ** (octave + 1)
        grid = torch.from_numpy(rng.random((1, 1, side, side), np.float32))
        total += F.interpolate(grid, shape, mode="bicubic")[0, 0].numpy() / 2**octave
    patches: Pixels = np.clip(total / 1.75, 0, 1)
    return patches


def _line_kernel(length_px: float, angle_deg: float) -> Pixels:
    """A line through the middle of an odd square, turned clockwise from the right; sums to 1."""
    half = max(1, math.ceil(length_px / 2))
    kernel = np.zeros((2 * half + 3, 2 * half + 3))
    along = np.linspace(-length_px / 2, length_px / 2, 8 * half + 1)
    angle = math.radians(angle_deg)
    x, y = half + 1 + along * math.cos(angle), half + 1 + along * math.sin(angle)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    for right, down in ((0, 0), (0, 1), (1, 0), (1, 1)):
        share = (1 - np.abs(x - left - right)) * (1 - np.abs(y - top - down))
        np.add.at(kernel, (top + down, left + right), share)
    line: Pixels = (kernel / kernel.sum()).astype(np.float32)
    return line


def _filtered(channel: NDArray[np.float32], kernel: Pixels) -> Pixels:
    """(H, W) convolved with a kernel, its edges repeated."""
    edge = kernel.shape[0] // 2
    padded = F.pad(torch.from_numpy(channel.copy())[None, None], [edge] * 4, mode="replicate")
    found: Pixels = F.conv2d(padded, torch.from_numpy(kernel)[None, None])[0, 0].numpy()
    return found


def _linear(pixels: Pixels) -> Pixels:
    """Light of sRGB values, both 0..1 (IEC 61966-2-1)."""
    return np.where(pixels <= 0.04045, pixels / 12.92, ((pixels + 0.055) / 1.055) ** 2.4)


def _srgb(light: Pixels) -> Pixels:
    """Values in sRGB of light, cut to 0..1 (IEC 61966-2-1)."""
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
