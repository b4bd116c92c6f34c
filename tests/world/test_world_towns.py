"""Planets, towns, places and dates."""

import hashlib
import math
import os
import subprocess
import sys

import numpy as np
import pytest

from geobridge.errors import MissingExtraError, WorldError
from geobridge.world import REGIONS, World
from geobridge.world import kernels as k
from geobridge.world.camera import MID_GREY, Sensor
from geobridge.world.planet import parse_town

_DIGEST = """
import hashlib, numpy as np
from geobridge.world import World
town = World(3).town("edo", 1)
place = town.places(1)[0]
views = town.render_all(place, np.random.default_rng(0), size=32)
text = town.describe(place)
digest = hashlib.sha256(b"".join(views[v].tobytes() for v in sorted(views)) + text.encode())
print(digest.hexdigest())
"""


def digest_here():
    town = World(3).town("edo", 1)
    place = town.places(1)[0]
    views = town.render_all(place, np.random.default_rng(0), size=32)
    pictures = b"".join(views[view].tobytes() for view in sorted(views))
    return hashlib.sha256(pictures + town.describe(place).encode()).hexdigest()


def test_same_seed_same_bytes_in_another_process():
    done = subprocess.run(
        [sys.executable, "-c", _DIGEST],
        env={**os.environ, "PYTHONHASHSEED": "12345"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == digest_here()


def test_eight_known_regions_and_some_that_are_never_trained_on():
    unseen = [region for region in REGIONS.values() if region.unseen]
    assert len(REGIONS) - len(unseen) >= 8
    assert len(unseen) >= 2
    assert any(region.drives_left for region in REGIONS.values())
    assert {region.pattern for region in REGIONS.values()} == {
        "grid",
        "radial",
        "organic",
        "ribbon",
    }


@pytest.mark.parametrize("region", sorted(REGIONS))
def test_every_region_makes_towns_with_streets_houses_and_trees(region):
    scene = World(1).town(region, 2).scene
    assert len(scene.network.roads) > 10
    assert len(scene.buildings) > 100
    assert len(scene.trees) > 100


def test_towns_differ_by_index_region_and_seed(town):
    others = [World(0).town("albion", 1), World(1).town("albion", 0), World(0).town("edo", 0)]
    picture = town.map(4.0)
    for other in others:
        assert np.abs(other.map(4.0).astype(int) - picture).mean() > 5
        assert (other.lat, other.lon) != (town.lat, town.lon)


def test_places_lie_on_streets_apart_from_each_other(town):
    places = town.places(60, seed=4)
    points = np.array([(place.x_m, place.y_m) for place in places])
    gaps = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1))
    assert gaps[~np.eye(60, dtype=bool)].min() >= 18
    for place in places:
        near = min(
            float(np.hypot(*(road.points - (place.x_m, place.y_m)).T).min()) - road.half_width_m
            for road in town.scene.network.roads
        )
        assert near < 5  # points of a road lie up to 8 m apart
    assert len({place.place_id for place in places}) == 60
    assert [p.lat for p in town.places(60, seed=4)] == [p.lat for p in places]
    assert [p.lat for p in town.places(60, seed=5)] != [p.lat for p in places]


def test_left_hand_traffic_puts_places_on_the_left_lane(town):
    # Heading and offset agree: from the road's axis, the lane is to the left of the heading.
    place = town.places(1)[0]
    heading = math.radians(place.heading_deg)
    axis = min(
        (point for road in town.scene.network.roads for point in _dense(road)),
        key=lambda p: math.hypot(p[0] - place.x_m, p[1] - place.y_m),
    )
    off_x, off_y = place.x_m - axis[0], place.y_m - axis[1]
    right_of_heading = off_x * math.cos(heading) - off_y * math.sin(heading)
    assert right_of_heading < -0.5


def _dense(road):
    return [road.at(station)[:2] for station in np.arange(0, road.length_m, 0.5)]


def test_dates_change_light_and_cars_but_not_the_houses(town):
    place = town.places(1)[0]
    pictures = [town.render("satellite", place, date=date) for date in range(8)]
    assert len({picture.tobytes() for picture in pictures}) == 8
    first, second = town._at(0), town._at(5)
    assert ((first.material == k.CAR) != (second.material == k.CAR)).any()
    for building in town.scene.buildings:
        if building.dates is None and building.kind != "shed":
            box = building.box
            col = int((box.x + 450) / k.CELL_M)
            row = int((450 - box.y) / k.CELL_M)
            assert first.height[row, col] == second.height[row, col] > 150


