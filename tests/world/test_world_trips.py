"""Maps and photos the planet writes, read by the readers that real files go through."""

import math
from datetime import datetime

import numpy as np
import pytest
import rasterio
from pyproj import Geod, Transformer
from world_stage import red_center

from geobridge.errors import WorldError
from geobridge.geo.photos import ground_width_m, read_photo_metadata
from geobridge.imagery.decode import read_image
from geobridge.imagery.street import street_field
from geobridge.world.planet import Town
from geobridge.world.trips import open_town, write_flight, write_map, write_walk


def test_the_map_is_where_it_says(tmp_path):
    town = open_town("albion/0")
    write_map(town, tmp_path / "town.tif", gsd_m=1.5, date=2)
    with rasterio.open(tmp_path / "town.tif") as raster:
        assert (raster.width, raster.height, raster.count) == (600, 600, 3)
        assert raster.crs.to_epsg() == town.crs.to_epsg()
        assert raster.profile["tiled"]
        to_map = Transformer.from_crs("EPSG:4326", raster.crs, always_xy=True)
        place = town.place_at(90, -30)
        col, row = ~raster.transform @ to_map.transform(place.lon, place.lat)
        assert (col, row) == pytest.approx((300 + 60, 300 + 20), abs=0.01)
        pixels = raster.read().transpose(1, 2, 0)
    # What the map shows there is what a satellite picture of the place shows.
    col, row = round(col), round(row)
    around = pixels[row - 16 : row + 16, col - 16 : col + 16]
    same = town.render("satellite", place, size=32, gsd_m=1.5, date=2)
    assert np.abs(around.astype(int) - same).mean() < 1


def test_nadir_drone_photos_tell_position_height_heading_and_width(tmp_path):
    town = open_town("albion/0")
    paths = write_flight(
        town, tmp_path, count=2, altitude_m=90, yaw_deg=200, focal_35mm=30, width=64
    )
    for path, place in zip(paths, town.places(2), strict=True):
        meta = read_photo_metadata(path)
        assert (meta.lat, meta.lon) == pytest.approx((place.lat, place.lon), abs=1e-7)
        assert meta.relative_altitude_m == pytest.approx(90)
        assert meta.yaw_deg == pytest.approx(200, abs=0.01)
        assert meta.pitch_deg == pytest.approx(-90)
        assert (meta.width, meta.height) == (64, 48)
        # 35-mm equivalence by diagonals: a 4:3 picture is 34.6 mm wide.
        assert ground_width_m(meta) == pytest.approx(90 * 34.613 / 30, rel=1e-3)


def test_oblique_drones_stand_back_from_what_they_look_at(tmp_path):
    town = open_town("albion/0")
    path = write_flight(
        town, tmp_path, count=1, altitude_m=100, pitch_deg=-45, yaw_deg=70, width=32
    )[0]
    meta, place = read_photo_metadata(path), town.places(1)[0]
    azimuth, _, distance = Geod(ellps="WGS84").inv(meta.lon, meta.lat, place.lon, place.lat)
    assert distance == pytest.approx(100, rel=1e-3)
    assert azimuth % 360 == pytest.approx(70, abs=0.05)
    assert meta.pitch_deg == pytest.approx(-45)


def test_a_flight_along_a_track_knows_where_it_was_and_when(tmp_path):
    town, geod = open_town("albion/0"), Geod(ellps="WGS84")
    track = [town.to_latlon(0, 0), town.to_latlon(80, 0), town.to_latlon(80, 100)]
    paths = write_flight(town, tmp_path, track=track, every_m=50, altitude_m=70, width=16)
    assert [path.name for path in paths] == [f"drone_{i:04d}.jpg" for i in range(5)]
    # 180 m of way: photos at 0, 50, 100, 150 and 180 m, the third 20 m behind the corner.
    ways = [(0, 0), (50, 0), (80, 20), (80, 70), (80, 100)]
    metas = [read_photo_metadata(path) for path in paths]
    for meta, (x, y) in zip(metas, ways, strict=True):
        assert (meta.lat, meta.lon) == pytest.approx(town.to_latlon(x, y), abs=1e-7)
        assert meta.relative_altitude_m == pytest.approx(70)
    ahead = [
        geod.inv(metas[i].lon, metas[i].lat, metas[j].lon, metas[j].lat)[0] % 360
        for i, j in ((0, 1), (2, 3), (3, 4))
    ]
    assert [metas[i].yaw_deg for i in (0, 2, 3)] == pytest.approx(ahead, abs=0.05)
    # At 5 m/s; the camera's clock has whole seconds.
    taken = [datetime.fromisoformat(meta.datetime) for meta in metas]
    seconds = [(later - taken[0]).total_seconds() for later in taken]
    assert seconds == pytest.approx([0, 10, 20, 30, 36], abs=1)


def test_an_oblique_drone_on_a_track_stands_on_it_and_looks_ahead(tmp_path, stage):
    # A red block 100 m north of the track's end, which a camera at 100 m and 45 degrees centres.
    stage.red_box(0, 100, half=4)
    town = stage.town
    track = [(*town.to_latlon(0, -40), 60), (*town.to_latlon(0, 0), 100)]
    last = write_flight(town, tmp_path, track=track, pitch_deg=-45, width=128, date=0)[-1]
    meta = read_photo_metadata(last)
    assert (meta.lat, meta.lon) == pytest.approx(town.to_latlon(0, 0), abs=1e-7)
    assert (meta.relative_altitude_m, meta.pitch_deg) == pytest.approx((100, -45))
    assert red_center(read_image(last))[:2] == pytest.approx((48, 64), abs=2)


