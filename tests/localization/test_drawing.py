import base64
import dataclasses
import io
import re

import numpy as np
import pyarrow as pa
import pytest
import shapely
from PIL import Image

from geobridge.errors import QueryError
from geobridge.geo.distance import LocalFrame
from geobridge.geo.footprint import footprint_around, footprint_from_bounds
from geobridge.localization.basemap import (
    Basemap,
    Scene,
    _paint_picture,
    paint_basemap,
    picture_corners,
    scene_around,
)
from geobridge.localization.drawing import ESTIMATE_COLOR, MAP_PX, draw_map, scale_bar
from geobridge.localization.estimate import Candidate, Estimate
from geobridge.localization.query import Query

RED = tuple(int(ESTIMATE_COLOR[i : i + 2], 16) for i in (1, 3, 5))


def candidate(lat, lon, rank=1, path="a.png", source="", size_m=100.0, agrees=True):
    return Candidate(
        rank=rank, ref_id=path, similarity=0.9, lat=lat, lon=lon, distance_m=0.0, size_m=size_m,
        modality="satellite", source=source, path=path, window=None, place_id=None, text=None,
        date=None, yaw_deg=None, agrees=agrees,
        footprint=footprint_around(lat, lon, size_m, size_m),
    )  # fmt: skip


def estimate(candidates, lat=48.0, lon=11.0, radius_m=120.0):
    return Estimate(
        lat=lat, lon=lon, radius_m=radius_m, probability=0.9, confidence=0.5, within_m=100.0,
        calibrated=False, yaw_deg=None, modalities=("drone",), candidates=tuple(candidates),
    )  # fmt: skip


def rows(candidates):
    """The gallery's metadata of these candidates."""
    names = ["ref_id", "modality", "lat", "lon", "size_m", "source", "path", "window"]
    columns = {name: [getattr(c, name) for c in candidates] for name in names}
    columns["window"] = pa.array(columns["window"], pa.list_(pa.float64()))
    columns["footprint"] = [shapely.to_wkb(c.footprint) for c in candidates]
    return pa.table(columns)


def test_pixels_are_metres_from_the_top_left_corner_of_the_ground():
    scene = Scene(48.0, 11.0, width_m=400.0, size_px=200)
    lon, lat = LocalFrame(48.0, 11.0).to_lonlat([0.0, 200.0, -100.0], [0.0, 200.0, 50.0])
    assert scene.pixels(lon, lat) == pytest.approx(
        np.array([[100, 100], [200, 0], [50, 75]]), abs=1e-6
    )


def test_the_scene_holds_radius_and_candidates_and_leaves_another_town_out():
    near, far = candidate(48.002, 11.0), candidate(48.9, 11.0, rank=2)
    scene = scene_around(estimate([near, far], radius_m=80.0), 100)
    inside = scene.pixels(*np.asarray(near.footprint.exterior.coords).T)
    assert (inside > 0).all()
    assert (inside < 100).all()
    # From 80 m south to 222 + 50 m north, and a margin.
    assert scene.width_m == pytest.approx((80 + 222.4 + 50) * 1.15, rel=0.01)


def test_turned_pictures_keep_their_corners_and_others_go_by_their_bounds():
    turned = footprint_around(48.0, 11.0, 100, 60, yaw_deg=90)
    assert picture_corners(turned) == pytest.approx(np.array(turned.exterior.coords)[:-1])
    box = footprint_from_bounds(11.0, 48.0, 11.1, 48.2)
    assert picture_corners(box).tolist() == [[11.0, 48.2], [11.1, 48.2], [11.1, 48.0], [11.0, 48.0]]


def test_a_turned_picture_lies_on_its_footprint(tmp_path):
    # The left half red, the right half blue; its top faces east, so red is in the north.
    picture = np.zeros((40, 40, 3), np.uint8)
    picture[:, :20, 0] = 255
    picture[:, 20:, 2] = 255
    Image.fromarray(picture).save(tmp_path / "turned.png")
    basemap = Basemap(Scene(48.0, 11.0, width_m=200.0, size_px=200))
    footprint = footprint_around(48.0, 11.0, 100, 100, yaw_deg=90)
    corners = basemap.scene.pixels(*picture_corners(footprint).T)
    _paint_picture(basemap, tmp_path / "turned.png", corners)
    assert basemap.image.getpixel((100, 70)) == (255, 0, 0)
    assert basemap.image.getpixel((100, 130)) == (0, 0, 255)
    assert basemap.covered.sum() == pytest.approx(100 * 100, rel=0.05)
    assert not basemap.covered[100, 20]


