import hashlib

import geopandas
import pandas as pd
import pytest
from shapely import box

from geobridge.curation.workspace import Workspace
from geobridge.errors import CurationError


def seeds():
    return geopandas.GeoDataFrame(
        {"seed_id": ["a", "b"], "footprint": [box(0, 0, 1, 1), box(1, 0, 2, 1)]},
        geometry="footprint",
        crs="EPSG:4326",
    )


def test_a_table_comes_back_with_its_geometry_and_the_same_bytes(tmp_path):
    workspace = Workspace(tmp_path / "work")
    assert not workspace.has("seeds")

    workspace.write("seeds", seeds())
    first = workspace.path("seeds").read_bytes()
    workspace.write("seeds", seeds())

    found = workspace.read("seeds")
    assert isinstance(found, geopandas.GeoDataFrame)
    assert found["footprint"].geom_equals(seeds()["footprint"]).all()
    assert workspace.path("seeds").read_bytes() == first


def test_a_table_that_pandas_stored_keeps_its_geometry(tmp_path):
    workspace = Workspace(tmp_path)
    workspace.write("seeds", seeds())
    table = pd.read_parquet(workspace.path("seeds"))
    table.to_parquet(workspace.path("seeds"))

    found = workspace.read("seeds")
    assert isinstance(found, geopandas.GeoDataFrame)
    assert found.crs == "EPSG:4326"
    assert found["footprint"].geom_equals(seeds()["footprint"]).all()


def test_bytes_that_are_no_geometry_are_refused(tmp_path):
    workspace = Workspace(tmp_path)
    pd.DataFrame({"footprint": [b"no outline"]}).to_parquet(workspace.path("seeds"))

    with pytest.raises(CurationError, match=r"seeds\.parquet cannot be read"):
        workspace.read("seeds")


def test_a_table_without_geometry_is_plain(tmp_path):
    workspace = Workspace(tmp_path)
    workspace.write("clean", pd.DataFrame({"place_id": ["a"], "bh": [1.5]}))

    assert workspace.read("clean")["bh"].tolist() == [1.5]


def test_a_stage_that_was_not_run_is_named(tmp_path):
    with pytest.raises(CurationError, match=r"crops\.parquet is not there: run the stage"):
        Workspace(tmp_path).read("crops")


def test_a_damaged_table_is_named(tmp_path):
    workspace = Workspace(tmp_path)
    workspace.path("crops").write_bytes(b"PAR1 and then nothing")

    with pytest.raises(CurationError, match=r"crops\.parquet cannot be read"):
        workspace.read("crops")


def test_a_folder_that_cannot_be_is_refused(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(CurationError, match="cannot be made a curation's folder"):
        Workspace(tmp_path / "file" / "work")


def test_pictures_are_named_from_the_folder(tmp_path):
    workspace = Workspace(tmp_path)

    assert workspace.picture("drone/a.jpg", b"jpeg") == "pictures/drone/a.jpg"
    assert workspace.sha256("pictures/drone/a.jpg") == hashlib.sha256(b"jpeg").hexdigest()
    assert workspace.sha256("pictures/drone/b.jpg") is None
    assert (tmp_path / "pictures" / "drone" / "a.jpg").read_bytes() == b"jpeg"


def test_a_journal_is_read_again_in_the_order_of_keys(tmp_path):
    workspace = Workspace(tmp_path)
    with workspace.journal("street", "v1") as journal:
        journal.add("b", {"path": None})
        journal.add("a", 1)

    with workspace.journal("street", "v1") as journal:
        assert list(journal.items()) == [("a", 1), ("b", {"path": None})]
        assert "b" in journal
        assert journal["a"] == 1
        assert len(journal) == 2


@pytest.mark.parametrize("cut", range(1, 30))
def test_a_torn_line_costs_its_item_alone(tmp_path, cut):
    workspace = Workspace(tmp_path)
    with workspace.journal("street", "v1") as journal:
        journal.add("a", 1)
        journal.add("b", "a long value, of which a part remains")
    path = tmp_path / "journal" / "street.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])

    with workspace.journal("street", "v1") as journal:
        assert list(journal.items()) == [("a", 1)]
        journal.add("b", 2)
    with workspace.journal("street", "v1") as journal:
        assert list(journal.items()) == [("a", 1), ("b", 2)]


def test_other_settings_begin_anew(tmp_path):
    workspace = Workspace(tmp_path)
    with workspace.journal("street", "radius 50") as journal:
        journal.add("a", 1)

    with workspace.journal("street", "radius 80") as journal:
        assert len(journal) == 0
        journal.add("a", 2)
    with workspace.journal("street", "radius 80") as journal:
        assert journal["a"] == 2


def test_a_closed_journal_says_how_it_is_used(tmp_path):
    with pytest.raises(RuntimeError, match="use it in a `with`"):
        Workspace(tmp_path).journal("street", "v1").add("a", 1)


def test_torn_downloads_are_cleared_away_by_who_holds_the_folder(tmp_path):
    workspace = Workspace(tmp_path)
    torn, whole = workspace.cache / "ab" / ".abc.part", workspace.cache / "ab" / "abc.jpg"
    torn.parent.mkdir()
    torn.write_bytes(b"half")
    whole.write_bytes(b"whole")

    with workspace.locked():
        assert not torn.exists()
        assert whole.exists()
        torn.write_bytes(b"under way")
        with pytest.raises(CurationError, match="another process"), Workspace(tmp_path).locked():
            pass
        assert torn.exists()
