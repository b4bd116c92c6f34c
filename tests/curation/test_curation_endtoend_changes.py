"""What is published follows the rasters, photos and settings it was made of."""

import hashlib
import json
import os
import shutil

import numpy as np
import pytest
import rasterio
from ground_stage import offsets, paint
from PIL import Image
from real_stage import put_photo

from geobridge.curation.config import parse_curate_config
from geobridge.curation.pipeline import curate

VIEWS = {"drone", "street", "satellite"}
NO_GATE = {"bh": 0, "contrast": 0, "entropy": 0}


class Town:
    """A small survey and its curation."""

    def __init__(self, folder):
        self.drone = paint(folder / "drone.tif", px=260)
        self.satellite = paint(folder / "satellite.tif", px=260)
        self.photos = folder / "photos"
        for index, (lat, lon) in enumerate(offsets([(-60, 0), (40, 30), (20, -70)])):
            put_photo(noise(index), self.photos / f"{index}.jpg", lat, lon)
        self.out = folder / "out"

    def settings(self, **changed):
        tables = {
            "seeds": {"rasters": [str(self.drone)], "side_m": 120, "stride_m": 60,
                      "max_gsd_m": 2},
            "street": {"providers": [{"kind": "folder", "folder": str(self.photos)}],
                       "only_360": False},
            "crop": {"sides_m": [40], "gsd_m": 1.0, "min_valid": 0.9},
            "clean": {"drone": NO_GATE, "street": NO_GATE},
            "satellite": {"rasters": [str(self.satellite)], "gsd_m": 1.0, "min_valid": 0.9},
            "publish": {"splits": {"shares": {"train": 1.0}}},
        }  # fmt: skip
        both = {name: {**table, **changed.get(name, {})} for name, table in tables.items()}
        return parse_curate_config(both, "the town")

    def curate(self, stages=None, **changed):
        """The stages that were run."""
        outcomes = curate(self.settings(**changed), self.out, stages)
        return {outcome.stage for outcome in outcomes if outcome.was_run}

    def pictures(self, folder):
        """Digests of all pictures of a folder of the curation, by view and name."""
        return {
            (path.parent.name, path.name): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in (self.out / folder).rglob("*.jpg")
        }

    def published(self):
        found = self.pictures("places")
        assert {view for view, _ in found} == VIEWS
        return found


def noise(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (48, 64, 3))
    return Image.fromarray(pixels.astype(np.uint8))


def invert(path, rows=slice(None)):
    with rasterio.open(path, "r+") as raster:
        pixels = raster.read()
        pixels[:, rows] = 255 - pixels[:, rows]
        raster.write(pixels)


def changed(before, after):
    """Views of which a picture has changed; all are still there."""
    assert before.keys() == after.keys()
    return {view for view, name in before if before[view, name] != after[view, name]}


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    return Town(tmp_path_factory.mktemp("changes"))


@pytest.fixture
def before(town):
    """What is published of the town as it is now."""
    town.curate()
    return town.published()


def test_nothing_is_run_where_nothing_has_changed(town, before):
    assert town.curate() == set()
    assert town.published() == before


def test_a_raster_that_was_drawn_anew(town, before):
    invert(town.drone)

    assert town.curate() == {"seeds", "crop", "clean", "satellite", "publish"}
    assert changed(before, town.published()) == {"drone"}


def test_a_raster_that_was_drawn_anew_by_stages(town, before):
    invert(town.drone)

    town.curate(["seeds", "crop"])

    now = {key: value for key, value in town.pictures("pictures").items() if key in before}
    assert changed(before, now) == {"drone"}


def test_a_raster_that_was_only_touched(town, before):
    os.utime(town.drone)

    # Their tables stay the same, so that nothing after them has to be done.
    assert town.curate() == {"seeds", "crop"}
    assert town.published() == before


def test_a_raster_that_was_put_back(town, before):
    kept = shutil.copy2(town.drone, town.drone.with_suffix(".kept"))
    invert(town.drone)
    town.curate()
    assert changed(before, town.published()) == {"drone"}

    shutil.copy2(kept, town.drone)
    town.curate()

    assert town.published() == before


def test_a_photo_whose_faces_were_blurred_afterwards(town, before):
    path = town.photos / "1.jpg"
    with Image.open(path) as photo:
        exif, blurred = photo.getexif(), photo.convert("L").convert("RGB")
    blurred.save(path, "JPEG", exif=exif)

    assert "publish" in town.curate()
    after = town.published()
    assert changed(before, after) == {"street"}
    assert len(set(after.values()) - set(before.values())) == 1


def test_a_satellite_raster_that_was_drawn_anew(town, before):
    invert(town.satellite)

    assert town.curate() == {"satellite", "publish"}
    assert changed(before, town.published()) == {"satellite"}


@pytest.mark.parametrize(
    ("settings", "views"),
    [
        ({"crop": {"quality": 20}}, {"drone", "street"}),
        ({"crop": {"street_width": 64, "size": 20, "gsd_m": None}}, {"drone"}),
        ({"satellite": {"quality": 20}}, {"satellite"}),
    ],
)
def test_settings_of_pictures(town, before, settings, views):
    ran = town.curate(**settings)

    assert changed(before, town.published()) == views
    assert "publish" in ran
    assert ("clean" in ran) == ("crop" in settings)
    town.curate()
    assert town.published() == before


def test_the_recipe_tells_the_raster_as_it_is(town):
    # Of what is not published, where no picture was cut.
    free = {"publish": {"only_redistributable": True, "splits": {"shares": {"train": 1.0}}},
            "seeds": {"facts": {"*": {"licence": "CC0-1.0"}}}}  # fmt: skip
    town.curate(**free)
    before = town.pictures("places")
    invert(town.satellite, slice(0, 1))

    town.curate(**free)

    assert town.pictures("places") == before
    recipe = json.loads((town.out / "places" / "recipe.json").read_text())
    told = {raster["name"]: raster["sha256"] for raster in recipe["rasters"]}
    assert told == {"satellite.tif": hashlib.sha256(town.satellite.read_bytes()).hexdigest()}
