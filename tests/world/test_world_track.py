"""Tracks of files, and the points on them where a drone takes its photos."""

import json
import math

import pytest

from geobridge.errors import WorldError
from geobridge.world.track import TrackPoint, read_track, stations

LINE = {"type": "LineString", "coordinates": [[-3.0, 52.5], [-2.9, 52.6]]}
FEATURE = {"type": "Feature", "properties": {"name": "a"}, "geometry": LINE}
POINT = {"type": "Feature", "properties": {}, "geometry": {"type": "Point", "coordinates": [1, 2]}}
CORNERS = [(52.5, -3.0, None), (52.6, -2.9, None)]


def written(folder, name, content):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize(
    "content",
    [
        LINE,
        FEATURE,
        {"type": "FeatureCollection", "features": [POINT, FEATURE]},
        {"type": "MultiLineString", "coordinates": [LINE["coordinates"]]},
    ],
)
def test_geojson_gives_its_line_with_latitude_first(tmp_path, content):
    assert read_track(written(tmp_path, "a.geojson", content)) == CORNERS
    assert read_track(written(tmp_path, "a.json", content)) == CORNERS


def test_altitudes_are_read_from_both_formats(tmp_path):
    line = {"type": "LineString", "coordinates": [[-3.0, 52.5, 80], [-2.9, 52.6, 120.5]]}
    wanted = [TrackPoint(52.5, -3.0, 80.0), TrackPoint(52.6, -2.9, 120.5)]
    assert read_track(written(tmp_path, "a.geojson", line)) == wanted
    table = "name,altitude_m, lon,lat\na,80,-3.0,52.5\nb,120.5,-2.9,52.6\n"
    assert read_track(written(tmp_path, "a.csv", table)) == wanted
    assert read_track(written(tmp_path, "b.CSV", "lat,lon\n52.5,-3\n52.6,-2.9\n")) == CORNERS


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.gpx", "<gpx/>", r"named \.csv or \.geojson"),
        ("a.geojson", "{", "cannot be read as GeoJSON"),
        ("a.geojson", {"a": 1}, "cannot be read as GeoJSON"),
        ("a.geojson", POINT, "holds 0 LineStrings"),
        ("a.geojson", {"type": "FeatureCollection", "features": [FEATURE, FEATURE]}, "holds 2"),
        ("a.csv", "", "cannot be read as a table"),
        ("a.csv", "lat,lng\n1,2\n", "no columns lat and lon"),
        ("a.csv", "lat,lon\n52.5,east\n", "a word where a number"),
        ("a.csv", "lat,lon\n52.5,-3\n52.6,\n", r"Point 2 of .*a\.csv is lat 52\.6, lon nan"),
        ("a.csv", "lat,lon\n-3.0,52.5\n120.6,8\n", "Point 2 .*swapped"),
    ],
)
def test_files_without_a_track_are_refused_by_name(tmp_path, name, content, message):
    path = written(tmp_path, name, content)
    with pytest.raises(WorldError, match=message) as caught:
        read_track(path)
    assert name in str(caught.value)


def test_a_file_that_is_missing_or_no_text_is_refused(tmp_path):
    with pytest.raises(WorldError, match="cannot be read"):
        read_track(tmp_path / "none.csv")
    (tmp_path / "a.geojson").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(WorldError, match="no text in UTF-8"):
        read_track(tmp_path / "a.geojson")
    (tmp_path / "a.csv").write_bytes(b"lat,lon\n\xff\xfe,2\n")
    with pytest.raises(WorldError, match="no text in UTF-8"):
        read_track(tmp_path / "a.csv")


def at(town, *points):
    """A track through points given in metres (and altitude)."""
    return [TrackPoint(*town.to_latlon(x, y), *altitude) for x, y, *altitude in points]


def test_stations_stand_at_even_steps_round_the_corner_and_at_the_end(town):
    # 100 m east, then 50 m north: photos at 0, 40, 80, 120 and at the end, 150.
    found = stations(town, at(town, (0, 0), (100, 0), (100, 50)), 40)
    assert [station.along_m for station in found] == pytest.approx([0, 40, 80, 120, 150], abs=1e-3)
    flat = [value for station in found for value in (station.x_m, station.y_m)]
    assert flat == pytest.approx([0, 0, 40, 0, 80, 0, 100, 20, 100, 50], abs=1e-3)
    assert [s.heading_deg for s in found] == pytest.approx([90, 90, 90, 0, 0], abs=1e-3)
    assert {station.altitude_m for station in found} == {None}


def test_a_corner_that_is_a_station_looks_where_the_way_goes_on(town):
    found = stations(town, at(town, (0, 0), (0, -60), (0, -60), (-60, -60)), 30)
    assert len(found) == 5
    assert [s.heading_deg for s in found] == pytest.approx([180, 180, 270, 270, 270], abs=1e-3)


def test_altitudes_change_evenly_between_corners(town):
    found = stations(town, at(town, (0, 0, 50), (100, 0, 150)), 25)
    assert [s.altitude_m for s in found] == pytest.approx([50, 75, 100, 125, 150], abs=1e-3)


def test_plain_pairs_are_a_track_too(town):
    pairs = [town.to_latlon(0, 0), town.to_latlon(30, 40)]
    found = stations(town, pairs, 900)
    assert [station.along_m for station in found] == pytest.approx([0, 50], abs=1e-3)
    assert found[0].heading_deg == pytest.approx(math.degrees(math.atan2(30, 40)), abs=1e-3)


def test_tracks_that_cannot_be_flown_are_refused(town):
    inside = at(town, (0, 0), (50, 50))
    for every_m in (0, 0.5, -3, 1000, math.nan):
        with pytest.raises(WorldError, match="apart"):
            stations(town, inside, every_m)
    for short in ([], inside[:1], inside[:1] * 3):
        with pytest.raises(WorldError, match="no length"):
            stations(town, short, 30)
    with pytest.raises(WorldError, match="Points 1 and 2 of the track differ"):
        stations(town, at(town, (0, 0), (50, 50, 100)), 30)
    with pytest.raises(WorldError, match="lies outside"):
        stations(town, [*inside, TrackPoint(math.nan, 0.0)], 30)


def test_a_point_outside_is_named_with_the_bounds_of_the_town(town):
    south, west = town.to_latlon(-450, -450)
    with pytest.raises(WorldError) as caught:
        stations(town, [*at(town, (0, 0)), (12.5, 99.25)], 30)
    assert "Point 2 of the track, lat 12.50000 lon 99.25000, lies outside albion/0@0" in str(
        caught.value
    )
    assert f"lat {south:.5f} to" in str(caught.value)
    assert f"lon {west:.5f} to" in str(caught.value)
    assert len(stations(town, at(town, (-449, 449), (449, -449)), 900)) == 3
