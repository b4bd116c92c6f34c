"""The real rasters and photos beside the project, where they are there."""

import csv
import os
from pathlib import Path

import pytest

from geobridge.geo.distance import distance_m
from geobridge.geo.footprint import size_m
from geobridge.geo.photos import ground_width_m, read_photo_metadata
from geobridge.geo.rasters import RasterMap

DATA = Path(os.environ.get("GEOBRIDGE_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not DATA.is_dir(), reason="the real pictures are not beside the project"),
]


def table(path):
    with (DATA / path).open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_map_in_degrees_is_cut_into_ground_squares():
    with RasterMap(DATA / "fongyuan" / "satellite_map.tif") as raster:
        windows = list(raster.windows(100, 25))
        image, valid = raster.read(windows[100], 128)

        # 667 x 627 m: (667 - 100) / 25 + 1 and (627 - 100) / 25 + 1, the last ones flush.
        assert raster.window_count(100, 25) == len(windows) == 24 * 23
        assert raster.gsd_m == pytest.approx(0.16, abs=0.005)
    assert image.shape == (128, 128, 3)
    assert valid == 1
    assert all(size_m(window.footprint) == pytest.approx(100, abs=0.2) for window in windows)


def test_positions_on_the_map_are_the_pixels_its_table_says():
    with RasterMap(DATA / "fongyuan" / "satellite_map.tif") as raster:
        for row in table("fongyuan/drone.csv"):
            window = raster.window_at(float(row["lat"]), float(row["lon"]), 100)
            assert window.col_off + window.width / 2 == pytest.approx(float(row["map_px_x"]), abs=1)
            assert window.row_off + window.height / 2 == pytest.approx(
                float(row["map_px_y"]), abs=1
            )


def test_aerial_tiles_in_utm_lie_where_their_table_says():
    for row in table("naip_years/tiles.csv")[::100]:
        with RasterMap(DATA / "naip_years" / row["file"]) as raster:
            bounds = tuple(float(row[side]) for side in ("west", "south", "east", "north"))
            assert raster.bounds == pytest.approx(bounds, abs=1e-6)
            assert raster.gsd_m == pytest.approx(0.6, abs=0.001)
            assert raster.window_count(150, 150) == 4


def test_drone_photos_state_position_heading_and_height():
    for row in table("fongyuan/drone.csv"):
        meta = read_photo_metadata(DATA / "fongyuan" / row["file"])
        assert distance_m(meta.lat, meta.lon, float(row["lat"]), float(row["lon"])) < 0.1
        assert meta.yaw_deg == pytest.approx(float(row["flight_yaw_deg"]) % 360, abs=0.06)
        assert meta.relative_altitude_m == pytest.approx(float(row["rel_alt_m"]), abs=0.01)
        # Overlapping neighbours, phase correlation over their GPS distance: 1.36 heights wide.
        assert 1.25 < ground_width_m(meta) / meta.relative_altitude_m < 1.55


@pytest.mark.parametrize("folder", ["exif_drone", "exif_street"])
def test_photos_lie_where_their_table_says(folder):
    for row in table(f"{folder}/gps.csv"):
        meta = read_photo_metadata(DATA / folder / row["file"])
        assert distance_m(meta.lat, meta.lon, float(row["lat"]), float(row["lon"])) < 0.1
