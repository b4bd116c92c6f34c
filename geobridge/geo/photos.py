"""What a photo file says about where and how it was taken: EXIF GPS and XMP.

Sources: EXIF 2.32 (CIPA DC-008) for the GPS block; DJI's `drone-dji` XMP names; Google's
Photo Sphere XMP (`GPano`) for panoramas.
"""

import datetime as clock
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image, UnidentifiedImageError

from geobridge.errors import ImageError, PositionError
from geobridge.geo.distance import check_position

# CIPA DCG-001 defines the 35-mm equivalent by the diagonal, and nearly every drone and phone
# sensor is 4:3; only a 3:2 picture comes from a sensor of the shape of 35-mm film.
FILM_WIDTH_MM = 36.0
FILM_DIAGONAL_MM = math.hypot(36.0, 24.0)
SENSOR_4_3_WIDTH_MM = FILM_DIAGONAL_MM * 4 / 5

NADIR_TOLERANCE_DEG = 20.0

_GIMBAL_ANGLES = ("Yaw", "Pitch", "Roll")

_XMP_PROPERTY = re.compile(
    r"(?<![/\w])(drone-dji|GPano):(\w+)(?:\s*=\s*[\"']([^\"'<]*)[\"']|>([^<]*)<)"
)


@dataclass(frozen=True)
class PhotoMetadata:
    """Position, attitude and optics of one photo; what the file does not say is None.

    Attributes:
        lat: WGS-84 latitude of the camera in degrees.
        lon: WGS-84 longitude of the camera in degrees.
        altitude_m: camera height above sea level (or the ellipsoid: cameras differ).
        relative_altitude_m: camera height above the take-off point (DJI).
        yaw_deg: heading in [0, 360), degrees clockwise from true north: of the top of a nadir
            picture, of the viewing direction of any other, of the middle of a panorama.
        pitch_deg: 0 looks at the horizon, -90 straight down.
        datetime: when it was taken, ISO 8601, as the camera's clock had it.
        width: width of the upright picture in pixels.
        height: height of the upright picture in pixels.
        focal_35mm: 35-mm equivalent focal length in millimetres.
        projection: `"equirectangular"` for a panorama that says so, else None.
        panorama_width_deg: horizontal angle a panorama covers (360 when it is whole).
        panorama_height_deg: vertical angle a panorama covers (180 when it is whole).
    """

    lat: float | None = None
    lon: float | None = None
    altitude_m: float | None = None
    relative_altitude_m: float | None = None
    yaw_deg: float | None = None
    pitch_deg: float | None = None
    datetime: str | None = None
    width: int | None = None
    height: int | None = None
    focal_35mm: float | None = None
    projection: str | None = None
    panorama_width_deg: float | None = None
    panorama_height_deg: float | None = None


def read_photo_metadata(path: str | Path) -> PhotoMetadata:
    """Read what a photo's EXIF and XMP say, without decoding its pixels.

    Raises:
        ImageError: the file is missing or is no picture.
        PositionError: it states a position that cannot be one (out of range, the null island
            0, 0 that cameras write without a fix, or a GPS number without N/S or E/W).
    """
    path = Path(path)
    try:
        with Image.open(path) as image:
            size = image.size
            exif = image.getexif()
            blocks = (
                dict(exif),
                exif.get_ifd(ExifTags.IFD.Exif),
                exif.get_ifd(ExifTags.IFD.GPSInfo),
            )
            packet = image.info.get("xmp") or b""
    except FileNotFoundError as error:
        raise ImageError(f"{path} does not exist: check the path.") from error
    except IsADirectoryError as error:
        raise ImageError(f"{path} is a folder: give a picture file.") from error
    except PermissionError as error:
        raise ImageError(f"{path} may not be read: check its permissions.") from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{path} is not a picture we know: convert it to JPEG, PNG, WebP or TIFF."
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(
            f"{path} has more pixels than are decoded: reduce it, or index it as a "
            f"georeferenced raster."
        ) from error
    except Exception as error:  # Pillow lets many kinds through on damaged headers
        raise ImageError(
            f"{path} cannot be read as a photo ({type(error).__name__}): check that the file is "
            f"an intact picture."
        ) from error
    return _metadata(path, size, *blocks, xmp=_parse_xmp(packet))


