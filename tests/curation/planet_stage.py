"""A town of the simulated planet as orthophotos and panoramas, of which the truth is known."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from provider_servers import Shot

from geobridge.imagery.resolution import coarsen
from geobridge.world.planet import Town, WorldPlace
from geobridge.world.trips import open_town, write_map, write_walk

DRONE_DATE, SATELLITE_DATE, STREET_DATE = 0, 3, 2
DRONE_GSD_M, SATELLITE_GSD_M = 0.6, 1.0


@dataclass(frozen=True)
class Planet:
    """A town and what of it lies on the disk.

    Attributes:
        town: the truth.
        drone: orthophoto that is taken for a drone's.
        satellite: orthophoto of another date and resolution.
        places: where panoramas were taken.
        panoramas: files, in the order of `places`.
    """

    town: Town
    drone: Path
    satellite: Path
    places: list[WorldPlace]
    panoramas: list[Path]

    def shots(self):
        """The panoramas as a provider has them, named by the number of their place."""
        heights = {path: _height(path) for path in self.panoramas}
        return [
            Shot(
                id=f"p{index}",
                lat=place.lat,
                lon=place.lon,
                jpeg=path.read_bytes(),
                heading_deg=(place.heading_deg + self.town.convergence_deg) % 360,
                width=2 * heights[path],
                height=heights[path],
            )
            for index, (place, path) in enumerate(zip(self.places, self.panoramas, strict=True))
        ]

    def truth(self, view, place, side_m, size):
        """What a picture of a place shows, uint8 (size, size or 2 size, 3), north up."""
        if view == "street":
            yaw_deg = -self.town.convergence_deg
            return self.town.render(
                "street", place, size=size, date=STREET_DATE, yaw_deg=yaw_deg, full=True
            )
        date = DRONE_DATE if view == "drone" else SATELLITE_DATE
        return self.town.render(
            "satellite", place, size=size, gsd_m=side_m / size, date=date,
            yaw_deg=-self.town.convergence_deg,
        )  # fmt: skip


def write_planet(folder, count, *, town="albion/0", height=256):
    """Write a town, its panoramas at `count` places."""
    town = open_town(town)
    return Planet(
        town,
        write_map(town, folder / "drone.tif", gsd_m=DRONE_GSD_M, date=DRONE_DATE),
        write_map(town, folder / "satellite.tif", gsd_m=SATELLITE_GSD_M, date=SATELLITE_DATE),
        town.places(count),
        write_walk(town, folder / "walk", count=count, height=height, date=STREET_DATE),
    )


def difference(one, other):
    """Mean difference of two pictures at the coarser one's size, 0..255."""
    height = min(len(one), len(other))
    small = [coarsen(picture, len(picture) / height) for picture in (one, other)]
    height, width = (min(picture.shape[axis] for picture in small) for axis in (0, 1))
    first, second = (picture[:height, :width].astype(int) for picture in small)
    return float(np.abs(first - second).mean())


def _height(path):
    from PIL import Image

    with Image.open(path) as image:
        return image.height
