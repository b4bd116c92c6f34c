import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace

import geopandas
import numpy as np
import provider_servers as servers
import pytest
from pydantic import ValidationError
from shapely import Polygon, box, union_all

from geobridge.curation import street
from geobridge.curation.providers import ELSEWHERE, OUTSIDE, SWAPPED, Bounds
from geobridge.curation.street import StreetConfig, plan, query_boxes
from geobridge.curation.workspace import Workspace
from geobridge.errors import CurationError
from geobridge.geo.distance import LocalFrame, distance_m
from geobridge.geo.footprint import footprint_around

TOKEN = "MLY|1|abc"  # noqa: S105 - opens nothing
LAT, LON = 48.0, 11.0
FAST = 1e6


@pytest.fixture(autouse=True)
def token(monkeypatch):
    monkeypatch.setenv("MAPILLARY_TOKEN", TOKEN)


def no_step(_):
    return lambda _done, _total: None


def at(east_m, north_m):
    lon, lat = LocalFrame(LAT, LON).to_lonlat(east_m, north_m)
    return float(lat), float(lon)


def shot(name, east_m, north_m, **known):
    lat, lon = at(east_m, north_m)
    return servers.Shot(name, lat, lon, known.pop("jpeg", servers.jpeg()), **known)


def seed(name, east_m, north_m, side_m=100.0, date="2024-05-01"):
    lat, lon = at(east_m, north_m)
    return {
        "seed_id": name,
        "lat": lat,
        "lon": lon,
        "footprint": footprint_around(lat, lon, side_m, side_m),
        "date": date,
    }


def workspace_with(folder, *seeds):
    workspace = Workspace(folder)
    table = geopandas.GeoDataFrame(list(seeds), geometry="footprint", crs="EPSG:4326")
    workspace.write("seeds", table)
    return workspace


def panoramax(server, **settings):
    one = {"kind": "panoramax", "url": server.panoramax, "requests_per_second": FAST}
    return StreetConfig(providers=(one,), allow_private=True, **settings)


def mapillary(server, **settings):
    one = {"kind": "mapillary", "url": server.mapillary, "requests_per_second": FAST}
    return StreetConfig(providers=(one,), allow_private=True, **settings)


def reasons(table):
    return {name.partition(":")[2]: reason for name, reason in zip(
        table["pano_id"], table["reason"], strict=True
    )}  # fmt: skip


# -- boxes ---------------------------------------------------------------------------------------


def test_boxes_hold_all_footprints_and_are_few():
    rng = np.random.default_rng(0)
    footprints = [
        footprint_around(*at(*rng.uniform(-1500, 1500, 2)), 100, 100, rng.uniform(0, 90))
        for _ in range(200)
    ]

    boxes = query_boxes(footprints, 0.01)

    # 3.1 km are five cells of 0.74 km across and four of 1.1 km up.
    assert 4 <= len(boxes) <= 6 * 4
    assert all(one.east - one.west <= 0.01 + 1e-9 for one in boxes)
    covered = union_all([box(one.west, one.south, one.east, one.north) for one in boxes])
    assert all(covered.buffer(1e-9).covers(footprint) for footprint in footprints)


def test_distant_footprints_have_small_boxes():
    (first, second) = query_boxes([box(0.001, 0.001, 0.002, 0.002), box(5, 5, 5.001, 5.001)], 0.01)

    assert first == Bounds(0.001, 0.001, 0.002, 0.002)
    assert (second.west, second.north) == (5, 5.001)


def test_boxes_end_at_the_antimeridian():
    west, east = query_boxes([box(179.75, 10.25, 180.5, 10.5)], 1.0)

    assert west == Bounds(-180.0, 10.25, -179.5, 10.5)
    assert east == Bounds(179.75, 10.25, 180.0, 10.5)


# -- which are taken -----------------------------------------------------------------------------


