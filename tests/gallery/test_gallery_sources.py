import math
import tracemalloc

import geopandas
import numpy as np
import pandas
import pytest
import rasterio
import shapely
from affine import Affine
from gallery_fakes import noise, write_map, write_photo
from PIL import Image

from geobridge.errors import PlacesError, RasterError, SourceError
from geobridge.gallery.sources import ReferenceItem, Skipped, open_source
from geobridge.gallery.sources.items import LeftOutError
from geobridge.geo.footprint import footprint_around, size_m
from geobridge.places.place import Place
from geobridge.places.table import write_places


def read_all(source):
    """Items and what was left out while listing them."""
    with_all = list(source)
    items = [item for item in with_all if isinstance(item, ReferenceItem)]
    return items, [item for item in with_all if isinstance(item, Skipped)]


def write_picture(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(32, 32, seed)).save(path)
    return path


# Rasters


def test_a_map_is_cut_into_windows_of_one_ground_size(tmp_path):
    path = write_map(tmp_path / "map.tif", noise(200, 300))
    source = open_source(path, "satellite", footprint_m=100, stride_m=50)
    items, left_out = read_all(source)
    assert source.kind == "raster"
    assert left_out == []
    # Every 50 m from 0 to 100 m down and from 0 to 200 m across.
    assert len(items) == source.total() == 3 * 5
    assert [item.window for item in items[:2]] == [(0, 0, 100, 100), (50, 0, 100, 100)]
    for item in items:
        assert size_m(item.footprint) == pytest.approx(100, abs=0.1)
        column, row, width, height = item.window
        expected = noise(200, 300)[row : row + height, column : column + width]
        np.testing.assert_array_equal(item.load(), expected)


def test_items_are_the_same_in_every_run_and_all_different(tmp_path):
    path = write_map(tmp_path / "map.tif", noise(200, 300))
    runs = [[i.ref_id for i in open_source(path, "satellite")] for _ in range(2)]
    assert runs[0] == runs[1]
    assert len(set(runs[0])) == len(runs[0])
    other_view = {item.ref_id for item in open_source(path, "drone")}
    assert not other_view & set(runs[0])


def test_what_is_done_is_not_handed_out_again(tmp_path):
    path = write_map(tmp_path / "map.tif", noise(200, 300))
    ids = [item.ref_id for item in open_source(path, "satellite")]
    left = [item.ref_id for item in open_source(path, "satellite").items(set(ids[3:]))]
    assert left == ids[:3]


def test_a_raster_larger_than_memory_is_read_window_by_window(tmp_path):
    """400,000 x 400,000 pixels are 480 GB; all but one corner of the file is sparse."""
    path = tmp_path / "huge.tif"
    side = 400_000
    profile = {"driver": "GTiff", "height": side, "width": side, "count": 3, "dtype": "uint8"}
    transform = Affine(0.5, 0, 400_000, 0, -0.5, 5_400_000)
    with rasterio.open(
        path, "w", **profile, crs="EPSG:32633", transform=transform, tiled=True, SPARSE_OK=True
    ) as raster:
        raster.write(np.moveaxis(noise(512, 512), 2, 0), window=((0, 512), (0, 512)))
    source = open_source(path, "satellite", footprint_m=100, stride_m=100_000)
    items, _ = read_all(source)
    tracemalloc.start()
    pictures = [item.load() for item in items]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(items) == 9
    np.testing.assert_array_equal(pictures[0], noise(512, 512)[:200, :200])
    assert peak < 10e6


def test_windows_much_finer_than_any_encoder_takes_are_reduced_while_read(tmp_path):
    path = write_map(tmp_path / "map.tif", noise(1200, 1200), gsd_m=0.1)
    for footprint_m, side in ((60, 600), (120, 512)):
        source = open_source(path, "satellite", footprint_m=footprint_m, stride_m=500)
        assert next(iter(source)).load().shape == (side, side, 3)