def ground_width_m(meta: PhotoMetadata) -> float | None:
    """Width on flat ground of a nadir photo, in metres, or None where it cannot be told.

    The height is the one above take-off, so it is as good as the ground is flat. Within 20
    degrees of nadir the photo counts as nadir; an unknown pitch is taken for nadir.
    """
    if meta.relative_altitude_m is None or meta.relative_altitude_m <= 0:
        return None
    if meta.pitch_deg is not None and abs(meta.pitch_deg + 90) > NADIR_TOLERANCE_DEG:
        return None
    fov_deg = horizontal_fov_deg(meta)
    if fov_deg is None:
        return None
    return 2 * meta.relative_altitude_m * math.tan(math.radians(fov_deg) / 2)


def horizontal_fov_deg(meta: PhotoMetadata) -> float | None:
    """Horizontal field of view from the 35-mm equivalent focal length, or None without one."""
    if meta.focal_35mm is None or not meta.width or not meta.height:
        return None
    long_side, short_side = max(meta.width, meta.height), min(meta.width, meta.height)
    is_film_shaped = abs(long_side / short_side - 1.5) < 0.05
    sensor_mm = FILM_WIDTH_MM if is_film_shaped else SENSOR_4_3_WIDTH_MM
    half_width = sensor_mm / 2 * meta.width / long_side
    return math.degrees(2 * math.atan(half_width / meta.focal_35mm))


def _metadata(
    path: Path,
    size: tuple[int, int],
    main: Mapping[int, Any],
    camera: Mapping[int, Any],
    gps: Mapping[int, Any],
    *,
    xmp: Mapping[str, str],
) -> PhotoMetadata:
    lat, lon = _position(path, gps, xmp)
    turned = main.get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
    width, height = size[::-1] if turned else size
    yaw_deg, pitch_deg = _attitude(gps, xmp)
    panorama = _panorama(xmp)
    focal_35mm = _number(camera.get(ExifTags.Base.FocalLengthIn35mmFilm))
    return PhotoMetadata(
        lat=lat,
        lon=lon,
        altitude_m=_altitude_m(gps, xmp),
        relative_altitude_m=_number(xmp.get("drone-dji:RelativeAltitude")),
        yaw_deg=yaw_deg,
        pitch_deg=pitch_deg,
        datetime=_taken(main, camera),
        width=width,
        height=height,
        focal_35mm=focal_35mm if focal_35mm and focal_35mm > 0 else None,
        projection="equirectangular" if panorama else None,
        panorama_width_deg=panorama[0] if panorama else None,
        panorama_height_deg=panorama[1] if panorama else None,
    )


def _parse_xmp(packet: bytes | str) -> dict[str, str]:
    """First value of each drone-dji and GPano property, as attribute or as element.

    A pattern over the packet instead of an XML parser: nothing is expanded, nothing can be
    referred to, and packets cut short or with stray bytes still give what they hold.
    """
    text = packet if isinstance(packet, str) else packet.decode("utf-8", "replace")
    properties: dict[str, str] = {}
    for prefix, name, attribute, element in _XMP_PROPERTY.findall(text):
        properties.setdefault(f"{prefix}:{name}", (attribute or element).strip())
    return properties


def _number(value: Any) -> float | None:
    """A finite float, or None: EXIF writes unknown rationals with a zero denominator."""
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) else None


def _position(
    path: Path, gps: Mapping[int, Any], xmp: Mapping[str, str]
) -> tuple[float | None, float | None]:
    lat = _degrees(path, gps, ExifTags.GPS.GPSLatitude, ExifTags.GPS.GPSLatitudeRef, "NS")
    lon = _degrees(path, gps, ExifTags.GPS.GPSLongitude, ExifTags.GPS.GPSLongitudeRef, "EW")
    if lat is None or lon is None:
        lat = _number(xmp.get("drone-dji:GpsLatitude"))
        # Some firmware misspells its own name.
        lon = _number(xmp.get("drone-dji:GpsLongitude") or xmp.get("drone-dji:GpsLongtitude"))
    if lat is None or lon is None:
        return None, None
    check_position(lat, lon, f"the position in {path}")
    return lat, lon