def test_buildings_of_some_dates_stand_only_then():
    for index in range(6):
        town = World(0).town("prairie", index)
        dated = [b for b in town.scene.buildings if b.dates is not None]
        for building in dated[:3]:
            col = int((building.box.x + 450) / k.CELL_M)
            row = int((450 - building.box.y) / k.CELL_M)
            for date in (0, 7):
                standing = town._at(date).height[row, col] > 200
                assert standing == (date in building.dates)
        if dated:
            return
    pytest.fail("no town has a building that comes or goes")


def test_views_are_pictures_of_the_promised_size(town):
    place = town.places(1)[0]
    views = town.render_all(place, np.random.default_rng(1), size=48)
    assert {view: picture.shape for view, picture in views.items()} == {
        "drone": (48, 48, 3), "street": (48, 192, 3), "satellite": (48, 48, 3),
    }  # fmt: skip
    assert all(picture.dtype == np.uint8 and picture.std() > 8 for picture in views.values())


def test_a_picture_does_not_depend_on_which_others_are_wanted(town):
    place = town.places(1)[0]
    every = town.render_all(place, np.random.default_rng(5), size=32)
    one = town.render_all(place, np.random.default_rng(5), size=32, views=["satellite"])
    assert list(one) == ["satellite"]
    assert (one["satellite"] == every["satellite"]).all()
    crop = town.render_all(place, np.random.default_rng(5), size=32, drone="crop")
    assert (crop["satellite"] == every["satellite"]).all()
    assert (crop["drone"] != every["drone"]).any()


def test_satellite_of_fixed_ground_has_as_many_pixels_as_its_resolution_gives(town):
    place = town.places(1)[0]
    views = town.render_all(place, np.random.default_rng(5), gsd_m=2.0, satellite_m=102.4)
    assert views["satellite"].shape == (51, 51, 3)
    assert views["drone"].shape == (128, 128, 3)


def test_views_may_share_a_date(town):
    place = town.places(1)[0]
    same, other = (
        town.render_all(place, np.random.default_rng(5), size=32, dates=dates)
        for dates in ((3, 3, 3), (3, 3, 4))
    )
    assert (same["drone"] == other["drone"]).all()
    assert (same["satellite"] != other["satellite"]).any()


def test_a_town_keeps_as_many_dates_open_as_asked_and_draws_the_same():
    few, all_dates = World(0).town("albion", 0, open_dates=1), World(0).town("albion", 0)
    place = few.places(1)[0]
    for date in (0, 3, 0):
        first, second = (
            town.render("drone", place, size=24, date=date) for town in (few, all_dates)
        )
        assert (first == second).all()
        assert list(few._dated) == [date]


def test_shots_know_their_dates_before_they_are_drawn(town):
    place = town.places(1)[0]
    planned = town.shots(place, np.random.default_rng(5), size=32)
    drawn = town.render_all(place, np.random.default_rng(5), size=32)
    assert len({shot.date for shot in planned.values()}) == 3
    given = town.shots(place, np.random.default_rng(5), size=32, dates=(1, 2, 3))
    assert {view: shot.date for view, shot in given.items()} == {
        "drone": 1,
        "street": 2,
        "satellite": 3,
    }
    assert all((shot.draw() == drawn[view]).all() for view, shot in planned.items())


def test_cranes_stand_until_the_house_does():
    for index in range(8):
        town = World(0).town("albion", index)
        cranes = [b for b in town.scene.buildings if b.kind == "crane"]
        for crane in cranes:
            col, row = int((crane.box.x + 450) / k.CELL_M), int((450 - crane.box.y) / k.CELL_M)
            jibs = [dates for jib, dates in town.scene.jibs if jib.x == crane.box.x]
            assert jibs == [crane.dates]
            house = next(
                b
                for b in town.scene.buildings
                if b.dates is not None
                and b.kind == "apartment block"
                and math.hypot(b.box.x - crane.box.x, b.box.y - crane.box.y) < 16
            )
            assert crane.dates | house.dates == set(range(8))
            assert not crane.dates & house.dates
            for date in (0, 7):
                assert (town._at(date).height[row, col] > 2000) == (date in crane.dates)
                jib_there = (town._at(date).crown_kind // 32 == k.PLATE) & (
                    town._at(date).crown_top > 240
                )
                assert jib_there.any() == any(date in other.dates for other in cranes)
        if cranes:
            return
    pytest.fail("no town has a crane")


