"""Ground windows: rasters painted here, read back where the ground says they are."""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from pyproj import Transformer
from rasterio import Affine
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning
from shapely.geometry import Polygon
from shapely.ops import unary_union

from geobridge.errors import RasterError
from geobridge.geo.distance import LocalFrame, distance_m
from geobridge.geo.footprint import size_m, to_geojson
from geobridge.geo.rasters import RasterMap

A, E2 = 6378137.0, 0.00669437999014


def parallel_radius_m(lat):
    """Metres per radian of longitude: N cos(lat)."""
    sin = math.sin(math.radians(lat))
    return A / math.sqrt(1 - E2 * sin**2) * math.cos(math.radians(lat))


def meridian_radius_m(lat):
    """Metres per radian of latitude: M."""
    sin = math.sin(math.radians(lat))
    return A * (1 - E2) / (1 - E2 * sin**2) ** 1.5


def write(path, pixels, crs, transform, **options):
    """Write (H, W, B) pixels as a GeoTIFF."""
    bands = np.moveaxis(pixels, 2, 0)
    colors = options.pop("colorinterp", None)
    colormap = options.pop("colormap", None)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=pixels.shape[1],
        height=pixels.shape[0],
        count=pixels.shape[2],
        dtype=pixels.dtype,
        crs=crs,
        transform=transform,
        **options,
    ) as dataset:
        if colors:
            dataset.colorinterp = colors
        if colormap:
            dataset.write_colormap(1, colormap)
        dataset.write(bands)
    return path


def grey(height, width, value=90):
    return np.full((height, width, 3), value, np.uint8)


def north_up(west, north, pixel_x, pixel_y):
    return Affine(pixel_x, 0, west, 0, -pixel_y, north)


def utm_raster(path, height=300, width=400, pixel_m=1.0, **options):
    """In UTM 32N on its central meridian (9 E, 48 N), so that grid north is north."""
    x, y = Transformer.from_crs("EPSG:4326", "EPSG:32632", always_xy=True).transform(9.0, 48.0)
    transform = north_up(x - width * pixel_m / 2, y + height * pixel_m / 2, pixel_m, pixel_m)
    return write(
        path, options.pop("pixels", grey(height, width)), "EPSG:32632", transform, **options
    )


def covered(raster, windows):
    """Which pixels lie in some window."""
    mask = np.zeros((raster.height, raster.width), bool)
    for window in windows:
        top, left = max(0, window.row_off), max(0, window.col_off)
        mask[top : window.row_off + window.height, left : window.col_off + window.width] = True
    return mask


# True ground metres in every coordinate system


@pytest.mark.parametrize("lat", [0.0, 60.0, -45.0])
def test_a_hundred_ground_metres_in_web_mercator(tmp_path, lat):
    x, y = Transformer.from_crs("EPSG:4326", "EPSG:3857", always_xy=True).transform(20.0, lat)
    transform = north_up(x - 300, y + 300, 1.0, 1.0)
    path = write(tmp_path / "m.tif", grey(600, 600), "EPSG:3857", transform)

    with RasterMap(path) as raster:
        window = raster.window_at(lat, 20.0, 100)

        # One projected metre is N cos(lat) / a on the ground: half a metre at 60 degrees.
        ground_m = (
            math.sqrt(parallel_radius_m(lat) * meridian_radius_m(lat) * math.cos(math.radians(lat)))
            / A
        )
        assert window.width == pytest.approx(100 * A / parallel_radius_m(lat), abs=1)
        assert window.height == pytest.approx(window.width, abs=2)
        assert raster.gsd_m == pytest.approx(ground_m, rel=1e-3)
    assert size_m(window.footprint) == pytest.approx(100, abs=0.6)


@pytest.mark.parametrize("lat", [0.0005, 60.0, -35.0])
def test_a_hundred_ground_metres_in_degrees_are_more_pixels_wide_than_high(tmp_path, lat):
    degrees = 1e-5
    transform = north_up(20 - 200 * degrees, lat + 200 * degrees, degrees, degrees)
    path = write(tmp_path / "m.tif", grey(400, 400), "EPSG:4326", transform)

    with RasterMap(path) as raster:
        window = raster.window_at(lat, 20.0, 100)
        image, valid = raster.read(window)

    assert window.width == pytest.approx(
        100 / (parallel_radius_m(lat) * math.radians(degrees)), abs=0.51
    )
    assert window.height == pytest.approx(
        100 / (meridian_radius_m(lat) * math.radians(degrees)), abs=0.51
    )
    assert image.shape == (max(window.width, window.height),) * 2 + (3,)
    assert valid == 1
    lon, lats = np.array(window.footprint.exterior.coords).T
    np.testing.assert_allclose(distance_m(lats[:-1], lon[:-1], lats[1:], lon[1:]), 100, atol=1.1)