def test_neighbouring_tiles_meet_without_a_seam(tmp_path):
    Image.new("RGB", (300, 300), (200, 200, 200)).save(tmp_path / "tile.png")
    basemap = Basemap(Scene(48.0, 11.0, width_m=400.0, size_px=150))
    for west in (10.998, 11.0):
        footprint = footprint_from_bounds(west, 47.999, west + 0.002, 48.001)
        corners = basemap.scene.pixels(*picture_corners(footprint).T)
        _paint_picture(basemap, tmp_path / "tile.png", corners)
    painted = np.asarray(basemap.image)[basemap.covered]
    assert basemap.covered[75, 30:120].all()
    assert (painted == 200).all()


def test_the_best_candidate_lies_on_top_of_what_it_overlaps(tmp_path):
    for name, color in (("a.png", (255, 0, 0)), ("b.png", (0, 0, 255))):
        Image.new("RGB", (30, 30), color).save(tmp_path / name)
    source = str(tmp_path)
    best = candidate(48.0, 11.0, path="a.png", source=source)
    below = candidate(48.0, 11.0, path="b.png", source=source, size_m=300.0)
    basemap = paint_basemap(estimate([best]), rows([below, best]), 200)
    middle = basemap.image.getpixel((100, 100))
    beside = basemap.scene.pixels(*LocalFrame(48.0, 11.0).to_lonlat(100.0, 0.0))[0]
    assert middle == (255, 0, 0)
    assert basemap.image.getpixel(tuple(beside.astype(int).tolist())) == (0, 0, 255)


def test_a_raster_is_painted_where_it_lies(town_gallery, town_picture, town_position):
    lat, lon = town_position(210, 130)
    basemap = paint_basemap(
        estimate([candidate(lat, lon)], lat=lat, lon=lon, radius_m=60.0), town_gallery.metadata, 300
    )
    assert basemap.problems == []
    for x, y in ((210, 130), (175, 110), (230, 170)):
        at = basemap.scene.pixels(*town_position(x + 0.5, y + 0.5)[::-1])[0].astype(int)
        seen = np.array(basemap.image.getpixel(tuple(at.tolist())), int)
        assert np.abs(seen - town_picture[y, x]).max() < 30


def test_windows_over_tiles_are_painted_where_the_tiles_lie(tmp_path):
    # At the equator a tile of zoom 18 is 152.9 m wide: red west of the meridian, blue east.
    for x, color in ((2**17 - 1, (255, 0, 0)), (2**17, (0, 0, 255))):
        Image.new("RGB", (64, 64), color).save(tmp_path / f"18_{x}_{2**17}.png")
    one = candidate(-0.0006, 0.0, path=f"18/{2**17 - 1}/{2**17}", source=str(tmp_path))
    one = dataclasses.replace(one, window=(40, 10, 42, 42))
    basemap = paint_basemap(estimate([one], lat=-0.0006, lon=0.0), rows([one]), 200)
    assert basemap.problems == []
    for east_m, color in ((-60, (255, 0, 0)), (-10, (255, 0, 0)), (10, (0, 0, 255))):
        at = basemap.scene.pixels(*LocalFrame(-0.0006, 0.0).to_lonlat(east_m, 0.0))[0]
        assert basemap.image.getpixel(tuple(at.astype(int).tolist())) == color
    # The tiles begin at the equator, 66 m north of the middle.
    north = basemap.scene.pixels(*LocalFrame(-0.0006, 0.0).to_lonlat(-20.0, [60.0, 72.0]))
    covered = [basemap.covered[int(y), int(x)] for x, y in north]
    assert covered == [True, False]


def test_a_reference_that_is_gone_is_told_and_stops_nothing(tmp_path):
    gone = candidate(48.0, 11.0, path="gone.png", source=str(tmp_path))
    problems = draw_map(estimate([gone]), rows([gone]), tmp_path / "map.png")
    assert len(problems) == 1
    assert "gone.png does not exist" in problems[0]
    assert (tmp_path / "map.png").exists()


def test_the_picture_shows_the_estimate_where_it_is(town_gallery, town_position, tmp_path):
    lat, lon = town_position(200, 200)
    answer = estimate([candidate(lat, lon)], lat=lat, lon=lon)
    out = tmp_path / "map.png"
    photo = np.full((50, 80, 3), (0, 200, 0), np.uint8)
    draw_map(answer, town_gallery.metadata, out, Query(drone=photo, text="a long sentence " * 9))
    picture = Image.open(out)
    assert picture.size[0] > picture.size[1] == MAP_PX
    scene = scene_around(answer, MAP_PX)
    x, y = scene.pixels(lon, lat)[0].round().astype(int).tolist()
    assert picture.getpixel((x, y)) == RED
    # The ring passes 120 m east of it, and the photo is shown beside the map.
    ring = round(120 / scene.metres_per_pixel)
    strip = np.asarray(picture, int)[y, x + ring - 3 : x + ring + 4]
    assert np.abs(strip - RED).sum(axis=1).min() < 60
    panel = np.asarray(picture)[:, MAP_PX:]
    assert (panel == (0, 200, 0)).all(axis=2).sum() == 50 * 80


