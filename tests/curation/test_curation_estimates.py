import numpy as np
import pandas as pd
import pytest
from curation_stage import stage_tables

from geobridge.curation.config import CurateConfig
from geobridge.curation.estimates import estimate
from geobridge.curation.pictures import PictureConfig
from geobridge.curation.tiles import TilesConfig, most_tiles
from geobridge.geo.footprint import footprint_around
from geobridge.geo.tiles import tiles_over, zoom_for

OFFSETS_M = [(0, 0), (200, 0), (0, 200)]
ENDPOINT = {"base_url": "http://localhost:1/v1", "model": "m"}


def config_of(**tables):
    return CurateConfig.model_validate({"seeds": {"rasters": ["town.tif"]}, **tables})


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    for name in ("MAPILLARY_TOKEN", "GOOGLE_MAPS_KEY", "MY_KEY"):
        monkeypatch.delenv(name, raising=False)
    workspace, _ = stage_tables(tmp_path, OFFSETS_M)
    seeds = workspace.read("seeds")
    workspace.write("seeds", pd.concat([seeds] * 4, ignore_index=True))
    return workspace


def described(workspace, finished, **tables):
    return estimate(workspace, config_of(**tables), "describe", {"seeds", *finished})


def test_a_description_is_bounded_by_what_is_known_of_its_places(workspace):
    tables = {"describe": {"endpoint": ENDPOINT}, "street": {"per_seed": 5}}

    # 4 seeds of 5 panoramas each; sizes around one panorama do not stay together.
    assert described(workspace, [], **tables).startswith("at most, by seeds: 20 of 20 places")
    assert described(workspace, ["street"], **tables).startswith("at most, by street: 3 of 3 ")
    apart = {**tables, "clean": {"across_sizes": False}}
    assert described(workspace, [], **apart).startswith("at most, by seeds: 100 of 100 places")
    clean = workspace.read("clean")
    clean.loc[0, "kept"] = False
    workspace.write("clean", clean)
    with_satellite = {**tables, "satellite": {"rasters": ["naip.tif"]}}
    found = described(workspace, ["street", "crop", "clean"], **with_satellite)
    assert found.startswith("at most, by clean: 2 of 2 places")


def test_a_bound_counts_all_pictures_and_prices(workspace):
    price = {"prompt_per_million": 1_000_000, "answer_per_million": 0, "rule": "patches"}
    # A picture from above is 512 px, 16 x 16 patches; a panorama 1024 x 512, 32 x 16 of them.
    tables = {"describe": {"endpoint": ENDPOINT, "price": price}, "street": {"per_seed": 1}}

    without = described(workspace, [], **tables)
    both = described(workspace, [], **tables, satellite={"rasters": ["naip.tif"]})

    assert f"{4 * (256 + 512):,} tokens of pictures" in without
    assert f"{4 * (256 + 512 + 256):,} tokens of pictures" in both
    assert "USD, at most" in both


def test_what_is_known_is_no_bound(workspace):
    tables = {"describe": {"endpoint": ENDPOINT}}

    found = described(workspace, ["street", "crop", "clean"], **tables)

    assert found.startswith("3 of 3 places to be asked for")


@pytest.mark.parametrize(
    ("satellite", "expected"),
    [
        ({"rasters": ["naip.tif"]}, "12 pictures, read from the disk"),
        ({"rasters": ["https://example.org/naip.tif"]}, "12 pictures, read out of the network"),
        ({"stac": {"url": "https://example.org", "collections": ["naip"]}}, "rasters of a cat"),
    ],
)
def test_satellite_pictures_are_counted(workspace, satellite, expected):
    config = config_of(satellite=satellite)

    assert expected in estimate(workspace, config, "satellite", {"seeds"})


def test_tiles_are_counted_with_those_that_are_cut(workspace):
    # At 52.5 degrees a tile of zoom 18 is 93 m wide: 180 m lie in 3 tiles across at most, or
    # in 4 where it is not known how they lie.
    tiles = {"url": "https://example.org/{z}/{x}/{y}", "max_zoom": 18}
    config = config_of(satellite={"tiles": tiles, "gsd_m": 0.3}, street={"per_seed": 1})

    told = estimate(workspace, config, "satellite", {"seeds"})

    count = int(told.partition(": ")[2].partition(" tiles")[0])
    assert count in (4 * 9, 4 * 12, 4 * 16)


def test_the_most_tiles_of_a_picture_are_no_less_than_any_takes():
    # Counted by listing them: at steps of the zoom, at both ends of the map, and anywhere.
    chance = np.random.default_rng(5)
    reached = 0
    for _ in range(400):
        config = PictureConfig(size=int(chance.choice([64, 256, 512])))
        tiles = TilesConfig(
            url="https://h/{z}/{x}/{y}",
            tile_px=int(chance.choice([64, 256])),
            max_zoom=int(chance.choice([17, 22])),
        )
        side_m = float(chance.choice([60, 80, 180, 2000]))
        south = float(chance.uniform(-84, 84))
        north = min(84.0, south + float(chance.choice([0, 0.002, 5])))
        counts = []
        for lat in chance.uniform(south, north, 12):
            asked_m = side_m / config.side_px(side_m)
            zoom = min(tiles.max_zoom, zoom_for(lat, asked_m, tiles.tile_px))
            at = footprint_around(lat, chance.uniform(-179, 179), side_m, side_m)
            counts.append(len(tiles_over(at, zoom)))

        most = most_tiles(tiles, config, side_m, south, north)

        assert max(counts) <= most
        reached += max(counts) == most
    # Not merely large: a side may lie across one more tile than it is long.
    assert reached > 100


def test_a_seed_nearer_to_the_equator_may_take_more_tiles():
    tiles = TilesConfig(url="https://h/{z}/{x}/{y}")
    config = PictureConfig(size=256)

    # 0.3125 m a pixel are zoom 19 up to 58.47 degrees, where its tiles are 40 m wide, and zoom 18
    # beyond, where they are 80 m: the furthest north takes fewer.
    assert most_tiles(tiles, config, 80.0, 58.4, 58.4) == 16
    assert most_tiles(tiles, config, 80.0, 60.0, 60.0) == 9
    assert most_tiles(tiles, config, 80.0, 58.4, 60.0) == 16


def test_secrets_that_are_not_set_are_named(workspace, monkeypatch):
    tiles = {"url": "https://example.org/{z}/{x}/{y}", "key_variable": "MY_KEY"}
    config = config_of(
        satellite={"tiles": tiles}, describe={"endpoint": {**ENDPOINT, "key_variable": "MY_KEY"}}
    )
    seeds = {"seeds"}

    assert estimate(workspace, config, "street", seeds).endswith(
        "; MAPILLARY_TOKEN is not set in the environment"
    )
    for stage in ("satellite", "describe"):
        told = estimate(workspace, config, stage, seeds)
        assert told.endswith("; MY_KEY is not set in the environment")

    monkeypatch.setenv("MAPILLARY_TOKEN", "value-1")
    monkeypatch.setenv("MY_KEY", "value-2")
    for stage in ("street", "satellite", "describe"):
        told = estimate(workspace, config, stage, seeds)
        assert "not set" not in told
        assert "value" not in told
