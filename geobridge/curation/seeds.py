"""Stage 1: footprints slid over orthomosaics; those with enough valid pixels become seeds.

    DIR/seeds.parquet     a row a seed
    DIR/rasters.parquet   a row a raster: what is known of it, and why it gave what it gave

Pixels are not read, only where there are any: once a raster, at low resolution.
"""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import PurePosixPath
from typing import Annotated, Any, Self

import geopandas
import pandas as pd
from pydantic import Field, model_validator
from shapely import Polygon

from geobridge.curation.http import Client, PlainAddress, PlainKeys
from geobridge.curation.pictures import MOST_SIDE_M
from geobridge.curation.rasters import (
    Found,
    RasterFacts,
    digest,
    facts_of,
    idle_facts,
    is_address,
    list_rasters,
    opened,
)
from geobridge.curation.remote import RemoteFiles, remote_files
from geobridge.curation.stac import Catalogue, find_rasters
from geobridge.curation.workspace import Workspace
from geobridge.errors import CurationError, RasterError
from geobridge.geo.coverage import Coverage
from geobridge.geo.distance import METRES_A_DEGREE
from geobridge.geo.rasters import RasterMap, RasterWindow
from geobridge.model.config import Settings
from geobridge.progress import Step

_TOGETHER = 1024


class SeedsConfig(Settings):
    """Where orthomosaics are and how they are slid over.

    Attributes:
        rasters: GeoTIFFs, COGs, folders of them, patterns (`flight-1/*.tif`), or their addresses.
        catalogue: STAC catalogue that is searched for more, such as OpenAerialMap's.
        side_m: side of a footprint on the ground.
        stride_m: between the centres of neighbours.
        min_valid: share of a footprint that must have data.
        max_gsd_m: rasters of coarser pixels are left out.
        allow_private: whether addresses in `rasters` may be of this machine and its networks.
        facts: date, licence, attribution and source of rasters, by a pattern of their path or
            name (`*`, `flight-1/*.tif`); they count before what the files say.
    """

    rasters: tuple[PlainAddress, ...] = ()
    catalogue: Catalogue | None = None
    side_m: float = Field(default=180.0, gt=0, le=MOST_SIDE_M)
    stride_m: float = Field(default=90.0, gt=0)
    min_valid: float = Field(default=0.9, gt=0, le=1)
    max_gsd_m: float = Field(default=1.0, gt=0)
    allow_private: bool = False
    facts: Annotated[dict[str, RasterFacts], PlainKeys] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _has_rasters(self) -> Self:
        if not self.rasters and self.catalogue is None:
            raise ValueError("there are no rasters: name some in `rasters`, or a `catalogue`.")
        return self


def run(workspace: Workspace, config: SeedsConfig, step: Step) -> geopandas.GeoDataFrame:
    """Find the seeds of all rasters.

    A raster that the configuration names itself must be readable; one of a folder or a catalogue
    that is not, or that gives no seed, is a row of `rasters.parquet` with its reason.

    Returns:
        seed_id, raster, lat, lon, footprint, side_m, gsd_m, valid, date, licence, attribution,
        source; sorted by seed_id.

    Raises:
        CurationError: no raster gives a seed, or the catalogue cannot be asked.
        RasterError: a named raster cannot be read.
    """
    found = list_rasters(config.rasters)
    if config.catalogue:
        with Client(workspace.cache, allow_private=config.catalogue.allow_private) as client:
            known = {entry.raster for entry in found}
            listed = find_rasters(client, config.catalogue)
            found += [entry for entry in listed if entry.raster not in known]
    report = step("sliding over rasters")
    rasters: list[dict[str, Any]] = []
    seeds: list[dict[str, Any]] = []
    listed_may = config.catalogue is not None and config.catalogue.allow_private
    with (
        remote_files(workspace.cache, allow_private=config.allow_private) as named,
        remote_files(workspace.cache, allow_private=listed_may) as listed_files,
        workspace.journal("seeds", digest(config.model_dump(mode="json"))) as journal,
    ):
        for done, entry in enumerate(found, 1):
            key = digest(entry.version, entry.facts.columns())
            if key in journal:
                found_here = journal[key]
            else:
                files = named if entry.is_named else listed_files
                found_here, is_final = _seeds_of(entry, config, files)
                if is_final:
                    journal.add(key, found_here)
            rasters.append(found_here["raster"])
            seeds += [dict(seed) for seed in found_here["seeds"]]
            report(done, len(found))
    rasters.sort(key=lambda row: str(row["raster"]))
    workspace.write("rasters", pd.DataFrame(rasters))
    if not seeds:
        raise CurationError(
            f"none of {len(found)} rasters gave a seed: {workspace.path('rasters')} says why."
        )
    _tell(workspace, rasters, config, step)
    for seed in seeds:
        seed["footprint"] = Polygon(seed["footprint"])
    table = geopandas.GeoDataFrame(seeds, geometry="footprint", crs="EPSG:4326")
    table = table.sort_values("seed_id", ignore_index=True)
    workspace.write("seeds", table)
    return table


