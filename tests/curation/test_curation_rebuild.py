import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from ground_stage import LAT, LON, ImageryServer, paint, write_tiles
from provider_servers import Fault, ProviderServer, Shot, jpeg
from pydantic import ValidationError
from typer.testing import CliRunner

from geobridge.cli.app import app
from geobridge.curation import rebuild as module
from geobridge.curation.access import Access
from geobridge.curation.config import CurateConfig
from geobridge.curation.pipeline import curate
from geobridge.curation.rebuild import kinds_of_reasons, rebuild
from geobridge.curation.recipes import read_recipe
from geobridge.curation.workspace import Workspace
from geobridge.errors import CurationError
from geobridge.geo.distance import LocalFrame
from geobridge.places.table import read_places
from geobridge.world.photos import Shot as Exposure
from geobridge.world.photos import write_panorama

TOKEN = "opens-nothing"  # noqa: S105

# East and north of the middle, by the names of panoramas.
OFFSETS_M = {"p0": (-120, -120), "m1": (120, -120), "m2": (-120, 120), "f3": (120, 120)}


@dataclass
class Published:
    """A town that was published twice: everything, and what may be passed on.

    Attributes:
        whole: folder of everything.
        free: folder of what may be passed on, with its recipe.
        rasters: copies of the rasters under other names.
        photos: the folder of photos.
        panoramax: server of p0.
        mapillary: server of m1 and m2.
    """

    whole: Path
    free: Path
    rasters: Path
    photos: Path
    panoramax: ProviderServer
    mapillary: ProviderServer

    def access(self, **known):
        given = {
            "rasters": (str(self.rasters),),
            "photos": self.photos,
            "send": (f"MAPILLARY_TOKEN={self.mapillary.origin}",),
            "allow_private": True,
        }
        return Access(**(given | known))


@pytest.fixture(autouse=True)
def token(monkeypatch):
    monkeypatch.setenv("MAPILLARY_TOKEN", TOKEN)


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    folder = tmp_path_factory.mktemp("town")
    paint(folder / "maker" / "town.tif")
    paint(folder / "maker" / "town-2022.tif", px=700)
    shots = {name: shot(name, seed) for seed, name in enumerate(OFFSETS_M)}
    photos = folder / "photos" / "walk"
    photos.mkdir(parents=True)
    noise = np.random.default_rng(3).integers(0, 256, (64, 128, 3)).astype(np.uint8)
    at = shots["f3"]
    write_panorama(photos / "f3.jpg", noise, Exposure(at.lat, at.lon, 50, 0, 30, 0, 120, 12.0))
    patch = pytest.MonkeyPatch()
    patch.setenv("MAPILLARY_TOKEN", TOKEN)
    with (
        ProviderServer([shots["p0"]]) as panoramax,
        ProviderServer([shots["m1"], shots["m2"]], token=TOKEN) as mapillary,
    ):
        publish_twice(folder, settings_of(folder, panoramax, mapillary), "mapillary:m1")
        rasters = folder / "copies"
        rasters.mkdir()
        for index, path in enumerate(sorted((folder / "maker").iterdir())):
            shutil.copy(path, rasters / f"{index}.tif")
        # The maker's files are not there where a recipe is carried out.
        shutil.rmtree(folder / "maker")
        yield Published(
            *(folder / "whole", folder / "free", rasters, folder / "photos"), panoramax, mapillary
        )
    patch.undo()


def publish_twice(folder, settings, withdrawn):
    """Curate, and publish to `whole` and `free`; one panorama's licence is withdrawn."""
    curation = folder / "curation"
    curate(CurateConfig.model_validate(settings), curation)
    workspace = Workspace(curation)
    street = workspace.read("street")
    street.loc[street["pano_id"] == withdrawn, "licence"] = None
    workspace.write("street", street)
    for name, is_free in (("whole", False), ("free", True)):
        publish = {**settings["publish"], "only_redistributable": is_free}
        curate(CurateConfig.model_validate({**settings, "publish": publish}), curation)
        shutil.copytree(curation / "places", folder / name)
    shutil.rmtree(curation)


