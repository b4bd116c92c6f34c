"""Shares of footprints with data, against every pixel looked at."""

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from pyproj import Transformer
from rasterio import Affine
from rasterio.enums import ColorInterp, Resampling

from geobridge.errors import RasterError
from geobridge.geo.coverage import Coverage
from geobridge.geo.footprint import footprint_around
from geobridge.geo.rasters import RasterMap

EAST_M, NORTH_M = 500_000.0, 5_300_000.0


def write(path, pixels, transform, crs="EPSG:32632", alpha=None, **options):
    """(H, W, 3) pixels as a GeoTIFF, with an alpha band where one is given."""
    bands = [*np.moveaxis(pixels, 2, 0), *([] if alpha is None else [alpha])]
    with rasterio.open(
        path, "w", driver="GTiff", width=pixels.shape[1], height=pixels.shape[0],
        count=len(bands), dtype=pixels.dtype, crs=crs, transform=transform, **options,
    ) as dataset:  # fmt: skip
        if alpha is not None:
            colors = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
            dataset.colorinterp = colors
        dataset.write(np.stack(bands))
    return path


def framed(height, width, frame):
    """Nodata 0 around 90."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[frame:-frame, frame:-frame] = 90
    return pixels


def position(x, y):
    """Latitude and longitude of a pixel of a 1 m raster on the central meridian of UTM 32."""
    to_lonlat = Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True)
    lon, lat = to_lonlat.transform(EAST_M + x, NORTH_M - y)
    return lat, lon


def test_shares_are_those_of_the_pixels(tmp_path):
    pixels = framed(600, 800, 50)
    path = write(tmp_path / "a.tif", pixels, Affine(1, 0, EAST_M, 0, -1, NORTH_M), nodata=0)
    centers = [(100, 100), (400, 300), (60, 300), (0, 0), (790, 590), (900, 300)]
    squares = [footprint_around(*position(x, y), 100, 100) for x, y in centers]

    with RasterMap(path) as raster:
        shares = Coverage(raster, 100).shares(squares)

    valid = np.pad(pixels[:, :, 0] > 0, 200)
    by_hand = [valid[y + 150 : y + 250, x + 150 : x + 250].mean() for x, y in centers]
    assert by_hand[1] == 1.0
    assert by_hand[5] == 0.0
    np.testing.assert_allclose(shares, by_hand, atol=0.02)


def test_a_turned_raster_covers_what_its_pixels_lie_on(tmp_path):
    # Turned by 45 degrees: the north-up square of its own half diagonal touches its sides.
    half = np.sqrt(0.5)
    transform = (
        Affine.translation(EAST_M, NORTH_M) @ Affine.rotation(45) @ Affine.scale(1, -1)
        @ Affine.translation(-200, -200)
    )  # fmt: skip
    path = write(tmp_path / "a.tif", np.full((400, 400, 3), 90, np.uint8), transform)
    lat, lon = position(0, 0)

    with RasterMap(path) as raster:
        coverage = Coverage(raster, 400 * half)
        inner, outer = coverage.shares(
            [footprint_around(lat, lon, side, side) for side in (398 * half, 2 * 400 * half)]
        )

    assert inner == 1.0
    # A square over its corners has twice its area.
    assert outer == pytest.approx(0.5, abs=0.02)


def test_transparency_and_overviews_count(tmp_path):
    alpha = np.full((512, 512), 255, np.uint8)
    alpha[:, 256:] = 0
    pixels = np.full((512, 512, 3), 90, np.uint8)
    transform = Affine(1, 0, EAST_M, 0, -1, NORTH_M)
    path = write(tmp_path / "a.tif", pixels, transform, alpha=alpha, tiled=True)
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2, 4, 8], Resampling.nearest)
    squares = [footprint_around(*position(x, 256), 256, 256) for x in (128, 256, 384)]

    with RasterMap(path) as raster:
        shares = Coverage(raster, 256).shares(squares)

    np.testing.assert_allclose(shares, [1, 0.5, 0], atol=0.02)


def test_a_mask_has_a_cell_for_the_rest_of_a_raster(tmp_path):
    path = write(
        tmp_path / "a.tif", framed(105, 203, 20), Affine(1, 0, EAST_M, 0, -1, NORTH_M), nodata=0
    )

    with RasterMap(path) as raster:
        mask = raster.read_mask(10)

    assert mask.shape == (11, 21)
    assert mask[5, 10]
    assert not mask[0].any()
    assert not mask[-1].any()


def test_no_footprints_have_no_shares(tmp_path):
    path = write(tmp_path / "a.tif", framed(50, 50, 5), Affine(1, 0, EAST_M, 0, -1, NORTH_M))

    with RasterMap(path) as raster:
        assert Coverage(raster, 10).shares([]).tolist() == []


def test_the_pixel_size_at_a_position_is_that_of_the_ground_there(tmp_path):
    # Degrees: a pixel becomes narrower towards the pole, by the cosine of the latitude.
    path = write(
        tmp_path / "a.tif", framed(200, 200, 5), Affine(1e-2, 0, 9, 0, -1e-2, 51), crs="EPSG:4326"
    )

    with RasterMap(path) as raster:
        south, north = raster.gsd_at_m([49.1, 50.9], [10.0, 10.0])

    cosines = np.cos(np.radians([49.1, 50.9]))
    assert south / north == pytest.approx(np.sqrt(cosines[0] / cosines[1]), rel=1e-3)


def test_what_an_opener_gives_is_a_geotiff_or_refused(tmp_path):
    path = write(tmp_path / "a.tif", framed(50, 50, 5), Affine(1, 0, EAST_M, 0, -1, NORTH_M))
    names_it = tmp_path / "a.vrt"
    rasterio.shutil.copy(path, names_it, driver="VRT")

    with RasterMap(names_it) as raster:
        assert raster.width == 50
    with RasterMap("a stranger's", lambda: path.open("rb", buffering=0)) as raster:
        assert raster.width == 50
    with pytest.raises(RasterError):
        RasterMap("a stranger's", lambda: names_it.open("rb", buffering=0))


def test_tags_are_those_of_the_file(tmp_path):
    path = write(tmp_path / "a.tif", framed(50, 50, 5), Affine(1, 0, EAST_M, 0, -1, NORTH_M))
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(TIFFTAG_COPYRIGHT="Town")
        dataset.update_tags(ns="IMAGERY", ACQUISITIONDATETIME="2021-04-05 10:00:00")

    with RasterMap(path) as raster:
        assert raster.tags["TIFFTAG_COPYRIGHT"] == "Town"
        assert raster.tags["ACQUISITIONDATETIME"] == "2021-04-05 10:00:00"


def test_a_mask_that_cannot_be_read_is_named(tmp_path):
    path = write(
        tmp_path / "a.tif", framed(512, 512, 50), Affine(1, 0, EAST_M, 0, -1, NORTH_M),
        nodata=0, compress="deflate",
    )  # fmt: skip
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)

    with RasterMap(path) as raster, pytest.raises(RasterError, match=r"mask of .* cannot be read"):
        raster.read_mask(4)
