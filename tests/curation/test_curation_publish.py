import hashlib
import json
from pathlib import Path

import pandas as pd
import pytest
from curation_stage import silent, stage_tables
from PIL import Image

from geobridge.curation import publish
from geobridge.curation.publish import PublishConfig
from geobridge.curation.recipes import read_recipe
from geobridge.curation.redistribution import raster_names
from geobridge.curation.splits import SplitConfig
from geobridge.curation.state import read_notes, write_notes
from geobridge.errors import CurationError
from geobridge.places.table import read_places
from geobridge.views import VIEWS

# A pair 100 m apart, and three places far from everything.
OFFSETS_M = [(0, 0), (100, 0), (5000, 0), (0, 5000), (-5000, -5000)]


def run(workspace, **settings):
    return publish.run(workspace, PublishConfig(**settings), silent)


def files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
    }


def test_what_all_stages_kept_becomes_a_places_data_set(tmp_path):
    workspace, names = stage_tables(tmp_path, OFFSETS_M)

    table = run(workspace)

    places = read_places(tmp_path / "places").set_index("place_id")
    assert table["place_id"].tolist() == sorted(names) == places.index.tolist()
    assert table["kept"].all()
    assert set(table["country"]) == {"Germany"}
    one = places.loc[names[2]]
    assert one["text"] == "place number 2"
    assert one["drone"] == f"drone/{names[2]}.jpg"
    assert one["street"] == "street/p2.jpg"
    assert one["satellite"] == f"satellite/{names[2]}.jpg"
    assert one["country"] == "Germany"
    assert one["split"] == table.set_index("place_id").at[names[2], "split"]
    assert one["licence"] == "drone: CC-BY-4.0; street: etalab-2.0; satellite: public domain"
    assert one["attribution"] == "drone: A. Pilot; street: A. Surveyor"
    assert one["source"] == "drone: town.tif; street: panoramax; satellite: NAIP"
    for view in ("drone", "street", "satellite"):
        written = (tmp_path / "places" / one[view]).read_bytes()
        assert written == (tmp_path / "pictures" / one[view]).read_bytes()


def test_neighbours_are_of_one_split(tmp_path):
    workspace, names = stage_tables(tmp_path, OFFSETS_M)

    for seed in range(6):
        splits = SplitConfig(shares={"train": 0.5, "test": 0.5}, seed=seed)
        split = run(workspace, splits=splits).set_index("place_id")["split"]
        assert split[names[0]] == split[names[1]]


def test_every_picture_has_a_row_that_says_whose_it_is(tmp_path):
    workspace, names = stage_tables(tmp_path, OFFSETS_M)
    run(workspace)

    pictures = pd.read_parquet(tmp_path / "places" / "pictures.parquet")

    assert len(pictures) == 3 * len(names)
    for row in pictures.to_dict("records"):
        data = (tmp_path / "places" / row["path"]).read_bytes()
        assert row["sha256"] == hashlib.sha256(data).hexdigest()
    rows = pictures[pictures["place_id"] == names[0]].set_index("view")
    assert rows.loc["drone", "provider"] == "town.tif"
    assert rows.loc["drone", "gsd_m"] == 0.2
    assert rows.loc["drone", "captured"] == "2023-06-01"
    assert rows.loc["street", "licence"] == "etalab-2.0"
    assert rows.loc["street", "attribution"] == "A. Surveyor"
    assert pd.isna(rows.loc["street", "gsd_m"])
    assert rows.loc["satellite", "provider"] == "NAIP"
    assert pd.isna(rows.loc["satellite", "attribution"])


def test_places_that_a_stage_left_out_stay_behind_with_its_reason(tmp_path):
    kept = {"crops": {0: "no data"}, "clean": {1: "blur"}, "describe": {3: "it does not fit"}}
    kept["satellite"] = {2: "no raster reaches there"}
    workspace, names = stage_tables(tmp_path, OFFSETS_M, kept=kept)

    table = run(workspace).set_index("place_id")

    assert names[0] not in table.index
    assert names[1] not in table.index
    assert table.loc[names[2], "reason"] == "satellite: no raster reaches there"
    assert table.loc[names[3], "reason"] == "describe: it does not fit"
    assert not table.loc[names[2], "kept"]
    assert table.loc[names[2], "split"] is None
    assert read_places(tmp_path / "places")["place_id"].tolist() == [names[4]]