def shot(name, seed):
    lon, lat = LocalFrame(LAT, LON).to_lonlat(*OFFSETS_M[name])
    return Shot(name, float(lat), float(lon), jpeg(seed))


def settings_of(folder, panoramax, mapillary):
    return {
        "seeds": {"rasters": [str(folder / "maker" / "town.tif")], "max_gsd_m": 2},
        "street": {
            "providers": [
                {"kind": "panoramax", "url": panoramax.panoramax, "requests_per_second": 1000},
                {"kind": "mapillary", "url": mapillary.mapillary, "requests_per_second": 1000},
                {"kind": "folder", "folder": str(folder / "photos")},
            ],
            "allow_private": True,
        },
        "crop": {"sides_m": [60], "size": 32, "street_width": 64},
        "clean": {"drone": {"bh": 0}},
        "satellite": {"rasters": [str(folder / "maker" / "town-2022.tif")], "size": 24},
        "publish": {"splits": {"shares": {"train": 0.5, "test": 0.5}, "apart_m": 100}},
    }


def files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def lost(rebuilt):
    """Reasons of the pictures that are not there, by view."""
    rows = rebuilt.table[~rebuilt.table["kept"]]
    return {view: some["reason"].tolist() for view, some in rows.groupby("view")}


def edited(town, folder, change):
    """The published data set with another recipe."""
    shutil.copytree(town.free, folder)
    recipe = json.loads((folder / "recipe.json").read_text())
    change(recipe)
    (folder / "recipe.json").write_text(json.dumps(recipe))
    return folder


def test_reasons_that_differ_by_a_name_are_one():
    lost = [f"r{n}.tif is not there: give your copy with --raster" for n in (3, 0, 1, 2, 0)]
    other = "it comes out differently: a/{} b.tif is not what it was made of"
    photos = "it is of a folder of photos: give your copy with --photos"

    told = kinds_of_reasons([photos, *lost, other, photos])

    assert told == [
        (
            "4 files are not there: give your copy with --raster (r0.tif, r1.tif, r2.tif and 1 "
            "more)",
            5,
        ),
        (photos, 2),
        (other, 1),
    ]


def test_a_rebuilt_data_set_equals_the_one_with_everything(town, tmp_path):
    assert len(read_places(town.free)) == 2
    assert read_places(town.free)[["drone", "satellite"]].isna().all(axis=None)

    rebuilt = rebuild(town.free, tmp_path / "out", town.access())

    assert rebuilt.places == 4
    assert rebuilt.table["kept"].all()
    assert rebuilt.table["is_published"].sum() == 2
    assert len(rebuilt.table) == 12
    assert files(tmp_path / "out" / "places") == files(town.whole)


def test_a_changed_raster_gives_no_picture_and_is_named(town, tmp_path):
    changed = tmp_path / "copies" / "town.tif"
    shutil.copytree(town.rasters, changed.parent)
    # The drone's and the satellite's come in the order of their names.
    (changed.parent / "1.tif").rename(changed)
    with rasterio.open(changed, "r+") as raster:
        raster.write(255 - raster.read())

    rebuilt = rebuild(town.free, tmp_path / "out", town.access(rasters=(str(changed.parent),)))

    assert list(lost(rebuilt)) == ["drone"]
    assert len(lost(rebuilt)["drone"]) == 4
    assert all("is not what it was made of" in reason for reason in lost(rebuilt)["drone"])
    places = read_places(tmp_path / "out" / "places")
    assert places["drone"].isna().all()
    assert places[["street", "satellite"]].notna().all(axis=None)


def test_what_is_missing_is_told_and_made_when_it_is_there(town, tmp_path):
    poor = town.access(rasters=(), photos=None)
    first = rebuild(town.free, tmp_path / "out", poor)

    assert lost(first) == {
        "drone": ["town.tif is not there: give your copy with --raster"] * 4,
        "satellite": ["town-2022.tif is not there: give your copy with --raster"] * 4,
        "street": ["it is of a folder of photos: give your copy with --photos"],
    }
    assert first.places == 3
    written = Workspace(tmp_path / "out").read("rebuild")
    pd.testing.assert_frame_equal(written, first.table, check_dtype=False)

    rebuild(town.free, tmp_path / "out", town.access())
    assert files(tmp_path / "out" / "places") == files(town.whole)