def _degrees(
    path: Path, gps: Mapping[int, Any], value_tag: int, reference_tag: int, letters: str
) -> float | None:
    """Signed degrees from EXIF degrees, minutes, seconds and the N/S or E/W letter."""
    value = gps.get(value_tag)
    if value is None:
        return None
    parts = [_number(part) for part in (value if isinstance(value, tuple) else (value,))]
    if not 1 <= len(parts) <= 3 or any(part is None for part in parts):
        return None
    degrees: float = sum(float(part or 0.0) / 60**power for power, part in enumerate(parts))
    letter = _text(gps.get(reference_tag)).upper()[:1]
    if letter not in letters or not letter:
        raise PositionError(
            f"the GPS position in {path} does not say whether it is {letters[0]} or "
            f"{letters[1]}: set the reference tag, or give the position in a table."
        )
    return -degrees if letter == letters[1] else degrees


def _altitude_m(gps: Mapping[int, Any], xmp: Mapping[str, str]) -> float | None:
    altitude_m = _number(gps.get(ExifTags.GPS.GPSAltitude))
    if altitude_m is None:
        return _number(xmp.get("drone-dji:AbsoluteAltitude"))
    is_below_sea = gps.get(ExifTags.GPS.GPSAltitudeRef) in (1, b"\x01")
    return -altitude_m if is_below_sea else altitude_m


def _attitude(gps: Mapping[int, Any], xmp: Mapping[str, str]) -> tuple[float | None, float | None]:
    """Yaw in [0, 360) and pitch of the camera: its gimbal, else its aircraft, else its compass."""
    yaw, pitch, roll = (_number(xmp.get(f"drone-dji:Gimbal{x}Degree")) for x in _GIMBAL_ANGLES)
    # Cameras without a gimbal reading write zeros for all three.
    if yaw is not None and (yaw, pitch, roll) != (0.0, 0.0, 0.0):
        # A gimbal that passed the vertical reports roll 180: the picture's top points back.
        upside_down = roll is not None and abs(roll) > 90
        return (yaw + 180 * upside_down) % 360, pitch
    others = (
        xmp.get("drone-dji:FlightYawDegree"),
        xmp.get("GPano:PoseHeadingDegrees"),
        _true_direction(gps),
    )
    headings = [heading for heading in map(_number, others) if heading is not None]
    return (headings[0] % 360 if headings else None), None


def _true_direction(gps: Mapping[int, Any]) -> Any:
    """GPSImgDirection, unless it is magnetic: the declination is not ours to guess."""
    is_magnetic = _text(gps.get(ExifTags.GPS.GPSImgDirectionRef)).upper().startswith("M")
    return None if is_magnetic else gps.get(ExifTags.GPS.GPSImgDirection)


def _panorama(xmp: Mapping[str, str]) -> tuple[float, float] | None:
    """Horizontal and vertical degrees of a GPano panorama; 360 x 180 where it is not cropped."""
    if xmp.get("GPano:ProjectionType", "").lower() != "equirectangular":
        return None
    width_deg = 360 * _share(xmp, "CroppedAreaImageWidthPixels", "FullPanoWidthPixels")
    height_deg = 180 * _share(xmp, "CroppedAreaImageHeightPixels", "FullPanoHeightPixels")
    return width_deg, height_deg


def _share(xmp: Mapping[str, str], part: str, whole: str) -> float:
    part_px, whole_px = _number(xmp.get(f"GPano:{part}")), _number(xmp.get(f"GPano:{whole}"))
    if not part_px or not whole_px or not 0 < part_px <= whole_px:
        return 1.0
    return part_px / whole_px


def _taken(main: Mapping[int, Any], camera: Mapping[int, Any]) -> str | None:
    """EXIF's `2024:10:30 10:05:15` as `2024-10-30T10:05:15`, or None where it is no date."""
    text = _text(camera.get(ExifTags.Base.DateTimeOriginal) or main.get(ExifTags.Base.DateTime))
    try:
        # The camera's own clock: EXIF rarely says its zone, so none is claimed.
        return clock.datetime.strptime(text, "%Y:%m:%d %H:%M:%S").isoformat()
    except ValueError:
        return None


def _text(value: Any) -> str:
    """An EXIF string without its padding; other types give an empty one."""
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    return value.strip("\x00 ") if isinstance(value, str) else ""
