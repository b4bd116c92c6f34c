"""How wide and how high a street picture looks, and views cut out of panoramas."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from geobridge.errors import PositionError
from geobridge.geo.photos import PhotoMetadata, horizontal_fov_deg, read_photo_metadata

Image = npt.NDArray[np.uint8]

# A phone's main camera (26-28 mm equivalent) along the longer side.
DEFAULT_FOV_DEG = 65.0

# Wider than this no flat picture plane is used: the angles grow evenly with the pixels.
MAX_PERSPECTIVE_FOV_DEG = 120.0

STRIP_ASPECT = 3.0


@dataclass(frozen=True)
class StreetField:
    """The angles a street picture covers, centred on the horizon.

    Attributes:
        horizontal_fov_deg: in (0, 360].
        vertical_fov_deg: in (0, 180].
    """

    horizontal_fov_deg: float
    vertical_fov_deg: float

    def __post_init__(self) -> None:
        if not (0 < self.horizontal_fov_deg <= 360 and 0 < self.vertical_fov_deg <= 180):
            raise ValueError(
                f"a field of view of {self.horizontal_fov_deg} x {self.vertical_fov_deg} degrees "
                f"is not possible: give 0..360 across and 0..180 up and down."
            )

    @property
    def is_panorama(self) -> bool:
        """Whether the picture goes all the way round."""
        return self.horizontal_fov_deg >= 360


def street_field(
    width: int,
    height: int,
    metadata: PhotoMetadata | None = None,
    fov_deg: float | None = None,
    panorama: bool | None = None,
) -> StreetField:
    """Tell the field of a street picture from what is known of it.

    In order: what the caller says (`panorama`, `fov_deg`); Photo Sphere metadata; the shape
    (2:1 is a whole sphere unless the file states a focal length, 3:1 and longer is a strip of
    the full circle); the focal length; 65 degrees along the longer side.

    Args:
        width: picture width in pixels.
        height: picture height in pixels.
        metadata: what the file says, where it was read.
        fov_deg: horizontal field of view, where the caller knows it.
        panorama: True or False where the caller knows whether it is a 360-degree panorama.

    Raises:
        ValueError: `fov_deg` is outside 0..360.
    """
    metadata = metadata or PhotoMetadata()
    if panorama or (panorama is None and fov_deg is None and _is_panorama(width, height, metadata)):
        return _panorama_field(width, height, metadata)
    known = fov_deg or horizontal_fov_deg(metadata)
    if known is None:
        known = _horizontal_of_long_side(width, height, DEFAULT_FOV_DEG)
    return StreetField(known, _vertical_fov_deg(width, height, known))


def street_field_of_file(path: str | Path, width: int, height: int) -> StreetField:
    """The field of a street picture in a file, by what its metadata says; see `street_field`.

    Where the picture claims to have been taken does not matter to its angles: a position that
    cannot be is no error here.
    """
    try:
        metadata = read_photo_metadata(path)
    except PositionError:
        metadata = None
    return street_field(width, height, metadata)


def equirectangular_view(
    panorama: Image,
    heading_deg: float,
    fov_deg: float,
    size: int | tuple[int, int],
    field: StreetField | None = None,
) -> Image:
    """Cut the perspective view a plain camera would have had out of a panorama.

    Args:
        panorama: (H, W, 3) uint8, equirectangular, the horizon in the middle row.
        heading_deg: viewing direction, clockwise from the panorama's middle column.
        fov_deg: horizontal field of view of the view, in (0, 180).
        size: side of a square view, or (height, width), in pixels.
        field: angles of the panorama; by default as `street_field` tells from its shape.

    Returns:
        (height, width, 3) uint8; beyond the panorama its last row or column is repeated.
    """
    if not 0 < fov_deg < 180:
        raise ValueError(f"a perspective view cannot span {fov_deg} degrees: give 0..180.")
    height, width = (size, size) if isinstance(size, int) else size
    field = field or street_field(panorama.shape[1], panorama.shape[0], panorama=True)
    yaw, pitch = _view_angles(height, width, fov_deg)
    x = (np.degrees(yaw) + heading_deg) / (field.horizontal_fov_deg / 2)
    y = -np.degrees(pitch) / (field.vertical_fov_deg / 2)
    closed = panorama
    if field.is_panorama:
        # One column from the other side at each edge closes the circle for the interpolation.
        closed = np.concatenate([panorama[:, -1:], panorama, panorama[:, :1]], axis=1)
        x = ((x + 1) % 2 - 1) * panorama.shape[1] / closed.shape[1]
    grid = torch.from_numpy(np.stack([x, y], axis=-1).astype(np.float32))[None]
    pixels = torch.from_numpy(closed).permute(2, 0, 1)[None].to(torch.float32)
    view = F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    view_uint8: Image = view[0].round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
    return view_uint8


def panorama_columns(panorama: Image, heading_deg: float, fov_deg: float = 360.0) -> Image:
    """The columns of a panorama around a heading: a limited field of view, as benchmarks cut it.

    Unlike `equirectangular_view` nothing is resampled, and angles stay even with the pixels.

    Args:
        panorama: (H, W, 3) uint8 that goes all the way round.
        heading_deg: of the part's middle, clockwise from the panorama's middle column.
        fov_deg: in (0, 360]; 360 turns the whole panorama.

    Returns:
        uint8 (H, floor(W * fov_deg / 360), 3), at least one column wide.
    """
    if not 0 < fov_deg <= 360:
        raise ValueError(f"a part of a panorama cannot span {fov_deg} degrees: give 0..360.")
    width = panorama.shape[1]
    part = max(1, int(width * fov_deg / 360))
    start = round((0.5 + heading_deg / 360) * width - part / 2)
    return np.take(panorama, np.arange(start, start + part), axis=1, mode="wrap")


def _view_angles(
    height: int, width: int, fov_deg: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Yaw and pitch in radians, (height, width), of the rays through a view's pixel centres."""
    focal_px = width / 2 / math.tan(math.radians(fov_deg) / 2)
    right = (np.arange(width) + 0.5 - width / 2) / focal_px
    up = -(np.arange(height) + 0.5 - height / 2) / focal_px
    right, up = np.meshgrid(right, up)
    return np.arctan(right), np.arctan2(up, np.hypot(right, 1.0))


def _is_panorama(width: int, height: int, metadata: PhotoMetadata) -> bool:
    if metadata.projection == "equirectangular" or width / height >= STRIP_ASPECT:
        return True
    # Phones also take 2:1 photos; they state a focal length, panoramas do not.
    return abs(width / height - 2) < 0.05 and metadata.focal_35mm is None


def _panorama_field(width: int, height: int, metadata: PhotoMetadata) -> StreetField:
    if metadata.panorama_width_deg and metadata.panorama_height_deg:
        return StreetField(metadata.panorama_width_deg, metadata.panorama_height_deg)
    return StreetField(360.0, min(180.0, 360.0 * height / width))


def _vertical_fov_deg(width: int, height: int, horizontal_deg: float) -> float:
    if horizontal_deg > MAX_PERSPECTIVE_FOV_DEG:
        return min(180.0, horizontal_deg * height / width)
    half_height = math.tan(math.radians(horizontal_deg) / 2) * height / width
    return math.degrees(2 * math.atan(half_height))


def _horizontal_of_long_side(width: int, height: int, long_side_deg: float) -> float:
    half_width = math.tan(math.radians(long_side_deg) / 2) * width / max(width, height)
    return math.degrees(2 * math.atan(half_width))