def test_a_map_that_lacks_its_place_is_one_clear_error(tmp_path):
    path = tmp_path / "map.tif"
    Image.fromarray(noise(64, 64)).save(path)
    with pytest.raises(RasterError, match=r"map\.tif has no geotransform"):
        open_source(path, "satellite")
    path.write_bytes(b"II*\x00 and then nothing")
    with pytest.raises(RasterError, match=r"map\.tif cannot be opened"):
        open_source(path, "satellite")


def test_a_folder_of_maps_passes_over_a_bad_one(tmp_path):
    write_map(tmp_path / "a.tif", noise(100, 100, 1))
    (tmp_path / "b").mkdir()
    write_map(tmp_path / "b" / "c.tif", noise(100, 200, 2))
    Image.fromarray(noise(64, 64)).save(tmp_path / "nowhere.tif")
    (tmp_path / "a.tfw").write_text("")
    source = open_source(tmp_path, "satellite", footprint_m=100, stride_m=100)
    items, left_out = read_all(source)
    assert source.kind == "raster"
    assert [item.path for item in items] == ["a.tif", "b/c.tif", "b/c.tif"]
    assert [(s.path, s.outcome, s.reason) for s in left_out] == [
        ("a.tfw", "skipped", "not a picture"),
        ("nowhere.tif", "unreadable", "unreadable picture"),
    ]
    np.testing.assert_array_equal(items[2].load(), noise(100, 200, 2)[:, 100:])


# Tiles


@pytest.mark.parametrize("name", ["1/1/0.png", "1_1_0.png"])
def test_a_tile_covers_the_ground_its_name_says(tmp_path, name):
    write_picture(tmp_path / name)
    source = open_source(tmp_path, "satellite", whole_tiles=True)
    [item], _ = read_all(source)
    assert source.kind == "tiles"
    # The north-eastern quarter of the web map: from the equator to atan(sinh(pi)).
    north = math.degrees(math.atan(math.sinh(math.pi)))
    assert item.footprint.bounds == pytest.approx((0, 0, 180, north))
    assert item.lon == pytest.approx(90)
    np.testing.assert_array_equal(item.load(), noise(32, 32))


def test_files_among_tiles_that_are_none_are_noted(tmp_path):
    for name in ("3/1/1.png", "3/1/2.png", "3/1/3.png", "3/1/4.png", "3/1/5.png"):
        write_picture(tmp_path / name)
    write_picture(tmp_path / "legend.png")
    write_picture(tmp_path / "3" / "1" / "99.png")
    (tmp_path / "metadata.json").write_text("{}")
    (tmp_path / ".DS_Store").write_text("")
    items, left_out = read_all(open_source(tmp_path, "satellite", whole_tiles=True))
    assert len(items) == 5
    strange = {
        ("legend.png", "not named like a tile"),
        ("3/1/99.png", "not named like a tile"),
        ("metadata.json", "not a picture"),
    }
    assert {(s.path, s.reason) for s in left_out} == strange
    write_picture(tmp_path / "2" / "0" / "0.png")
    write_picture(tmp_path / "3_1_1.png")
    source = open_source(tmp_path, "satellite", footprint_m=5e6, stride_m=2.5e6)
    items, left_out = read_all(source)
    assert {item.path for item in items} == {"3/1/1"}
    assert {(s.path, s.reason) for s in left_out} == strange | {
        ("2/0/0.png", "tile of a coarser zoom"),
        # The folder's own files come first, and the second of a tile is left out.
        ("3/1/1.png", "listed twice"),
    }
    assert source.total() == len(items) + len(left_out)
    done = {one.ref_id for one in (*items[1:], *left_out[1:])}
    assert [one.ref_id for one in source.items(done)] == [left_out[0].ref_id, items[0].ref_id]