def test_places_need_not_be_whole(tmp_path):
    kept = {"satellite": {2: "no raster reaches there"}, "describe": {2: "x", 3: "no fit"}}
    workspace, names = stage_tables(tmp_path, OFFSETS_M, kept=kept)

    run(workspace, whole=False)

    places = read_places(tmp_path / "places").set_index("place_id")
    assert len(places) == 5
    assert places.loc[names[2], "satellite"] is None
    assert places.loc[names[2], "text"] is None
    assert places.loc[names[3], "text"] is None
    assert places.loc[names[3], "satellite"] is not None


def test_stages_that_were_not_run_lack_nothing(tmp_path):
    workspace, _ = stage_tables(tmp_path, OFFSETS_M)
    for stage in ("clean", "satellite", "describe"):
        workspace.path(stage).unlink()

    assert run(workspace)["kept"].all()

    places = read_places(tmp_path / "places")
    assert places["satellite"].isna().all()
    assert places["text"].isna().all()


def test_only_what_may_be_redistributed_is_published_and_a_recipe_for_the_rest(tmp_path):
    licences = {1: "Google Maps Platform Terms of Service", 2: None}
    workspace, names = stage_tables(tmp_path, OFFSETS_M, licences=licences)

    run(workspace, only_redistributable=True)

    places = read_places(tmp_path / "places").set_index("place_id")
    assert sorted(places.index) == sorted(names)
    assert places.loc[names[1], "street"] is None
    assert places.loc[names[2], "street"] is None
    assert places.loc[names[0], "street"] == "street/p0.jpg"
    assert not (tmp_path / "places" / "street" / "p1.jpg").exists()
    text = (tmp_path / "places" / "recipe.json").read_text()
    recipe = json.loads(text)
    wanted = recipe["pictures"]
    assert sorted(row["place_id"] for row in wanted) == sorted([names[1], names[2]])
    row = next(row for row in wanted if row["place_id"] == names[1])
    assert row["view"] == "street"
    assert row["origin"]["pano_id"] == "panoramax:p1"
    assert row["origin"]["url"] == "https://example.org/p1.jpg"
    assert row["origin"]["heading_deg"] == 90.0
    data = (tmp_path / "pictures" / "street" / "p1.jpg").read_bytes()
    assert row["sha256"] == row["origin"]["sha256"] == hashlib.sha256(data).hexdigest()
    settings = recipe["settings"]
    assert set(settings) == {"crop", "satellite", "tiles", "providers", "apart_m"}
    assert settings["crop"]["quality"] == 90
    assert settings["satellite"]["gsd_m"] == 0.6
    assert "facts" not in settings["satellite"]
    asked = [(one["kind"], one.get("asset")) for one in settings["providers"]]
    assert asked == [("panoramax", "sd"), ("google", None)]
    assert not settings["providers"][1]["i_accept_the_terms"]
    for theirs in ("someone", "naip", "photos"):
        assert theirs not in text


def test_pictures_that_may_not_be_passed_on_any_more_are_removed(tmp_path):
    workspace, names = stage_tables(tmp_path, OFFSETS_M, licences={1: "proprietary"})
    run(workspace)
    assert (tmp_path / "places" / "street" / "p1.jpg").is_file()

    run(workspace, only_redistributable=True)
    assert not (tmp_path / "places" / "street" / "p1.jpg").exists()
    assert (tmp_path / "places" / "recipe.json").is_file()

    run(workspace)
    assert not (tmp_path / "places" / "recipe.json").exists()
    assert read_places(tmp_path / "places").set_index("place_id").loc[names[1], "street"]


def test_a_place_of_which_nothing_may_be_passed_on_stays_behind(tmp_path):
    workspace, names = stage_tables(tmp_path, OFFSETS_M, licences={4: "proprietary"})
    for stage, column in (("satellite", "licence"), ("seeds", "licence")):
        table = workspace.read(stage)
        table[column] = "proprietary"
        workspace.write(stage, table)

    table = run(workspace, only_redistributable=True).set_index("place_id")

    assert table.loc[names[4], "reason"] == "none of its pictures may be redistributed"
    assert table["kept"].sum() == 4
    recipe = json.loads((tmp_path / "places" / "recipe.json").read_text())
    assert {row["view"] for row in recipe["pictures"] if row["place_id"] == names[4]} == {
        *("drone", "street", "satellite")
    }