def _tell(
    workspace: Workspace, rasters: Sequence[Mapping[str, Any]], config: SeedsConfig, step: Step
) -> None:
    """Say what may not be as it was meant: rasters without seeds, facts of no raster."""
    without = sum(not row["seeds"] for row in rasters)
    if without:
        step(f"{without} of {len(rasters)} rasters gave no seeds: see {workspace.path('rasters')}")
    for fault in idle_facts(config.facts, [str(row["raster"]) for row in rasters]):
        step(fault)


def _seeds_of(entry: Found, config: SeedsConfig, files: RemoteFiles) -> tuple[dict[str, Any], bool]:
    """What one raster comes to, and whether it will come to the same next time.

    Its row is under `raster`, its seeds as they are kept in the journal under `seeds`.
    """
    row: dict[str, Any] = {"raster": entry.raster, **entry.facts.columns()}
    row |= {"gsd_m": None, "windows": 0, "seeds": 0, "reason": entry.fault}
    if entry.fault:
        return {"raster": row, "seeds": []}, True
    try:
        with opened(entry.raster, files) as raster:
            facts = facts_of(entry, raster.tags, config.facts)
            row |= {**facts.columns(), "gsd_m": raster.gsd_m}
            if raster.gsd_m > config.max_gsd_m:
                row["reason"] = (
                    f"its pixels are {raster.gsd_m:.6g} m wide, more than max_gsd_m = "
                    f"{config.max_gsd_m:g}"
                )
                return {"raster": row, "seeds": []}, True
            windows, seeds = _slide(entry.raster, raster, config, facts.columns())
    except RasterError as error:
        if entry.is_named:
            raise
        # What an address does not give now, it may give when the stage is run again.
        is_final = not is_address(entry.raster)
        return {"raster": {**row, "reason": str(error)}, "seeds": []}, is_final
    row |= {"windows": windows, "seeds": len(seeds)}
    if not seeds:
        row["reason"] = f"no footprint of {config.side_m:g} m has {config.min_valid:.0%} of data"
    return {"raster": row, "seeds": seeds}, True


def _slide(
    name: str, raster: RasterMap, config: SeedsConfig, facts: Mapping[str, str | None]
) -> tuple[int, list[dict[str, Any]]]:
    """How many windows a raster has, and the seeds among them."""
    windows = raster.windows(config.side_m, config.stride_m)
    coverage = Coverage(raster, config.side_m)
    stem = f"{PurePosixPath(name).stem}-{digest(name)[:6]}"
    count = 0
    seeds = []
    while batch := list(islice(windows, _TOGETHER)):
        count += len(batch)
        shares = coverage.shares([window.footprint for window in batch])
        gsd_m = raster.gsd_at_m([w.lat for w in batch], [w.lon for w in batch])
        for window, share, gsd in zip(batch, shares, gsd_m, strict=True):
            if share < config.min_valid or _holds_pole(window, config.side_m):
                continue
            seed = {
                "seed_id": f"{stem}_{window.row_off}_{window.col_off}",
                "raster": name,
                "lat": window.lat,
                "lon": window.lon,
                "footprint": list(window.footprint.exterior.coords),
                "side_m": config.side_m,
                "gsd_m": float(gsd),
                "valid": float(share),
            }
            seeds.append({**seed, **facts})
    return count, seeds


def _holds_pole(window: RasterWindow, side_m: float) -> bool:
    """Whether a footprint has no outline in degrees, because a pole is in it."""
    return (90.0 - abs(window.lat)) * METRES_A_DEGREE <= side_m