def test_a_raster_can_be_named(town, tmp_path):
    named = (f"town.tif={town.rasters}/1.tif", f"town-2022.tif={town.rasters}/0.tif")
    assert rebuild(town.free, tmp_path / "a", town.access(rasters=named)).table["kept"].all()

    other = paint(tmp_path / "other.tif", px=300)
    with pytest.raises(CurationError, match=r"other\.tif is none of the recipe's rasters"):
        rebuild(town.free, tmp_path / "b", town.access(rasters=(str(other),)))
    with pytest.raises(CurationError, match="neither a file, a folder nor an address"):
        rebuild(town.free, tmp_path / "c", town.access(rasters=("nowhere.tif",)))
    with pytest.raises(CurationError, match="is no file that could stand for town"):
        rebuild(town.free, tmp_path / "d", town.access(rasters=(f"town.tif={tmp_path}",)))


def test_a_picture_that_the_provider_has_no_more_is_told(town, tmp_path):
    town.mapillary.faults["/pictures/m1.jpg"].append(
        Fault(404, {"Content-Type": "application/json"}, b"{}")
    )

    rebuilt = rebuild(town.free, tmp_path / "out", town.access())

    (reason,) = lost(rebuilt)["street"]
    assert "/pictures/m1.jpg gave status 404" in reason


def test_a_picture_that_the_provider_has_changed_is_told(town, tmp_path):
    body = jpeg(77)
    town.mapillary.faults["/pictures/m1.jpg"].append(
        Fault(headers={"Content-Type": "image/jpeg"}, body=body)
    )

    rebuilt = rebuild(town.free, tmp_path / "out", town.access())

    assert lost(rebuilt) == {
        "street": [
            "it comes out differently: the picture that mapillary gives now is not what it was "
            "made of"
        ]
    }


def test_secrets_go_only_where_they_may(town, tmp_path, monkeypatch):
    asked = len(town.mapillary.asked)

    rebuilt = rebuild(town.free, tmp_path / "a", town.access(send=()))
    (reason,) = lost(rebuilt)["street"]
    origin = town.mapillary.origin
    assert reason.startswith(f"the recipe wants MAPILLARY_TOKEN sent to {origin}")
    assert f"--send MAPILLARY_TOKEN={origin}" in reason

    monkeypatch.delenv("MAPILLARY_TOKEN")
    rebuilt = rebuild(town.free, tmp_path / "b", town.access())
    (reason,) = lost(rebuilt)["street"]
    assert reason.startswith("MAPILLARY_TOKEN is not set")

    assert len(town.mapillary.asked) == asked
    with pytest.raises(ValidationError, match="VARIABLE=https://host"):
        Access(send=("MAPILLARY_TOKEN",))


