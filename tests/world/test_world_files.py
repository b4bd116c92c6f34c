"""Files the planet writes, read by the readers that real files go through."""

import json
import math

import numpy as np
import pytest
import rasterio
from pyproj import Geod, Transformer

from geobridge.errors import WorldError
from geobridge.geo.photos import ground_width_m, read_photo_metadata
from geobridge.imagery.decode import read_image
from geobridge.places.table import iter_places, read_places
from geobridge.world import World
from geobridge.world.build import (
    Recipe,
    build_places,
    open_town,
    parse_missing,
    write_flight,
    write_map,
    write_walk,
)  # fmt: skip

RECIPE = Recipe(places=4, size=16, seed=2)


def bytes_of(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_data_set_reads_back_with_every_view(tmp_path):
    calls = []
    build_places(
        tmp_path / "p", ["albion", "edo"], 1, RECIPE, workers=1,
        progress=lambda done, total: calls.append((done, total)),
    )  # fmt: skip
    places = list(iter_places(tmp_path / "p"))
    assert len(places) == 8
    assert {place.split for place in places if place.country == "albion"} == {"train"}
    assert {place.split for place in places if place.country == "edo"} == {"test"}
    town = World(2).town("albion", 0)
    for place, made in zip(places, town.places(4), strict=False):
        assert (place.lat, place.lon) == (made.lat, made.lon)
        assert place.text == town.describe(made)
        assert read_image(place.street).shape == (16, 64, 3)
        assert read_image(place.satellite).shape == read_image(place.drone).shape == (16, 16, 3)
    assert calls[0] == (0, 8)
    assert calls[-1] == (8, 8)


def test_footprint_is_centred_on_the_place_and_as_large_as_the_satellite(tmp_path):
    build_places(tmp_path, ["levant"], 1, RECIPE, workers=1)
    geod = Geod(ellps="WGS84")
    for place in iter_places(tmp_path):
        center = place.footprint.centroid
        assert geod.inv(place.lon, place.lat, center.x, center.y)[2] < 0.01
        area, _ = geod.geometry_area_perimeter(place.footprint)
        assert math.sqrt(abs(area)) == pytest.approx(16 * 0.8, rel=1e-3)


def test_an_interrupted_build_continues_to_the_same_bytes(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    build_places(whole, ["albion", "edo"], 1, RECIPE, workers=1)

    class StopError(Exception):
        pass

    def stop(done, total):
        if 4 <= done < total:
            raise StopError

    with pytest.raises(StopError):
        build_places(broken, ["albion", "edo"], 1, RECIPE, workers=1, progress=stop)
    assert not (broken / "places.parquet").exists()
    finished = (broken / ".towns" / "albion-0.json").stat().st_mtime_ns
    build_places(broken, ["albion", "edo"], 1, RECIPE, workers=1)
    assert (broken / ".towns" / "albion-0.json").stat().st_mtime_ns == finished
    assert bytes_of(whole) == bytes_of(broken)


def test_missing_modalities_are_missing_at_their_rate(tmp_path):
    recipe = Recipe(places=40, size=8, missing=parse_missing("text=0.5, drone=1"))
    build_places(tmp_path, ["prairie"], 1, recipe, workers=1)
    frame = read_places(tmp_path)
    assert frame["drone"].isna().all()
    assert 10 <= frame["text"].isna().sum() <= 30
    assert frame["satellite"].notna().all()
    assert not list((tmp_path / "drone").iterdir())


def test_everything_missing_leaves_one_modality(tmp_path):
    all_missing = parse_missing("drone=1,street=1,satellite=1,text=1")
    build_places(tmp_path, ["prairie"], 1, Recipe(places=5, size=8, missing=all_missing), workers=1)
    frame = read_places(tmp_path)
    held = frame[["drone", "street", "satellite", "text"]].notna().sum(axis=1)
    assert (held == 1).all()


def test_another_recipe_or_a_foreign_folder_is_refused(tmp_path):
    build_places(tmp_path / "p", ["prairie"], 1, RECIPE, workers=1)
    with pytest.raises(WorldError, match="another recipe"):
        build_places(tmp_path / "p", ["prairie"], 1, Recipe(places=4, size=24, seed=2), workers=1)
    foreign = tmp_path / "f"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    with pytest.raises(WorldError, match="not empty"):
        build_places(foreign, ["prairie"], 1, RECIPE, workers=1)
    assert [path.name for path in foreign.iterdir()] == ["thesis.txt"]
    with pytest.raises(WorldError, match="no region"):
        build_places(tmp_path / "g", ["nowhere"], 1, RECIPE)


@pytest.mark.parametrize("text", ["drone", "boat=0.1", "drone=2", "text=x"])
def test_bad_shares_are_refused(text):
    with pytest.raises(WorldError, match="no share"):
        parse_missing(text)


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
    assert not (tmp_path / "town.tif").exists()


def test_the_recipe_lies_beside_the_places(tmp_path):
    build_places(tmp_path, ["prairie"], 1, RECIPE, workers=1)
    assert json.loads((tmp_path / "world.json").read_text())["size"] == 16