def test_the_page_needs_nothing_from_elsewhere(town_gallery, town_position, tmp_path):
    lat, lon = town_position(200, 200)
    rival = candidate(lat + 0.0005, lon, rank=2, agrees=False)
    far = candidate(lat + 5, lon, rank=3, agrees=False)
    answer = estimate([candidate(lat, lon), rival, far], lat=lat, lon=lon)
    out = tmp_path / "map.html"
    query = Query(
        drone=np.zeros((20, 20, 3), np.uint8), text="<script>alert('roofs & $x')</script>"
    )
    draw_map(answer, town_gallery.metadata, out, query)
    page = out.read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "http" not in page
    assert "&lt;script&gt;alert(&#x27;roofs &amp; $x&#x27;)" in page
    assert page.count("<script>") == 1
    assert page.count('<g class="candidate') == 2
    assert page.count("<tr data-rank=") == 3
    assert "(off the map)" in page
    ground = re.search(r'<image href="data:image/jpeg;base64,([^"]+)"', page)[1]
    assert Image.open(io.BytesIO(base64.b64decode(ground))).size == (MAP_PX, MAP_PX)
    circle = re.search(r'class="estimate" cx="([\d.]+)" cy="([\d.]+)"', page)
    expected = scene_around(answer, MAP_PX).pixels(lon, lat)[0]
    assert [float(circle[1]), float(circle[2])] == pytest.approx(expected.tolist(), abs=0.1)


@pytest.mark.parametrize(
    ("width_m", "metres", "label"),
    [(400.0, 100.0, "100 m"), (390.0, 50.0, "50 m"), (9000.0, 2000.0, "2 km")],
)
def test_the_scale_bar_is_a_round_length(width_m, metres, label):
    length_px, text = scale_bar(Scene(48.0, 11.0, width_m=width_m, size_px=1000))
    assert length_px == pytest.approx(metres / width_m * 1000)
    assert text == label


def test_other_endings_and_folders_that_are_not_there_are_refused(tmp_path):
    here = candidate(48.0, 11.0)
    with pytest.raises(QueryError, match=r"written as .html or .png, not as 'map.pdf'"):
        draw_map(estimate([here]), rows([here]), tmp_path / "map.pdf")
    with pytest.raises(QueryError, match="nowhere for the map does not exist"):
        draw_map(estimate([here]), rows([here]), tmp_path / "nowhere" / "map.png")


def test_a_sixteen_bit_raster_and_a_palette_are_shown_in_colour(tmp_path):
    import rasterio
    from pyproj import Transformer
    from rasterio.transform import Affine

    place = {
        "driver": "GTiff", "width": 100, "height": 100, "count": 1,
        "crs": "EPSG:32632", "transform": Affine(1, 0, 690_000, 0, -1, 5_334_000),
    }  # fmt: skip
    with rasterio.open(tmp_path / "deep.tif", "w", dtype="uint16", **place) as raster:
        raster.write(np.linspace(500, 4500, 10_000).astype(np.uint16).reshape(1, 100, 100))
    with rasterio.open(tmp_path / "palette.tif", "w", dtype="uint8", **place) as raster:
        raster.write(np.ones((1, 100, 100), np.uint8))
        raster.write_colormap(1, {0: (0, 0, 0), 1: (10, 200, 30)})
    lon, lat = Transformer.from_crs(32632, 4326, always_xy=True).transform(690_050, 5_333_950)
    shown = {}
    for name in ("deep.tif", "palette.tif"):
        reference = candidate(lat, lon, path=name, source=str(tmp_path / name))
        table = rows([reference]).set_column(
            7, "window", pa.array([[0.0, 0.0, 100.0, 100.0]], pa.list_(pa.float64()))
        )
        basemap = paint_basemap(estimate([reference], lat=lat, lon=lon), table, 100)
        assert basemap.problems == []
        shown[name] = np.asarray(basemap.image)[basemap.covered]
    assert shown["deep.tif"].min() == 0
    assert shown["deep.tif"].max() == 255
    assert (shown["palette.tif"] == (10, 200, 30)).all()