def test_a_recipe_of_tiles_gets_no_other_secret(town, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME_SECRET", "mine")

    def ask_for_tiles(recipe):
        tiles = {"url": f"{town.panoramax.origin}/{{z}}/{{x}}/{{y}}", "key_variable": "HOME_SECRET"}
        recipe["settings"]["tiles"] = tiles
        for row in recipe["pictures"]:
            if row["view"] == "satellite":
                row["origin"]["raster"] = None

    folder = edited(town, tmp_path / "free", ask_for_tiles)

    rebuilt = rebuild(folder, tmp_path / "out", town.access())

    assert all("wants HOME_SECRET sent to" in reason for reason in lost(rebuilt)["satellite"])
    assert not [path for path in town.panoramax.asked if "mine" in path]


def test_a_recipe_that_wants_too_much_is_told_so(town, tmp_path):
    def ask_for_many(recipe):
        tiles = {"url": f"{town.panoramax.origin}/{{z}}/{{x}}/{{y}}", "tile_px": 64, "max_zoom": 30}
        recipe["settings"]["tiles"] = tiles
        recipe["settings"]["satellite"]["size"] = 8192
        recipe["settings"]["crop"] |= {"gsd_m": 0.001, "size": None}
        for row in recipe["pictures"]:
            if row["view"] == "satellite":
                row["origin"]["raster"] = None

    folder = edited(town, tmp_path / "free", ask_for_many)
    asked = len([path for path in town.panoramax.asked if "pictures" not in path])

    rebuilt = rebuild(folder, tmp_path / "out", town.access())

    reasons = lost(rebuilt)
    assert all("tiles, more than 1,024" in reason for reason in reasons["satellite"])
    assert all("more than 8192 pixels wide" in reason for reason in reasons["drone"])
    assert len([path for path in town.panoramax.asked if "pictures" not in path]) == asked


def test_addresses_of_this_machine_are_not_asked_unless_allowed(town, tmp_path):
    def point_at_this_machine(recipe):
        for row in recipe["pictures"]:
            if row["view"] == "drone":
                row["origin"]["raster"] = f"{town.panoramax.origin}/town.tif"

    folder = edited(town, tmp_path / "free", point_at_this_machine)
    asked = len(town.panoramax.asked)

    rebuilt = rebuild(folder, tmp_path / "out", town.access(allow_private=False))

    assert all("this machine or its networks" in reason for reason in lost(rebuilt)["drone"])
    assert "MAPILLARY_TOKEN would be sent unencrypted" in lost(rebuilt)["street"][0]
    assert len(town.panoramax.asked) == asked


def test_google_needs_a_word(town, tmp_path):
    def use_google(recipe):
        recipe["settings"]["providers"] = [{"kind": "google", "i_accept_the_terms": True}]
        for row in recipe["pictures"]:
            if row["view"] == "street" and row["origin"]["pano_id"].startswith("mapillary"):
                row["origin"]["pano_id"] = "google:m1"

    folder = edited(town, tmp_path / "free", use_google)

    (reason,) = lost(rebuild(folder, tmp_path / "out", town.access()))["street"]
    assert "--i-accept-the-terms" in reason


def set_path(path):
    def change(recipe):
        recipe["pictures"][0]["path"] = path

    return change


def drop(stage):
    return lambda recipe: recipe["settings"].pop(stage)


def no_way(recipe):
    recipe["settings"]["satellite"] = None


def outline(corners):
    def change(recipe):
        recipe["places"][0]["footprint"] = corners

    return change


def twice(recipe):
    recipe["pictures"].append(recipe["pictures"][0])


def of_another(recipe):
    recipe["pictures"][0]["place_id"] = "nobody"


def earlier(recipe):
    recipe["version"] = 1


def no_digest(recipe):
    recipe["pictures"][0]["sha256"] = "x"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_path("../../escaped.jpg"), r"damaged at 'pictures\.0.*escaped"),
        (set_path("drone/../../escaped.jpg"), r"damaged at 'pictures\.0.*escaped"),
        (set_path("/tmp/escaped.jpg"), r"damaged at 'pictures\.0.*escaped"),  # noqa: S108
        (set_path("drone/..\\escaped.jpg"), r"damaged at 'pictures\.0.*escaped"),
        (set_path("drone/escaped.sh"), r"damaged at 'pictures\.0.*escaped"),
        (drop("crop"), r"damaged at 'settings\.crop'"),
        (drop("apart_m"), r"damaged at 'settings\.apart_m'"),
        (no_way, "do not tell how pictures of satellites are made"),
        (outline([[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]), "'places.0'.* has no area"),
        (outline([[0, 0], [0, 0], [0, 0], [0, 0]]), "'places.0'.* has no area"),
        (outline([[50, 50], [51, 50], [51, 51], [50, 50]]), "does not lie in its footprint"),
        (twice, "is there twice"),
        (of_another, "is not of the data set it lies in .*nobody"),
        (earlier, "is of version 1"),
        (no_digest, r"damaged at 'pictures\.0\.sha256'"),
        (dict.clear, "is no recipe of GeoBridge"),
    ],
)
def test_a_recipe_that_is_not_one_is_refused_before_anything_is_written(
    town, tmp_path, change, message
):
    folder = edited(town, tmp_path / "free", change)

    with pytest.raises(CurationError, match=message):
        rebuild(folder, tmp_path / "out", town.access())

    assert not list(tmp_path.rglob("*escaped*"))
    assert not (tmp_path / "out" / "places").exists()


