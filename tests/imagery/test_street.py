"""How a street picture's field is told, and what a camera in a panorama sees."""

import math

import numpy as np
import pytest

from geobridge.geo.photos import PhotoMetadata
from geobridge.imagery.street import (
    StreetField,
    equirectangular_view,
    panorama_columns,
    street_field,
)


def vertical(horizontal_deg, aspect):
    return math.degrees(2 * math.atan(math.tan(math.radians(horizontal_deg) / 2) / aspect))


def test_two_to_one_is_a_whole_sphere():
    assert street_field(4096, 2048) == StreetField(360, 180)


def test_a_long_strip_goes_all_the_way_round():
    # CVUSA: 1232 x 224.
    assert street_field(1232, 224) == StreetField(360, 360 * 224 / 1232)


def test_a_two_to_one_photo_with_a_focal_length_is_no_panorama():
    field = street_field(4000, 2000, PhotoMetadata(width=4000, height=2000, focal_35mm=26))

    assert 60 < field.horizontal_fov_deg < 75
    assert not field.is_panorama


def test_photo_sphere_metadata_decide_over_the_shape():
    meta = PhotoMetadata(
        projection="equirectangular", panorama_width_deg=360, panorama_height_deg=67.5
    )

    assert street_field(1000, 700, meta) == StreetField(360, 67.5)


def test_an_ordinary_picture_spans_65_degrees_along_its_longer_side():
    landscape, portrait = street_field(1200, 800), street_field(800, 1200)

    assert landscape.horizontal_fov_deg == pytest.approx(65)
    assert landscape.vertical_fov_deg == pytest.approx(vertical(65, 1.5))
    assert portrait.vertical_fov_deg == pytest.approx(65)
    assert portrait.horizontal_fov_deg == pytest.approx(landscape.vertical_fov_deg)


def test_the_focal_length_tells_the_field():
    meta = PhotoMetadata(width=6000, height=4000, focal_35mm=18)

    field = street_field(6000, 4000, meta)

    # Film of 36 x 24 mm at 18 mm.
    assert field.horizontal_fov_deg == pytest.approx(90)
    assert field.vertical_fov_deg == pytest.approx(math.degrees(2 * math.atan(12 / 18)))


def test_what_the_caller_says_comes_first():
    assert street_field(1232, 224, fov_deg=180).horizontal_fov_deg == 180
    assert street_field(1000, 1000, fov_deg=90).vertical_fov_deg == pytest.approx(90)
    assert street_field(4096, 2048, panorama=False).horizontal_fov_deg == pytest.approx(65)
    assert street_field(1000, 500, PhotoMetadata(focal_35mm=24), panorama=True) == StreetField(
        360, 180
    )
    assert street_field(1000, 700, panorama=True) == StreetField(360, 180)


@pytest.mark.parametrize("fov_deg", [-1, 361, math.nan])
def test_impossible_fields_are_refused(fov_deg):
    with pytest.raises(ValueError, match="degrees"):
        street_field(100, 100, fov_deg=fov_deg)


def sphere(height=360):
    """Red grows with the azimuth (0 at the left edge), green is brighter above the horizon."""
    azimuth = (np.arange(2 * height) + 0.5) / (2 * height)
    elevation = 1 - (np.arange(height) + 0.5) / height
    red, green = np.meshgrid(azimuth * 255, elevation * 255)
    return np.stack([red, green, np.full_like(red, 9)], axis=2).round().astype(np.uint8)


def azimuth_deg(pixel):
    return pixel[0] / 255 * 360 - 180


@pytest.mark.parametrize("heading_deg", [0, 40, -75, 90, 400])
def test_a_view_looks_where_it_is_told(heading_deg):
    view = equirectangular_view(sphere(), heading_deg, 60, 61)

    middle = view[30, 30].astype(float)
    expected = (heading_deg + 180) % 360 - 180
    assert azimuth_deg(middle) == pytest.approx(expected, abs=1.5)
    assert middle[1] == pytest.approx(127.5, abs=1.5)


def test_the_edges_of_a_view_are_half_its_field_away():
    view = equirectangular_view(sphere(), 0, 90, (101, 101)).astype(float)

    assert azimuth_deg(view[50, 0]) == pytest.approx(-45, abs=2)
    assert azimuth_deg(view[50, 100]) == pytest.approx(45, abs=2)
    # Straight above the middle, 45 degrees up is three quarters of the way to the zenith.
    assert view[0, 50, 1] == pytest.approx(0.75 * 255, abs=2)
    # A corner of a flat picture is lower in the sky than the middle of its top edge:
    # atan(1 / sqrt 2) = 35.26 degrees.
    assert view[0, 0, 1] == pytest.approx((0.5 + 35.26 / 180) * 255, abs=2)


def test_a_view_across_the_seam_has_no_seam():
    panorama = np.full((180, 360, 3), 120, np.uint8)
    panorama[:, :40] = panorama[:, -40:] = 200

    view = equirectangular_view(panorama, 180, 40, 64)

    assert (view == 200).all()


def test_a_strip_is_stretched_over_its_own_angles():
    strip = sphere()[120:240]  # 60 degrees around the horizon

    view = equirectangular_view(strip, 0, 40, 41).astype(float)

    whole = equirectangular_view(sphere(), 0, 40, 41).astype(float)
    np.testing.assert_allclose(view, whole, atol=2)


@pytest.mark.parametrize("fov_deg", [0, 180, -20])
def test_a_flat_view_spans_less_than_half_the_circle(fov_deg):
    with pytest.raises(ValueError, match="perspective"):
        equirectangular_view(sphere(), 0, fov_deg, 10)


def test_columns_around_a_heading_go_on_across_the_seam():
    panorama = np.repeat(np.arange(8, dtype=np.uint8)[None, :, None], 3, axis=2)

    # The middle is between columns 3 and 4; a quarter to the right is two columns on.
    assert panorama_columns(panorama, 0)[0, :, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert panorama_columns(panorama, 90)[0, :, 0].tolist() == [2, 3, 4, 5, 6, 7, 0, 1]
    assert panorama_columns(panorama, -90)[0, :, 0].tolist() == [6, 7, 0, 1, 2, 3, 4, 5]
    assert panorama_columns(panorama, 0, 180)[0, :, 0].tolist() == [2, 3, 4, 5]
    assert panorama_columns(panorama, 180, 90)[0, :, 0].tolist() == [7, 0]
    assert panorama_columns(panorama, 0, 1).shape == (1, 1, 3)


@pytest.mark.parametrize("fov_deg", [0, 361])
def test_columns_span_at_most_the_circle(fov_deg):
    with pytest.raises(ValueError, match="cannot span"):
        panorama_columns(np.zeros((2, 8, 3), np.uint8), 0, fov_deg)
