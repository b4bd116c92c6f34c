"""Places data sets the planet writes, read as any other is."""

import json
import math

import pytest
from pyproj import Geod

from geobridge.errors import WorldError
from geobridge.imagery.decode import read_image
from geobridge.places.table import iter_places, read_places
from geobridge.world import World
from geobridge.world.build import Recipe, build_places, parse_missing

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


def test_the_recipe_lies_beside_the_places(tmp_path):
    build_places(tmp_path, ["prairie"], 1, RECIPE, workers=1)
    assert json.loads((tmp_path / "world.json").read_text())["size"] == 16