@pytest.mark.parametrize("configure", [panoramax, mapillary])
def test_panoramas_inside_a_footprint_are_downloaded(tmp_path, configure):
    inside, near, plain = shot("in", 10, 20), shot("near", 100, 0), shot("plain", 0, 0)
    shots = [inside, near, replace(plain, is_360=False)]
    workspace = workspace_with(tmp_path, seed("s", 0, 0), seed("t", 300, 0))
    with servers.ProviderServer(shots, token=TOKEN) as server:
        table = street.run(workspace, configure(server), no_step)

    assert reasons(table) == {
        "in": None,
        "near": OUTSIDE,
        "plain": "it does not go all the way round",
    }
    row = table[table["kept"]].iloc[0]
    assert row["seed_id"] == "s"
    assert row["distance_m"] == pytest.approx(np.hypot(10, 20), abs=1e-3)
    assert (tmp_path / row["path"]).read_bytes() == inside.jpeg
    assert (row["width"], row["height"]) == (128, 64)
    assert row["heading_deg"] == 90.0
    assert row["captured"] == "2024-05-01T10:00:00Z"
    assert (row["geometry"].x, row["geometry"].y) == (row["lon"], row["lat"])
    assert server.pictures_asked() == ["in"]
    stored = workspace.read("street")
    assert stored["pano_id"].tolist() == sorted(stored["pano_id"])
    assert stored.crs == "EPSG:4326"


def test_plain_photos_are_taken_where_they_are_wanted(tmp_path):
    workspace = workspace_with(tmp_path, seed("s", 0, 0))
    with servers.ProviderServer([shot("plain", 0, 0, is_360=False)]) as server:
        table = street.run(workspace, panoramax(server, only_360=False), no_step)

    assert table["kept"].tolist() == [True]
    assert table["is_360"].tolist() == [False]


def test_a_panorama_belongs_to_the_nearest_seed(tmp_path):
    workspace = workspace_with(tmp_path, seed("far", 0, 0), seed("near", 50, 0), seed("no", 400, 0))
    with servers.ProviderServer([shot("a", 40, 0)]) as server:
        table = street.run(workspace, panoramax(server), no_step)

    assert table["seed_id"].tolist() == ["near"]
    assert table["distance_m"].iloc[0] == pytest.approx(10, abs=1e-3)


def test_the_nearest_in_time_then_to_the_centre_are_taken(tmp_path):
    shots = [
        shot("old", 0, 0, captured="2019-05-01T10:00:00Z"),
        shot("later", 1, 0, captured="2024-06-01T10:00:00Z"),
        shot("far", 40, 0, captured="2024-05-01T23:00:00Z"),
        shot("close", 5, 0, captured="2024-05-01T05:00:00Z"),
    ]
    with servers.ProviderServer(shots) as server:
        dated = workspace_with(tmp_path / "dated", seed("s", 0, 0))
        table = street.run(dated, panoramax(server, per_seed=3), no_step)
        assert reasons(table) == {
            "close": None,
            "far": None,
            "later": None,
            "old": "the seed has 3 that are nearer",
        }
        undated = workspace_with(tmp_path / "undated", seed("s", 0, 0, date=None))
        table = street.run(undated, panoramax(server, per_seed=2), no_step)
        assert set(table[table["kept"]]["pano_id"]) == {"panoramax:old", "panoramax:later"}


@pytest.mark.parametrize(
    ("first", "second", "days"),
    [
        ("2024-05-01T10:00:00Z", "2024-05-03", 2),
        ("2024-05", "2024-05-10", 5),
        ("2024", "2024-07-02", 1),
        (None, "2024-07-02", None),
        ("2024-05-01", None, None),
        ("2024-05-01", float("nan"), None),
        ("no date", "2024-05-01", None),
    ],
)
def test_days_between_dates_of_any_precision(first, second, days):
    assert street._days_between(first, second) == days


