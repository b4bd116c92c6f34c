"""Photos of a map that nobody took: queries of known position to calibrate a model on its own map.

The map is its own reference here: a photo made from it shows the day of the gallery, and the model
was adapted to photos made alike, so that both are easier than a real one. Therefore each photo is
changed at a strength of its own, from what adaptation trains with to three times that; how far
a real camera and season are from the map is not known, and a spread teaches how similarity falls.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from geobridge.geo.distance import METRES_A_DEGREE
from geobridge.imagery.augment import (
    GroundCrop,
    crop_ground,
    random_season,
    random_sensor,
    tilt_skew,
)
from geobridge.localization.query import Query
from geobridge.model.geobridge import GeoBridge
from geobridge.training.config import SourceSettings
from geobridge.training.looks import DRONE_FOV_DEG
from geobridge.training.maps import MapSource

STRENGTH = (1.0, 3.0)
"""Least and largest strength of season and sensor; adaptation trains with 1."""

POSITION_ERROR_M = 7.5
"""Standard deviation, each way, between a photo's stated position and what is at its centre.

A gimbal 3 degrees off straight down at 120 m looks 6 m aside, and a map may lie 4 m off.
"""

# Width of a photo in footprints: cameras 60 to 75 degrees wide, 90 to 150 m up, show 100 to 220 m.
_WIDTH = (1.0, 2.2)
_HEIGHT_OF_WIDTH = 3 / 4
# Half of the photos tell their width on the ground, from a height above the take-off.
_WIDTH_KNOWN, _WIDTH_ERROR = 0.5, 0.15
_TILTED, _MOST_TILT_DEG = 0.3, 30.0
# Corners displaced by lens and relief, in sides of the photo.
_SKEW = 0.04
_HEADING_ERROR_DEG = 10.0


@dataclass(frozen=True, eq=False)
class SimulatedPhoto:
    """A plausible drone photo of a map.

    Attributes:
        pixels: uint8 (H, W, 3) RGB.
        lat: degrees, where it is said to look: `POSITION_ERROR_M` from the ground at its centre.
        lon: degrees, likewise.
        yaw_deg: heading of its top edge, clockwise from north, to 10 degrees.
        ground_width_m: width of ground it shows, to 15 %; None where it does not tell.
    """

    pixels: NDArray[np.uint8]
    lat: float
    lon: float
    yaw_deg: float
    ground_width_m: float | None

    def query(self, heading_known: bool) -> Query:
        """What would be asked with it, with or without its heading."""
        return Query(
            drone=self.pixels,
            yaw_deg=self.yaw_deg if heading_known else None,
            ground_width_m=self.ground_width_m,
        )


def simulate_photos(
    maps: Sequence[str | Path],
    model: GeoBridge,
    count: int,
    *,
    footprint_m: float = 100.0,
    strength: tuple[float, float] = STRENGTH,
    seed: int = 0,
) -> list[SimulatedPhoto]:
    """Draw photos that look straight down, or up to 30 degrees ahead, anywhere on maps.

    Args:
        maps: georeferenced rasters, folders of them, or folders of XYZ tiles.
        model: what the photos are for; they are about as sharp as what it sees.
        count: how many.
        footprint_m: side of the footprints they will be compared with.
        strength: least and largest strength of season and sensor; each photo has its own.
        seed: of everything that is drawn.

    Raises:
        RasterError: a map is missing, or cannot be placed on the ground.
        TrainingError: no map holds a whole footprint, or the model does not see drone and
            satellite pictures as squares of one size.
    """
    settings = SourceSettings(maps=[Path(path) for path in maps], footprint_m=footprint_m)
    source = MapSource(settings, model.config.preprocess, seed)
    source.cache(Path())
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    rows = rng.integers(len(source), size=count).tolist()
    return [_photo(source, row, strength, rng, generator) for row in rows]


def _photo(
    source: MapSource,
    row: int,
    strength: tuple[float, float],
    rng: np.random.Generator,
    generator: torch.Generator,
) -> SimulatedPhoto:
    ground, footprint = source.ground_around([row], generator)
    width = math.exp(rng.uniform(*np.log(_WIDTH)))
    yaw_deg = float(rng.uniform(0, 360))
    tilt_deg = rng.uniform(0, _MOST_TILT_DEG) if rng.random() < _TILTED else 0.0
    bent = torch.from_numpy(rng.uniform(-_SKEW, _SKEW, (1, 4, 2))).float()
    crop = GroundCrop(
        torch.full((1, 2), 0.5),
        torch.tensor([width * footprint]),
        torch.tensor([yaw_deg]),
        tilt_skew(torch.tensor([tilt_deg]), DRONE_FOV_DEG) + bent,
    )
    side_px = round(source.size * width)
    square = (crop_ground(ground, crop, side_px)[0] * 255).round_().byte().permute(1, 2, 0).numpy()
    cut_px = round(side_px * (1 - _HEIGHT_OF_WIDTH) / 2)
    photo = change_camera(
        square[cut_px : side_px - cut_px], float(rng.uniform(*strength)), generator
    )
    width_m = width * source.footprint_m * math.exp(rng.uniform(-_WIDTH_ERROR, _WIDTH_ERROR))
    lat, lon = said_position(float(source.lat[row]), float(source.lon[row]), rng)
    return SimulatedPhoto(
        photo,
        lat,
        lon,
        yaw_deg + float(rng.uniform(-_HEADING_ERROR_DEG, _HEADING_ERROR_DEG)),
        width_m if rng.random() < _WIDTH_KNOWN else None,
    )


def change_camera(
    picture: NDArray[np.uint8], strength: float, generator: torch.Generator
) -> NDArray[np.uint8]:
    """A picture in another season and light, through another sensor.

    Args:
        picture: uint8 (H, W, 3) RGB.
        strength: 1 is as training changes pictures, 0 gives the picture back.
        generator: source of every random number.
    """
    seen = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float() / 255
    seen = random_season(seen, generator, strength=strength)
    seen = random_sensor(seen, generator, strength=strength)
    return np.ascontiguousarray((seen[0] * 255).round_().byte().permute(1, 2, 0).numpy())


def said_position(lat: float, lon: float, rng: np.random.Generator) -> tuple[float, float]:
    """Where a photo of the ground at a position, in degrees, would say that it looks."""
    east_m, north_m = rng.normal(0, POSITION_ERROR_M, 2)
    metres_per_degree_lon = METRES_A_DEGREE * math.cos(math.radians(lat))
    return lat + north_m / METRES_A_DEGREE, lon + east_m / metres_per_degree_lon
