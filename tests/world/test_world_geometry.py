"""Where things appear: every expectation is worked out here from angles and lengths."""

import math

import numpy as np
import pytest
from pyproj import Geod
from world_stage import is_red, red_center

from geobridge.world import kernels as k
from geobridge.world.dates import sun_position
from geobridge.world.planet import EYE_M


def test_satellite_pixel_of_a_known_point(stage):
    stage.red_box(20, 30)
    place = stage.town.place_at(5, 10)
    row, col, *_ = red_center(stage.town.render("satellite", place, size=128, gsd_m=0.5))
    # 15 m east and 20 m north of the centre, at half a metre a pixel.
    assert col == pytest.approx(64 + 30, abs=1)
    assert row == pytest.approx(64 - 40, abs=1)


def test_yaw_is_the_heading_of_the_pictures_top(stage):
    stage.red_box(20, 30)
    place = stage.town.place_at(0, 0)
    for view in ("satellite", "drone"):
        picture = stage.town.render(
            view, place, size=128, gsd_m=1, altitude_m=110, fov_deg=60, yaw_deg=90
        )
        row, col, *_ = red_center(picture)
        # East is up, so north is to the left.
        assert row < 64 - 15
        assert col < 64 - 25


def test_nadir_drone_pixel_of_a_known_point(stage):
    stage.red_box(-24, 18)
    place = stage.town.place_at(0, 0)
    picture = stage.town.render("drone", place, size=200, altitude_m=100, fov_deg=60)
    row, col, *_ = red_center(picture)
    focal_px = 100 / math.tan(math.radians(30))
    assert col == pytest.approx(100 - focal_px * 0.24, abs=1.5)
    assert row == pytest.approx(100 - focal_px * 0.18, abs=1.5)


@pytest.mark.parametrize("yaw_deg", [0, 137])
def test_oblique_drone_pixel_of_a_known_point(stage, yaw_deg):
    yaw = math.radians(yaw_deg)
    # 30 m ahead of the place and 12 m to the right of the view.
    x = 30 * math.sin(yaw) + 12 * math.cos(yaw)
    y = 30 * math.cos(yaw) - 12 * math.sin(yaw)
    stage.red_box(x, y)
    picture = stage.town.render(
        "drone", stage.town.place_at(0, 0), size=200, altitude_m=100, pitch_deg=-45, fov_deg=60,
        yaw_deg=yaw_deg,
    )  # fmt: skip
    row, col, *_ = red_center(picture)
    # The camera is 100 m up and 100 m back: the point is 130 m ahead and 100 m below it.
    depth = (130 + 100) / math.sqrt(2)
    below_axis = (100 - 130) / math.sqrt(2)
    focal_px = 100 / math.tan(math.radians(30))
    assert col == pytest.approx(100 + focal_px * 12 / depth, abs=1.5)
    assert row == pytest.approx(100 + focal_px * below_axis / depth, abs=1.5)


@pytest.mark.parametrize(("yaw_deg", "azimuth_deg"), [(0, 40), (90, 40), (200, 275)])
def test_panorama_column_and_rows_of_a_tower(stage, yaw_deg, azimuth_deg):
    azimuth = math.radians(azimuth_deg)
    stage.red_box(40 * math.sin(azimuth), 40 * math.cos(azimuth), half=1.0, top=15)
    size = 256
    picture = stage.town.render("street", stage.town.place_at(0, 0), size=size, yaw_deg=yaw_deg)
    assert picture.shape == (size, 4 * size, 3)
    _, col, first, last = red_center(picture)
    turn = (azimuth_deg - yaw_deg + 180) % 360
    assert col == pytest.approx(turn / 360 * 4 * size, abs=2)
    # The near side is 39 m away; 90 degrees fill the height, the horizon is in the middle.
    top_deg = math.degrees(math.atan((15 - EYE_M) / 39))
    foot_deg = math.degrees(math.atan(EYE_M / 39))
    assert first == pytest.approx(size / 2 - top_deg / 90 * size, abs=2.5)
    assert last == pytest.approx(size / 2 + foot_deg / 90 * size, abs=2.5)


