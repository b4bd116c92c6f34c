"""Real rasters for a curation, and a slow reading of the ground to compare its pictures with.

The rasters lie beside the project (`shared/data`). Panoramas that were truly taken there do not:
the pictures are real panoramas of other places, or the planet's, put at positions by their EXIF. So
drone and satellite pictures, dates and licences are those of one place, and the street pictures
only claim to be.
"""

import math
import os
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import rasterio
from PIL import ExifTags, Image
from pyproj import CRS, Geod, Transformer
from rasterio import Affine
from rasterio.enums import Resampling
from rasterio.warp import reproject, transform_bounds

from geobridge.imagery.decode import read_image

DATA = Path(os.environ.get("GEOBRIDGE_DATA", Path(__file__).parents[3] / "shared" / "data"))
MAP = DATA / "fongyuan" / "satellite_map.tif"
"""EPSG:4326, 0.16 m."""
NAIP = DATA / "naip_years"
"""EPSG:26911, 0.6 m."""

# Points of ground along the side of a pixel, of which the reference is the mean.
_FINE = 3
_FURTHEST_PX = 3


def put_photo(source, path, lat, lon, heading_deg=0.0):
    """A picture again as JPEG, with a position and the direction of its middle in its EXIF."""
    exif = Image.Exif()
    exif[ExifTags.IFD.GPSInfo] = {
        ExifTags.GPS.GPSLatitudeRef: "N" if lat >= 0 else "S",
        ExifTags.GPS.GPSLatitude: _sexagesimal(lat),
        ExifTags.GPS.GPSLongitudeRef: "E" if lon >= 0 else "W",
        ExifTags.GPS.GPSLongitude: _sexagesimal(lon),
        ExifTags.GPS.GPSImgDirectionRef: "T",
        ExifTags.GPS.GPSImgDirection: heading_deg,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    source.convert("RGB").save(path, "JPEG", quality=92, exif=exif)


def _sexagesimal(degrees):
    minutes, seconds = divmod(abs(degrees) * 3600, 60)
    whole, minutes = divmod(minutes, 60)
    return whole, minutes, round(seconds, 5)


def warp(source, path, crs, pixel):
    """A raster in another coordinate system, `pixel` of its units wide; around it is no data."""
    with rasterio.open(source) as raster:
        west, south, east, north = transform_bounds(raster.crs, crs, *raster.bounds)
        width, height = math.ceil((east - west) / pixel), math.ceil((north - south) / pixel)
        transform = Affine(pixel, 0, west, 0, -pixel, north)
        pixels = np.zeros((4, height, width), np.uint8)
        given = [*raster.read(), np.full(raster.shape, 255, np.uint8)]
        for band, out in zip(given, pixels, strict=True):
            reproject(
                band, out, src_transform=raster.transform, src_crs=raster.crs,
                dst_transform=transform, dst_crs=crs, resampling=Resampling.average,
            )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", width=width, height=height, count=4, dtype="uint8", crs=crs,
        transform=transform, photometric="RGB", alpha="YES",
    ) as raster:  # fmt: skip
        pixels[3] = np.where(pixels[3] == 255, 255, 0)
        raster.write(pixels)
    return path


def middle_of(path):
    """Latitude and longitude of the middle of a raster."""
    with rasterio.open(path) as raster:
        to_lonlat = Transformer.from_crs(raster.crs, "EPSG:4326", always_xy=True)
        lon, lat = to_lonlat.transform(*raster.transform @ (raster.width / 2, raster.height / 2))
    return lat, lon


def beside(lat, lon, east_m, north_m):
    """The position so many metres away."""
    lon, lat, _ = Geod(ellps="WGS84").fwd(
        lon, lat, np.degrees(np.arctan2(east_m, north_m)), np.hypot(east_m, north_m)
    )
    return lat, lon


# What a picture ought to show


@dataclass(frozen=True)
class Match:
    """How a picture lies over what it ought to show.

    Attributes:
        shift_px: how far it is from where it fits best, in pixels of its own.
        correlation: of grey levels where it fits best.
    """

    shift_px: float
    correlation: float