def test_feet_are_not_metres(tmp_path):
    # California zone 3, US survey feet; 0.3048006 m each.
    transform = north_up(6_050_000, 2_100_000, 1.0, 1.0)
    path = write(tmp_path / "m.tif", grey(400, 400), "EPSG:2227", transform)

    with RasterMap(path) as raster:
        assert raster.gsd_m == pytest.approx(0.3048, rel=2e-4)
        assert next(raster.windows(100, 50)).width == pytest.approx(328, abs=1)


# Things are where the ground says


@pytest.mark.parametrize(
    ("crs", "lon", "lat", "pixel"),
    [
        ("EPSG:32632", 9.3, 48.2, 0.5),
        ("EPSG:32733", 15.7, -60.0, 0.5),
        ("EPSG:3857", -70.0, 64.0, 1.0),
        ("EPSG:4326", 120.72, 24.26, 1.5e-6),
        ("EPSG:4326", 100.0, 0.0, 4e-6),
        ("EPSG:3413", -45.0, 75.0, 0.5),  # polar stereographic on its own meridian
    ],
)
def test_a_mark_painted_at_a_position_is_read_at_that_position(tmp_path, crs, lon, lat, pixel):
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(lon, lat)
    pixels = grey(500, 700)
    pixels[200:203, 300:303] = (255, 0, 0)
    # Pixel (0, 0) is an outer corner, so the middle of the mark is (301.5, 201.5).
    transform = north_up(x - 301.5 * pixel, y + 201.5 * pixel, pixel, pixel)

    with RasterMap(write(tmp_path / "m.tif", pixels, crs, transform)) as raster:
        window = raster.window_at(lat, lon, 41 * raster.gsd_m)
        image, _ = raster.read(window)

    marked = np.argwhere(image[:, :, 0] > 200)
    np.testing.assert_allclose(marked.mean(axis=0), (np.array(image.shape[:2]) - 1) / 2, atol=0.8)
    assert distance_m(lat, lon, window.lat, window.lon) <= raster.gsd_m


def test_the_footprint_of_a_window_is_the_ground_under_its_pixels(tmp_path):
    path = utm_raster(tmp_path / "m.tif")

    with RasterMap(path) as raster, rasterio.open(path) as dataset:
        window = list(raster.windows(100, 60))[3]
        back = Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True)
        right, bottom = window.col_off + window.width, window.row_off + window.height
        expected = [
            back.transform(*dataset.transform @ (col, row))
            for col, row in [
                (window.col_off, window.row_off),
                (right, window.row_off),
                (right, bottom),
                (window.col_off, bottom),
            ]
        ]

    np.testing.assert_allclose(list(window.footprint.exterior.coords)[:4], expected, atol=1e-10)


# The grid of windows


def test_windows_are_counted_before_they_are_cut(tmp_path):
    with RasterMap(utm_raster(tmp_path / "m.tif", 300, 400)) as raster:
        windows = list(raster.windows(100, 50))

        # The scale on the central meridian is 0.9996, so 100 m are 99.96 px:
        # across 0, 50, ..., 250 and flush 300; down 0, 50, ..., 150 and flush 200.
        assert raster.window_count(100, 50) == len(windows) == 7 * 5
    lefts = sorted({window.col_off for window in windows})
    tops = sorted({window.row_off for window in windows})
    assert lefts == [0, 50, 100, 150, 200, 250, 300]
    assert tops == [0, 50, 100, 150, 200]
    assert [w.row_off for w in windows] == sorted(w.row_off for w in windows)


def test_the_last_windows_end_flush_with_the_edge(tmp_path):
    with RasterMap(utm_raster(tmp_path / "m.tif", 230, 470)) as raster:
        windows = list(raster.windows(100, 100))

    assert max(w.col_off + w.width for w in windows) == 470
    assert max(w.row_off + w.height for w in windows) == 230
    assert sorted({w.col_off for w in windows}) == [0, 100, 200, 300, 370]
    assert sorted({w.row_off for w in windows}) == [0, 100, 130]