def test_full_panorama_is_two_to_one_and_shows_the_same_direction(stage):
    stage.red_box(0, 40, half=1.0, top=15)
    picture = stage.town.render(
        "street", stage.town.place_at(0, 0), size=256, full=True, yaw_deg=-90
    )
    assert picture.shape == (256, 512, 3)
    _, col, first, _ = red_center(picture)
    assert col == pytest.approx(384, abs=1.5)  # a quarter turn to the right of the centre
    assert first == pytest.approx(128 - math.degrees(math.atan(12.4 / 39)) / 180 * 256, abs=2)


def test_tall_things_lean_outwards_in_a_nadir_drone_picture_and_not_in_a_map(stage):
    stage.red_box(30, 0, half=1.5, top=20)
    place = stage.town.place_at(0, 0)
    _, on_map, *_ = red_center(stage.town.render("satellite", place, size=200, gsd_m=0.5))
    assert on_map == pytest.approx(100 + 60, abs=1)
    picture = stage.town.render("drone", place, size=200, altitude_m=100, fov_deg=60)
    _, col, *_ = red_center(picture)
    focal_px = 100 / math.tan(math.radians(30))
    foot, top = 100 + focal_px * 28.5 / 100, 100 + focal_px * 31.5 / 80
    assert col == pytest.approx((foot + top) / 2, abs=2)


@pytest.mark.parametrize("azimuth_deg", [180, 90, 225, 292.5])
def test_shadows_fall_away_from_the_sun_as_long_as_its_height_says(azimuth_deg):
    height = np.zeros((201, 201), np.uint16)
    height[100, 100] = 1000
    crowns = np.zeros((201, 201), np.uint8)
    azimuth, elevation = math.radians(azimuth_deg), math.radians(35)
    sun = (
        math.cos(elevation) * math.sin(azimuth),
        math.cos(elevation) * math.cos(azimuth),
        math.sin(elevation),
    )
    shadow = k.shadow_heights(height, crowns, crowns, *sun, 0.0)
    rows, cols = np.nonzero(shadow)
    assert len(rows) > 10
    east, north = (cols - 100) * k.CELL_M, (100 - rows) * k.CELL_M
    # Everything in shadow lies on the line away from the sun, to within a cell.
    away = -(east * math.sin(azimuth) + north * math.cos(azimuth))
    aside = east * math.cos(azimuth) - north * math.sin(azimuth)
    assert away.min() > 0
    assert np.abs(aside).max() <= k.CELL_M
    assert away.max() == pytest.approx(10 / math.tan(elevation), abs=2 * k.CELL_M)
    # Half way along the shadow, its upper edge is half as high.
    expected = 10 - away * math.tan(elevation)
    assert np.abs(shadow[rows, cols] / 100 - expected).max() < 0.5


def test_the_sun_stands_where_the_almanac_says():
    # Equinox (21 March is day 80): at noon the sun is 90 - latitude high, in the south.
    azimuth, elevation = sun_position(40.0, 80, 12.0)
    assert elevation == pytest.approx(50, abs=1)
    assert azimuth == pytest.approx(180, abs=0.5)
    # Summer solstice noon: 23.44 degrees higher; from south of the equator it is in the north.
    assert sun_position(40.0, 172, 12.0)[1] == pytest.approx(73.44, abs=0.1)
    assert sun_position(-35.0, 172, 12.0)[0] == pytest.approx(0, abs=0.5)
    # Before noon it is in the east.
    assert 0 < sun_position(40.0, 80, 8.0)[0] < 180


def test_coordinates_are_true_on_the_ellipsoid(town):
    geod = Geod(ellps="WGS84")
    lat, lon = town.to_latlon(0, 400)
    azimuth, _, distance = geod.inv(town.lon, town.lat, lon, lat)
    # UTM shortens by at most 0.04 % near its central meridian.
    assert distance == pytest.approx(400, rel=6e-4)
    assert azimuth == pytest.approx(town.convergence_deg, abs=0.01)
    assert town.to_metric(lat, lon) == pytest.approx((0, 400), abs=1e-3)


def test_reverse_crop_is_north_up_and_as_wide_as_asked(stage):
    stage.red_box(30, -12)
    place = stage.town.place_at(0, 0)
    row, col, *_ = red_center(stage.town.render("drone", place, size=240, crop_m=120))
    # Two pixels a metre, the place in the middle.
    assert col == pytest.approx(120 + 60, abs=1)
    assert row == pytest.approx(120 + 24, abs=1)


