"""Positions, headings and optics out of photos written here byte by byte."""

import math

import numpy as np
import pytest
from PIL import ExifTags, Image, TiffImagePlugin

from geobridge.errors import ImageError, PositionError
from geobridge.geo.photos import (
    PhotoMetadata,
    ground_width_m,
    horizontal_fov_deg,
    read_photo_metadata,
)

GPS = ExifTags.GPS


def rational(numerator, denominator=1):
    return TiffImagePlugin.IFDRational(numerator, denominator)


def photo(path, gps=None, camera=None, main=None, xmp=None, size=(40, 30)):
    """Write a small JPEG with the given EXIF blocks and XMP packet."""
    exif = Image.Exif()
    exif.update(main or {})
    if gps:
        exif[ExifTags.IFD.GPSInfo] = gps
    if camera:
        exif[ExifTags.IFD.Exif] = camera
    options = {"exif": exif} if gps or camera or main else {}
    if xmp:
        options["xmp"] = xmp if isinstance(xmp, bytes) else xmp.encode()
    Image.new("RGB", size, "green").save(path, "JPEG", **options)
    return path


def gps_block(lat=(24, 15, 43.6774), lat_ref="N", lon=(120, 43, 12.749), lon_ref="E", **more):
    block = {
        GPS.GPSLatitude: tuple(rational(round(part * 10000), 10000) for part in lat),
        GPS.GPSLongitude: tuple(rational(round(part * 10000), 10000) for part in lon),
    }
    if lat_ref:
        block[GPS.GPSLatitudeRef] = lat_ref
    if lon_ref:
        block[GPS.GPSLongitudeRef] = lon_ref
    return block | more.pop("tags", {})


def dji(**values):
    attributes = "\n".join(f'drone-dji:{name}="{value}"' for name, value in values.items())
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        f'xmlns:drone-dji="http://www.dji.com/drone-dji/1.0/" {attributes}/></rdf:RDF></x:xmpmeta>'
    )


# Positions


def test_degrees_minutes_and_seconds_become_degrees(tmp_path):
    meta = read_photo_metadata(photo(tmp_path / "a.jpg", gps_block()))

    # 24 + 15/60 + 43.6774/3600 and 120 + 43/60 + 12.749/3600
    assert meta.lat == pytest.approx(24.262132611, abs=1e-8)
    assert meta.lon == pytest.approx(120.720208056, abs=1e-8)


@pytest.mark.parametrize(
    ("lat_ref", "lon_ref", "signs"),
    [("N", "W", (1, -1)), ("S", "E", (-1, 1)), ("s", "w", (-1, -1))],
)
def test_south_and_west_are_negative(tmp_path, lat_ref, lon_ref, signs):
    meta = read_photo_metadata(
        photo(tmp_path / "a.jpg", gps_block(lat_ref=lat_ref, lon_ref=lon_ref))
    )

    assert (math.copysign(1, meta.lat), math.copysign(1, meta.lon)) == signs


def test_degrees_may_come_with_decimal_minutes_or_alone(tmp_path):
    gps = gps_block() | {
        GPS.GPSLatitude: (rational(243, 10), rational(0), rational(0)),
        GPS.GPSLongitude: (rational(120), rational(435, 10), rational(0)),
    }

    meta = read_photo_metadata(photo(tmp_path / "a.jpg", gps))

    assert meta.lat == pytest.approx(24.3)
    assert meta.lon == pytest.approx(120.725)


def test_a_photo_without_position_has_none(tmp_path):
    meta = read_photo_metadata(photo(tmp_path / "a.jpg"))

    assert (meta.lat, meta.lon, meta.altitude_m, meta.yaw_deg) == (None, None, None, None)
    assert (meta.width, meta.height) == (40, 30)


def test_a_zero_denominator_means_unknown(tmp_path):
    gps = gps_block(tags={GPS.GPSAltitude: rational(0, 0), GPS.GPSLatitude: (rational(0, 0),) * 3})

    meta = read_photo_metadata(photo(tmp_path / "a.jpg", gps))

    assert (meta.lat, meta.lon, meta.altitude_m) == (None, None, None)


def test_djis_own_position_serves_where_exif_has_none(tmp_path):
    xmp = dji(GpsLatitude="-33.5", GpsLongtitude="+151.25", AbsoluteAltitude="+12.5")

    meta = read_photo_metadata(photo(tmp_path / "a.jpg", xmp=xmp))

    assert (meta.lat, meta.lon, meta.altitude_m) == (-33.5, 151.25, 12.5)