@pytest.mark.parametrize("stride_m", [30, 77, 100])
@pytest.mark.parametrize(
    ("crs", "lon", "lat", "pixel"),
    [("EPSG:32632", 9, 48, 1.0), ("EPSG:4326", 9, 65, 1e-5), ("EPSG:3857", 9, 70, 3.0)],
)
def test_no_ground_is_left_out(tmp_path, crs, lon, lat, pixel, stride_m):
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(lon, lat)
    path = write(tmp_path / "m.tif", grey(347, 511), crs, north_up(x, y, pixel, pixel))

    with RasterMap(path) as raster:
        windows = list(raster.windows(100, stride_m))

        assert covered(raster, windows).all()
        assert raster.window_count(100, stride_m) == len(windows)
    assert all(w.col_off >= 0 and w.row_off >= 0 for w in windows)


def test_windows_grow_with_the_scale_of_their_own_row(tmp_path):
    # From 60 to 66 degrees north in web mercator the scale goes from 2 to 2.46.
    forward = Transformer.from_crs("EPSG:4326", "EPSG:3857", always_xy=True)
    (x, south), (_, north) = forward.transform(10, 60), forward.transform(10, 66)
    transform = north_up(x, north, 2000, 2000)
    path = write(tmp_path / "m.tif", grey(int((north - south) / 2000), 60), "EPSG:3857", transform)

    with RasterMap(path) as raster:
        windows = list(raster.windows(20_000, 10_000))

    assert windows[0].width / windows[-1].width == pytest.approx(2.46 / 2.0, rel=0.12)
    np.testing.assert_allclose([size_m(w.footprint) for w in windows], 20_000, rtol=0.06)


def test_windows_are_always_the_same_ones(tmp_path):
    path = utm_raster(tmp_path / "m.tif")
    with RasterMap(path) as first, RasterMap(path) as second:
        assert list(first.windows(70, 33)) == list(second.windows(70, 33))


@pytest.mark.parametrize(("height", "width"), [(60, 60), (60, 300), (300, 60)])
def test_a_raster_smaller_than_a_footprint_gives_windows_that_reach_beyond_it(
    tmp_path, height, width
):
    with RasterMap(utm_raster(tmp_path / "m.tif", height, width)) as raster:
        windows = list(raster.windows(100, 100))
        image, valid = raster.read(windows[0], 50)

    assert len(windows) == (1 if width == height else 3)
    assert size_m(windows[0].footprint) == pytest.approx(100, abs=0.1)
    assert valid == pytest.approx(min(height, 100) * min(width, 100) / 100**2, abs=0.02)
    # Grey where the raster is, black around it.
    assert image[25, 25].tolist() == [90, 90, 90]
    assert (image == 0).all(axis=2).mean() == pytest.approx(1 - valid)


def test_a_window_outside_the_raster_is_empty(tmp_path):
    with RasterMap(utm_raster(tmp_path / "m.tif")) as raster:
        image, valid = raster.read(raster.window_at(48.1, 9.0, 100), 16)

    assert valid == 0
    assert not image.any()


@pytest.mark.parametrize(("footprint_m", "stride_m"), [(0, 10), (100, 0), (-5, 5), (math.nan, 10)])
def test_footprints_and_strides_must_be_positive(tmp_path, footprint_m, stride_m):
    with (
        RasterMap(utm_raster(tmp_path / "m.tif")) as raster,
        pytest.raises(RasterError, match="above 0"),
    ):
        raster.window_count(footprint_m, stride_m)


def test_a_footprint_below_the_resolution_is_refused(tmp_path):
    with (
        RasterMap(utm_raster(tmp_path / "m.tif", pixel_m=10)) as raster,
        pytest.raises(RasterError, match="use a larger footprint"),
    ):
        next(raster.windows(15, 15))


@pytest.mark.parametrize(
    ("footprint_m", "stride_m", "sentence"),
    [(100, 1e-5, r"less than half a pixel of .*m\.tif"), (1e9, 100, r"far wider than .*m\.tif")],
)
def test_windows_that_would_never_end_or_leave_the_earth_are_refused(
    tmp_path, footprint_m, stride_m, sentence
):
    path = utm_raster(tmp_path / "m.tif")
    with RasterMap(path) as raster, pytest.raises(RasterError, match=sentence):
        raster.window_count(footprint_m, stride_m)


