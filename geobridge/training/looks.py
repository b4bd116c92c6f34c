"""Random looks at pictures: what makes one picture of a place into training pairs.

Every function takes and gives uint8 pictures, and all that is random comes from the generator
that is handed in: the same generator gives the same looks.
"""

from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from geobridge.imagery.augment import (
    GroundCrop,
    crop_ground,
    random_season,
    random_sensor,
    tilt_skew,
    uniform,
)
from geobridge.model.config import Settings
from geobridge.views import View

# Angle across a drone's square picture: of 40 to 75 degrees wide cameras, cut to their height.
DRONE_FOV_DEG = 45.0
# A flat ground's far edge runs away from a camera that looks farther ahead than this.
MAX_TILT_DEG = 60.0

_NEAR_SIDE = (0.8, 1.05)
_NEAR_SHIFT = 0.05
# Panoramas stay closer to what they were: an eye-level scene has no map-maker's processing.
_STREET_SENSOR = 0.7


class LooksConfig(Settings):
    """How far random looks differ from one another.

    Attributes:
        heading_known: share of drone looks whose heading is known to `heading_error_deg`; the
            others look in any direction.
        heading_error_deg: largest error of a heading that is called known. A query of unknown
            heading is asked in 8 directions, 45 degrees apart: 22.5 is the error left.
        side: smallest and largest share of a picture that the reference look shows.
        scale: smallest and largest side of the drone look, in sides of the reference look.
        shift: largest distance between the two looks' centres, each way, in the same unit.
        north_error_deg: largest angle between the reference look's top and north.
        skew: largest displacement of the drone look's corners, in its own sides, by lens and
            relief; the reference look has a third of it.
        tilt_share: share of drone looks that are tilted forwards from straight down.
        tilt_deg: their largest tilt from straight down.
        season: strength of seasons and shadows in the drone look, 0 for none.
        sensor: strength of colours, light, haze and grain; 1 bridges two sensors.
        sensor_share: share of the pictures that are seen through such a sensor.
        near_turn_deg: most that a drone picture is turned that is a view of its own.
        shifted: share of panoramas that face anywhere instead of north.
        limited: share of panoramas that are cut to a field of view of 60 to 120 degrees.
    """

    heading_known: float = Field(default=0.85, ge=0, le=1)
    heading_error_deg: float = Field(default=24.0, ge=0, le=180)
    side: tuple[float, float] = (0.48, 0.8)
    scale: tuple[float, float] = (0.75, 1.25)
    shift: float = Field(default=0.13, ge=0, lt=1)
    north_error_deg: float = Field(default=4.0, ge=0, le=180)
    skew: float = Field(default=0.06, ge=0, lt=0.25)
    tilt_share: float = Field(default=0.3, ge=0, le=1)
    tilt_deg: float = Field(default=45.0, ge=0, le=MAX_TILT_DEG)
    season: float = Field(default=0.0, ge=0)
    sensor: float = Field(default=1.0, ge=0)
    sensor_share: float = Field(default=1.0, ge=0, le=1)
    near_turn_deg: float = Field(default=20.0, ge=0, le=180)
    shifted: float = Field(default=0.5, ge=0, le=1)
    limited: float = Field(default=0.17, ge=0, le=1)

    @model_validator(mode="after")
    def _ranges_rise(self) -> Self:
        for name, (low, high) in (("side", self.side), ("scale", self.scale)):
            if not 0 < low <= high:
                raise ValueError(
                    f"{name} runs from {low} to {high}: give two rising numbers above 0"
                )
        return self


_ANY_LOOK = frozenset({"north_error_deg", "sensor", "sensor_share"})
LOOKS_AT_VIEWS = _ANY_LOOK | {"near_turn_deg", "shifted", "limited"}
"""What of `LooksConfig` counts for pictures that are views of their own."""
LOOKS_AT_MAPS = _ANY_LOOK | {
    "heading_known",
    "heading_error_deg",
    "scale",
    "shift",
    "skew",
    "tilt_share",
    "tilt_deg",
    "season",
}
"""What of it counts for footprints of maps."""
LOOKS_AT_GROUND = LOOKS_AT_MAPS | {"side"}
"""What of it counts for pictures of the ground, of which a look shows a part."""


def two_looks(
    seen: Tensor,
    mapped: Tensor,
    size: int,
    generator: torch.Generator,
    config: LooksConfig = LooksConfig(),  # noqa: B008 - frozen
) -> tuple[Tensor, Tensor]:
    """The same ground as a drone and as a satellite see it, anywhere in a picture, any side up.

    Args:
        seen: uint8 (N, 3, S, S), pictures of the ground for the drone's look.
        mapped: uint8 (N, 3, S, S), the same ground for the satellite's look: the same pictures,
            or others of another date.
        size: side of the looks in pixels.
        generator: source of every random number.
        config: how far the two differ.

    Returns:
        drone and satellite, uint8 (N, 3, size, size).
    """
    count = len(seen)
    side = uniform(*config.side, count, generator=generator)
    # The reference look stays in the picture but for its corners.
    slack = ((1 - side).clamp(min=0) / 2)[:, None] + 0.05
    center = 0.5 + uniform(-1, 1, count, 2, generator=generator) * slack
    north_deg = uniform(0, 360, count, generator=generator)
    return looks_at(seen, mapped, center, side, north_deg, size, generator, config)