def test_a_heading_that_is_given_holds_along_the_track(tmp_path):
    town = open_town("albion/0")
    track = [town.to_latlon(0, 0), town.to_latlon(40, 0)]
    for path in write_flight(town, tmp_path, track=track, yaw_deg=200, width=16):
        assert read_photo_metadata(path).yaw_deg == pytest.approx(200, abs=0.01)


def test_flights_that_cannot_be_leave_nothing(tmp_path):
    town, out = open_town("albion/0"), tmp_path / "f"
    track = [town.to_latlon(0, 0), town.to_latlon(40, 0)]
    with pytest.raises(WorldError, match="a count of photos or a track"):
        write_flight(town, out, count=3, track=track)
    with pytest.raises(WorldError, match="No drone flies at 5 m"):
        write_flight(town, out, track=[(*point, 5.0) for point in track])
    with pytest.raises(WorldError, match="No drone flies"):
        write_flight(town, out, track=track, pitch_deg=0)
    with pytest.raises(WorldError, match="lies outside"):
        write_flight(town, out, track=[track[0], town.to_latlon(0, 451)])
    with pytest.raises(WorldError, match="width of 16"):
        write_flight(town, out, track=track, width=8)
    assert not out.exists()


def test_walks_are_whole_panoramas_that_know_their_heading(tmp_path):
    town = open_town("albion/0")
    for path, place in zip(
        write_walk(town, tmp_path, count=2, height=32), town.places(2), strict=True
    ):
        meta = read_photo_metadata(path)
        assert meta.projection == "equirectangular"
        assert (meta.panorama_width_deg, meta.panorama_height_deg) == (360, 180)
        assert (meta.lat, meta.lon) == pytest.approx((place.lat, place.lon), abs=1e-7)
        assert meta.yaw_deg == pytest.approx(
            (place.heading_deg + town.convergence_deg) % 360, abs=0.01
        )


@pytest.mark.parametrize(
    # 35-mm equivalence by diagonals: half of 34.613 mm over the tangent of half the field is
    # 17.31, 27.17 and 9.99, of which the nearest whole numbers are written.
    ("fov_deg", "focal_35mm"),
    [(90, 17), (65, 27), (120, 10)],
)
def test_plain_street_photos_read_back_with_their_field_and_heading(tmp_path, fov_deg, focal_35mm):
    town = open_town("albion/0")
    paths = write_walk(town, tmp_path, count=2, fov_deg=fov_deg, height=48)
    for path, place in zip(paths, town.places(2), strict=True):
        meta = read_photo_metadata(path)
        assert (meta.width, meta.height, meta.focal_35mm) == (64, 48, focal_35mm)
        assert meta.projection is None
        assert (meta.lat, meta.lon) == pytest.approx((place.lat, place.lon), abs=1e-7)
        assert meta.yaw_deg == pytest.approx(
            (place.heading_deg + town.convergence_deg) % 360, abs=0.01
        )
        field = street_field(meta.width, meta.height, meta)
        assert not field.is_panorama
        # Between whole millimetres lie up to 4 degrees.
        assert field.horizontal_fov_deg == pytest.approx(fov_deg, abs=2)
        half_height = math.tan(math.radians(field.horizontal_fov_deg / 2)) * 48 / 64
        assert field.vertical_fov_deg == pytest.approx(math.degrees(2 * math.atan(half_height)))


@pytest.mark.parametrize("fov_deg", [40, 90])
def test_a_plain_street_photo_shows_what_lies_at_its_angles(tmp_path, stage, monkeypatch, fov_deg):
    # A red pillar 30 m ahead of a place and 8 m to the right of its heading, grid north.
    stage.red_box(8, 30, half=1, top=4.0)
    place = stage.town.place_at(0, 0)
    monkeypatch.setattr(Town, "places", lambda *_: [place])
    path = write_walk(stage.town, tmp_path, count=1, fov_deg=fov_deg, height=96, date=0)[0]
    meta = read_photo_metadata(path)
    field = street_field(meta.width, meta.height, meta)
    half_width = math.tan(math.radians(field.horizontal_fov_deg / 2))
    # Its front is 29 m away: that is where most of it is seen.
    col = 64 * (1 + 8 / 29 / half_width)
    assert red_center(read_image(path))[1] == pytest.approx(col, abs=2)


def test_files_that_cannot_be_are_refused(tmp_path):
    town = open_town("albion/0")
    with pytest.raises(WorldError, match=r"end in \.tif"):
        write_map(town, tmp_path / "town.png")
    with pytest.raises(WorldError, match="dates 0 to 7"):
        write_map(town, tmp_path / "town.tif", date=9)
    with pytest.raises(WorldError, match="No drone flies"):
        write_flight(town, tmp_path, pitch_deg=20)
    with pytest.raises(WorldError, match="at least one"):
        write_walk(town, tmp_path, count=0)
    for fov_deg in (10, 130):
        with pytest.raises(WorldError, match="degrees wide: choose 15 to 120"):
            write_walk(town, tmp_path, fov_deg=fov_deg)
    assert not list(tmp_path.iterdir())