# Turned and mirrored grids


def ramp_raster(path, angle_deg=0.0, mirrored=False, pixel_m=1.0, side=600):
    """Red grows by 1 per 2 m east, green per 2 m north, both 128 at 9 E, 48 N."""
    x, y = Transformer.from_crs("EPSG:4326", "EPSG:32632", always_xy=True).transform(9.0, 48.0)
    transform = (
        Affine.translation(x, y)
        @ Affine.rotation(angle_deg)
        @ Affine.scale(pixel_m, pixel_m if mirrored else -pixel_m)
        @ Affine.translation(-side / 2, -side / 2)
    )
    rows, cols = np.mgrid[0:side, 0:side] + 0.5
    a, b, c, d, e, f = transform[:6]
    east, north = a * cols + b * rows + c - x, d * cols + e * rows + f - y
    pixels = np.stack([128 + east / 2, 128 + north / 2, np.full_like(east, 200)], axis=2)
    return write(path, np.clip(np.rint(pixels), 0, 255).astype(np.uint8), "EPSG:32632", transform)


@pytest.mark.parametrize(
    ("angle_deg", "mirrored"),
    [(0, False), (3, False), (30, False), (90, False), (200, False), (0, True)],
)
def test_windows_come_north_up_from_turned_and_mirrored_rasters(tmp_path, angle_deg, mirrored):
    with RasterMap(ramp_raster(tmp_path / "m.tif", angle_deg, mirrored)) as raster:
        window = raster.window_at(48.0, 9.0, 100)
        image, valid = raster.read(window, 50)

    assert valid == 1
    # 50 pixels of 2 m: red is 128 + the columns east of the middle. Turning truncates where it
    # could round. Up to 5 degrees a raster is read as it is: corners move by 25 sin(3) = 1.3 px.
    offsets = np.arange(50) + 0.5 - 25
    tolerance = 2.4 if angle_deg == 3 else 1.6
    np.testing.assert_allclose(image[:, :, 0], np.tile(128 + offsets, (50, 1)), atol=tolerance)
    np.testing.assert_allclose(
        image[:, :, 1], np.tile(128 - offsets[:, None], (1, 50)), atol=tolerance
    )
    assert size_m(window.footprint) == pytest.approx(100, abs=0.2)
    north_west = window.footprint.exterior.coords[0]
    assert north_west[0] < 9
    assert north_west[1] > 48


@pytest.mark.parametrize("angle_deg", [17, 45, 90])
def test_no_ground_of_a_turned_raster_is_left_out(tmp_path, angle_deg):
    path = ramp_raster(tmp_path / "m.tif", angle_deg, side=300)

    with RasterMap(path) as raster, rasterio.open(path) as dataset:
        windows = list(raster.windows(100, 100))
        back = Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True)
        corners = [dataset.transform @ (c, r) for c, r in [(0, 0), (300, 0), (300, 300), (0, 300)]]
        outline = Polygon([back.transform(*corner) for corner in corners])

        assert raster.window_count(100, 100) == len(windows)
    missed = outline.difference(unary_union([window.footprint for window in windows]))
    assert missed.area / outline.area < 1e-4


def test_what_a_turned_raster_does_not_hold_counts_as_empty(tmp_path):
    with RasterMap(ramp_raster(tmp_path / "m.tif", 45, side=100)) as raster:
        # A square of 100 m with a square of the same size, turned by 45 degrees, inside:
        # their intersection is the regular octagon, 2 sqrt(2) - 2 of the square.
        image, valid = raster.read(raster.window_at(48.0, 9.0, 100), 200)

    assert valid == pytest.approx(2 * math.sqrt(2) - 2, abs=0.02)
    assert not image[0, 0].any()


def test_a_polar_grid_is_read_north_up(tmp_path):
    # At 30 E, 75 degrees from its own meridian, this grid's y axis is 75 degrees off north.
    x, y = Transformer.from_crs("EPSG:4326", "EPSG:3413", always_xy=True).transform(30.0, 80.0)
    pixels = grey(400, 400)
    pixels[180:220, 180:220] = 200
    path = write(tmp_path / "m.tif", pixels, "EPSG:3413", north_up(x - 200, y + 200, 1, 1))

    with RasterMap(path) as raster:
        window = raster.window_at(80.0, 30.0, 100)
        _, valid = raster.read(window)

    assert valid == 1
    lon, lat = np.array(window.footprint.exterior.coords)[:4].T
    assert lat[0] == pytest.approx(lat[1], abs=1e-5)
    assert lon[0] == pytest.approx(lon[3], abs=1e-4)


