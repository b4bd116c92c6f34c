"""Pictures of ground that stages cut out of rasters: how large, and as which file."""

import datetime as clock
import io
import math
from dataclasses import dataclass
from typing import Literal, Protocol, Self

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image
from pydantic import Field, model_validator
from shapely import Polygon

from geobridge.curation.rasters import RasterFacts
from geobridge.geo.rasters import RasterMap
from geobridge.model.config import Settings

Picture = npt.NDArray[np.uint8]

DEFAULT_SIZE = 512
MOST_SIDE_M = 10_000.0
"""Of the square of ground in one picture."""

# Of a pixel more or less nobody can tell: rasters may be a hair coarser than asked.
_ROUNDING = 1e-3


class PictureConfig(Settings):
    """How ground becomes a picture.

    Attributes:
        size: side of a picture in pixels; 512 where `gsd_m` is not given either.
        gsd_m: ground metres per pixel, in place of a size.
        max_upsampling: how many times as coarse as asked a raster may be. Such a picture has
            the raster's own resolution, so it is smaller: detail is never invented.
        min_valid: share of a picture that must have data.
        format: of the files.
        quality: of JPEG files, 1 to 100.
    """

    size: int | None = Field(default=None, ge=8, le=8192)
    gsd_m: float | None = Field(default=None, gt=0)
    max_upsampling: float = Field(default=2.0, ge=1)
    min_valid: float = Field(default=1.0, gt=0, le=1)
    format: Literal["jpeg", "png"] = "jpeg"
    quality: int = Field(default=92, ge=1, le=100)

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if self.size is not None and self.gsd_m is not None:
            raise ValueError("`size` and `gsd_m` are both given: give one of them.")
        return self

    @property
    def suffix(self) -> str:
        """Of the files."""
        return ".jpg" if self.format == "jpeg" else ".png"

    def side_px(self, side_m: float) -> int:
        """Side of the picture of so much ground, where the raster is fine enough."""
        if self.gsd_m is not None:
            return max(1, round(side_m / self.gsd_m))
        return self.size or DEFAULT_SIZE

    def encode(self, picture: Picture) -> bytes:
        """The content of a file of a picture, uint8 (H, W, 3)."""
        if self.format == "jpeg":
            pixels = np.ascontiguousarray(picture)
            data: bytes = simplejpeg.encode_jpeg(
                pixels, quality=self.quality, colorspace="RGB", colorsubsampling="444"
            )
            return data
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "PNG")
        return buffer.getvalue()


@dataclass(frozen=True)
class Ground:
    """A place whose picture is wanted.

    Attributes:
        place_id: unique.
        lat: of the middle, WGS-84 degrees.
        lon: of the middle.
        footprint: the square around it, in lon, lat.
        side_m: side of the square.
        date: of the picture it should go with, or None.
    """

    place_id: str
    lat: float
    lon: float
    footprint: Polygon
    side_m: float
    date: clock.date | None


@dataclass(frozen=True)
class Shot:
    """A picture, uint8 (H, W, 3), what is known of it, and its raster (None: it is of tiles)."""

    picture: Picture
    facts: RasterFacts
    raster: str | None = None


class Source(Protocol):
    """Where pictures of ground come from."""

    def shoot(self, place: Ground) -> Shot:
        """The picture of a place.

        Raises:
            UnfitError: there is none, for a reason that lasts.
            DownloadError, RasterError: it did not come, for a reason that may pass.
            CurationError: the source cannot be used at all.
        """


class UnfitError(Exception):
    """A raster has no picture of the ground that was asked for; the message is the reason."""


def cut(
    raster: RasterMap, lat: float, lon: float, side_m: float, config: PictureConfig
) -> tuple[Picture, float]:
    """The picture of the square of ground around a position, north up.

    Where pixels become larger each is the mean of what it covers; they never become smaller than
    the raster's own.

    Returns:
        The picture, uint8 (size, size, 3), and the share of it that has data.

    Raises:
        UnfitError: the raster is too coarse, or has too little data there.
        RasterError: the pixels cannot be read.
    """
    col, row = raster.to_pixels([lat], [lon])
    if not (np.isfinite(col).all() and np.isfinite(row).all()):
        raise UnfitError("the raster does not reach there")
    size = config.side_px(side_m)
    own_gsd_m = float(raster.gsd_at_m([lat], [lon])[0])
    coarser = own_gsd_m * size / side_m
    if coarser > config.max_upsampling * (1 + _ROUNDING):
        raise UnfitError(
            f"the raster's pixels are {own_gsd_m:.2f} m, {coarser:.1f} times those asked for"
        )
    if coarser > 1:
        size = max(1, round(side_m / own_gsd_m))
    picture, has_data = raster.read_north_up(lat, lon, side_m, size)
    valid = float(has_data.mean())
    if valid < config.min_valid:
        # Rounded down, since 99.9 % is not all of it.
        raise UnfitError(f"{math.floor(100 * valid)} % of the picture has data")
    return picture, valid
