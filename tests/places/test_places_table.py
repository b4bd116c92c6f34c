from pathlib import Path

import geopandas
import pytest
from shapely import Point, box

from geobridge.errors import PlacesError
from geobridge.places.release import footprint_name
from geobridge.places.table import (
    TABLE_NAME,
    Place,
    is_places,
    iter_places,
    read_places,
    write_places,
)  # fmt: skip

FOOTPRINT = box(9.0, 45.0, 9.001, 45.001)


def picture(folder: Path, name: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"jpeg")
    return path


def a_place(name: str = "a", **others) -> Place:
    known = {"lat": 45.0005, "lon": 9.0005, "footprint": FOOTPRINT, "text": "A street."}
    return Place(place_id=name, **{**known, **others})


def test_what_is_written_reads_back(tmp_path):
    rows = [
        a_place("a", drone=picture(tmp_path, "drone/a.jpg"), split="train", country="x"),
        a_place("b", street=picture(tmp_path, "street/b.jpg"), text=None, licence="CC0"),
        a_place("c"),
    ]
    write_places(tmp_path, rows)
    assert list(iter_places(tmp_path)) == rows
    assert list(iter_places(tmp_path, split="train")) == rows[:1]
    assert is_places(tmp_path)


def test_the_table_opens_as_plain_geoparquet(tmp_path):
    write_places(tmp_path, [a_place(drone=picture(tmp_path, "drone/a.jpg"))])
    frame = geopandas.read_parquet(tmp_path / TABLE_NAME)
    assert frame.crs.to_epsg() == 4326
    assert frame.geometry.iloc[0].equals(FOOTPRINT)
    assert frame["point"].iloc[0].equals(Point(9.0005, 45.0005))
    assert frame["drone"].iloc[0] == "drone/a.jpg"
    assert frame["street"].iloc[0] is None


def test_relative_paths_and_relative_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture(tmp_path, "set/drone/a.jpg")
    for path in (Path("drone/a.jpg"), Path("set/drone/a.jpg"), tmp_path / "set/drone/a.jpg"):
        write_places("set", [a_place(drone=path)])
        assert next(iter_places("set")).drone == Path("set/drone/a.jpg")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": None}, "neither picture nor text"),
        ({"lat": 95.0}, "point of place 'a'"),
        ({"lat": float("nan")}, "place 'a'"),
        ({"lat": 0.0, "lon": 0.0}, "lat 0, lon 0"),
        ({"footprint": Point(9, 45).buffer(0)}, "no valid footprint"),
        ({"drone": Path("drone/gone.jpg")}, "does not exist"),
        ({"drone": Path("../outside.jpg")}, "leads out of the folder"),
        ({"drone": Path("/elsewhere/a.jpg")}, "lies outside"),
        ({"place_id": ""}, "without a place_id"),
    ],
)
def test_a_row_that_breaks_the_format_is_named_and_nothing_is_written(tmp_path, changes, message):
    known = {"place_id": "a", "lat": 45.0, "lon": 9.0, "footprint": FOOTPRINT, "text": "A street."}
    with pytest.raises(PlacesError, match=message):
        write_places(tmp_path, [Place(**{**known, **changes})])
    assert not (tmp_path / TABLE_NAME).exists()


def test_ids_are_unique(tmp_path):
    with pytest.raises(PlacesError, match="'a' twice"):
        write_places(tmp_path, [a_place(), a_place()])


def test_reading_checks_too(tmp_path):
    write_places(tmp_path, [a_place(drone=picture(tmp_path, "drone/a.jpg"))])
    (tmp_path / "drone/a.jpg").unlink()
    with pytest.raises(PlacesError, match=r"'drone/a\.jpg', which does not exist"):
        read_places(tmp_path)


def test_foreign_tables_may_lack_optional_columns_but_not_the_others(tmp_path):
    frame = geopandas.GeoDataFrame(
        {
            "place_id": ["a"],
            "text": ["A street."],
            "point": geopandas.GeoSeries([Point(9, 45)], crs=4326),
        },
        geometry=[FOOTPRINT], crs=4326,
    ).rename_geometry("footprint")  # fmt: skip
    frame.to_parquet(tmp_path / TABLE_NAME)
    assert next(iter_places(tmp_path)).split is None
    frame.drop(columns="point").to_parquet(tmp_path / TABLE_NAME)
    with pytest.raises(PlacesError, match="no column 'point'"):
        read_places(tmp_path)
    frame.to_crs(3857).to_parquet(tmp_path / TABLE_NAME)
    with pytest.raises(PlacesError, match="not in WGS-84"):
        read_places(tmp_path)


