import hashlib
import io
import json
import tarfile
from pathlib import Path
from urllib.parse import unquote

import pytest
from curation_stage import silent, stage_tables
from PIL import Image
from typer.testing import CliRunner

from geobridge.cli.app import app
from geobridge.curation import publish
from geobridge.curation.export import export_release, export_webdataset
from geobridge.curation.publish import PublishConfig
from geobridge.curation.splits import SplitConfig
from geobridge.errors import PlacesError
from geobridge.geo.footprint import footprint_around
from geobridge.places.place import Place
from geobridge.places.release import footprint_name, is_release
from geobridge.places.table import iter_places, read_places, write_places

OFFSETS_M = [(2000 * column, 2000 * row) for column in range(4) for row in range(3)]


@pytest.fixture(scope="module")
def data_set(tmp_path_factory):
    folder = tmp_path_factory.mktemp("curation")
    workspace, _ = stage_tables(folder, OFFSETS_M)
    splits = SplitConfig(shares={"train": 0.6, "test": 0.4})
    publish.run(workspace, PublishConfig(splits=splits), silent)
    return folder / "places"


def contents(path):
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar.getmembers()}


def samples(paths):
    """As WebDataset groups files: the key is all before the first dot."""
    found = {}
    for path in paths:
        for name, data in contents(path).items():
            key, _, kind = name.partition(".")
            found.setdefault(key, {})[kind] = data
    return found


def test_shards_hold_every_place_with_all_it_has(data_set, tmp_path):
    shards = export_webdataset(data_set, tmp_path / "shards", per_shard=3)

    found = samples(shards)
    places = {place.place_id: place for place in iter_places(data_set)}
    assert {unquote(key) for key in found} == set(places)
    for key, sample in found.items():
        place = places[unquote(key)]
        assert set(sample) == {"drone.jpg", "street.jpg", "satellite.jpg", "txt", "json"}
        assert sample["txt"].decode() == place.text
        for view in ("drone", "street", "satellite"):
            assert sample[f"{view}.jpg"] == getattr(place, view).read_bytes()
        facts = json.loads(sample["json"])
        assert facts["place_id"] == place.place_id
        assert (facts["lat"], facts["lon"]) == (place.lat, place.lon)
        assert facts["footprint"]["type"] == "Polygon"
        assert facts["licence"] == place.licence
        assert facts["split"] == place.split
        assert facts["pictures"]["drone"] == {
            "provider": "town.tif",
            "licence": "CC-BY-4.0",
            "attribution": "A. Pilot",
            "captured": "2023-06-01",
            "gsd_m": 0.2,
            "sha256": hashlib.sha256(sample["drone.jpg"]).hexdigest(),
        }
        assert facts["pictures"]["street"]["gsd_m"] is None
        assert facts["pictures"]["satellite"]["captured"] == "2022-07-01"