@pytest.mark.parametrize(
    ("gps", "reason"),
    [
        (gps_block(lat=(124, 0, 0)), "lat 124"),
        (gps_block(lat=(120, 43, 0), lon=(24, 15, 0)), "swapped"),
        (gps_block(lon=(181, 0, 0)), "lon 181"),
        (gps_block(lat=(0, 0, 0), lon=(0, 0, 0)), "no position"),
        (gps_block(lat_ref=None), "N or S"),
        (gps_block(lon_ref=None), "E or W"),
        (gps_block(lon_ref="N"), "E or W"),
    ],
)
def test_an_impossible_position_is_an_error_that_names_the_file(tmp_path, gps, reason):
    path = photo(tmp_path / "bad.jpg", gps)

    with pytest.raises(PositionError, match=reason) as error:
        read_photo_metadata(path)

    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("reference", "altitude_m"), [(b"\x00", 12.5), (b"\x01", -12.5), (None, 12.5)]
)
def test_altitudes_below_the_sea_are_negative(tmp_path, reference, altitude_m):
    tags = {GPS.GPSAltitude: rational(125, 10)}
    if reference is not None:
        tags[GPS.GPSAltitudeRef] = reference

    meta = read_photo_metadata(photo(tmp_path / "a.jpg", gps_block(tags=tags)))

    assert meta.altitude_m == altitude_m


# Heading and pitch


def test_the_gimbal_tells_where_the_camera_looks(tmp_path):
    xmp = dji(
        GimbalYawDegree="-30.5",
        GimbalPitchDegree="-89.90",
        GimbalRollDegree="+0.00",
        FlightYawDegree="+12.0",
        RelativeAltitude="+119.70",
    )

    meta = read_photo_metadata(photo(tmp_path / "a.jpg", xmp=xmp))

    assert (meta.yaw_deg, meta.pitch_deg, meta.relative_altitude_m) == (329.5, -89.9, 119.7)


def test_a_gimbal_that_reports_nothing_but_zeros_leaves_it_to_the_aircraft(tmp_path):
    xmp = dji(
        GimbalYawDegree="+0.00",
        GimbalPitchDegree="+0.00",
        GimbalRollDegree="+0.00",
        FlightYawDegree="-152.10",
    )

    meta = read_photo_metadata(photo(tmp_path / "a.jpg", xmp=xmp))

    assert meta.yaw_deg == pytest.approx(207.9)
    assert meta.pitch_deg is None


def test_a_gimbal_past_the_vertical_has_its_top_behind(tmp_path):
    xmp = dji(GimbalYawDegree="10", GimbalPitchDegree="-90", GimbalRollDegree="180")

    assert read_photo_metadata(photo(tmp_path / "a.jpg", xmp=xmp)).yaw_deg == 190


def test_properties_may_be_written_as_elements(tmp_path):
    xmp = (
        "<rdf:Description><drone-dji:RelativeAltitude>+80.5</drone-dji:RelativeAltitude>\n"
        "<drone-dji:FlightYawDegree> 45 </drone-dji:FlightYawDegree></rdf:Description>"
    )

    meta = read_photo_metadata(photo(tmp_path / "a.jpg", xmp=xmp))

    assert (meta.relative_altitude_m, meta.yaw_deg) == (80.5, 45)


@pytest.mark.parametrize(("reference", "yaw_deg"), [("T", 271.5), (None, 271.5), ("M", None)])
def test_a_compass_counts_unless_it_is_magnetic(tmp_path, reference, yaw_deg):
    tags = {GPS.GPSImgDirection: rational(2715, 10)}
    if reference:
        tags[GPS.GPSImgDirectionRef] = reference

    meta = read_photo_metadata(photo(tmp_path / "a.jpg", gps_block(tags=tags)))

    assert meta.yaw_deg == yaw_deg


@pytest.mark.parametrize(
    "xmp",
    [
        b'<x drone-dji:RelativeAltitude="much" drone-dji:FlightYawDegree="nan"/>',
        b"\xff\xfe<drone-dji:RelativeAltitude>\xff</drone-dji:RelativeAltitude>",
        b'<!DOCTYPE x [<!ENTITY e "' + b"1" * 1000 + b'">]><x drone-dji:RelativeAltitude="&e;"/>',
        b'drone-dji:RelativeAltitude="',
    ],
)
def test_broken_xmp_says_nothing_and_expands_nothing(tmp_path, xmp):
    meta = read_photo_metadata(photo(tmp_path / "a.jpg", xmp=xmp))

    assert meta.relative_altitude_m is None
    assert meta.yaw_deg is None


# Panoramas, dates, sizes


def test_a_photo_sphere_says_its_angles(tmp_path):
    xmp = (
        '<rdf:Description GPano:ProjectionType="equirectangular" GPano:PoseHeadingDegrees="350.0" '
        'GPano:FullPanoWidthPixels="8000" GPano:FullPanoHeightPixels="4000" '
        'GPano:CroppedAreaImageWidthPixels="8000" GPano:CroppedAreaImageHeightPixels="1500"/>'
    )

    meta = read_photo_metadata(photo(tmp_path / "a.jpg", xmp=xmp))

    assert meta.projection == "equirectangular"
    assert (meta.panorama_width_deg, meta.panorama_height_deg) == (360, 67.5)
    assert meta.yaw_deg == 350


