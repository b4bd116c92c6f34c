import json
import shutil
import subprocess
import sys

import geopandas
import numpy as np
import pytest
import shapely
from gallery_fakes import FakeModel, embed_cells, noise, write_map
from PIL import Image

from geobridge.errors import GalleryError, RasterError
from geobridge.gallery.build import build_gallery
from geobridge.gallery.sources import open_source, read_reference
from geobridge.gallery.store import GalleryStore, references


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A gallery of 2 x 2 windows of 100 m, and the pixels it was made of."""
    folder = tmp_path_factory.mktemp("whole")
    pixels = noise(200, 200)
    source = open_source(write_map(folder / "map.tif", pixels), "satellite", stride_m=100)
    build_gallery([source], FakeModel(), folder / "gallery")
    return folder / "gallery", pixels


@pytest.fixture
def gallery(whole, tmp_path):
    """A copy to damage."""
    return shutil.copytree(whole[0], tmp_path / "gallery")


def test_row_i_of_the_metadata_describes_row_i_of_the_vectors(whole):
    store = GalleryStore.open(whole[0])
    rows = references(store.metadata(), range(len(store)))
    vectors = store.vectors()
    assert vectors.shape == (4, 48)
    assert vectors.dtype == np.float32
    assert vectors.flags.c_contiguous
    for row, vector in zip(rows, vectors, strict=True):
        column, top, width, height = (int(number) for number in row.window)
        assert (width, height) == (100, 100)
        window = whole[1][top : top + 100, column : column + 100]
        prepared = FakeModel().prepare("satellite", window)
        np.testing.assert_array_equal(vector, embed_cells(prepared.numpy()[None])[0])
    assert {row.window[:2] for row in rows} == {(0, 0), (100, 0), (0, 100), (100, 100)}


def test_a_reference_says_where_it_is(whole):
    row = references(GalleryStore.open(whole[0]).metadata(), [0])[0]
    # The map begins on the central meridian of zone 33, 15 degrees east; 50 m at 48.75 degrees
    # north are 50 / (111,320 cos 48.75) degrees of longitude.
    assert row.lon == pytest.approx(15 + 50 / 73_400, abs=2e-6)
    assert row.size_m == pytest.approx(100, abs=0.1)
    assert row.footprint.contains(shapely.Point(row.lon, row.lat))
    assert (row.modality, row.path, row.date, row.place_id, row.text) == (
        "satellite",
        "map.tif",
        None,
        None,
        None,
    )


def test_the_picture_of_a_reference_can_be_read_again(whole):
    metadata = GalleryStore.open(whole[0]).metadata()
    for row in references(metadata, [3, 1]):
        column, top = (int(number) for number in row.window[:2])
        expected = whole[1][top : top + 100, column : column + 100]
        np.testing.assert_array_equal(read_reference(row), expected)


def test_windows_over_tiles_can_be_read_again_as_long_as_the_tiles_lie_so(tmp_path, model):
    picture, folder = noise(64, 64), tmp_path / "tiles"
    folder.mkdir()
    for x, y in ((0, 0), (1, 0), (0, 1), (1, 1)):
        part = picture[32 * y : 32 * y + 32, 32 * x : 32 * x + 32]
        Image.fromarray(part).save(folder / f"18_{500 + x}_{2**17 + y}.png")
    build_gallery([open_source(folder, "satellite")], model, tmp_path / "g")
    rows = references(GalleryStore.open(tmp_path / "g").metadata(), [0, 17])
    for row in rows:
        assert (row.source, row.path) == (str(folder), f"18/500/{2**17}")
        column, top, width, height = (int(number) for number in row.window)
        expected = picture[top : top + height, column : column + width]
        np.testing.assert_array_equal(read_reference(row), expected)
    Image.fromarray(noise(32, 32)).save(folder / f"18_499_{2**17}.png")
    with pytest.raises(RasterError, match=r"no longer begin at 18/500/131072: .* new gallery"):
        read_reference(rows[0])


def test_the_copy_of_the_metadata_opens_as_geoparquet(whole):
    frame = geopandas.read_parquet(whole[0] / "references.parquet")
    assert frame.crs == "EPSG:4326"
    assert len(frame) == 4
    metadata = GalleryStore.open(whole[0]).metadata()
    assert frame["ref_id"].tolist() == metadata["ref_id"].to_pylist()
    assert frame.geometry[2].equals(references(metadata, [2])[0].footprint)


def test_info_says_what_is_in_it_without_opening_the_table(whole):
    script = (
        "import sys; from geobridge.gallery.store import GalleryStore; "
        f"info = GalleryStore.open({str(whole[0])!r}).info(); "
        "assert 'lance' not in sys.modules and 'torch' not in sys.modules; "
        "import json; print(json.dumps(info))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    info = json.loads(run.stdout)
    assert info["model"] == {
        "name": "fake",
        "loaded_from": None,
        "fingerprint": "f" * 40,
        "dim": 48,
    }
    assert info["counts"]["by_modality"] == {"satellite": 4}
    assert info["footprint_m"]["satellite"] == pytest.approx(100, abs=0.1)
    settings = GalleryStore.open(whole[0]).settings
    assert [entry["stride_m"] for entry in settings] == [100]


def test_another_model_is_refused_and_both_are_named(whole):
    class Other(FakeModel):
        name = "other"
        fingerprint = "0" * 40

    store = GalleryStore.open(whole[0])
    store.check_model(FakeModel())
    with pytest.raises(GalleryError, match=r"'fake'.*'other'.*load the one that built it"):
        store.check_model(Other())


def edit(gallery, **changes):
    path = gallery / "gallery.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_folder_that_is_no_gallery(tmp_path):
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(GalleryError, match=r"is no gallery.*geobridge index"):
            GalleryStore.open(path)


def test_a_half_written_gallery_says_to_run_the_command_again(gallery):
    edit(gallery, complete=False)
    with pytest.raises(GalleryError, match="half-written: run the same `geobridge index` command"):
        GalleryStore.open(gallery)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "x"}', "\x00\xff"])
def test_a_damaged_description(gallery, text):
    (gallery / "gallery.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(GalleryError, match=r"gallery\.json is damaged"):
        GalleryStore.open(gallery)


def test_a_gallery_of_a_newer_format(gallery):
    edit(gallery, version=99, something_new=True)
    with pytest.raises(GalleryError, match=r"format 99.*update geobridge"):
        GalleryStore.open(gallery)


def test_a_lost_table(gallery):
    shutil.rmtree(gallery / "references.lance")
    with pytest.raises(GalleryError, match="has lost its table"):
        GalleryStore.open(gallery)


@pytest.mark.parametrize("part", ["data", "_versions"])
def test_a_damaged_table(gallery, part):
    for file in (gallery / "references.lance" / part).glob("*.*"):
        if file.suffix != ".json":
            file.write_bytes(file.read_bytes()[:40])
    store = GalleryStore.open(gallery)
    for read in (store.vectors, store.metadata):
        with pytest.raises(GalleryError, match=r"references\.lance is damaged"):
            read()


def test_a_table_with_rows_missing(gallery):
    edit(gallery, counts={"indexed": 5})
    with pytest.raises(GalleryError, match="4 rows, 5 expected"):
        GalleryStore.open(gallery).vectors()


def test_vectors_that_are_not_finite_are_refused_when_read(gallery):
    import lance

    path = str(gallery / "references.lance")
    table = lance.dataset(path).to_table()
    values = np.stack(table["vector"].to_pylist()).astype(np.float32)
    values[2, 7] = np.nan
    import pyarrow as pa

    vectors = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), 48)
    table = table.set_column(table.schema.get_field_index("vector"), "vector", vectors)
    lance.write_dataset(table, path, mode="overwrite")
    with pytest.raises(GalleryError, match="not finite"):
        GalleryStore.open(gallery).vectors()