# Across the antimeridian


@pytest.mark.parametrize("crs", ["EPSG:32701", "EPSG:4326", "EPSG:3832"])
def test_windows_across_the_antimeridian_stay_whole(tmp_path, crs):
    lat = -17.0
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(180.0, lat)
    pixel = 1e-5 if crs == "EPSG:4326" else 1.0
    path = write(
        tmp_path / "m.tif",
        grey(200, 600),
        crs,
        north_up(x - 300 * pixel, y + 100 * pixel, pixel, pixel),
    )

    with RasterMap(path) as raster:
        west, _, east, _ = raster.bounds
        windows = list(raster.windows(100, 50))
        at = raster.window_at(lat, -179.9999, 100)
        _, valid = raster.read(at)

    assert 179 < west < 180
    assert -180 < east < -179
    assert valid == 1
    assert distance_m(lat, -179.9999, at.lat, at.lon) < 2
    crossing = 0
    for window in windows:
        assert -180 <= window.lon < 180
        assert window.footprint.bounds[2] - window.footprint.bounds[0] < 0.002
        assert size_m(window.footprint) == pytest.approx(100, abs=1)
        crossing += to_geojson(window.footprint)["type"] == "MultiPolygon"
    assert 0 < crossing < len(windows)


def test_grids_that_count_longitudes_to_360_are_understood(tmp_path):
    path = write(tmp_path / "m.tif", grey(100, 100), "EPSG:4326", north_up(240, 34, 1e-5, 1e-5))

    with RasterMap(path) as raster:
        window = raster.window_at(34 - 5e-4, -120 + 5e-4, 40)
        assert raster.bounds == pytest.approx((-120, 33.999, -119.999, 34))
        assert raster.read(window)[1] == 1
        assert window.lon == pytest.approx(-119.9995, abs=1e-5)


def test_a_map_of_the_whole_earth(tmp_path):
    path = write(tmp_path / "m.tif", grey(180, 360), "EPSG:4326", north_up(-180, 90, 1, 1))

    with RasterMap(path) as raster:
        assert raster.bounds == pytest.approx((-180, -90, 180, 90))
        window = raster.window_at(0.0, 0.0, 1_000_000)
        assert window.width == pytest.approx(9, abs=1)
        assert raster.window_count(2_000_000, 1_000_000) == len(
            list(raster.windows(2_000_000, 1_000_000))
        )


# Pixels of every kind


def test_nodata_counts_as_empty_and_comes_black(tmp_path):
    pixels = grey(300, 400)
    pixels[:, :200] = 255
    path = utm_raster(tmp_path / "m.tif", pixels=pixels, nodata=255)

    with RasterMap(path) as raster:
        image, valid = raster.read(raster.window_at(48.0, 9.0, 100), 100)

    assert valid == pytest.approx(0.5, abs=0.02)
    assert not image[:, :48].any()
    assert (image[:, 52:] == 90).all()


def test_transparency_counts_as_empty(tmp_path):
    pixels = np.dstack([grey(300, 400), np.full((300, 400), 255, np.uint8)])
    pixels[:75, :, 3] = 0
    rgba = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
    path = utm_raster(tmp_path / "m.tif", pixels=pixels, colorinterp=rgba)

    with RasterMap(path) as raster:
        first = next(raster.windows(100, 100))

        assert raster.read(first)[1] == pytest.approx(0.25, abs=0.01)


def test_grey_becomes_rgb(tmp_path):
    path = utm_raster(tmp_path / "m.tif", pixels=grey(300, 400)[:, :, :1])

    with RasterMap(path) as raster:
        image, valid = raster.read(next(raster.windows(100, 100)))

    assert image.shape[2] == 3
    assert (image == 90).all()
    assert valid == 1


def test_palette_indices_become_their_colours_before_they_are_mixed(tmp_path):
    pixels = np.ones((300, 400, 1), np.uint8)
    pixels[:, ::2] = 3
    colors = {1: (255, 0, 0, 255), 2: (0, 0, 255, 255), 3: (0, 255, 0, 255)}
    path = utm_raster(tmp_path / "m.tif", pixels=pixels, colormap=colors)

    with RasterMap(path) as raster:
        image, _ = raster.read(next(raster.windows(100, 100)), 40)

    # The average of indices 1 and 3 would be the blue of 2; that of red and green is half of each.
    assert not image[:, :, 2].any()
    np.testing.assert_allclose(image[:, :, :2], 127.5, atol=30)


