"""The whole pipeline, as a user runs it, on real rasters in different coordinate systems.

A map in degrees (fongyuan) and aerial pictures in UTM 11N (NAIP of 2016) are the orthomosaics; the
satellite pictures are the map again in UTM 51N, and NAIP of 2020, as it is and in Web Mercator. No
panorama that was truly taken there is at hand: those of `street_sat` are put inside the seeds by
their EXIF. What is checked is everything but whether the street pictures are of their place.
"""

import itertools
import json

import geopandas
import numpy as np
import pandas as pd
import pytest
import yaml
from chat_server import ChatServer, answer, completion, pictures_in
from PIL import Image
from pyproj import Geod
from real_stage import (
    DATA,
    MAP,
    NAIP,
    beside,
    ground_seen,
    lay_over,
    match,
    middle_of,
    put_photo,
    sides_m,
    warp,
)
from typer.testing import CliRunner

from geobridge.cli.app import app
from geobridge.curation.workspace import Workspace
from geobridge.imagery.decode import read_image

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not MAP.is_file(), reason="the real rasters are not beside the project"),
]

TILES, ON_MAP = 11, 9
SIDES_M = [80, 100]
TERMS = {"licence": "CC-BY-4.0", "attribution": "USDA NAIP", "source": "NAIP"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("real")


@pytest.fixture(scope="module")
def curation(folder):
    """The command run once over everything: its output, and the workspace it leaves."""
    put_panoramas(folder / "walk")
    with ChatServer(described) as chat:
        config = folder / "real.yaml"
        config.write_text(yaml.safe_dump(settings(folder, chat)))
        result = run("curate", config, "--out", folder / "out")
    return result.output, Workspace(folder / "out")


def run(*words, code=0):
    result = CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200"})
    assert result.exit_code == code, result.output
    return result


def naip(year):
    return [NAIP / f"claremont_{year}_{number}.tif" for number in range(TILES)]


def settings(folder, chat):
    warped = [
        warp(path, folder / "aerial" / path.name, "EPSG:3857", 0.9) for path in naip(2020)[::2]
    ]
    town = warp(MAP, folder / "map_utm.tif", "EPSG:32651", 0.5)
    # Only the year is known.
    dated = {f"*_{year}_*.tif": {**TERMS, "date": f"{year}-07-01"} for year in (2016, 2020)}
    photos = {"kind": "folder", "folder": str(folder / "walk"), "licence": "for research"}
    return {
        "seeds": {
            "rasters": [str(path) for path in (MAP, *naip(2016))],
            "side_m": 120,
            "stride_m": 40,
            "facts": dated,
        },
        "street": {"providers": [photos]},
        "crop": {"sides_m": SIDES_M, "gsd_m": 0.5},
        "satellite": {
            "rasters": [str(path) for path in (town, *warped, *naip(2020)[1::2])],
            "gsd_m": 0.9,
            "facts": {**dated, "map_utm.tif": {"source": "the map", "attribution": "its makers"}},
        },
        "describe": {"endpoint": {"base_url": chat.url, "model": "no eyes"}},
        "publish": {"splits": {"shares": {"train": 0.5, "test": 0.5}, "apart_m": 100}},
    }


def put_panoramas(folder):
    """One in each NAIP tile, some on the map, one at its edge and one a kilometre off it."""
    rng = np.random.default_rng(4)
    at = [beside(*middle_of(path), *rng.uniform(-12, 12, 2)) for path in naip(2016)]
    town = middle_of(MAP)
    at += [beside(*town, east, north) for east in (-200, 0, 200) for north in (-180, 0, 180)]
    at += [beside(*town, -300, 0), beside(*town, 1000, 0)]
    files = sorted((DATA / "street_sat" / "street").glob("*.jpg"))
    panoramas = [
        Image.fromarray(picture) for picture in map(read_image, files) if is_strip(picture)
    ]
    for number, (panorama, (lat, lon)) in enumerate(zip(panoramas, at, strict=True)):
        put_photo(panorama, folder / f"{number:02d}.jpg", lat, lon)


def is_strip(picture):
    """Whether a picture goes all the way round: the others are cut out of panoramas."""
    height, width = picture.shape[:2]
    return width > 4 * height


_NUMBERS = itertools.count()


def described(body):
    assert len(pictures_in(body)) == 3
    return completion(answer(f"Houses and streets of the real world, numbered {next(_NUMBERS)}."))


def published(workspace):
    """Places with the rows of their pictures, by view."""
    places = geopandas.read_parquet(workspace.folder / "places" / "places.parquet")
    pictures = pd.read_parquet(workspace.folder / "places" / "pictures.parquet")
    by_place = {name: rows.set_index("view") for name, rows in pictures.groupby("place_id")}
    for place in places.to_dict("records"):
        yield place, by_place[place["place_id"]]


def test_all_stages_keep_places_of_both_sets_and_say_why_not(curation):
    output, workspace = curation
    street, crops = workspace.read("street"), workspace.read("crops")

    for stage in ("seeds", "street", "crop", "clean", "satellite", "describe", "publish"):
        assert stage in output
    assert street["kept"].sum() == len(street) - 1
    assert street.loc[~street["kept"], "reason"].item() == "no seed's footprint holds it"
    # 300 m west of the middle a square of 80 m is not whole, nor one of 100 m.
    cut_off = crops[~crops["kept"]]
    assert sorted(cut_off["side_m"]) == SIDES_M
    assert cut_off["reason"].str.contains("of the picture has data").all()
    kept = Workspace(workspace.folder).read("publish")["kept"].sum()
    assert kept == TILES + ON_MAP


def test_pictures_show_the_ground_they_claim(curation, capsys):
    _, workspace = curation
    found = lay_over(workspace)
    shifts_px = [match.shift_px for _, _, match in found]
    correlations = [match.correlation for _, _, match in found]
    with capsys.disabled():
        print(
            f"\n{len(found)} pictures: at most {max(shifts_px):.2f} pixels beside the ground they "
            f"claim, correlation {min(correlations):.3f} or more"
        )

    assert len(found) == 2 * (TILES + ON_MAP)
    assert {name for name, _, _ in found} == {
        f"{folder} {view}" for folder in ("fongyuan", "naip_years")
        for view in ("drone", "satellite")
    }  # fmt: skip
    assert max(shifts_px) < 0.5
    assert min(correlations) > 0.95
    assert [size for _, size, _ in found] == pytest.approx([1.0] * len(found), rel=1e-3)


def test_the_comparison_sees_a_pixel_and_another_place():
    lat, lon = middle_of(NAIP / "claremont_2016_0.tif")
    shown = ground_seen(NAIP / "claremont_2016_0.tif", lat, lon, 80, 160)
    beside_it = ground_seen(NAIP / "claremont_2016_0.tif", *beside(lat, lon, 0.5, 0), 80, 160)
    away = ground_seen(NAIP / "claremont_2016_0.tif", *beside(lat, lon, 20, 0), 80, 160)

    assert match(shown, shown).shift_px < 0.01
    assert match(shown, beside_it).shift_px == pytest.approx(1, abs=0.2)
    assert match(shown, away).correlation < 0.5


def test_footprints_are_as_large_as_they_say_and_around_the_panorama(curation):
    _, workspace = curation
    crops = workspace.read("crops").set_index("place_id")

    for place, pictures in published(workspace):
        crop = crops.loc[place["place_id"]]
        assert sides_m(place["footprint"]) == pytest.approx([crop["side_m"]] * 4, rel=1e-3)
        middle = place["footprint"].centroid
        away_m = Geod(ellps="WGS84").inv(middle.x, middle.y, crop["lon"], crop["lat"])[2]
        assert away_m < 0.01
        number = int(crop["pano_id"].removeprefix("folder:").removesuffix(".jpg"))
        assert place["country"] == ("United States of America" if number < TILES else "Taiwan")
        # 0.6 m and 0.16 m: the coarser one keeps its own pixels.
        gsd_m = 0.6 if number < TILES else 0.5
        assert pictures.at["drone", "gsd_m"] == pytest.approx(gsd_m, rel=0.01)
        assert pictures.at["satellite", "gsd_m"] == pytest.approx(0.9, rel=0.01)


def test_licences_and_dates_go_along(curation):
    _, workspace = curation

    for place, pictures in published(workspace):
        is_naip = place["country"] == "United States of America"
        said = pictures.astype(object).where(pictures.notna(), None)
        terms = ["CC-BY-4.0", "USDA NAIP"] if is_naip else [None, None]
        assert said.loc["drone", ["licence", "attribution"]].tolist() == terms
        assert said.at["drone", "captured"] == ("2016-07-01" if is_naip else None)
        terms = ["CC-BY-4.0", "USDA NAIP"] if is_naip else [None, "its makers"]
        assert said.loc["satellite", ["licence", "attribution"]].tolist() == terms
        assert said.at["satellite", "captured"] == ("2020-07-01" if is_naip else None)
        assert said.at["street", "licence"] == "for research"
        assert said.at["drone", "provider"] == ("NAIP" if is_naip else "satellite_map.tif")


def test_the_data_set_passes_the_doctor(curation):
    _, workspace = curation

    run("data", "doctor", "places", workspace.folder / "places")


def test_only_what_may_be_passed_on_is_published_when_asked(curation, folder):
    _, workspace = curation
    config = yaml.safe_load((folder / "real.yaml").read_text())
    config["publish"]["only_redistributable"] = True
    (folder / "free.yaml").write_text(yaml.safe_dump(config))
    before = (workspace.folder / "publish.parquet").read_bytes()
    try:
        run("curate", folder / "free.yaml", "--out", workspace.folder, "--stage", "publish")

        pictures = pd.read_parquet(workspace.folder / "places" / "pictures.parquet")
        assert pictures["view"].value_counts().to_dict() == {"drone": TILES, "satellite": TILES}
        assert set(pictures["licence"]) == {"CC-BY-4.0"}
        recipe = (workspace.folder / "places" / "recipe.json").read_text()
        assert str(DATA) not in recipe
        assert str(folder) not in recipe
        views = [row["view"] for row in json.loads(recipe)["pictures"]]
        assert sorted(set(views)) == ["drone", "satellite", "street"]
    finally:
        run("curate", folder / "real.yaml", "--out", workspace.folder, "--stage", "publish")
    assert (workspace.folder / "publish.parquet").read_bytes() == before