def test_a_file_that_is_no_json_or_not_there_is_told(town, tmp_path):
    with pytest.raises(CurationError, match="whole has no recipe"):
        rebuild(town.whole, tmp_path / "out", town.access())
    shutil.copytree(town.free, tmp_path / "free")
    for text in ("{", "[" * 200_000, '{"left_out": ' + "9" * 5000 + "}"):
        (tmp_path / "free" / "recipe.json").write_text(text)
        with pytest.raises(CurationError, match="is damaged"):
            rebuild(tmp_path / "free", tmp_path / "out", town.access())


def test_an_address_that_only_begins_like_the_provider_s_is_not_asked(town, tmp_path):
    elsewhere = f"{town.mapillary.mapillary}.example/m1?fields=thumb_original_url"

    def lead_away(recipe):
        for row in recipe["pictures"]:
            if row["view"] == "street" and row["origin"]["pano_id"].startswith("mapillary"):
                row["origin"]["url"] = elsewhere

    folder = edited(town, tmp_path / "free", lead_away)

    (reason,) = lost(rebuild(folder, tmp_path / "out", town.access()))["street"]
    assert reason.startswith("its address is not one of")


def test_photos_outside_their_folder_are_not_read(town, tmp_path):
    photo = next(town.photos.rglob("*.jpg"))
    shutil.copy(photo, tmp_path / "f3.jpg")
    (tmp_path / "photos").mkdir()

    def lead_out(recipe):
        for row in recipe["pictures"]:
            if row["view"] == "street" and row["origin"]["pano_id"].startswith("folder"):
                row["origin"]["pano_id"] = "folder:../f3.jpg"

    folder = edited(town, tmp_path / "free", lead_out)

    rebuilt = rebuild(folder, tmp_path / "out", town.access(photos=tmp_path / "photos"))

    assert "leads out of the folder of photos" in lost(rebuilt)["street"][0]