def test_the_same_tables_give_the_same_bytes(tmp_path):
    licences = {1: "proprietary"}
    made = []
    for name in ("one", "two"):
        workspace, _ = stage_tables(tmp_path / name, OFFSETS_M, licences=licences)
        run(workspace, only_redistributable=True)
        run(workspace, only_redistributable=True)
        made.append(files(tmp_path / name / "places"))
        made[-1]["publish"] = workspace.path("publish").read_bytes()

    assert made[0] == made[1]


def test_the_card_counts_what_is_there(tmp_path):
    workspace, _ = stage_tables(
        tmp_path, OFFSETS_M, licences={1: None}, kept={"clean": {4: "blur"}}
    )
    run(workspace, splits=SplitConfig(shares={"train": 1.0}))

    card = (tmp_path / "places" / "README.md").read_text()

    assert "4 places with 12 pictures" in card
    for line in (
        "| train | 4 |",
        "| Germany | 4 |",
        "| drone | 4 | 0.2 | 0.2 | 0.2 |",
        "| street | 4 |  |  |  |",
        "| 2024 | 0 | 4 | 0 |",
        "| panoramax | 0 | 4 | 0 |",
        "| etalab-2.0 | 0 | 3 | 0 |",
        "| not stated | 0 | 1 | 0 |",
        "| public domain | 0 | 0 | 4 |",
        "- panoramax: A. Surveyor",
    ):
        assert line in card.splitlines(), line


def test_the_card_warns_of_pictures_that_may_not_be_passed_on(tmp_path):
    workspace, _ = stage_tables(tmp_path, OFFSETS_M, licences={1: None, 2: "proprietary"})
    card = tmp_path / "places" / "README.md"

    run(workspace)
    assert "**Not to be passed on:** 2 of the pictures" in card.read_text()
    run(workspace, only_redistributable=True)
    assert "Not to be passed on" not in card.read_text()


def test_what_is_kept_back_is_told_with_the_way_to_it(tmp_path):
    licences = dict.fromkeys(range(3), "all rights reserved") | {3: None}
    workspace, _ = stage_tables(tmp_path, OFFSETS_M, licences=licences)
    told = []

    def step(what):
        told.append(what)
        return silent

    publish.run(workspace, PublishConfig(only_redistributable=True), step)

    said = "4 of 15 pictures kept back: street (all rights reserved) 3, street (not stated) 1"
    assert said in told
    card = (tmp_path / "places" / "README.md").read_text()
    assert "## What is not here, and how to get it" in card
    assert said in card
    assert "geobridge data rebuild places . --out whole" in card
    assert "- access to `panoramax`" in card


def test_places_that_cannot_be_trained_on_are_told(tmp_path):
    workspace, _ = stage_tables(
        tmp_path, OFFSETS_M, licences={1: None}, kept={"satellite": {1: "x"}, "describe": {1: "x"}}
    )
    told = []

    def step(what):
        told.append(what)
        return silent

    publish.run(workspace, PublishConfig(only_redistributable=True, whole=False), step)

    said = "4 of the 5 places can be trained on"
    assert any(said in one for one in told)
    assert said in (tmp_path / "places" / "README.md").read_text()


@pytest.mark.parametrize(("apart_m", "is_told"), [(112, True), (114, False)])
def test_splits_nearer_than_a_diagonal_are_told(tmp_path, apart_m, is_told):
    # Squares of 80 m: 113.1 m from corner to corner.
    workspace, _ = stage_tables(tmp_path, [(2000 * n, 0) for n in range(6)])

    run(workspace, splits=SplitConfig(shares={"train": 0.5, "test": 0.5}, apart_m=apart_m))

    card = (tmp_path / "places" / "README.md").read_text()
    assert ("footprints of two splits may overlap" in card) == is_told
    assert "cannot" not in card


def test_providers_of_one_attribution_are_one_line_of_the_card(tmp_path):
    workspace, _ = stage_tables(tmp_path, [(2000 * n, 0) for n in range(20)])
    crops = workspace.read("crops")
    crops["raster"] = [f"/home/someone/flights/{n:02}.tif" for n in range(20)]
    workspace.write("crops", crops)

    run(workspace)

    lines = (tmp_path / "places" / "README.md").read_text().splitlines()
    assert "- 00.tif, 01.tif, 02.tif, and 17 other providers: A. Pilot" in lines
    assert "| 10 others | 10 | 0 | 0 |" in lines
    assert "| panoramax | 0 | 20 | 0 |" in lines
    assert "| 09.tif | 1 | 0 | 0 |" in lines