def write_tiles(folder, picture, west, north):
    """A picture as tiles of 32 pixels at zoom 18; at the equator they are 153 m wide."""
    folder.mkdir(exist_ok=True)
    for row in range(picture.shape[0] // 32):
        for column in range(picture.shape[1] // 32):
            part = picture[32 * row : 32 * row + 32, 32 * column : 32 * column + 32]
            Image.fromarray(part).save(folder / f"18_{west + column}_{north + row}.png")


def test_tiles_are_cut_into_overlapping_windows_like_a_map(tmp_path):
    picture = noise(64, 96)
    write_tiles(tmp_path, picture, 2**17, 2**17 - 2)
    (tmp_path / f"18_{2**17 + 1}_{2**17 - 1}.png").unlink()
    # A pixel is 4.78 m: windows of 24 pixels every 12, the last flush with the edge.
    options = {"footprint_m": 24 * 4.777, "stride_m": 12 * 4.777, "min_valid": 0.6}
    source = open_source(tmp_path, "satellite", **options)
    items, left_out = read_all(source)
    assert source.kind == "mosaic"
    assert left_out == []
    assert source.total() == len(items) == 5 * 7
    assert [item.window[:2] for item in items[:8]] == [
        (0, 0), (12, 0), (24, 0), (36, 0), (48, 0), (60, 0), (72, 0), (0, 12),
    ]  # fmt: skip
    has_data = np.ones((64, 96), bool)
    has_data[32:, 32:64] = False
    refused = 0
    for item in items:
        assert item.path == f"18/{2**17}/{2**17 - 2}"
        column, row, width, height = item.window
        assert (width, height) == (24, 24)
        # At the equator Mercator's degrees are the same both ways, to a millionth.
        degrees = 360 / 2**18 / 32
        assert item.lon == pytest.approx((column + 12) * degrees, abs=1e-8)
        assert item.lat == pytest.approx((64 - row - 12) * degrees, abs=1e-6)
        cut = slice(row, row + height), slice(column, column + width)
        if has_data[cut].mean() < 0.6:
            refused += 1
            with pytest.raises(LeftOutError, match="no data"):
                item.load()
        else:
            expected = np.where(has_data[cut][..., None], picture[cut], 0)
            np.testing.assert_array_equal(item.load(), expected)
    assert 0 < refused < len(items)
    source.close()


def test_tiles_of_places_far_apart_are_maps_of_their_own(tmp_path):
    write_tiles(tmp_path, noise(64, 64, 1), 2**17, 2**17)
    write_tiles(tmp_path, noise(64, 64, 2), 5, 2**17)
    write_tiles(tmp_path, noise(32, 32, 3), 90_000, 2**17 + 3)
    source = open_source(tmp_path, "satellite", footprint_m=300, stride_m=300)
    items, left_out = read_all(source)
    assert left_out == []
    assert {item.path for item in items} == {
        f"18/{x}/{y}" for x, y in ((2**17, 2**17), (5, 2**17), (90_000, 2**17 + 3))
    }
    assert len(items) == source.total() < 12
    # Ten times as wide as the smallest place is too wide for it, and for it alone.
    source = open_source(tmp_path, "satellite", footprint_m=1600, stride_m=1600)
    items, left_out = read_all(source)
    assert len(items) == 2
    [narrow] = left_out
    assert (narrow.outcome, narrow.path) == ("unreadable", f"18/90000/{2**17 + 3}")
    assert "far wider" in narrow.detail
    assert source.total() == 3


def test_windows_that_tiles_cannot_give_are_refused_before_anything_is_begun(tmp_path):
    write_tiles(tmp_path, noise(32, 32), 2**17, 2**17)
    with pytest.raises(RasterError, match="smaller than 2 pixels"):
        open_source(tmp_path, "satellite", footprint_m=5)
    for file in tmp_path.iterdir():
        file.write_bytes(b"")
    with pytest.raises(RasterError, match="no tile of"):
        open_source(tmp_path, "satellite")


# Tables


def write_table(folder, text):
    write_picture(folder / "a.png", 1)
    write_picture(folder / "b.png", 2)
    (folder / "t.csv").write_text(text)
    return folder / "t.csv"


@pytest.mark.parametrize(
    "header", ["path,west,south,east,north", "Image,min_lon,min_lat,max_lon,max_lat"]
)
def test_a_table_with_bounds(tmp_path, header):
    path = write_table(tmp_path, f"{header}\na.png,15,48,15.002,48.001\nb.png,16,48,16.1,48.2\n")
    source = open_source(path, "satellite")
    items, left_out = read_all(source)
    assert (source.kind, left_out) == ("table", [])
    assert items[0].footprint.bounds == (15, 48, 15.002, 48.001)
    assert (items[0].lat, items[0].lon) == (pytest.approx(48.0005), pytest.approx(15.001))
    np.testing.assert_array_equal(items[1].load(), noise(32, 32, 2))


def test_bounds_across_the_antimeridian(tmp_path):
    path = write_table(tmp_path, "path,west,south,east,north\na.png,179.9,-17,-179.7,-16.8\n")
    [item], _ = read_all(open_source(path, "satellite"))
    assert item.footprint.bounds == pytest.approx((179.9, -17, 180.3, -16.8))
    assert item.lon == pytest.approx(-179.9)


def test_a_table_with_positions_sizes_and_words(tmp_path):
    path = write_table(
        tmp_path,
        "file,latitude,lng,size_m,date,place_id,text\n"
        "a.png,48,15,250,2024-05-01,007,a river\nb.png,48.5,15.5,,,,\n",
    )
    items, left_out = read_all(open_source(path, "drone", footprint_m=80))
    assert left_out == []
    first, second = items
    assert (first.date, first.place_id, first.text) == ("2024-05-01", "007", "a river")
    assert (second.date, second.place_id, second.text) == (None, None, None)
    assert size_m(first.footprint) == pytest.approx(250, rel=1e-3)
    assert size_m(second.footprint) == pytest.approx(80, rel=1e-3)
    assert (second.lat, second.lon) == (pytest.approx(48.5), pytest.approx(15.5))


def test_rows_that_cannot_be_placed_are_noted_one_by_one(tmp_path):
    path = write_table(
        tmp_path,
        "path,lat,lon\na.png,48,15\n,48,15\nb.png,,15\nb.png,91,15\nb.png,0,0\nb.png,nan,15\n"
        "b.png,x,15\na.png,48,15\nmissing.png,48,15\n",
    )
    items, left_out = read_all(open_source(path, "drone"))
    # A file that is not there is only met when it is read.
    assert [item.path for item in items] == ["a.png", "missing.png"]
    assert [(s.outcome, s.reason) for s in left_out] == [
        ("skipped", "no path"),
        ("skipped", "no position"),
        ("unreadable", "impossible position"),
        ("unreadable", "impossible position"),
        ("skipped", "no position"),
        ("unreadable", "impossible position"),
        ("skipped", "listed twice"),
    ]
    assert "row 4 of" in left_out[2].detail
    assert len({s.ref_id for s in left_out}) == 7


@pytest.mark.parametrize("bounds", ["15,49,16,48", "15,48,15,49", "48,15,49,95", "0,0,nan,1"])
def test_bounds_that_hold_no_ground(tmp_path, bounds):
    path = write_table(tmp_path, f"path,west,south,east,north\na.png,{bounds}\n")
    items, left_out = read_all(open_source(path, "drone"))
    assert items == []
    assert left_out[0].reason in ("impossible position", "no position")


def test_texts_of_a_table_are_references_where_they_are_asked_for(tmp_path):
    path = write_table(
        tmp_path, "path,lat,lon,text\na.png,48,15,a river\na.png,48,15,a bend\n,48,15,a ford\n"
    )
    source = open_source(path, "drone", text=True)
    items, left_out = read_all(source)
    assert source.modalities == ("drone", "text")
    assert [(i.modality, i.load() if i.modality == "text" else i.path) for i in items] == [
        ("drone", "a.png"),
        ("text", "a river"),
        ("text", "a bend"),
        ("text", "a ford"),
    ]
    assert [s.reason for s in left_out] == ["listed twice"]
    assert source.total() == 6 > len(items)


def test_parquet_and_geoparquet_tables(tmp_path):
    write_picture(tmp_path / "a.png")
    rows = {"path": ["a.png"], "lat": [48.0], "lon": [15.0]}
    pandas.DataFrame(rows).to_parquet(tmp_path / "t.parquet")
    [item], _ = read_all(open_source(tmp_path / "t.parquet", "drone"))
    assert (item.lat, item.lon) == (pytest.approx(48), pytest.approx(15))
    polygon = footprint_around(48, 15, 120, 60)
    for geometry, lat in ((polygon, 48), (shapely.Point(15, 48), 48)):
        frame = geopandas.GeoDataFrame({"path": ["a.png"]}, geometry=[geometry], crs="EPSG:4326")
        frame.to_crs("EPSG:3857").to_parquet(tmp_path / "g.parquet")
        [item], _ = read_all(open_source(tmp_path / "g.parquet", "drone"))
        assert (item.lat, item.lon) == (pytest.approx(lat), pytest.approx(15))
        side_m = math.sqrt(120 * 60) if geometry is polygon else 100
        assert size_m(item.footprint) == pytest.approx(side_m, rel=1e-3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read as a table"),
        ("path,lat,lon\n", "has no rows"),
        ("name,lat,lon\na.png,48,15\n", "no column of paths: name it path or file"),
        ("path,lat\na.png,48\n", "does not say where its pictures are"),
    ],
)
def test_tables_that_cannot_be_sources(tmp_path, text, message):
    with pytest.raises(SourceError, match=message):
        open_source(write_table(tmp_path, text), "drone")


def test_a_table_that_is_none(tmp_path):
    for name in ("t.parquet", "t.csv"):
        (tmp_path / name).write_bytes(b"PAR1\xff\xfe\x00 not a table")
        with pytest.raises(SourceError, match=r"cannot be read as a table|has no rows|no column"):
            open_source(tmp_path / name, "drone")


# Photos


def test_a_photo_that_says_only_where_it_is_gets_a_square_around_it(tmp_path):
    path = tmp_path / "p" / "a.jpg"
    write_photo(path, lat=-33.5, lon=151.25, date="2024:05:01 10:11:12")
    source = open_source(tmp_path / "p", "street", footprint_m=60)
    [item], _ = read_all(source)
    assert source.kind == "photos"
    assert (item.lat, item.lon) == (pytest.approx(-33.5), pytest.approx(151.25))
    assert size_m(item.footprint) == pytest.approx(60, rel=1e-3)
    assert item.date == "2024-05-01T10:11:12"
    # 60 x 40 pixels without a focal length: 65 degrees along the longer side.
    assert item.field.horizontal_fov_deg == pytest.approx(65)


def test_a_nadir_drone_photo_covers_the_ground_below_it(tmp_path):
    """100 m up, 35-mm focal length 27.7: a 4:3 sensor is 34.6 mm wide there, so 125 m across."""
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description drone-dji:RelativeAltitude="+100.0"'
        b' drone-dji:GimbalPitchDegree="-90.0" drone-dji:GimbalYawDegree="90.0"'
        b' drone-dji:GimbalRollDegree="0.0"/></x:xmpmeta>'
    )
    path = write_photo(tmp_path / "a.jpg", lat=48, lon=15)
    with Image.open(path) as image:
        exif = image.getexif()
        exif.get_ifd(0x8769)[0xA405] = 28
        Image.fromarray(noise(60, 80)).save(path, exif=exif, xmp=xmp)
    [item], _ = read_all(open_source(path, "drone"))
    sensor_mm = math.hypot(36, 24) * 0.8
    width_m = 100 * sensor_mm / 28
    assert size_m(item.footprint) == pytest.approx(width_m * math.sqrt(0.75), rel=1e-3)
    # Facing east, the picture's width lies from north to south.
    west, south, east, north = item.footprint.bounds
    assert (north - south) * 111_200 == pytest.approx(width_m, rel=2e-3)
    assert (east - west) * 111_200 * math.cos(math.radians(48)) < width_m * 0.76