def test_nothing_is_written_over(town, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("words")
    with pytest.raises(CurationError, match="other is not empty"):
        rebuild(town.free, tmp_path / "other", town.access())

    out = tmp_path / "out"
    rebuild(town.free, out, town.access(rasters=()))
    another = edited(town, tmp_path / "free", lambda recipe: recipe.update(left_out=7))
    with pytest.raises(CurationError, match="out is of another data set"):
        rebuild(another, out, town.access())

    path = json.loads((town.free / "recipe.json").read_text())["pictures"][0]["path"]
    mine = out / "places" / path
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("my own")
    rebuilt = rebuild(town.free, out, town.access())
    (reasons,) = lost(rebuilt).values()
    assert len(reasons) == 1
    assert reasons[0].startswith("another file is at")
    assert mine.read_text() == "my own"


def test_rasters_and_tiles_of_the_network_are_read_where_they_are(town, tmp_path):
    with ImageryServer(tmp_path / "served") as imagery:
        paint(imagery.folder / "town.tif", tiled=True, blockxsize=256, blockysize=256)
        write_tiles(imagery.folder, 16)
        template = f"{imagery.origin}/files/{{z}}/{{x}}/{{y}}.png"
        settings = settings_of(tmp_path, town.panoramax, town.mapillary)
        settings["seeds"] |= {"rasters": [f"{imagery.origin}/files/town.tif"]}
        settings["satellite"] = {"tiles": {"url": template, "allow_private": True}, "size": 24}
        settings["street"]["providers"].pop()
        for stage in ("seeds", "crop"):
            settings[stage]["allow_private"] = True
        publish_twice(tmp_path, settings, "mapillary:m1")
        assert read_recipe(tmp_path / "free").rasters == ()

        rebuilt = rebuild(tmp_path / "free", tmp_path / "out", town.access(rasters=(), photos=None))

        assert rebuilt.table["kept"].all(), lost(rebuilt)
        assert files(tmp_path / "out" / "places") == files(tmp_path / "whole")
        private = town.access(rasters=(), photos=None, allow_private=False)
        refused = lost(rebuild(tmp_path / "free", tmp_path / "b", private))
        for view in ("drone", "satellite"):
            assert all("this machine or its networks" in reason for reason in refused[view])


@pytest.mark.parametrize("after", [0, 3, 7, 11])
def test_a_run_that_was_stopped_goes_on(town, tmp_path, monkeypatch, after):
    write, written = module.write_atomically, []

    def stop(path, data):
        if len(written) == after:
            raise KeyboardInterrupt
        write(path, data)
        written.append(path)

    monkeypatch.setattr(module, "write_atomically", stop)
    with pytest.raises(KeyboardInterrupt):
        rebuild(town.free, tmp_path / "out", town.access(threads=1))
    monkeypatch.setattr(module, "write_atomically", write)
    there = {path: path.stat().st_mtime_ns for path in written}
    (asked,) = [town.mapillary.pictures_asked()]
    is_downloaded = any((tmp_path / "out").glob("cache/*/*"))

    rebuild(town.free, tmp_path / "out", town.access())

    assert files(tmp_path / "out" / "places") == files(town.whole)
    assert {path: path.stat().st_mtime_ns for path in written} == there
    if is_downloaded:
        assert town.mapillary.pictures_asked() == asked


REBUILD = """
import json, sys
from geobridge.curation.access import Access
from geobridge.curation.rebuild import rebuild
rebuild(sys.argv[1], sys.argv[2], Access.model_validate(json.loads(sys.argv[3])))
"""


def test_a_run_that_was_killed_goes_on(town, tmp_path, monkeypatch):
    # All that needs no download is there soon; the one that does never ends.
    monkeypatch.setattr(town.mapillary, "wait_s", 30.0)
    out = tmp_path / "out"
    words = [str(town.free), str(out), town.access().model_dump_json()]
    process = subprocess.Popen([sys.executable, "-c", REBUILD, *words])
    try:
        while len(list(out.glob("places/*/*.jpg"))) < 11:
            assert process.poll() is None
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    there = {path: path.stat().st_mtime_ns for path in out.glob("places/*/*.jpg")}
    assert not (out / "places" / "places.parquet").exists()
    monkeypatch.setattr(town.mapillary, "wait_s", 0.0)

    rebuild(town.free, out, town.access())

    assert files(out / "places") == files(town.whole)
    assert there.items() <= {path: path.stat().st_mtime_ns for path in out.rglob("*.jpg")}.items()


def test_the_command_says_what_is_there_and_what_is_not(town, tmp_path):
    words = ["data", "rebuild", "places", str(town.free), "--out", str(tmp_path / "out")]
    words += ["--photos", str(town.photos), "--allow-private"]

    poor = CliRunner().invoke(app, words)
    send = ["--send", f"MAPILLARY_TOKEN={town.mapillary.origin}"]
    rich = CliRunner().invoke(app, [*words, "--raster", str(town.rasters), *send])
    bad = CliRunner().invoke(app, [*words, "--send", "nothing"])

    assert poor.exit_code == 1
    assert "3 places with 3 of 12 pictures" in poor.stdout
    assert "8 left out: 2 files are not there: give your copy with --raster (" in poor.stdout
    assert "town.tif)" in poor.stdout
    assert "rebuild.parquet" in poor.stdout
    assert rich.exit_code == 0, rich.output
    assert "4 places with 12 of 12 pictures" in rich.stdout
    assert bad.exit_code == 2
    assert "VARIABLE=https://host" in bad.output
