"""From a decoded picture to the tensor a model expects: one fit, one resize, one scale."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from geobridge.errors import ModelError
from geobridge.imagery.street import StreetField, street_field

Fit = Literal["cover", "squash", "angular"]
"""How a picture of any shape meets a canvas of one shape.

`cover`: the shorter side fits and the centre is kept. `squash`: both sides fit. `angular`: the
canvas spans the full circle, and a picture takes the place its angles give it.
"""

Channels = tuple[float, float, float]


@dataclass(frozen=True)
class Preprocess:
    """Everything needed to bring a picture into the form an image encoder was trained on.

    Attributes:
        height: canvas height in pixels.
        width: canvas width in pixels.
        mean: of R, G, B in units of 0..1, subtracted by `normalize`.
        std: of R, G, B in units of 0..1, divided by in `normalize`.
        fit: see `Fit`.
    """

    height: int
    width: int
    mean: Channels = (0.5, 0.5, 0.5)
    std: Channels = (0.5, 0.5, 0.5)
    fit: Fit = "cover"

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(self.mean))
        object.__setattr__(self, "std", tuple(self.std))
        problem = _problem(self)
        if problem:
            raise ModelError(f"the model's preprocessing {problem}: correct its config.json.")

    def prepare(
        self, image: npt.NDArray[np.uint8], field: StreetField | None = None
    ) -> torch.Tensor:
        """Fit and resize one picture.

        Bicubic with antialiasing on uint8, as Pillow resizes. The result may share memory with
        `image` when nothing is to be done, and may be strided channels-last: stack or copy it
        before writing to it.

        Args:
            image: (H, W, 3) uint8 RGB.
            field: angles of a street picture, used by the `angular` fit alone; by default as
                `street_field` tells from the shape.

        Returns:
            uint8 tensor (3, height, width).
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"a picture is uint8 (H, W, 3), not {image.dtype} {image.shape}.")
        if self.fit == "angular":
            return self._place_by_angle(image, field)
        if self.fit == "cover":
            image = _crop_to_aspect(image, self.height, self.width)
        return _resize(image, self.height, self.width)

    def normalize(self, batch: torch.Tensor) -> torch.Tensor:
        """`(x / 255 - mean) / std` of a batch (B, 3, H, W), uint8 in, float32 out."""
        scale = 1.0 / (255.0 * torch.tensor(self.std, device=batch.device))
        shift = torch.tensor(self.mean, device=batch.device) / torch.tensor(
            self.std, device=batch.device
        )
        pixels = batch.to(torch.float32, copy=True)
        return pixels.mul_(scale.view(1, 3, 1, 1)).sub_(shift.view(1, 3, 1, 1))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a config.json; `from_dict` reads them back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preprocess":
        """Rebuild from `to_dict`.

        Raises:
            ModelError: a key is unknown or missing, or a value cannot be right.
        """
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown or not {"height", "width"} <= set(values):
            raise ModelError(
                f"the model's preprocessing has the keys {sorted(values)}: it needs height and "
                f"width, and may have mean, std and fit."
            )
        return cls(**values)

    def _place_by_angle(
        self, image: npt.NDArray[np.uint8], field: StreetField | None
    ) -> torch.Tensor:
        """Place a picture on a canvas of 360 x (360 height / width) degrees, horizon centred."""
        height_px, width_px = image.shape[:2]
        field = field or street_field(width_px, height_px)
        canvas_deg = 360.0 * self.height / self.width
        vertical_deg = min(field.vertical_fov_deg, canvas_deg)
        rows = max(1, round(height_px * vertical_deg / field.vertical_fov_deg))
        top = (height_px - rows) // 2
        target_height = max(1, round(self.height * vertical_deg / canvas_deg))
        target_width = max(1, round(self.width * field.horizontal_fov_deg / 360.0))
        resized = _resize(image[top : top + rows], target_height, target_width)
        if resized.shape[1:] == (self.height, self.width):
            return resized
        canvas = torch.empty((3, self.height, self.width), dtype=torch.uint8)
        canvas[:] = (torch.tensor(self.mean) * 255).round().to(torch.uint8).view(3, 1, 1)
        y, x = (self.height - target_height) // 2, (self.width - target_width) // 2
        canvas[:, y : y + target_height, x : x + target_width] = resized
        return canvas


def _problem(preprocess: Preprocess) -> str | None:
    """What is wrong with the values, or None."""
    sides = (preprocess.height, preprocess.width)
    if not all(isinstance(side, int) and side > 0 for side in sides):
        return f"asks for a canvas of {sides[0]} x {sides[1]} pixels"
    if preprocess.fit not in get_args(Fit):
        return f"has the unknown fit {preprocess.fit!r} (there are {', '.join(get_args(Fit))})"
    numbers = (*preprocess.mean, *preprocess.std)
    if len(preprocess.mean) != 3 or len(preprocess.std) != 3:
        return "does not have three values each of mean and std"
    if not all(math.isfinite(number) for number in numbers) or min(preprocess.std) <= 0:
        return "has a mean or std that cannot be divided by"
    return None


def _crop_to_aspect(image: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    """The largest centred part with the canvas's shape.

    Cropping before resizing gives what resizing before cropping gives, without resizing what
    is thrown away.
    """
    rows, columns = image.shape[:2]
    scale = min(rows / height, columns / width)
    kept_rows = min(rows, max(1, round(height * scale)))
    kept_columns = min(columns, max(1, round(width * scale)))
    top, left = (rows - kept_rows) // 2, (columns - kept_columns) // 2
    return image[top : top + kept_rows, left : left + kept_columns]


def _resize(image: npt.NDArray[np.uint8], height: int, width: int) -> torch.Tensor:
    """(H, W, 3) uint8 to a uint8 tensor (3, height, width)."""
    # torch reads neither read-only arrays nor negative strides.
    if not image.flags.writeable or min(image.strides) < 0:
        image = image.copy()
    pixels = torch.from_numpy(image).permute(2, 0, 1)
    if image.shape[:2] == (height, width):
        return pixels
    return F.interpolate(pixels[None], (height, width), mode="bicubic", antialias=True)[0]