@pytest.mark.parametrize("fov_deg", [40, 90, 115])
def test_street_photo_is_a_level_pinhole_picture(stage, fov_deg):
    azimuth = math.radians(75)
    stage.red_box(40 * math.sin(azimuth), 40 * math.cos(azimuth), half=1.0, top=9)
    place = stage.town.place_at(0, 0)
    picture = stage.town.render("street", place, size=240, yaw_deg=60, fov_deg=fov_deg)
    assert picture.shape == (240, 320, 3)
    _, col, first, last = red_center(picture)
    focal_px = 160 / math.tan(math.radians(fov_deg / 2))
    # 15 degrees to the right of the axis, so the tower's depth is 40 cos 15.
    depth = 40 * math.cos(math.radians(15))
    # The tower is made of cells, so its middle is known to a quarter of a metre.
    cell_px = 0.25 * focal_px / depth
    assert col == pytest.approx(160 + focal_px * math.tan(math.radians(15)), abs=1 + cell_px)
    assert first == pytest.approx(120 - focal_px * (9 - EYE_M) / depth, abs=3.5)
    assert last == pytest.approx(120 + focal_px * EYE_M / depth, abs=3.5)


def test_walls_are_straight_whatever_the_raster_says(stage):
    # A long wall, turned by 20 degrees, whose front passes 20 m north of the camera.
    turn = math.radians(20)
    middle = 20 + 4 / math.cos(turn)
    stage.red_house(0, middle, 20, 40, 4, eave=6)
    size = 512
    picture = stage.town.render("street", stage.town.place_at(0, 0), size=size)
    red = is_red(picture)
    for azimuth_deg in range(-30, 31, 3):
        col = round((azimuth_deg + 180) / 360 * 4 * size)
        rows = np.flatnonzero(red[:, col])
        azimuth = math.radians((col + 0.5) / (4 * size) * 360 - 180)
        # Where the sight line meets the front: y = 20 + x tan(turn).
        away = 20 / (math.cos(azimuth) - math.sin(azimuth) * math.tan(turn))
        head = size / 2 - math.degrees(math.atan((6 - EYE_M) / away)) / 90 * size
        foot = size / 2 + math.degrees(math.atan(EYE_M / away)) / 90 * size
        assert rows[0] == pytest.approx(head, abs=1.6)
        assert rows[-1] + 1 == pytest.approx(foot, abs=1.6)


def test_a_coarse_pixel_is_the_mean_of_its_ground(town):
    place = town.places(1)[0]
    fine = town.render("satellite", place, size=240, gsd_m=0.5).astype(float)
    coarse = town.render("satellite", place, size=24, gsd_m=5.0).astype(float)
    means = fine.reshape(24, 10, 24, 10, 3).mean(axis=(1, 3))
    assert np.abs(coarse - means).mean() < 2
    assert np.corrcoef(coarse.ravel(), means.ravel())[0, 1] > 0.99


def test_clouds_hide_the_sun_from_all_that_stands_below(stage):
    shadow = stage.dated.shadow
    shadow[100, 100] = 400  # in the shadow of something 4 m high
    shade = np.zeros((228, 228))
    shade[:, 60:] = 1
    k.cast_clouds(shadow, stage.dated.height, stage.dated.crown_top, shade, 8)
    assert (shadow[:, : 59 * 8] < k.CLOUD)[:99].all()
    assert (shadow[:, 60 * 8 : 1800] == 65535).all()
    assert shadow[100, 100] == 400
    # A roof that only its own side shades is lit from above like the ground.
    half_shade = np.full((228, 228), 0.5)
    roof, height = np.full((1800, 1800), 290, np.uint16), np.full((1800, 1800), 300, np.uint16)
    k.cast_clouds(roof, height, stage.dated.crown_top, half_shade, 8)
    assert (roof == k.CLOUD + (65535 - k.CLOUD) // 2).all()
    # Half way through the rim half of the sun is left.
    assert shadow[50, 59 * 8 + 4] == pytest.approx((k.CLOUD + 65535) / 2, abs=1)
    town = stage.town
    # West of the rim, 59 blocks of 4 m from the western border, it is bright.
    west, east = (town.place_at(-450 + 60 * 4 + dx, 0) for dx in (-60, 60))
    bright, dark = (town.render("satellite", place, size=32) for place in (west, east))
    light = stage.dated.light
    lit = light[k.L_SUN] * light[k.L_SZ] + light[k.L_AMB]
    assert dark.mean() / bright.mean() == pytest.approx(light[k.L_AMB] / lit, rel=0.08)