def test_the_fourth_band_of_an_aerial_picture_is_left_aside(tmp_path):
    pixels = np.dstack([grey(300, 400), np.zeros((300, 400), np.uint8)])
    colors = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.undefined)
    path = utm_raster(tmp_path / "m.tif", pixels=pixels, colorinterp=colors)

    with RasterMap(path) as raster:
        image, valid = raster.read(next(raster.windows(100, 100)))

    assert (image == 90).all()
    assert valid == 1


def test_bands_are_taken_by_what_they_say_they_are(tmp_path):
    pixels = np.zeros((300, 400, 5), np.uint8)
    pixels[:] = (10, 20, 30, 40, 50)
    colors = [ColorInterp.blue, ColorInterp.green, ColorInterp.red, ColorInterp.undefined]
    path = utm_raster(
        tmp_path / "m.tif", pixels=pixels, colorinterp=[*colors, ColorInterp.undefined]
    )

    with RasterMap(path) as raster:
        image, _ = raster.read(next(raster.windows(100, 100)))

    assert image[0, 0].tolist() == [30, 20, 10]


def test_sixteen_bits_are_stretched_the_same_way_in_every_window(tmp_path):
    # Values 1000..1399 from west to east: the 2nd and 98th percentile are 1008 and 1391.
    ramp = np.tile(np.arange(1000, 1400, dtype=np.uint16), (300, 1))
    path = utm_raster(tmp_path / "m.tif", pixels=np.dstack([ramp] * 3))

    with RasterMap(path) as raster:
        windows = list(raster.windows(100, 100))
        west, middle, _, east = (raster.read(window)[0] for window in windows[:4])

    assert west[50, 2, 0] == 0
    assert east[50, -2, 0] == 255
    assert middle[50, 50, 0] == pytest.approx((1150 - 1008) / (1391 - 1008) * 255, abs=3)


def test_a_tiled_jpeg_with_overviews_is_read_at_the_size_asked_for(tmp_path):
    source = ramp_raster(tmp_path / "m.tif", side=1024, pixel_m=0.5)
    cog = tmp_path / "cog.tif"
    rasterio.shutil.copy(source, cog, driver="COG", compress="JPEG", blocksize=256)

    with rasterio.open(cog) as dataset:
        assert dataset.overviews(1)
        assert dataset.profile["photometric"].lower() == "ycbcr"
    with RasterMap(cog) as raster:
        image, valid = raster.read(raster.window_at(48.0, 9.0, 400), 50)

    assert valid == 1
    offsets = (np.arange(50) + 0.5 - 25) * 8 / 2
    np.testing.assert_allclose(image[:, :, 0].mean(axis=0), 128 + offsets, atol=4)
    np.testing.assert_allclose(image[:, :, 1].mean(axis=1), 128 - offsets, atol=4)


def test_reducing_a_window_averages_it(tmp_path):
    pixels = grey(300, 400, 0)
    pixels[::2, ::2] = pixels[1::2, 1::2] = 255

    with RasterMap(utm_raster(tmp_path / "m.tif", pixels=pixels)) as raster:
        image, _ = raster.read(next(raster.windows(200, 200)), 25)

    # A checkerboard seen from afar is grey; picking pixels would give black and white.
    np.testing.assert_allclose(image, 127.5, atol=8)


def test_a_raster_larger_than_memory_is_read_in_windows(tmp_path):
    path = tmp_path / "huge.tif"
    size = 400_000  # 480 gigabytes of pixels, none of them written
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=size,
        height=size,
        count=3,
        dtype="uint8",
        crs="EPSG:32632",
        transform=north_up(300_000, 5_500_000, 0.5, 0.5),
        tiled=True,
        blockxsize=512,
        blockysize=512,
        compress="deflate",
        SPARSE_OK=True,
        BIGTIFF="YES",
    ) as dataset:
        dataset.write(np.full((3, 512, 512), 77, np.uint8), window=((512, 1024), (512, 1024)))

    with RasterMap(path) as raster:
        windows = raster.windows(256, 256)
        image, _ = raster.read(next(windows), 64)
        assert not image.any()
        east_north = Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True)
        lon, lat = east_north.transform(300_000 + 384, 5_500_000 - 384)
        image, _ = raster.read(raster.window_at(lat, lon, 100), 64)
    assert (image == 77).all()