# Places


def test_places_give_one_view_and_their_texts(tmp_path):
    square = footprint_around(48, 15, 70, 70)
    write_picture(tmp_path / "satellite" / "a.png", 5)
    places = [
        Place("a", 48.0, 15.0, square, satellite=tmp_path / "satellite" / "a.png", text="a river"),
        Place("b", 48.0, 15.0, square, text="a field"),
    ]
    write_places(tmp_path, places)
    source = open_source(tmp_path, "satellite", text=True)
    items, left_out = read_all(source)
    assert source.kind == "places"
    assert source.total() == len(items) + len(left_out) == 4
    picture, river, field = items
    assert (picture.path, picture.place_id, picture.text) == ("satellite/a.png", "a", "a river")
    assert picture.footprint.equals(square)
    np.testing.assert_array_equal(picture.load(), noise(32, 32, 5))
    assert [(i.modality, i.place_id, i.load()) for i in (river, field)] == [
        ("text", "a", "a river"),
        ("text", "b", "a field"),
    ]
    assert [(s.reason, s.detail) for s in left_out] == [("no picture of this view", "place b")]
    assert [i.modality for i in read_all(open_source(tmp_path, "satellite"))[0]] == ["satellite"]


def test_the_layout_of_the_release_is_places_and_flights_sorted_by_view_are_photos(tmp_path):
    write_picture(tmp_path / "release" / "test" / "satellite" / "15_48_15.001_48.001.png")
    source = open_source(tmp_path / "release", "satellite")
    [item], _ = read_all(source)
    assert source.kind == "places"
    assert item.path == "test/satellite/15_48_15.001_48.001.png"
    assert item.footprint.bounds == pytest.approx((15, 48, 15.001, 48.001))
    write_photo(tmp_path / "flights" / "may" / "drone" / "DJI_001.jpg", lat=48, lon=15)
    source = open_source(tmp_path / "flights", "drone")
    assert source.kind == "photos"
    assert len(read_all(source)[0]) == 1