def test_a_sheet_shows_a_sample_of_the_places(tmp_path):
    workspace, _ = stage_tables(tmp_path, [(2000 * n, 0) for n in range(15)])
    path = tmp_path / "sheets" / "places.png"

    run(workspace)
    with Image.open(path) as sheet:
        twelve = sheet.size
    run_again, _ = stage_tables(tmp_path, OFFSETS_M)
    run(run_again)

    with Image.open(path) as sheet:
        five = sheet.size
    # Three views wide; each place adds the same height.
    assert five[0] == twelve[0] == 3 * 218 + 8
    assert (twelve[1] - 26) / 12 == (five[1] - 26) / 5


def test_nothing_to_publish_is_one_sentence(tmp_path):
    kept = {"clean": dict.fromkeys(range(5), "blur")}
    workspace, _ = stage_tables(tmp_path / "a", OFFSETS_M, kept=kept)
    with pytest.raises(CurationError, match="no place was kept before the stage publish"):
        run(workspace)

    kept = {"describe": dict.fromkeys(range(5), "it does not fit")}
    workspace, _ = stage_tables(tmp_path / "b", OFFSETS_M, kept=kept)
    with pytest.raises(CurationError, match=r"no place is left to publish .*it does not fit"):
        run(workspace)


def test_a_picture_that_is_gone_is_told(tmp_path):
    workspace, _ = stage_tables(tmp_path, OFFSETS_M)
    (tmp_path / "pictures" / "street" / "p3.jpg").unlink()

    with pytest.raises(CurationError, match=r"p3\.jpg cannot be copied"):
        run(workspace)


def restricted(workspace, **rasters):
    """The recipe where no drone and no satellite picture may be passed on, by stages' rasters."""
    for stage in ("seeds", "satellite"):
        table = workspace.read(stage)
        table["licence"] = "proprietary"
        workspace.write(stage, table)
    for stage, names in rasters.items():
        table = workspace.read(stage)
        table["raster"] = names
        workspace.write(stage, table)
    run(workspace, only_redistributable=True)
    return read_recipe(workspace.folder / "places")


def test_rasters_are_told_by_name_and_digest_and_never_by_folder(tmp_path):
    workspace, _ = stage_tables(tmp_path / "out", OFFSETS_M)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "town.tif").write_bytes(folder.encode())

    drone, satellite = (str(tmp_path / folder / "town.tif") for folder in ("a", "b"))
    recipe = restricted(workspace, crops=drone, satellite=satellite)

    digests = [hashlib.sha256(letter).hexdigest() for letter in (b"a", b"b")]
    known = {raster.name: raster.sha256 for raster in recipe.rasters}
    assert known == {"town.tif": digests[0], f"town-{digests[1][:8]}.tif": digests[1]}
    of_view = {row.view: row.origin.raster for row in recipe.pictures}
    assert known[of_view["drone"]] == digests[0]
    assert known[of_view["satellite"]] == digests[1]
    assert str(tmp_path) not in (tmp_path / "out" / "places" / "recipe.json").read_text()


def test_rasters_of_equal_content_are_one_and_others_are_told_apart(tmp_path):
    contents = {
        "a/t.tif": b"1",
        "b/t.tif": b"1",
        "c/u.tif": b"1",
        "d/t.tif": b"2",
        "e\\t.tif": b"3",
    }
    for name, content in contents.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    rasters = [str(tmp_path / name) for name in contents]

    names = raster_names([*rasters, "/zone/t.tif", "https://h/t.tif"], lambda p: _sha256(p))

    apart = f"t-{hashlib.sha256(b'2').hexdigest()[:8]}.tif"
    assert [names[raster] for raster in rasters] == ["t.tif"] * 3 + [apart, "e\\t.tif"]
    assert len({names[raster] for raster in (*rasters, "/zone/t.tif")}) == 4
    assert names["https://h/t.tif"] == "https://h/t.tif"


def _sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def test_a_recipe_of_rasters_of_equal_content_is_written(tmp_path):
    workspace, _ = stage_tables(tmp_path / "out", OFFSETS_M)
    rasters = [tmp_path / folder / "town\\1.tif" for folder in "abcde"]
    for path in rasters:
        path.parent.mkdir()
        path.write_bytes(b"same")

    recipe = restricted(workspace, crops=[str(path) for path in rasters])

    assert [raster.name for raster in recipe.rasters] == ["town.tif", "town\\1.tif"]
    of_drone = {row.origin.raster for row in recipe.pictures if row.view == "drone"}
    assert of_drone == {"town\\1.tif"}


