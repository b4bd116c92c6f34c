"""Orthophotos, drone flights and street walks of a town, as files like a user's own."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import rasterio
from rasterio import Affine
from rasterio.windows import Window

from geobridge.errors import WorldError
from geobridge.progress import Report, unheard
from geobridge.world.build import make_folder
from geobridge.world.camera import Camera, looking_at, sensor_for
from geobridge.world.photos import (
    Shot,
    focal_of_fov,
    fov_of_focal,
    write_drone_photo,
    write_panorama,
    write_street_photo,
)
from geobridge.world.planet import Town, World, parse_town
from geobridge.world.regions import SIZE_M
from geobridge.world.seeds import generator
from geobridge.world.track import Track, stations

_BLOCK_PX = 512
_GROUND_ABOVE_SEA_M = 50.0
_FLIGHT_M_S = 5.0


def open_town(text: str) -> Town:
    """The town written as `region/index` or `region/index@seed`.

    Raises:
        WorldError: the text has another form or names no region.
    """
    region, index, seed = parse_town(text)
    return World(seed).town(region, index)


def write_map(
    town: Town,
    out: str | Path,
    *,
    gsd_m: float = 0.3,
    date: int = 0,
    progress: Report = unheard,
) -> Path:
    """Write a whole town as a tiled GeoTIFF in its UTM zone, block by block.

    Raises:
        WorldError: the date or the ground sampling distance is out of range, or `out` no TIFF.
    """
    out = Path(out)
    if out.suffix.lower() not in (".tif", ".tiff"):
        raise WorldError(f"{out} is no name for a GeoTIFF: let it end in .tif.")
    if not 0.05 <= gsd_m <= 50:
        raise WorldError(f"A map of {gsd_m:g} m a pixel cannot be drawn: choose 0.05 to 50.")
    town.day(date)
    side = round(SIZE_M / gsd_m)
    west, north = town.easting_m - side * gsd_m / 2, town.northing_m + side * gsd_m / 2
    make_folder(out.parent)
    unfinished = out.with_name(f".unfinished-{out.name}")
    starts = range(0, side, _BLOCK_PX)
    profile = {
        "driver": "GTiff",
        "dtype": "uint8",
        "count": 3,
        "width": side,
        "height": side,
        "crs": town.crs.to_wkt(),
        "transform": Affine(gsd_m, 0.0, west, 0.0, -gsd_m, north),
        "tiled": True,
        "blockxsize": 256,
        "blockysize": 256,
        "compress": "deflate",
        "photometric": "RGB",
    }
    with rasterio.open(unfinished, "w", **profile) as raster:
        for i, top in enumerate(starts):
            for left in starts:
                rows, cols = min(_BLOCK_PX, side - top), min(_BLOCK_PX, side - left)
                x = (left + cols / 2 - side / 2) * gsd_m
                y = (side / 2 - top - rows / 2) * gsd_m
                block = town.map(gsd_m, date, x, y, cols * gsd_m, rows * gsd_m)
                raster.write(block.transpose(2, 0, 1), window=Window(left, top, cols, rows))
            progress(i + 1, len(starts))
    unfinished.replace(out)
    return out


def write_flight(
    town: Town,
    out: str | Path,
    *,
    count: int | None = None,
    track: Track | None = None,
    every_m: float = 30.0,
    altitude_m: float = 120.0,
    pitch_deg: float = -90.0,
    yaw_deg: float | None = None,
    focal_35mm: int = 24,
    width: int = 960,
    date: int = 1,
    seed: int = 0,
    progress: Report = unheard,
) -> list[Path]:
    """Write drone photos (4:3 JPEG) that know where, when and how they were taken.

    Without a track, `count` photos each look at a place of the town; oblique ones stand back from
    it. With one, the drone flies along it at 5 m/s, and takes a photo every `every_m` metres and
    at the end; oblique ones look ahead. Files are named in the order of the photos.

    Args:
        town: where.
        out: folder for the photos.
        count: how many; 10 where there is no track either.
        track: corners of a path, which `track.read_track` reads from a file.
        every_m: metres between photos of a track.
        altitude_m: above the ground, where the track does not say.
        pitch_deg: -90 (straight down) to -10.
        yaw_deg: heading from true north. None is random without a track, and along it with one.
        focal_35mm: 35-mm equivalent focal length in millimetres.
        width: of the photos in pixels.
        date: 0 to 7.
        seed: draws places, random headings and sensors.
        progress: is told how many photos of how many are done.

    Raises:
        WorldError: an option is out of range, the track leaves the town, there are both a count
            and a track, or `out` cannot be made a folder.
    """
    if not 16 <= width <= 8192:
        raise WorldError(f"A photo of {width} px cannot be drawn: choose a width of 16 to 8192.")
    if count is not None and track is not None:
        raise WorldError("A flight has a count of photos or a track: leave one of them out.")
    today, rng = town.day(date), generator("flight", town.name, seed)
    # Cameras report true north; the town's own axes are its grid's.
    grid_yaw = None if yaw_deg is None else yaw_deg - town.convergence_deg
    aim = _Aim(altitude_m, grid_yaw, pitch_deg, focal_35mm)
    if track is None:
        shots = _over_places(town, 10 if count is None else count, seed, aim, rng)
    else:
        shots = _along(town, track, every_m, aim)
    out, paths = _folder(out), []
    for number, (camera, along_m) in enumerate(shots):
        picture = town.photograph(camera, width, width * 3 // 4, date, sensor_for("drone", rng))
        lat, lon = town.to_latlon(camera.x_m, camera.y_m)
        shot = Shot(
            lat,
            lon,
            camera.z_m + _GROUND_ABOVE_SEA_M,
            camera.z_m,
            camera.yaw_deg + town.convergence_deg,
            pitch_deg,
            today.day_of_year,
            today.hour + along_m / _FLIGHT_M_S / 3600,
            focal_35mm,
        )
        paths.append(out / f"drone_{number:04d}.jpg")
        write_drone_photo(paths[-1], picture, shot)
        progress(len(paths), len(shots))
    return paths


@dataclass(frozen=True)
class _Aim:
    """How a drone holds its camera; no yaw is one that follows from the flight."""

    altitude_m: float
    grid_yaw_deg: float | None
    pitch_deg: float
    focal_35mm: int

    def check(self) -> None:
        if not (
            -90 <= self.pitch_deg <= -10
            and 10 <= self.focal_35mm <= 200
            and 10 <= self.altitude_m <= 1000
        ):
            raise WorldError(
                f"No drone flies at {self.altitude_m:g} m with pitch {self.pitch_deg:g} and a "
                f"focal length of {self.focal_35mm} mm: choose 10 to 1000 m, -90 to -10 degrees, "
                f"10 to 200 mm."
            )


def _over_places(
    town: Town, count: int, seed: int, aim: _Aim, rng: np.random.Generator
) -> list[tuple[Camera, float]]:
    """Cameras that each look at a place, and 0 for the way flown."""
    aim.check()
    _check_count(count)
    shots = []
    for place in town.places(count, seed):
        drawn = float(rng.uniform(0, 360))
        camera = looking_at(
            place.x_m,
            place.y_m,
            altitude_m=aim.altitude_m,
            yaw_deg=drawn if aim.grid_yaw_deg is None else aim.grid_yaw_deg,
            pitch_deg=aim.pitch_deg,
            fov_deg=fov_of_focal(aim.focal_35mm),
        )
        shots.append((camera, 0.0))
    return shots


def _along(town: Town, track: Track, every_m: float, aim: _Aim) -> list[tuple[Camera, float]]:
    """Cameras on a track, and the metres flown to each."""
    shots = []
    for at in stations(town, track, every_m):
        here = aim if at.altitude_m is None else replace(aim, altitude_m=at.altitude_m)
        here.check()
        camera = Camera(
            at.x_m,
            at.y_m,
            here.altitude_m,
            at.heading_deg if here.grid_yaw_deg is None else here.grid_yaw_deg,
            here.pitch_deg,
            fov_of_focal(here.focal_35mm),
        )
        shots.append((camera, at.along_m))
    return shots


def write_walk(
    town: Town,
    out: str | Path,
    *,
    count: int = 10,
    fov_deg: float | None = None,
    height: int = 512,
    date: int = 2,
    seed: int = 0,
    progress: Report = unheard,
) -> list[Path]:
    """Write street pictures (JPEG) taken at places of the town, looking along the street.

    Args:
        town: where.
        out: folder for the pictures.
        count: how many.
        fov_deg: horizontal field of view, 15 to 120, of plain 4:3 photos: the nearest that a
            focal length of whole millimetres has, since EXIF holds no other. None is whole 2:1
            panoramas.
        height: of the pictures in pixels, 8 to 8192.
        date: 0 to 7.
        seed: draws places and sensors.
        progress: is told how many pictures of how many are done.

    Raises:
        WorldError: an option is out of range, or `out` cannot be made a folder.
    """
    _check_count(count)
    if fov_deg is not None and not 15 <= fov_deg <= 120:
        raise WorldError(
            f"A street photo cannot be {fov_deg:g} degrees wide: choose 15 to 120, or leave the "
            f"field out for panoramas."
        )
    if not 8 <= height <= 8192:
        raise WorldError(
            f"A street picture of {height} px cannot be drawn: choose a height of 8 to 8192."
        )
    today, rng = town.day(date), generator("walk", town.name, seed)
    places = town.places(count, seed)
    focal_35mm = None if fov_deg is None else focal_of_fov(fov_deg)
    write = write_panorama if focal_35mm is None else write_street_photo
    out, paths = _folder(out), []
    for place in places:
        picture = town.render(
            "street",
            place,
            size=height,
            date=date,
            yaw_deg=place.heading_deg,
            full=focal_35mm is None,
            fov_deg=None if focal_35mm is None else fov_of_focal(focal_35mm),
            sensor=sensor_for("street", rng),
        )
        shot = Shot(
            place.lat,
            place.lon,
            _GROUND_ABOVE_SEA_M,
            0.0,
            place.heading_deg + town.convergence_deg,
            0.0,
            today.day_of_year,
            today.hour,
            focal_35mm,
        )
        paths.append(out / f"street_{place.index:04d}.jpg")
        write(paths[-1], picture, shot)
        progress(len(paths), count)
    return paths


def _check_count(count: int) -> None:
    if count < 1:
        raise WorldError(f"{count} photos are none: ask for at least one.")


def _folder(out: str | Path) -> Path:
    out = Path(out)
    make_folder(out)
    return out