def test_shards_are_of_one_split_and_of_so_many_places(data_set, tmp_path):
    shards = export_webdataset(data_set, tmp_path / "shards", per_shard=3)

    count = read_places(data_set)["split"].value_counts()
    expected = [
        f"{split}-{at:06d}.tar"
        for split in sorted(count.index)
        for at in range(-(-count[split] // 3))
    ]
    assert [path.name for path in shards] == expected
    for path in shards:
        some = samples([path])
        assert len(some) <= 3
        assert {json.loads(s["json"])["split"] for s in some.values()} == {path.name.split("-")[0]}


def test_members_are_sorted_and_say_nothing_of_this_machine(data_set, tmp_path):
    (first, *_) = export_webdataset(data_set, tmp_path / "shards")

    with tarfile.open(first) as tar:
        members = tar.getmembers()
    assert [m.name for m in members] == sorted(m.name for m in members)
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {
        (0, 0, 0, "", "", 0o644)
    }


def test_the_same_data_set_gives_the_same_bytes(data_set, tmp_path):
    for export in (export_webdataset, export_release):
        made = []
        for name in ("one", "two"):
            out = tmp_path / export.__name__ / name
            export(data_set, out)
            made.append(
                {
                    path.relative_to(out): path.read_bytes()
                    for path in sorted(out.rglob("*"))
                    if path.is_file()
                }
            )
        assert made[0] == made[1]
        assert made[0]


def test_the_release_layout_reads_back(data_set, tmp_path):
    splits = export_release(data_set, tmp_path / "release")

    assert is_release(tmp_path / "release")
    assert [path.name for path in splits] == sorted(set(read_places(data_set)["split"]))
    found = {place.place_id: place for place in iter_places(tmp_path / "release")}
    places = {footprint_name(place.footprint): place for place in iter_places(data_set)}
    assert set(found) == set(places)
    for name, place in places.items():
        again = found[name]
        assert again.text == place.text
        assert again.split == place.split
        assert again.lat == pytest.approx(place.lat, abs=1e-6)
        assert again.lon == pytest.approx(place.lon, abs=1e-6)
        for view in ("drone", "street", "satellite"):
            assert getattr(again, view).read_bytes() == getattr(place, view).read_bytes()


def plain_places(folder, count=2, *, same_ground=False, text_only=False, split=None):
    """Places without a split unless one is given; pictures in PNG."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, "PNG")
    folder.mkdir()
    places = []
    for index in range(count):
        (folder / f"{index}.png").write_bytes(buffer.getvalue())
        lat = 10.0 if same_ground else 10.0 + index
        picture = None if text_only else Path(f"{index}.png")
        footprint = footprint_around(lat, 20.0, 80, 80)
        name = f"a.b/{index} é"
        places.append(Place(name, lat, 20.0, footprint, drone=picture, text="words", split=split))
    write_places(folder, places)
    return folder


def test_ids_with_dots_and_slashes_come_back(tmp_path):
    (shard,) = export_webdataset(plain_places(tmp_path / "p"), tmp_path / "out")

    assert shard.name == "all-000000.tar"
    found = samples([shard])
    assert {unquote(key) for key in found} == {"a.b/0 é", "a.b/1 é"}
    assert all(set(sample) == {"drone.png", "txt", "json"} for sample in found.values())


def test_no_name_in_a_shard_begins_with_a_minus(tmp_path):
    folder = tmp_path / "p"
    folder.mkdir()
    footprint = footprint_around(10.0, -121.5, 80, 80)
    place = Place("-121.5_10.0", 10.0, -121.5, footprint, text="words")
    write_places(folder, [place])

    (shard,) = export_webdataset(folder, tmp_path / "out")

    assert sorted(contents(shard)) == ["%2D121%2E5_10%2E0.json", "%2D121%2E5_10%2E0.txt"]
    assert set(map(unquote, samples([shard]))) == {"-121.5_10.0"}


def test_a_broken_table_of_pictures_is_told(tmp_path):
    folder = plain_places(tmp_path / "p")
    (folder / "pictures.parquet").write_bytes(b"no table")

    with pytest.raises(PlacesError, match=r"pictures\.parquet cannot be read"):
        export_webdataset(folder, tmp_path / "out")


def test_places_without_a_split_have_a_folder_too(tmp_path):
    (split,) = export_release(plain_places(tmp_path / "p"), tmp_path / "out")

    assert split.name == "all"
    assert len(list(iter_places(tmp_path / "out"))) == 2


def test_what_the_release_layout_cannot_hold_is_refused(tmp_path):
    with pytest.raises(PlacesError, match="the same footprint"):
        export_release(plain_places(tmp_path / "same", same_ground=True), tmp_path / "out")
    with pytest.raises(PlacesError, match="no picture"):
        export_release(plain_places(tmp_path / "text", text_only=True), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("split", ["../up", ".hidden", "a\\b"])
def test_a_split_that_is_no_name_leads_out_of_no_folder(tmp_path, split):
    folder = plain_places(tmp_path / "p", split=split)

    for export in (export_webdataset, export_release):
        with pytest.raises(PlacesError, match="cannot name a file"):
            export(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_is_left_alone(data_set, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")

    for export in (export_webdataset, export_release):
        with pytest.raises(PlacesError, match="is not empty"):
            export(data_set, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_command_exports(data_set, tmp_path):
    words = ["data", "export", "places", str(data_set)]

    shards = CliRunner().invoke(app, [*words, "--to", "webdataset", "--out", str(tmp_path / "w")])
    release = CliRunner().invoke(app, [*words, "--to", "release", "--out", str(tmp_path / "r")])
    wrong = CliRunner().invoke(
        app, ["data", "export", "vigor", str(data_set), "--to", "release", "--out", "x"]
    )

    assert shards.exit_code == release.exit_code == 0, shards.output + release.output
    assert "12 places" in shards.output
    assert sorted(tmp_path.glob("w/*.tar"))
    assert len(list(iter_places(tmp_path / "r"))) == 12
    assert wrong.exit_code == 2
