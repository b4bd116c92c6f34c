"""What stages will ask others for, told before they are run; nothing is asked for here.

Where the stages before one have been run, it counts itself (`plan`). Where not, what it will be
given is bounded from the seeds or panoramas there are.
"""

from collections.abc import Collection

from geobridge.curation import describe, street
from geobridge.curation.config import CurateConfig
from geobridge.curation.http import is_set
from geobridge.curation.rasters import is_address
from geobridge.curation.satellite import SatelliteConfig
from geobridge.curation.street import secret_of
from geobridge.curation.tiles import most_tiles
from geobridge.curation.workspace import Workspace
from geobridge.views import View

ESTIMATED = ("street", "satellite", "describe")
"""Stages that may ask others for something."""

# What a tile of 256 pixels of imagery usually has as a JPEG.
_TILE_BYTES = 20_000


def estimate(
    workspace: Workspace, config: CurateConfig, stage: str, finished: Collection[str]
) -> str:
    """What one of the stages `ESTIMATED` will ask for, in a sentence without its end.

    Args:
        workspace: in which the stage `seeds` is finished.
        config: of all stages.
        stage: its name; it is configured.
        finished: stages whose tables are there and as the settings want them.

    Raises:
        CurationError: a table cannot be read, or a provider cannot be used.
    """
    told = _estimate(workspace, config, stage, finished)
    unset = unset_secrets(config, stage)
    return "; ".join([told, *(f"{name} is not set in the environment" for name in unset)])


def unset_secrets(config: CurateConfig, stage: str) -> list[str]:
    """Variables of the environment that a stage reads secrets from, and that hold none."""
    return [name for name in _secrets(config, stage) if not is_set(name)]


def _estimate(
    workspace: Workspace, config: CurateConfig, stage: str, finished: Collection[str]
) -> str:
    if stage == "street":
        return str(street.plan(workspace, config.street))
    if stage == "describe" and config.describe:
        before = {"crop", "clean"} | ({"satellite"} if config.satellite else set())
        if before.issubset(finished):
            return str(describe.plan(workspace, config.describe))
        places, known = _most_places(workspace, config, finished)
        sizes = _largest_sizes(config)
        return f"at most, by {known}: {describe.plan_most(places, sizes, config.describe)}"
    if config.satellite is None:
        raise ValueError(f"{stage} is not configured, or asks nobody")
    places, known = _most_places(workspace, config, finished)
    return f"at most, by {known}: {_fetched(workspace, config.satellite, config, places)}"


def _most_places(
    workspace: Workspace, config: CurateConfig, finished: Collection[str]
) -> tuple[int, str]:
    """How many places there will be at most, and which table that is read from."""
    for stage, table in (("clean", "clean"), ("crop", "crops"), ("street", "street")):
        if stage in finished:
            known = workspace.read(table)
            kept = known[known["kept"].astype(bool)]
            if stage == "clean":
                return len(kept), table
            panoramas = kept["pano_id"].nunique()
            return panoramas * _sizes_kept(config), table
    panoramas = len(workspace.read("seeds")) * config.street.per_seed
    return panoramas * _sizes_kept(config), "seeds"


def _sizes_kept(config: CurateConfig) -> int:
    """How many of the squares around one panorama may stay."""
    # The smaller lies within the larger: if they are compared, and may not overlap, one stays.
    is_thinned = config.clean.across_sizes and config.clean.overlap < 1
    return 1 if is_thinned else len(config.crop.sides_m)


def _largest_sizes(config: CurateConfig) -> dict[View, tuple[int, int]]:
    """Width and height of the largest pictures that can be shown to a model."""
    side_m, width = max(config.crop.sides_m), config.crop.street_width
    drone_px = config.crop.side_px(side_m)
    sizes: dict[View, tuple[int, int]] = {
        "drone": (drone_px, drone_px),
        "street": (width, width // 2 if config.street.only_360 else width),
    }
    if config.satellite:
        satellite_px = config.satellite.side_px(side_m)
        sizes["satellite"] = (satellite_px, satellite_px)
    return sizes


def _fetched(
    workspace: Workspace, satellite: SatelliteConfig, config: CurateConfig, places: int
) -> str:
    """What the pictures of so many places take, from where they come."""
    if satellite.tiles:
        tiles = places * _tiles_a_picture(workspace, satellite, max(config.crop.sides_m))
        size = tiles * _TILE_BYTES / 1e6
        return f"{tiles:,} tiles for {places:,} pictures, about {size:,.0f} MB"
    if satellite.stac:
        return f"{places:,} pictures, each read in parts out of one to five rasters of a catalogue"
    where = "out of the network" if any(map(is_address, satellite.rasters)) else "from the disk"
    return f"{places:,} pictures, read {where}"


def _tiles_a_picture(workspace: Workspace, satellite: SatelliteConfig, side_m: float) -> int:
    """How many tiles the picture that takes most of them needs."""
    tiles = satellite.tiles
    if tiles is None:
        return 0
    # Panoramas lie in the footprints of their seeds, and pictures around panoramas.
    bounds = workspace.read("seeds").bounds
    return max(
        most_tiles(tiles, satellite, side_m, south, north)
        for south, north in zip(bounds["miny"], bounds["maxy"], strict=True)
    )


def _secrets(config: CurateConfig, stage: str) -> list[str]:
    """Variables of the environment that a stage reads its secrets from."""
    found: list[str | None] = []
    if stage == "street":
        found = [secret_of(one) for one in config.street.providers]
    elif stage == "satellite" and config.satellite and config.satellite.tiles:
        found = [config.satellite.tiles.key_variable]
    elif stage == "describe" and config.describe:
        found = [config.describe.endpoint.key_variable]
    return [name for name in found if name]