def test_broken_and_absent_data_sets(tmp_path):
    assert not is_places(tmp_path)
    with pytest.raises(PlacesError, match="is no places data set"):
        read_places(tmp_path)
    (tmp_path / TABLE_NAME).write_bytes(b"PAR1 and then nothing")
    with pytest.raises(PlacesError, match="cannot be read as GeoParquet"):
        read_places(tmp_path)
    write_places(tmp_path, [a_place(split="train")])
    with pytest.raises(PlacesError, match="no split 'exam': choose one of train"):
        next(iter_places(tmp_path, split="exam"))


def test_the_release_layout(tmp_path):
    stem = "9.0_45.0_9.002_45.001"
    picture(tmp_path, f"train/drone/{stem}.jpg")
    picture(tmp_path, f"train/satellite/{stem}.jpg")
    picture(tmp_path, "test/street/-71.2_42.1_-71.1_42.3.png")
    (tmp_path / "train" / "drone.csv").write_text(f'id,text\n{stem}.jpg,"A street, a river."\n')
    first, second = sorted(iter_places(tmp_path), key=lambda place: place.lon, reverse=True)
    assert first.place_id == stem
    assert (first.lat, first.lon) == pytest.approx((45.0005, 9.001))
    assert first.footprint.bounds == pytest.approx((9.0, 45.0, 9.002, 45.001))
    assert first.text == "A street, a river."
    assert first.street is None
    assert first.satellite == tmp_path / f"train/satellite/{stem}.jpg"
    assert (second.split, second.text) == ("test", None)
    assert second.street is not None


def test_release_footprints_in_any_corner_order_and_across_the_antimeridian(tmp_path):
    picture(tmp_path, "train/drone/9.002_45.001_9.0_45.0.jpg")
    picture(tmp_path, "train/drone/179.999_-17.0_-179.999_-16.999.jpg")
    crossing, plain = sorted(iter_places(tmp_path), key=lambda place: place.lat)
    assert plain.footprint.bounds == pytest.approx((9.0, 45.0, 9.002, 45.001))
    assert abs(crossing.lon) == pytest.approx(180)
    west, _, east, _ = crossing.footprint.bounds
    assert east - west == pytest.approx(0.002)


@pytest.mark.parametrize(
    ("corners", "name"),
    [
        ((9.0, 45.0, 9.002, 45.00123456), "9.0000000_45.0000000_9.0020000_45.0012346"),
        ((179.999, -17, 180.001, -16.999), "179.9990000_-17.0000000_-179.9990000_-16.9990000"),
        ((-1e-9, 1, 1, 2), "0.0000000_1.0000000_1.0000000_2.0000000"),
    ],
)
def test_a_footprint_is_found_again_by_its_name(tmp_path, corners, name):
    assert footprint_name(box(*corners)) == name
    picture(tmp_path, f"train/drone/{name}.jpg")
    (place,) = iter_places(tmp_path)
    west, south, east, north = place.footprint.bounds
    assert east - west == pytest.approx(corners[2] - corners[0], abs=1e-6)
    assert (south, north) == pytest.approx((corners[1], corners[3]), abs=1e-6)


@pytest.mark.parametrize(
    "name", ["street.jpg", "1_2_3.jpg", "9_95_9.1_45.jpg", "9_45_9_45.jpg", "nan_1_2_3.jpg"]
)
def test_release_names_must_be_footprints(tmp_path, name):
    picture(tmp_path, f"train/drone/{name}")
    with pytest.raises(PlacesError, match=r"train.drone"):
        read_places(tmp_path)


def test_release_texts_need_their_header(tmp_path):
    picture(tmp_path, "train/drone/9.0_45.0_9.002_45.001.jpg")
    (tmp_path / "train" / "drone.csv").write_text("name,words\n1,2\n")
    with pytest.raises(PlacesError, match="columns id and text"):
        read_places(tmp_path)