def test_a_window_may_come_back_from_a_table(tmp_path):
    with RasterMap(utm_raster(tmp_path / "m.tif")) as raster:
        window = next(raster.windows(100, 100))
        from_table = replace(window, width=float(window.width), height=float(window.height))

        np.testing.assert_array_equal(raster.read(from_table)[0], raster.read(window)[0])


def test_threads_may_share_a_raster(tmp_path):
    path = ramp_raster(tmp_path / "m.tif")
    with RasterMap(path) as raster:
        windows = list(raster.windows(60, 60))
        alone = [raster.read(window, 32)[0] for window in windows]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda window: raster.read(window, 32)[0], windows))

    np.testing.assert_array_equal(alone, together)


def test_mbtiles_are_rasters_too(tmp_path):
    source = ramp_raster(tmp_path / "m.tif", side=512)
    path = tmp_path / "m.mbtiles"
    rasterio.shutil.copy(source, path, driver="MBTiles", TILE_FORMAT="PNG")

    with RasterMap(path) as raster:
        image, valid = raster.read(raster.window_at(48.0, 9.0, 100), 20)

    assert valid == 1
    offsets = (np.arange(20) + 0.5 - 10) * 5 / 2
    np.testing.assert_allclose(image[:, :, 0].mean(axis=0), 128 + offsets, atol=3)


# What cannot be placed


def test_a_raster_without_crs_says_how_to_add_one(tmp_path):
    path = write(tmp_path / "m.tif", grey(10, 10), None, north_up(0, 10, 1, 1))

    with pytest.raises(RasterError, match=r"m\.tif has no coordinate reference system.*edit-info"):
        RasterMap(path)


def test_a_raster_without_transform_says_so(tmp_path):
    with pytest.warns(NotGeoreferencedWarning):
        path = write(tmp_path / "m.tif", grey(10, 10), "EPSG:32632", Affine.identity())

    with pytest.raises(RasterError, match=r"m\.tif has no geotransform"):
        RasterMap(path)


@pytest.mark.parametrize(
    ("crs", "x", "y", "pixel"),
    [
        ("EPSG:4326", 24.26, 120.72, 1e-6),  # lat 24, lon 120 written as x, y
        ("EPSG:32611", 3_778_375, 435_416, 0.6),  # northing, easting
    ],
)
def test_swapped_axes_are_noticed(tmp_path, crs, x, y, pixel):
    path = write(tmp_path / "m.tif", grey(50, 50), crs, north_up(x, y, pixel, pixel))

    with pytest.raises(RasterError, match=r"m\.tif lies outside.*axes swapped"):
        RasterMap(path)


def test_a_coordinate_system_of_a_building_site_is_refused(tmp_path):
    local = 'LOCAL_CS["site",UNIT["metre",1],AXIS["x",EAST],AXIS["y",NORTH]]'
    path = write(tmp_path / "m.tif", grey(50, 50), local, north_up(100, 200, 1, 1))

    with pytest.raises(RasterError, match=r"m\.tif cannot be related to WGS-84"):
        RasterMap(path)


def test_a_raster_beyond_the_poles_is_refused(tmp_path):
    path = write(tmp_path / "m.tif", grey(50, 50), "EPSG:4326", north_up(170, 200, 1e-3, 1e-3))

    with pytest.raises(RasterError, match="reaches beyond"):
        RasterMap(path)


def test_floating_point_values_are_refused_with_the_way_out(tmp_path):
    path = utm_raster(tmp_path / "m.tif", pixels=np.ones((30, 30, 1), np.float32))

    with pytest.raises(RasterError, match=r"float32 values.*gdal_translate -ot Byte"):
        RasterMap(path)


def test_two_unnamed_bands_are_refused(tmp_path):
    colors = (ColorInterp.gray, ColorInterp.undefined)
    path = utm_raster(tmp_path / "m.tif", pixels=grey(30, 30)[:, :, :2], colorinterp=colors)

    with pytest.raises(RasterError, match="does not say which are red"):
        RasterMap(path)


@pytest.mark.parametrize("content", [None, b"", b"not a raster"])
def test_a_missing_or_foreign_file_is_refused_by_name(tmp_path, content):
    path = tmp_path / "m.tif"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(RasterError, match=r"m\.tif cannot be opened"):
        RasterMap(path)