def ground_seen(path, lat, lon, side_m, size):
    """The square of ground around a position as a raster shows it, uint8 (size, size, 3).

    Each pixel is the mean of points that are looked up one by one: from metres east and north of
    the middle (azimuthal equidistant) to the raster's own coordinates to the pixel they lie in.
    """
    pixels, crs, transform = _whole(path)
    local = CRS(f"+proj=aeqd +lat_0={lat} +lon_0={lon} +datum=WGS84 +units=m")
    at = ((np.arange(size * _FINE) + 0.5) / (size * _FINE) - 0.5) * side_m
    east, north = (grid.ravel() for grid in np.meshgrid(at, -at))
    x, y = Transformer.from_crs(local, crs, always_xy=True).transform(east, north)
    cols, rows = (np.floor(number).astype(int) for number in ~transform @ (x, y))
    fine = pixels[:3, rows, cols].reshape(3, size, _FINE, size, _FINE)
    return np.rint(fine.mean(axis=(2, 4))).astype(np.uint8).transpose(1, 2, 0)


@cache
def _whole(path):
    with rasterio.open(path) as raster:
        return raster.read(), raster.crs, raster.transform


def match(shown, expected):
    """How two pictures of one size lie over each other, by trying all shifts of a few pixels."""
    one, other = (picture.mean(axis=2) for picture in (shown, expected))
    reach = range(-_FURTHEST_PX, _FURTHEST_PX + 1)
    found = np.array([[_correlation(one, other, dx, dy) for dx in reach] for dy in reach])
    row, col = np.unravel_index(np.argmax(found), found.shape)
    shift = np.hypot(
        row - _FURTHEST_PX + _peak(found[:, col], row), col - _FURTHEST_PX + _peak(found[row], col)
    )
    return Match(float(shift), float(found[row, col]))


def _correlation(one, other, dx, dy):
    edge = _FURTHEST_PX
    height, width = one.shape
    still = other[edge : height - edge, edge : width - edge].ravel()
    moved = one[edge + dy : height - edge + dy, edge + dx : width - edge + dx].ravel()
    return np.corrcoef(still, moved)[0, 1]


def _peak(values, at):
    """How far from the largest value the top of the parabola through its neighbours lies."""
    if not 0 < at < len(values) - 1:
        return 0.0
    before, here, after = values[at - 1 : at + 2]
    return 0.5 * (before - after) / (before - 2 * here + after)


def lay_over(workspace, most=None):
    """How the published drone and satellite pictures of a curation lie over the ground they claim.

    What they are compared with is the original raster, also where it was warped for the curation.
    Of more than `most` places so many are taken, evenly spread.

    Returns:
        The set and view ("fongyuan drone"), the size over the one that `gsd_m` tells, and the
        `Match` of each picture.
    """
    places = geopandas.read_parquet(workspace.folder / "places" / "places.parquet")
    pictures = pd.read_parquet(workspace.folder / "places" / "pictures.parquet")
    rows = pictures.set_index(["place_id", "view"])
    rasters = workspace.read("crops").set_index("place_id")["raster"]
    found = []
    step = 1 if most is None else max(1, len(places) // most)
    for place in places.iloc[::step].to_dict("records"):
        raster = Path(rasters[place["place_id"]])
        later = raster.with_name(raster.name.replace("_2016_", "_2020_"))
        lat, lon = place["point"].y, place["point"].x
        side_m = float(np.mean(sides_m(place["footprint"])))
        for view, truth in (("drone", raster), ("satellite", later)):
            row = rows.loc[place["place_id"], view]
            shown = read_image(workspace.folder / "places" / row["path"])
            expected = ground_seen(truth, lat, lon, side_m, len(shown))
            size = len(shown) * row["gsd_m"] / side_m
            found.append((f"{raster.parent.name} {view}", size, match(shown, expected)))
    return found


def sides_m(footprint):
    """Lengths of the four sides of a footprint (lon, lat) on the ellipsoid, metres."""
    corners = list(footprint.exterior.coords)
    geod = Geod(ellps="WGS84")
    return [geod.inv(*start, *end)[2] for start, end in pairwise(corners)]
