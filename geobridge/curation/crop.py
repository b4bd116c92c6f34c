"""Stage 3: the drone picture cut around the position of each panorama, at several ground sizes.

    DIR/crops.parquet               a row for each panorama and size, kept or with its reason
    DIR/pictures/drone/...          the crops, named by their footprint
    DIR/pictures/street/...         the panoramas, turned north, one for all its sizes

"Reverse cropping" after the paper, section "GeoLoc": the ground picture leads, and the footprint
is laid around it, so that both show the same place.
"""

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import geopandas
import pandas as pd
from pydantic import Field, field_validator
from shapely import Polygon

from geobridge.curation.pictures import MOST_SIDE_M, Picture, PictureConfig, UnfitError, cut
from geobridge.curation.rasters import digest, is_address, opened, version_of
from geobridge.curation.remote import remote_files
from geobridge.curation.workspace import Journal, Workspace
from geobridge.errors import ImageError, RasterError
from geobridge.geo.footprint import footprint_around
from geobridge.geo.rasters import RasterMap
from geobridge.imagery.decode import read_image
from geobridge.imagery.resolution import coarsen
from geobridge.imagery.street import panorama_columns
from geobridge.places.release import footprint_name
from geobridge.progress import Step

COLUMNS = (
    *("place_id", "pano_id", "seed_id", "raster", "lat", "lon", "footprint", "side_m", "gsd_m"),
    *("valid", "drone", "drone_sha256", "street", "street_sha256", "kept", "reason"),
)
"""Of the table `crops`."""

_TYPES = {
    **dict.fromkeys(("lat", "lon", "side_m", "gsd_m", "valid"), "float64"),
    "kept": "bool",
}

# Of a panorama, besides what its rows tell: what its crops depend on.
_SHOWN = ("path", "sha256", "heading_deg", "is_360")

_NOT_FOR_FILES = re.compile(r"[^A-Za-z0-9._-]")


Side = Annotated[float, Field(gt=0, le=MOST_SIDE_M)]


class CropConfig(PictureConfig):
    """What is cut around each panorama.

    Attributes:
        sides_m: sides of the footprints on the ground; the paper's by default.
        turn_north: whether panoramas are turned so that their middle looks north; those of
            unknown heading are then left out. Plain photos stay as they are.
        street_width: wider panoramas are reduced to so many pixels.
        allow_private: whether addresses of rasters may be of this machine and its networks.
    """

    sides_m: tuple[Side, ...] = Field(default=(80.0, 100.0, 120.0, 150.0, 180.0), min_length=1)
    turn_north: bool = True
    street_width: int = Field(default=2048, ge=64)
    allow_private: bool = False

    @field_validator("sides_m")
    @classmethod
    def _differ(cls, sides_m: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(sides_m)) < len(sides_m):
            raise ValueError("a side is there twice: give each once.")
        return sides_m


def run(workspace: Workspace, config: CropConfig, step: Step) -> geopandas.GeoDataFrame:
    """Crop the orthomosaics around the kept panoramas.

    Returns:
        Columns as in `COLUMNS`, sorted by place_id. `lat` and `lon` are the panorama's,
        `footprint` the square of ground around it, `drone` and `street` paths in the workspace
        and beside them the SHA-256 of these files, null where the row is not kept.

    Raises:
        CurationError: the stages before have not been run.
        RasterError: an orthomosaic is gone, or an address did not answer.
    """
    panoramas = _panoramas(workspace)
    report = step("cropping around panoramas")
    rows: list[dict[str, Any]] = []
    taken: set[str] = set()
    done = 0
    with (
        remote_files(workspace.cache, allow_private=config.allow_private) as files,
        workspace.journal("crop", digest(config.model_dump(mode="json"), COLUMNS)) as journal,
    ):
        for name, group in groupby(panoramas, key=lambda panorama: str(panorama["raster"])):
            version = version_of(name)
            with ExitStack() as stack:
                raster: RasterMap | None = None
                for panorama in group:
                    planned = _plan(panorama, config, taken)
                    key = digest(version, planned, [panorama.get(name) for name in _SHOWN])
                    if not _is_done(workspace, journal, key):
                        if raster is None:
                            raster = stack.enter_context(opened(name, files))
                        crops = _crops(workspace, config, raster, panorama, planned)
                        journal.add(key, crops)
                    rows += journal[key]
                    taken |= {row["place_id"] for row in journal[key] if row["kept"]}
                    done += 1
                    report(done, len(panoramas))
        table = _table(_named_apart(rows))
    workspace.write("crops", table)
    return table


def _panoramas(workspace: Workspace) -> list[dict[str, Any]]:
    """The kept panoramas with the raster of their seed, raster by raster."""
    street = workspace.read("street")
    raster_of = workspace.read("seeds").set_index("seed_id")["raster"]
    records = street.loc[street["kept"].astype(bool)].to_dict("records")
    found = [{**record, "raster": raster_of[record["seed_id"]]} for record in records]
    return sorted(found, key=lambda panorama: (panorama["raster"], panorama["pano_id"]))


