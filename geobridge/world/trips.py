"""Orthophotos, drone flights and street walks of a town, as files like a user's own."""

from pathlib import Path

import rasterio
from rasterio import Affine
from rasterio.windows import Window

from geobridge.errors import WorldError
from geobridge.world.camera import looking_at, sensor_for
from geobridge.world.photos import Shot, fov_of_focal, write_drone_photo, write_panorama
from geobridge.world.planet import Town, World, parse_town
from geobridge.world.progress import Progress, silent
from geobridge.world.regions import SIZE_M
from geobridge.world.seeds import generator

_BLOCK_PX = 512
_GROUND_ABOVE_SEA_M = 50.0


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
    progress: Progress = silent,
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
    out.parent.mkdir(parents=True, exist_ok=True)
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
    count: int = 10,
    altitude_m: float = 120.0,
    pitch_deg: float = -90.0,
    yaw_deg: float | None = None,
    focal_35mm: int = 24,
    width: int = 960,
    date: int = 1,
    seed: int = 0,
    progress: Progress = silent,
) -> list[Path]:
    """Write `count` drone photos (4:3 JPEG) that know where they were taken.

    Each looks at a place of the town; oblique ones stand back from it. The heading is drawn at
    random where `yaw_deg` (from true north) is None.

    Raises:
        WorldError: an option is out of range.
    """
    if not (-90 <= pitch_deg <= -10 and 10 <= focal_35mm <= 200 and 10 <= altitude_m <= 1000):
        raise WorldError(
            f"No drone flies at {altitude_m:g} m with pitch {pitch_deg:g} and a focal length of "
            f"{focal_35mm} mm: choose 10 to 1000 m, -90 to -10 degrees, 10 to 200 mm."
        )
    if not 16 <= width <= 8192:
        raise WorldError(f"A photo of {width} px cannot be drawn: choose a width of 16 to 8192.")
    out = _folder(out, count)
    today, rng, paths = town.day(date), generator("flight", town.name, seed), []
    for place in town.places(count, seed):
        drawn = float(rng.uniform(0, 360))
        # Cameras report true north; the town's own axes are its grid's.
        grid_yaw = drawn if yaw_deg is None else yaw_deg - town.convergence_deg
        camera = looking_at(
            place.x_m,
            place.y_m,
            altitude_m=altitude_m,
            yaw_deg=grid_yaw,
            pitch_deg=pitch_deg,
            fov_deg=fov_of_focal(focal_35mm),
        )
        picture = town.photograph(camera, width, width * 3 // 4, date, sensor_for("drone", rng))
        lat, lon = town.to_latlon(camera.x_m, camera.y_m)
        shot = Shot(
            lat,
            lon,
            altitude_m + _GROUND_ABOVE_SEA_M,
            altitude_m,
            grid_yaw + town.convergence_deg,
            pitch_deg,
            today.day_of_year,
            today.hour,
            focal_35mm,
        )
        paths.append(out / f"drone_{place.index:04d}.jpg")
        write_drone_photo(paths[-1], picture, shot)
        progress(len(paths), count)
    return paths


def write_walk(
    town: Town,
    out: str | Path,
    *,
    count: int = 10,
    height: int = 512,
    date: int = 2,
    seed: int = 0,
    progress: Progress = silent,
) -> list[Path]:
    """Write `count` whole panoramas (2:1 JPEG) taken on streets, looking along them.

    Raises:
        WorldError: an option is out of range.
    """
    out = _folder(out, count)
    today, rng, paths = town.day(date), generator("walk", town.name, seed), []
    for place in town.places(count, seed):
        picture = town.render(
            "street",
            place,
            size=height,
            date=date,
            yaw_deg=place.heading_deg,
            full=True,
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
        )
        paths.append(out / f"street_{place.index:04d}.jpg")
        write_panorama(paths[-1], picture, shot)
        progress(len(paths), count)
    return paths


def _folder(out: str | Path, count: int) -> Path:
    if count < 1:
        raise WorldError(f"{count} photos are none: ask for at least one.")
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    return out