def test_an_ordinary_photo_has_no_projection(tmp_path):
    xmp = '<rdf:Description GPano:ProjectionType="perspective"/>'

    assert read_photo_metadata(photo(tmp_path / "a.jpg", xmp=xmp)).projection is None


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2024:10:30 10:05:15", "2024-10-30T10:05:15"),
        ("0000:00:00 00:00:00", None),
        ("yesterday", None),
    ],
)
def test_dates_become_iso_or_nothing(tmp_path, written, read):
    camera = {ExifTags.Base.DateTimeOriginal: written}

    assert read_photo_metadata(photo(tmp_path / "a.jpg", camera=camera)).datetime == read


@pytest.mark.parametrize(("orientation", "size"), [(1, (40, 30)), (3, (40, 30)), (6, (30, 40))])
def test_sizes_are_those_of_the_upright_picture(tmp_path, orientation, size):
    path = photo(tmp_path / "a.jpg", main={ExifTags.Base.Orientation: orientation})

    meta = read_photo_metadata(path)

    assert (meta.width, meta.height) == size


@pytest.mark.parametrize("content", [b"", b"not a photo", b"\xff\xd8\xff\xe1\x00\x10Exif"])
def test_what_is_no_picture_is_refused_by_name(tmp_path, content):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)

    with pytest.raises(
        ImageError, match=r"a\.jpg (is not a picture we know|cannot be read as a photo)"
    ):
        read_photo_metadata(path)


def test_a_missing_photo_is_refused_by_name(tmp_path):
    with pytest.raises(ImageError, match=r"gone\.jpg does not exist"):
        read_photo_metadata(tmp_path / "gone.jpg")


# Optics


def test_the_field_of_view_of_a_film_shaped_picture():
    meta = PhotoMetadata(width=6000, height=4000, focal_35mm=18)

    # 36 mm wide film at 18 mm: 2 atan(1)
    assert horizontal_fov_deg(meta) == pytest.approx(90)


def test_the_field_of_view_of_a_four_by_three_sensor_goes_by_its_diagonal():
    meta = PhotoMetadata(width=4000, height=3000, focal_35mm=24)

    # The diagonal of film is 43.267 mm, the long side of a 4:3 sensor 4/5 of it.
    assert horizontal_fov_deg(meta) == pytest.approx(
        2 * math.degrees(math.atan(43.267 * 0.8 / 2 / 24)), abs=1e-3
    )


def test_an_upright_photo_is_narrower():
    wide = horizontal_fov_deg(PhotoMetadata(width=6000, height=4000, focal_35mm=24))
    upright = horizontal_fov_deg(PhotoMetadata(width=4000, height=6000, focal_35mm=24))

    assert upright == pytest.approx(2 * math.degrees(math.atan(12 / 24)))
    assert upright < wide


def test_the_ground_under_a_nadir_photo():
    meta = PhotoMetadata(
        width=6000, height=4000, focal_35mm=36, relative_altitude_m=100, pitch_deg=-88
    )

    # As wide as the film at a distance of 36 mm: as wide as it is high.
    assert ground_width_m(meta) == pytest.approx(100)


@pytest.mark.parametrize(
    "unknown",
    [
        {"relative_altitude_m": None},
        {"relative_altitude_m": -3},
        {"focal_35mm": None},
        {"pitch_deg": -45},
    ],
)
def test_the_ground_width_is_unknown_without_height_focal_length_or_nadir(unknown):
    known = {"width": 6000, "height": 4000, "focal_35mm": 36, "relative_altitude_m": 100}

    assert ground_width_m(PhotoMetadata(**(known | unknown))) is None


def test_values_are_plain_numbers(tmp_path):
    meta = read_photo_metadata(photo(tmp_path / "a.jpg", gps_block()))

    assert type(meta.lat) is float
    assert not isinstance(meta.width, np.generic)


def test_a_png_says_position_and_focal_length_too(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.IFD.GPSInfo] = gps_block()
    exif[ExifTags.IFD.Exif] = {ExifTags.Base.FocalLengthIn35mmFilm: 24}
    Image.new("RGB", (40, 30), "green").save(tmp_path / "a.png", exif=exif)
    metadata = read_photo_metadata(tmp_path / "a.png")
    assert metadata.focal_35mm == 24
    assert metadata.lat == pytest.approx(24 + 15 / 60 + 43.6774 / 3600)


def test_a_picture_too_large_to_decode_says_that(tmp_path):
    path = photo(tmp_path / "a.jpg")
    data = bytearray(path.read_bytes())
    # Height and width in the frame header: SOF0 marker, length, precision, then these.
    header = data.index(b"\xff\xc0")
    data[header + 5 : header + 9] = (65500).to_bytes(2, "big") * 2
    path.write_bytes(data)
    with pytest.raises(ImageError, match=r"a\.jpg has more pixels than are decoded"):
        read_photo_metadata(path)


def test_a_folder_in_place_of_a_photo_is_refused_by_name(tmp_path):
    with pytest.raises(ImageError, match="is a folder: give a picture file"):
        read_photo_metadata(tmp_path)
