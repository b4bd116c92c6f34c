"""Photo files as cameras write them: JPEG with EXIF position and XMP attitude.

Sources: EXIF 2.32 (CIPA DC-008) for the GPS block; DJI's `drone-dji` XMP names; Google's Photo
Sphere XMP (`GPano`).
"""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

# The 35-mm equivalent compares diagonals (CIPA DCG-001): a 4:3 picture is as wide as this.
_WIDTH_4_3_MM = math.hypot(36.0, 24.0) * 4 / 5

_YEAR = 2024


@dataclass(frozen=True)
class Shot:
    """What a camera knew when it took a picture.

    Attributes:
        lat, lon: WGS-84 degrees of the camera.
        altitude_m: above sea level.
        relative_altitude_m: above the ground.
        yaw_deg: clockwise from true north: of the top of a nadir picture, else of the view.
        pitch_deg: 0 at the horizon, -90 straight down.
        day_of_year: 1 to 365.
        hour: of the day, with its fraction.
        focal_35mm: whole millimetres, as EXIF holds it; None for a panorama.
    """

    lat: float
    lon: float
    altitude_m: float
    relative_altitude_m: float
    yaw_deg: float
    pitch_deg: float
    day_of_year: int
    hour: float
    focal_35mm: int | None = None


def fov_of_focal(focal_35mm: float) -> float:
    """Horizontal field of view in degrees of a 4:3 picture with a 35-mm equivalent focal length."""
    return math.degrees(2 * math.atan(_WIDTH_4_3_MM / 2 / focal_35mm))


def focal_of_fov(fov_deg: float) -> int:
    """The 35-mm equivalent focal length in whole millimetres that comes nearest to a field."""
    return round(_WIDTH_4_3_MM / 2 / math.tan(math.radians(fov_deg) / 2))


def write_drone_photo(path: str | Path, image: np.ndarray, shot: Shot) -> None:
    """Write a drone photo, uint8 (H, W, 3), with the tags a DJI camera writes."""
    yaw = (shot.yaw_deg + 180) % 360 - 180
    packet = _xmp(
        'xmlns:drone-dji="http://www.dji.com/drone-dji/1.0/"',
        {
            "drone-dji:AbsoluteAltitude": f"{shot.altitude_m:+.2f}",
            "drone-dji:RelativeAltitude": f"{shot.relative_altitude_m:+.2f}",
            "drone-dji:GimbalRollDegree": "+0.00",
            "drone-dji:GimbalYawDegree": f"{yaw:+.2f}",
            "drone-dji:GimbalPitchDegree": f"{shot.pitch_deg:+.2f}",
            "drone-dji:FlightYawDegree": f"{yaw:+.2f}",
        },
    )
    _save(path, image, _exif(shot, "Simulated drone"), packet)


def write_street_photo(path: str | Path, image: np.ndarray, shot: Shot) -> None:
    """Write a street photo, uint8 (H, W, 3), with the tags a phone writes."""
    _save(path, image, _exif(shot, "Simulated phone"))


def write_panorama(path: str | Path, image: np.ndarray, shot: Shot) -> None:
    """Write a whole equirectangular panorama, uint8 (H, 2 H, 3), with Photo Sphere tags."""
    height, width = image.shape[:2]
    packet = _xmp(
        'xmlns:GPano="http://ns.google.com/photos/1.0/panorama/"',
        {
            "GPano:ProjectionType": "equirectangular",
            "GPano:UsePanoramaViewer": "True",
            "GPano:PoseHeadingDegrees": f"{shot.yaw_deg % 360:.2f}",
            "GPano:PosePitchDegrees": "0.0",
            "GPano:PoseRollDegrees": "0.0",
            "GPano:FullPanoWidthPixels": str(width),
            "GPano:FullPanoHeightPixels": str(height),
            "GPano:CroppedAreaImageWidthPixels": str(width),
            "GPano:CroppedAreaImageHeightPixels": str(height),
            "GPano:CroppedAreaLeftPixels": "0",
            "GPano:CroppedAreaTopPixels": "0",
        },
    )
    _save(path, image, _exif(shot, "Simulated panorama"), packet)


def _save(path: str | Path, image: np.ndarray, exif: Image.Exif, packet: bytes = b"") -> None:
    path = Path(path)
    unfinished = path.with_name(f".unfinished-{path.name}")
    Image.fromarray(image).save(unfinished, "JPEG", quality=92, exif=exif, xmp=packet)
    unfinished.replace(path)


def _xmp(namespace: str, properties: dict[str, str]) -> bytes:
    attributes = "\n   ".join(f'{name}="{value}"' for name, value in properties.items())
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
        ' <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
        f'  <rdf:Description rdf:about="" {namespace}\n   {attributes}/>\n'
        " </rdf:RDF>\n"
        '</x:xmpmeta>\n<?xpacket end="w"?>'
    ).encode()


def _exif(shot: Shot, model: str) -> Image.Exif:
    exif = Image.Exif()
    taken = datetime(_YEAR, 1, 1) + timedelta(days=shot.day_of_year - 1, hours=shot.hour)
    exif[ExifTags.Base.Make] = "GeoBridge"
    exif[ExifTags.Base.Model] = model
    camera = exif.get_ifd(ExifTags.IFD.Exif)
    camera[ExifTags.Base.DateTimeOriginal] = taken.strftime("%Y:%m:%d %H:%M:%S")
    if shot.focal_35mm is not None:
        camera[ExifTags.Base.FocalLengthIn35mmFilm] = shot.focal_35mm
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    tags = ExifTags.GPS
    gps[tags.GPSVersionID] = b"\x02\x03\x00\x00"
    gps[tags.GPSLatitudeRef] = "N" if shot.lat >= 0 else "S"
    gps[tags.GPSLatitude] = _sexagesimal(shot.lat)
    gps[tags.GPSLongitudeRef] = "E" if shot.lon >= 0 else "W"
    gps[tags.GPSLongitude] = _sexagesimal(shot.lon)
    gps[tags.GPSAltitudeRef] = b"\x00" if shot.altitude_m >= 0 else b"\x01"
    gps[tags.GPSAltitude] = IFDRational(round(abs(shot.altitude_m) * 100), 100)
    gps[tags.GPSImgDirectionRef] = "T"
    gps[tags.GPSImgDirection] = IFDRational(round(shot.yaw_deg % 360 * 100), 100)
    return exif


def _sexagesimal(degrees: float) -> tuple[IFDRational, IFDRational, IFDRational]:
    """Degrees, minutes and seconds; seconds to a ten-thousandth, which is 3 mm."""
    parts = round(abs(degrees) * 36_000_000)
    whole, rest = divmod(parts, 36_000_000)
    minutes, rest = divmod(rest, 600_000)
    return IFDRational(whole, 1), IFDRational(minutes, 1), IFDRational(rest, 10_000)