def test_a_bad_picture_gives_its_place_to_the_next(tmp_path):
    elsewhere = servers.jpeg(1, exif_lat=LAT + 0.01, exif_lon=LON)
    here = servers.jpeg(2, exif_lat=LAT, exif_lon=LON)
    half = servers.jpeg(3)
    shots = [
        shot("a", 1, 0, jpeg=elsewhere),
        shot("b", 2, 0, jpeg=b"<html>no picture</html>"),
        shot("c", 3, 0, jpeg=half[: len(half) // 2]),
        shot("d", 4, 0),
        shot("e", 5, 0, jpeg=here),
        shot("f", 6, 0),
    ]
    workspace = workspace_with(tmp_path, seed("s", 0, 0))
    with servers.ProviderServer(shots) as server:
        server.lies = {"d": {"url": f"{server.origin}/pictures/none.jpg"}}
        table = street.run(workspace, panoramax(server, per_seed=1), no_step)

    apart_m = distance_m(*at(1, 0), LAT + 0.01, LON)
    found = reasons(table)
    assert found["a"] == f"the picture's EXIF puts it {apart_m:,.0f} m from there"
    assert found["b"] == "the picture is not a picture we know"
    assert found["c"].startswith("the picture is damaged")
    assert found["d"] == f"{server.origin}/pictures/none.jpg gave status 404: check the address."
    assert found["e"] is None
    assert found["f"] == "the seed has 1 that are nearer"
    assert "f" not in server.pictures_asked()


def test_lies_about_positions_are_rows(tmp_path):
    shots = [shot(name, 10, 10) for name in ("true", "swapped", "moved", "lost")]
    workspace = workspace_with(tmp_path, seed("s", 0, 0))
    lat, lon = at(10, 10)
    with servers.ProviderServer(shots) as server:
        server.lies = {
            "swapped": {"lat": lon, "lon": lat},
            "moved": {"lat": 10.0, "lon": 10.0},
            "lost": {"lat": None},
        }
        table = street.run(workspace, panoramax(server, per_seed=5), no_step)

    assert reasons(table) == {
        "true": None,
        "swapped": SWAPPED,
        "moved": ELSEWHERE,
        "lost": "the provider gives no position",
    }
    lost = table[table["pano_id"] == "panoramax:lost"].iloc[0]
    assert np.isnan(lost["lat"])
    assert lost["geometry"] is None


def test_footprints_across_the_antimeridian_find_both_sides(tmp_path):
    footprint = footprint_around(10.0, -180.0, 200, 200)
    seeds = [{"seed_id": "s", "lat": 10.0, "lon": -180.0, "footprint": footprint, "date": None}]
    shots = [
        servers.Shot("east", 10.0, -179.9995, servers.jpeg()),
        servers.Shot("west", 10.0, 179.9995, servers.jpeg()),
    ]
    workspace = workspace_with(tmp_path, *seeds)
    with servers.ProviderServer(shots) as server:
        table = street.run(workspace, panoramax(server), no_step)

    assert isinstance(footprint, Polygon)
    assert reasons(table) == {"east": None, "west": None}


def test_providers_add_up(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    lat, lon = at(0, 5)
    (photos / "mine.jpg").write_bytes(servers.jpeg(7, exif_lat=lat, exif_lon=lon))
    workspace = workspace_with(tmp_path / "work", seed("s", 0, 0))
    with servers.ProviderServer([shot("a", 10, 0)], token=TOKEN) as server:
        config = StreetConfig(
            providers=(
                *panoramax(server).providers,
                *mapillary(server).providers,
                {"kind": "folder", "folder": photos, "licence": "CC0-1.0"},
            ),
            allow_private=True,
        )
        table = street.run(workspace, config, no_step)

    assert table["pano_id"].tolist() == ["folder:mine.jpg", "mapillary:a", "panoramax:a"]
    assert table["licence"].tolist() == ["CC0-1.0", "CC-BY-SA-4.0", "etalab-2.0"]
    assert table["kept"].all()
    assert (tmp_path / "work" / table["path"][0]).read_bytes() == (photos / "mine.jpg").read_bytes()
    assert TOKEN not in table.to_json()


def test_nothing_found_is_an_empty_table(tmp_path):
    workspace = workspace_with(tmp_path, seed("s", 0, 0))
    with servers.ProviderServer([]) as server:
        table = street.run(workspace, panoramax(server), no_step)

    assert len(table) == 0
    assert workspace.read("street").columns.tolist() == [*street._COLUMNS, "geometry"]


# -- what is told before, and what is refused -----------------------------------------------------


def test_a_plan_asks_nothing(tmp_path):
    workspace = workspace_with(tmp_path, seed("a", 0, 0), seed("b", 0, 100), seed("c", 50_000, 0))
    with servers.ProviderServer([shot("a", 0, 0)], token=TOKEN) as server:
        told = plan(workspace, mapillary(server, per_seed=2))
        assert server.asked == []
        steps = []
        street.run(
            workspace, mapillary(server, per_seed=2), lambda text: steps.append(text) or print
        )

    assert told.seeds == 3
    assert 2 <= told.boxes == told.search_requests <= 6
    assert told.pictures == 6
    assert told.picture_bytes == 6 * 5_000_000
    assert "6 pictures or less to download, about 30 MB" in str(told)
    assert steps == [
        f"asking for panoramas in {told.boxes} boxes",
        "downloading 1 of 1 panoramas, about 5 MB, for each seed",
    ]


def test_what_is_refused(tmp_path):
    workspace = Workspace(tmp_path)
    with pytest.raises(CurationError, match=r"seeds\.parquet is not there"):
        street.run(workspace, StreetConfig(), no_step)
    workspace.write("seeds", geopandas.GeoDataFrame([seed("s", 0, 0)], geometry="footprint")[:0])
    with pytest.raises(CurationError, match="has no seeds"):
        street.run(workspace, StreetConfig(), no_step)
    workspace = workspace_with(tmp_path, seed("s", 0, 0))
    twice = StreetConfig(providers=({"kind": "panoramax"}, {"kind": "panoramax"}))
    with pytest.raises(CurationError, match="names a provider twice"):
        plan(workspace, twice)
    with pytest.raises(CurationError, match="forbid to store"):
        plan(workspace, StreetConfig(providers=({"kind": "google"},)))
    with pytest.raises(ValidationError, match="did you mean 'per_seed'"):
        StreetConfig(per_seeds=1)
    with pytest.raises(ValidationError, match="did you mean 'url'"):
        StreetConfig(providers=({"kind": "panoramax", "ulr": "x"},))


def test_a_missing_token_is_said_before_anything_is_downloaded(tmp_path, monkeypatch):
    monkeypatch.delenv("MAPILLARY_TOKEN")
    workspace = workspace_with(tmp_path, seed("s", 0, 0))
    with (
        servers.ProviderServer([shot("a", 0, 0)]) as server,
        pytest.raises(CurationError, match="MAPILLARY_TOKEN is not set"),
    ):
        street.run(workspace, mapillary(server), no_step)

    assert server.asked == []
    assert not workspace.has("street")


# -- going on ------------------------------------------------------------------------------------


def test_a_second_run_asks_nothing_and_writes_the_same_bytes(tmp_path):
    shots = [shot(f"p{number}", number, 0) for number in range(6)]
    workspace = workspace_with(tmp_path, seed("s", 0, 0), seed("t", 0, 60))
    with servers.ProviderServer(shots, page=4, token=TOKEN) as server:
        street.run(workspace, mapillary(server), no_step)
        first = workspace.path("street").read_bytes()
        asked = len(server.asked)
        street.run(workspace, mapillary(server), no_step)
        assert workspace.path("street").read_bytes() == first
        # With the cache alone it is the same, too.
        (tmp_path / "journal" / "street.jsonl").unlink()
        street.run(workspace, mapillary(server), no_step)
        assert workspace.path("street").read_bytes() == first
        assert len(server.asked) == asked


def test_a_picture_that_was_deleted_is_downloaded_again(tmp_path):
    workspace = workspace_with(tmp_path, seed("s", 0, 0))
    with servers.ProviderServer([shot("a", 0, 0)]) as server:
        table = street.run(workspace, panoramax(server), no_step)
        (tmp_path / table["path"][0]).unlink()
        street.run(workspace, panoramax(server), no_step)

    assert server.pictures_asked() == ["a", "a"]
    assert (tmp_path / table["path"][0]).is_file()


def test_failures_that_may_pass_are_tried_again_by_the_next_run(tmp_path):
    workspace = workspace_with(tmp_path, seed("s", 0, 0))
    with servers.ProviderServer([shot("a", 0, 0)]) as server:
        busy = servers.Fault(429, {"Retry-After": "1000"})
        server.faults["/pictures/a.jpg"].append(busy)
        table = street.run(workspace, panoramax(server), no_step)
        assert "asks to wait 1000 s (status 429)" in table["reason"][0]
        table = street.run(workspace, panoramax(server), no_step)

    assert table["kept"].tolist() == [True]


def test_a_provider_that_does_not_answer_stops_the_stage(tmp_path):
    workspace = workspace_with(tmp_path, seed("s", 0, 0), seed("t", 2000, 0))
    with servers.ProviderServer([shot("a", 0, 0)]) as server:
        server.faults["/panoramax/api/search"].append(servers.Fault(401))
        with pytest.raises(CurationError, match="status 401: it may want a secret"):
            street.run(workspace, panoramax(server), no_step)

    assert not workspace.has("street")


# Loads once, and then starts the stage in a process of its own for each line it is given.
STAGE = """
import os, sys
from geobridge.curation import street
from geobridge.curation.workspace import Workspace
config = street.StreetConfig.model_validate_json(sys.argv[2])
for _ in sys.stdin:
    child = os.fork()
    if child == 0:
        try:
            street.run(Workspace(sys.argv[1]), config, lambda text: lambda done, total: None)
            os._exit(0)
        finally:
            os._exit(1)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_killed_at_any_moment_it_goes_on(tmp_path):
    rng = random.Random(0)
    shots = [shot(f"p{number:02}", 60 * (number // 4), number % 4 * 3) for number in range(24)]
    seeds = [seed(f"s{number}", 60 * number, 0, side_m=50) for number in range(6)]
    with servers.ProviderServer(shots, page=7, token=TOKEN, wait_s=0.02) as server:
        config = mapillary(server, threads=2)
        whole = workspace_with(tmp_path / "whole", *seeds)
        street.run(whole, config, no_step)
        once = len(server.pictures_asked())
        server.asked.clear()
        server.wait_s = 0.05

        killed = workspace_with(tmp_path / "killed", *seeds)
        command = [sys.executable, "-c", STAGE, str(killed.folder), config.model_dump_json()]
        starter = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        kills = 0
        with starter:
            while not killed.has("street"):
                starter.stdin.write("go\n")
                starter.stdin.flush()
                child = int(starter.stdout.readline())
                if kills < 6:
                    # By what it has asked for: time would kill it before it begins.
                    until = len(server.asked) + rng.randint(1, 12)
                    deadline = time.monotonic() + 60
                    while len(server.asked) < until and not killed.has("street"):
                        time.sleep(0.002)
                        assert time.monotonic() < deadline
                    with suppress(ProcessLookupError):
                        os.kill(child, signal.SIGKILL)
                    kills += 1
                assert int(starter.stdout.readline()) in (0, -signal.SIGKILL)
            starter.stdin.close()

    assert kills >= 4
    assert once == 18
    # What a kill tears is asked for again, and nothing else: two threads, so two pictures.
    assert len(server.pictures_asked()) <= once + 2 * kills
    assert killed.path("street").read_bytes() == whole.path("street").read_bytes()
    lines = (killed.folder / "journal" / "street.jsonl").read_text().splitlines()
    assert len(lines) == 1 + once
    assert len({json.loads(line)["key"] for line in lines[1:]}) == once