def test_a_truncated_raster_fails_at_the_window_that_is_gone(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (512, 512, 3), dtype=np.uint8)
    path = utm_raster(tmp_path / "m.tif", pixels=noise, tiled=True, blockxsize=256, blockysize=256)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 3 // 4])

    with RasterMap(path) as raster:
        *_, last = raster.windows(100, 100)
        with pytest.raises(RasterError, match=r"window at lat .* of .*m\.tif cannot be read"):
            raster.read(last)


# North-up squares


def test_squares_side_by_side_continue_one_another(tmp_path):
    # UTM 32N far from its meridian, where grid north is 2 degrees off: windows would not fit.
    x, y = Transformer.from_crs("EPSG:4326", "EPSG:32632", always_xy=True).transform(11.8, 48.0)
    ramp = np.arange(400).astype(np.float32)
    pixels = np.broadcast_to((ramp / 400 * 255)[None, :, None], (400, 400, 3)).astype(np.uint8)
    path = write(tmp_path / "m.tif", pixels, "EPSG:32632", north_up(x - 200, y + 200, 1, 1))
    frame = LocalFrame(48.0, 11.8)

    with RasterMap(path) as raster:
        halves = []
        for east_m in (-50.0, 50.0):
            lon, lat = frame.to_lonlat(east_m, 0.0)
            halves.append(raster.read_north_up(lat, lon, 100, 100)[0])

    both = np.concatenate(halves, axis=1)[..., 0].astype(int)
    assert np.abs(np.diff(both, axis=1)).max() <= 2


@pytest.mark.parametrize("crs", ["EPSG:32632", "EPSG:4326", "EPSG:3857"])
def test_a_north_up_square_has_a_mark_where_it_lies_and_knows_what_it_lacks(tmp_path, crs):
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(9.0, 48.0)
    pixel = 1.0 if crs != "EPSG:4326" else 1e-5
    pixels = grey(201, 201)
    pixels[99:102, 99:102] = (255, 0, 0)
    # The mark's middle, and the raster's, is pixel (100.5, 100.5).
    path = write(
        tmp_path / "m.tif",
        pixels,
        crs,
        north_up(x - 100.5 * pixel, y + 100.5 * pixel, pixel, pixel),
    )

    with RasterMap(path) as raster:
        east_m = 201 * raster.gsd_m / 2 - 10
        lon, lat = LocalFrame(48.0, 9.0).to_lonlat(east_m, 0.0)
        middle, whole = raster.read_north_up(48.0, 9.0, 61 * raster.gsd_m, 61)
        _, edge = raster.read_north_up(lat, lon, 40, 40)

    marked = np.argwhere(middle[:, :, 0] > 200)
    np.testing.assert_allclose(marked.mean(axis=0), (30, 30), atol=0.6)
    assert whole.all()
    if crs == "EPSG:32632":  # 30 of the square's 40 metres are on the raster
        np.testing.assert_allclose(edge.mean(axis=1), 0.75, atol=0.05)


@pytest.mark.parametrize(("crs", "edge_m"), [("EPSG:3857", 20037508.342789244), ("EPSG:3832", 0.0)])
def test_a_mercator_map_goes_on_beyond_its_edge(tmp_path, crs, edge_m):
    # EPSG:3832 has 150 degrees east in its middle: 180 is nowhere near its edge.
    if not edge_m:
        edge_m = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(179.99999999, 0)[
            0
        ]
    pixels = np.arange(100 * 200, dtype=np.uint16).reshape(100, 200)[:, :, None] // 2
    transform = north_up(edge_m - 100 * 10, 500, 10, 10)
    path = write(tmp_path / "a.tif", np.repeat(pixels, 3, axis=2), crs, transform)

    with RasterMap(path) as raster:
        cols, rows = raster.to_pixels([0.0, 0.0, 0.0], [179.999, 180.0, -179.999])
        window = raster.window_at(0.0, -179.999, 100)
        _, valid = raster.read(window)

    # A thousandth of a degree is 111.3 m, or 11.13 pixels.
    np.testing.assert_allclose(cols, [100 - 11.132, 100, 100 + 11.132], atol=0.01)
    np.testing.assert_allclose(rows, 50, atol=0.1)
    assert valid == 1.0
    assert distance_m(window.lat, window.lon, 0.0, -179.999) < 10
