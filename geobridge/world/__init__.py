"""A simulated planet: towns at real coordinates, drawn in three views and described in words.

    from geobridge.world import World

    town = World(seed=0).town("albion", 0)
    place = town.places(1)[0]
    drone = town.render("drone", place, date=1)
    print(town.describe(place))

What a town is made of is decided once, as things (`scene`), by the habits of its country
(`regions`). The things are drawn to rasters (`rasters`), the rasters are seen by cameras
(`kernels`, `camera`), and the same things are put into words (`words`).
"""

from typing import TYPE_CHECKING, Any

from geobridge.world.dates import DATES
from geobridge.world.planet import Town, World, WorldPlace
from geobridge.world.regions import REGIONS, Region

if TYPE_CHECKING:
    from geobridge.world.dataset import WorldBatch, WorldDataset, world_batches

__all__ = [
    "DATES",
    "REGIONS",
    "Region",
    "Town",
    "World",
    "WorldBatch",
    "WorldDataset",
    "WorldPlace",
    "world_batches",
]


def __getattr__(name: str) -> Any:
    # The data set brings torch, which whoever only draws pictures can do without.
    if name in ("WorldBatch", "WorldDataset", "world_batches"):
        from geobridge.world import dataset

        return getattr(dataset, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