def test_owners_of_cells_are_the_same_whatever_dates_were_opened():
    town = World(0).town("edo", 1)
    before = town._ground.owner.copy()
    for date in range(8):
        town._at(date)
    assert (town._ground.owner == before).all()


def test_jibs_throw_no_curtain_of_shadow():
    height, crown = np.zeros((200, 200), np.uint16), np.zeros((200, 200), np.uint8)
    kind = np.zeros((200, 200), np.uint8)
    crown[100, 80:120], kind[100, 80:120] = 246, k.PLATE * 32 + 3
    assert not k.shadow_heights(height, crown, kind, 0.5, 0.5, 0.7, 0.0).any()


def test_coarsest_and_finest_satellites_are_drawn(town):
    place = town.places(1)[0]
    for gsd_m in (0.05, 50.0):
        for seed in range(3):
            views = town.render_all(
                place, np.random.default_rng(seed), size=16, gsd_m=gsd_m, views=["satellite"]
            )
            assert views["satellite"].shape == (16, 16, 3)


def test_clouds_cover_the_share_that_the_day_says():
    seen = 0
    for index in range(3):
        town = World(0).town("mesa", index)
        for date in range(8):
            share = town.day(date).cloud_shadow
            shaded = (town._at(date).shadow >= k.CLOUD).mean()
            assert shaded == pytest.approx(share, abs=0.04)
            seen += share > 0
    assert seen > 0


def test_compression_is_part_of_the_sensor(town):
    place = town.places(1)[0]
    sharp = town.render("satellite", place, size=64)
    packed = town.render("satellite", place, size=64, sensor=Sensor(jpeg_quality=10))
    difference = np.abs(sharp.astype(int) - packed)
    assert 1 < difference.mean() < 25


def test_automatic_exposure_brings_every_date_to_mid_grey(town):
    place = town.places(1)[0]
    for date in range(3):
        picture = town.render(
            "satellite", place, size=64, date=date, sensor=Sensor(auto_exposure=1.0)
        )
        assert picture.mean() == pytest.approx(MID_GREY, abs=4)


def test_a_sensor_is_drawn_by_its_seed(town):
    place = town.places(1)[0]
    first, again, other = (town.render("drone", place, size=32, seed=seed) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


# -- bad input -------------------------------------------------------------------------------


def test_bad_requests_say_what_there_is(town):
    place = town.places(1)[0]
    with pytest.raises(WorldError, match=r"no region 'atlantis'.*albion"):
        World().town("atlantis")
    with pytest.raises(WorldError, match="numbered from 0"):
        World().town("albion", -1)
    with pytest.raises(WorldError, match="dates 0 to 7, not 8"):
        town.render("satellite", place, date=8)
    with pytest.raises(WorldError, match="no view"):
        town.render("submarine", place)
    with pytest.raises(WorldError, match="pitch of -90 to -10"):
        town.render("drone", place, pitch_deg=10)
    with pytest.raises(WorldError, match="choose 8 to 8192"):
        town.render("drone", place, size=1)
    with pytest.raises(WorldError, match="above 0 m"):
        town.render("satellite", place, gsd_m=0)
    with pytest.raises(WorldError, match="outside albion/0@0"):
        town.place_at(1000, 0)
    with pytest.raises(WorldError, match="has room for"):
        town.places(10_000)
    held = town.places(10_000, at_most=True)
    assert 0 < len(held) < 10_000
    assert held[:3] == town.places(3)
    with pytest.raises(WorldError, match=r"choose 0\.05 to 50"):
        town.map(0.0)


@pytest.mark.parametrize(
    "text", ["albion", "albion/x", "albion/1@x", "/1", "nowhere/1", "albion/-1"]
)
def test_a_town_is_written_region_slash_index(text):
    with pytest.raises(WorldError):
        parse_town(text)


def test_a_town_may_name_its_planet():
    assert parse_town("edo/12@7") == ("edo", 12, 7)
    assert parse_town("edo/12") == ("edo", 12, 0)


def test_without_numba_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(MissingExtraError, match=r"pip install geobridge\[world\]"):
        World()