def _is_done(workspace: Workspace, journal: Journal, key: str) -> bool:
    """Whether a panorama's crops are noted, and their pictures still as they were written."""
    if key not in journal:
        return False
    kept = [row for row in journal[key] if row["kept"]]
    pictures = {(row[view], row[f"{view}_sha256"]) for row in kept for view in ("drone", "street")}
    return all(workspace.sha256(path) == sha256 for path, sha256 in pictures)


def _plan(
    panorama: Mapping[str, Any], config: CropConfig, taken: Collection[str]
) -> list[dict[str, Any]]:
    """The rows of a panorama before anything is cropped; places that are taken are not again."""
    rows = [_row(panorama, side_m) for side_m in config.sides_m]
    for row in rows:
        if row["place_id"] in taken:
            row["reason"] = "another panorama was taken at the same spot"
    return rows


def _named_apart(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows, no two with one name: it is the kept one's, or else the first one's."""
    first_kept = sorted(rows, key=lambda row: not row["kept"])
    found: dict[str, dict[str, Any]] = {}
    for row in first_kept:
        name = row["place_id"]
        # Not the name of any file: the picture is the other panorama's.
        name = f"{name}~{row['pano_id']}" if name in found else name
        found[name] = {**row, "place_id": name}
    return list(found.values())


def _crops(
    workspace: Workspace,
    config: CropConfig,
    raster: RasterMap,
    panorama: Mapping[str, Any],
    planned: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """The rows of one panorama, their pictures written."""
    rows = [dict(row) for row in planned]
    if all(row["reason"] for row in rows):
        return rows
    try:
        street = street_picture(
            workspace.folder / panorama["path"],
            config,
            bool(panorama.get("is_360", True)),
            float(panorama["heading_deg"]),
        )
    except (ImageError, UnfitError) as error:
        return [{**row, "reason": row["reason"] or str(error)} for row in rows]
    for row in (row for row in rows if row["reason"] is None):
        try:
            picture, valid = cut(raster, row["lat"], row["lon"], row["side_m"], config)
        except UnfitError as error:
            row["reason"] = str(error)
            continue
        except RasterError as error:
            # What an address does not give now, it may give when the stage is run again.
            if is_address(raster.path):
                raise
            row["reason"] = str(error)
            continue
        drone = f"drone/{row['place_id']}{config.suffix}"
        row |= {"gsd_m": row["side_m"] / len(picture), "valid": valid, "kept": True}
        row["drone"] = workspace.picture(drone, config.encode(picture))
        row["drone_sha256"] = workspace.sha256(row["drone"])
    if any(row["kept"] for row in rows):
        name = f"street/{_file_name(panorama['pano_id'])}{config.suffix}"
        path = workspace.picture(name, config.encode(street))
        for row in (row for row in rows if row["kept"]):
            row |= {"street": path, "street_sha256": workspace.sha256(path)}
    return rows


def _row(panorama: Mapping[str, Any], side_m: float) -> dict[str, Any]:
    lat, lon = float(panorama["lat"]), float(panorama["lon"])
    footprint = footprint_around(lat, lon, side_m, side_m)
    return {
        "place_id": footprint_name(footprint),
        "pano_id": panorama["pano_id"],
        "seed_id": panorama["seed_id"],
        "raster": panorama["raster"],
        "lat": lat,
        "lon": lon,
        "footprint": list(footprint.exterior.coords),
        "side_m": side_m,
        "gsd_m": None,
        "valid": None,
        "drone": None,
        "drone_sha256": None,
        "street": None,
        "street_sha256": None,
        "kept": False,
        "reason": None,
    }


def street_picture(path: Path, config: CropConfig, is_360: bool, heading_deg: float) -> Picture:
    """A panorama turned north, or a plain photo as it is, reduced to the width that is wanted.

    Args:
        path: of the file as it was downloaded.
        config: whether and how wide.
        is_360: whether it goes all the way round.
        heading_deg: compass of its middle column, NaN where it is not known.

    Raises:
        ImageError: it cannot be read.
        UnfitError: its heading is not known.
    """
    turns = is_360 and config.turn_north
    if turns and math.isnan(heading_deg):
        raise UnfitError("the panorama's heading is not known, so it cannot be turned north")
    # A panorama is at least twice as wide as high.
    least = config.street_width // 2 if is_360 else config.street_width
    picture = read_image(path, min_side=least)
    if turns:
        picture = panorama_columns(picture, -heading_deg)
    return coarsen(picture, max(1.0, picture.shape[1] / config.street_width))


def _file_name(pano_id: str) -> str:
    """A name for files that is safe, readable and of this panorama alone."""
    return f"{_NOT_FOR_FILES.sub('-', pano_id)[:80]}-{digest(pano_id)[:8]}"


def _table(rows: list[dict[str, Any]]) -> geopandas.GeoDataFrame:
    """Rows as they are in the journal as the table."""
    columns = {name: [row[name] for row in rows] for name in COLUMNS}
    columns["footprint"] = [Polygon(corners) for corners in columns["footprint"]]
    frame = pd.DataFrame(columns, dtype=object).astype(_TYPES)
    table = geopandas.GeoDataFrame(frame, geometry="footprint", crs="EPSG:4326")
    return table.sort_values("place_id", ignore_index=True)