def test_a_broken_places_data_set_is_one_clear_error(tmp_path):
    (tmp_path / "places.parquet").write_bytes(b"nothing")
    with pytest.raises(PlacesError, match=r"places\.parquet"):
        open_source(tmp_path, "satellite")


# What is no source


def test_what_is_no_source(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "a.txt").write_text("words")
    (tmp_path / "gallery").mkdir()
    (tmp_path / "gallery" / "gallery.json").write_text("{}")
    for path, message in (
        ("missing", "does not exist"),
        ("empty", "holds no pictures: index a GeoTIFF"),
        ("words", "holds no pictures"),
        ("words/a.txt", "is of no kind we read"),
        ("gallery", "is a gallery"),
    ):
        with pytest.raises(SourceError, match=message):
            open_source(tmp_path / path, "drone")


def test_options_that_cannot_be(tmp_path):
    path = write_map(tmp_path / "map.tif", noise(100, 100))
    for options, message in (
        ({"footprint_m": 0}, "footprint of 0 m"),
        ({"stride_m": -1}, "stride of -1 m"),
        ({"footprint_m": math.nan}, "footprint of nan m"),
        ({"min_valid": 1.5}, "share of 1.5"),
        ({"text": True}, "holds no texts"),
    ):
        with pytest.raises(SourceError, match=message):
            open_source(path, "satellite", **options)
    with pytest.raises(SourceError, match="not a view"):
        open_source(path, "text")
