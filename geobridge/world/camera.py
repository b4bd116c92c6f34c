"""Cameras above a town, and the sensors that develop what they see."""

import math
from dataclasses import dataclass

import numpy as np

from geobridge.views import View


@dataclass(frozen=True)
class Camera:
    """A pinhole camera in the town's metric frame (x east, y north, z up).

    Attributes:
        x_m, y_m, z_m: where it is.
        yaw_deg: heading it looks along, clockwise from grid north; for a nadir picture the
            heading of the picture's top.
        pitch_deg: 0 at the horizon, -90 straight down.
        fov_deg: horizontal field of view, between the centres of the left and right borders.
    """

    x_m: float
    y_m: float
    z_m: float
    yaw_deg: float
    pitch_deg: float
    fov_deg: float

    def axes(self) -> np.ndarray:
        """Unit vectors right, down and forward of the picture, rows of a (3, 3) float64."""
        yaw, pitch = math.radians(self.yaw_deg), math.radians(self.pitch_deg)
        ahead = np.array([math.sin(yaw), math.cos(yaw), 0.0])
        right = np.array([math.cos(yaw), -math.sin(yaw), 0.0])
        up = np.array([0.0, 0.0, 1.0])
        forward = math.cos(pitch) * ahead + math.sin(pitch) * up
        return np.stack([right, np.cross(forward, right), forward])

    def vector(self, rows: int, cols: int) -> np.ndarray:
        """The camera as `kernels.render_rays` takes it, for a picture of `rows` x `cols`."""
        half = math.tan(math.radians(self.fov_deg) / 2)
        position = [self.x_m, self.y_m, self.z_m]
        return np.array([*position, *self.axes().ravel(), half, half * rows / cols, 0.0])


def looking_at(
    x_m: float, y_m: float, *, altitude_m: float, yaw_deg: float, pitch_deg: float, fov_deg: float
) -> Camera:
    """The camera at `altitude_m` whose picture is centred on the ground point (x_m, y_m)."""
    back = altitude_m / math.tan(math.radians(-pitch_deg)) if pitch_deg > -90 else 0.0
    yaw = math.radians(yaw_deg)
    return Camera(
        x_m - back * math.sin(yaw),
        y_m - back * math.cos(yaw),
        altitude_m,
        yaw_deg,
        pitch_deg,
        fov_deg,
    )


@dataclass(frozen=True)
class Sensor:
    """How a camera turns light into a picture.

    Attributes:
        gain: factor of each of red, green and blue: exposure times white balance.
        contrast: stretch about mid grey.
        blur: 0 (sharp) to 1 (each pixel is the mean of its neighbours).
        noise: deviation of the grain, grey levels.
        seed: of the grain.
        auto_exposure: 0 (the gain alone decides) to 1 (the mean of every picture is mid grey).
        jpeg_quality: 1 to 100 of the compression the picture went through, None for none.
    """

    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    contrast: float = 1.0
    blur: float = 0.0
    noise: float = 0.0
    seed: int = 0
    auto_exposure: float = 0.0
    jpeg_quality: int | None = None


MID_GREY = 112.0
"""What automatic exposure aims at, in grey levels."""

# Tile servers compress harder than cameras.
_JPEG_QUALITY = {"satellite": (55, 92), "drone": (70, 96), "street": (65, 95)}


def sensor_for(view: View, rng: np.random.Generator) -> Sensor:
    """A sensor such as the view is taken with, drawn at random."""
    exposure = rng.uniform(0.88, 1.24)
    cast = rng.normal(0, 0.025, 3)
    if view == "satellite":
        cast[2] += rng.uniform(-0.05, 0.06)
        contrast, blur, noise = rng.uniform(0.72, 1.12), rng.uniform(0.1, 0.7), rng.uniform(1, 4)
    elif view == "drone":
        contrast, blur, noise = rng.uniform(0.92, 1.25), rng.uniform(0, 0.3), rng.uniform(1, 4)
    else:
        contrast, blur, noise = rng.uniform(0.9, 1.2), rng.uniform(0, 0.25), rng.uniform(1, 4)
    red, green, blue = (float(exposure * (1 + c)) for c in cast)
    return Sensor(
        (red, green, blue),
        float(contrast),
        float(blur),
        float(noise),
        int(rng.integers(1 << 30)),
        float(rng.uniform(0.4, 0.9)),
        int(rng.integers(*_JPEG_QUALITY[view])),
    )