@pytest.mark.parametrize(
    ("source", "provider"),
    [
        ("Copernicus / ESA", "Copernicus / ESA"),
        ("naip/tx_m_1", "naip/tx_m_1"),
        ("IGN, https://ign.example/wmts?layer=ortho", "IGN, https://ign.example/wmts?layer=ortho"),
        ("https://h.example/x?token=SECRET&y=1", "https://h.example/x?y=1"),
    ],
)
def test_a_source_is_told_as_it_is_stated(tmp_path, source, provider):
    workspace, _ = stage_tables(tmp_path, OFFSETS_M)
    for stage in ("satellite", "seeds"):
        table = workspace.read(stage)
        table["source"] = source
        workspace.write(stage, table)

    run(workspace)

    pictures = pd.read_parquet(tmp_path / "places" / "pictures.parquet")
    for view in ("drone", "satellite"):
        assert set(pictures.loc[pictures["view"] == view, "provider"]) == {provider}
    assert "SECRET" not in (tmp_path / "places" / "README.md").read_text()


def test_what_a_recipe_cannot_hold_is_one_sentence(tmp_path):
    workspace, _ = stage_tables(tmp_path, OFFSETS_M, licences={1: None})
    crops = workspace.read("crops")
    crops["side_m"] = 20_000.0
    workspace.write("crops", crops)
    with pytest.raises(CurationError, match=r"cannot be published, for a GroundOrigin at 'side_m'"):
        run(workspace)

    workspace, _ = stage_tables(tmp_path, OFFSETS_M, licences={1: None})
    notes = read_notes(tmp_path)
    tiles = {"url": "https://h/{z}/{x}/{y}?key=SECRET"}
    notes["satellite"]["settings"] = {"tiles": tiles}
    write_notes(tmp_path, notes)
    with pytest.raises(CurationError, match=r"satellite that .* 'tiles\.url' \(.* 'key'") as caught:
        run(workspace, only_redistributable=True)
    assert "SECRET" not in str(caught.value)
    assert not (tmp_path / "places").exists()

    del notes["crop"], notes["satellite"]
    write_notes(tmp_path, notes)
    with pytest.raises(CurationError, match="not tell with which settings the stage crop was run"):
        run(workspace, only_redistributable=True)


def test_a_raster_that_is_gone_has_no_digest_and_an_address_no_secret(tmp_path):
    workspace, _ = stage_tables(tmp_path, OFFSETS_M)
    address = "https://example.org/town.tif?token=opens-nothing&year=2022"

    recipe = restricted(workspace, crops="/home/someone/town.tif", satellite=address)

    assert [(raster.name, raster.sha256) for raster in recipe.rasters] == [("town.tif", None)]
    shown = {row.origin.raster for row in recipe.pictures if row.view == "satellite"}
    assert shown == {"https://example.org/town.tif?year=2022"}
    assert "opens-nothing" not in (tmp_path / "places" / "recipe.json").read_text()


def test_a_place_of_which_nothing_is_published_is_in_the_recipe_with_all_that_is_known(tmp_path):
    kept = {"clean": {0: "blur"}, "satellite": {1: "no raster reaches there"}}
    workspace, names = stage_tables(tmp_path, OFFSETS_M, licences={4: None}, kept=kept)
    run(workspace)
    whole = read_places(tmp_path / "places").set_index("place_id").loc[names[4]]

    recipe = restricted(workspace)

    (place,) = recipe.places
    assert place.place_id == names[4]
    assert (place.lat, place.lon) == (whole["point"].y, whole["point"].x)
    assert list(place.footprint) == list(whole["footprint"].exterior.coords)
    for word in ("country", "split", "text"):
        assert getattr(place, word) == whole[word]
    # The blurred one was never a place; the one without a satellite picture was.
    assert recipe.left_out == 1
    assert {row.view for row in recipe.pictures if row.place_id == names[4]} == set(VIEWS)


def test_a_picture_that_the_recipe_needs_and_that_is_gone_is_told(tmp_path):
    workspace, names = stage_tables(tmp_path, OFFSETS_M)
    (tmp_path / "pictures" / "drone" / f"{names[2]}.jpg").unlink()

    with pytest.raises(CurationError, match=r"\.jpg is gone: run the stage again"):
        restricted(workspace)