def looks_at(
    seen: Tensor,
    mapped: Tensor,
    center: Tensor,
    side: Tensor,
    north_deg: Tensor,
    size: int,
    generator: torch.Generator,
    config: LooksConfig = LooksConfig(),  # noqa: B008 - frozen
) -> tuple[Tensor, Tensor]:
    """The ground at given squares as a drone and as a satellite see it.

    Args:
        seen: as in `two_looks`.
        mapped: as in `two_looks`.
        center: float (N, 2), of the reference look, x and y as fractions of the picture's side.
        side: float (N,), of the reference look, as a fraction of the picture's side.
        north_deg: float (N,), which direction of the picture the reference look has up.
        size: side of the looks in pixels.
        generator: source of every random number.
        config: how far the two differ.

    Returns:
        drone and satellite, uint8 (N, 3, size, size).
    """
    drone, satellite = _pair(center, side, north_deg, generator, config)
    photo = crop_ground(seen, drone, size)
    if config.season:
        photo = random_season(photo, generator, strength=config.season)
    reference = crop_ground(mapped, satellite, size)
    return _sensed(photo, generator, config), _sensed(reference, generator, config)


def near_looks(
    view: View,
    pictures: Tensor,
    size: int,
    generator: torch.Generator,
    config: LooksConfig = LooksConfig(),  # noqa: B008 - frozen
) -> Tensor:
    """Slight changes of pictures that already are one view of their places.

    Args:
        view: `drone`, which may turn by `near_turn_deg`, or `satellite`, by
            `north_error_deg`.
        pictures: uint8 (N, 3, S, S).
        size: side of the looks in pixels.
        generator: source of every random number.
        config: its `sensor`, `sensor_share` and `near_turn_deg` count here.

    Returns:
        uint8 (N, 3, size, size).
    """
    count = len(pictures)
    turn_deg = config.near_turn_deg if view == "drone" else config.north_error_deg
    crop = GroundCrop(
        0.5 + uniform(-_NEAR_SHIFT, _NEAR_SHIFT, count, 2, generator=generator),
        uniform(*_NEAR_SIDE, count, generator=generator),
        uniform(-turn_deg, turn_deg, count, generator=generator),
        uniform(-0.03, 0.03, count, 4, 2, generator=generator),
    )
    return _sensed(crop_ground(pictures, crop, size), generator, config)


def random_street(
    pictures: Tensor,
    generator: torch.Generator,
    config: LooksConfig = LooksConfig(),  # noqa: B008 - frozen
) -> Tensor:
    """Panoramas, some of unknown heading, some cut to a limited field of view.

    Args:
        pictures: uint8 (N, 3, H, W), 360 degrees wide, north in the middle.
        generator: source of every random number.
        config: its `sensor`, `sensor_share`, `shifted` and `limited` count here.

    Returns:
        uint8 (N, 3, H, W); what a limited field does not show is grey.
    """
    count, _, _, width = pictures.shape
    shift = torch.randint(0, width, (count,), generator=generator)
    shift[torch.rand(count, generator=generator) >= config.shifted] = 0
    columns = (torch.arange(width)[None, :] + shift[:, None]) % width
    turned = torch.gather(pictures, 3, columns[:, None, None, :].expand_as(pictures))
    seen = _sensed(turned.float() / 255, generator, config, _STREET_SENSOR)
    limited = torch.rand(count, generator=generator) < config.limited
    field = uniform(60, 120, count, generator=generator) / 360 * width / 2
    outside = (torch.arange(width)[None, :] - width / 2 + 0.5).abs() > field[:, None]
    blank = (limited[:, None] & outside)[:, None, None, :]
    return torch.where(blank, seen.new_tensor(128), seen)


def _pair(
    center: Tensor,
    side: Tensor,
    north_deg: Tensor,
    generator: torch.Generator,
    config: LooksConfig,
) -> tuple[GroundCrop, GroundCrop]:
    """Where the drone looks, and where the satellite does."""
    count = len(side)

    def sample(spread: float, *shape: int) -> Tensor:
        return uniform(-spread, spread, count, *shape, generator=generator)

    satellite = GroundCrop(
        center, side, north_deg + sample(config.north_error_deg), sample(config.skew / 3, 4, 2)
    )
    known = torch.rand(count, generator=generator) < config.heading_known
    turn = torch.where(known, sample(config.heading_error_deg), sample(180.0))
    tilted = torch.rand(count, generator=generator) < config.tilt_share
    tilt_deg = tilted * uniform(0, config.tilt_deg, count, generator=generator)
    low, high = torch.tensor(config.scale).log().tolist()
    drone = GroundCrop(
        center + sample(config.shift, 2) * side[:, None],
        side * torch.exp(uniform(low, high, count, generator=generator)),
        north_deg + turn,
        tilt_skew(tilt_deg, DRONE_FOV_DEG) + sample(config.skew, 4, 2),
    )
    return drone, satellite


def _sensed(
    pictures: Tensor, generator: torch.Generator, config: LooksConfig, factor: float = 1.0
) -> Tensor:
    """Pictures in 0..1 to uint8, a share of them through a random sensor."""
    seen = pictures
    count = int(len(pictures) * config.sensor_share + torch.rand((), generator=generator).item())
    if count and config.sensor:
        chosen = torch.randperm(len(pictures), generator=generator)[:count]
        seen = pictures.clone()
        strength = config.sensor * factor
        seen[chosen] = random_sensor(pictures[chosen], generator, strength=strength)
    return (seen * 255).round_().byte()
