import errno
import json
import os
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from PIL import Image

from geobridge import GeoBridge
from geobridge.errors import EvaluationError
from geobridge.evaluation import embeddings
from geobridge.evaluation.embeddings import embed_items, items_digest
from geobridge.evaluation.tasks import Items
from geobridge.imagery.decode import read_image


@pytest.fixture(scope="module")
def model(one_eyed_checkpoint):
    return GeoBridge.load(one_eyed_checkpoint)


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    paths = []
    for index in range(5):
        noise = np.random.default_rng(index).integers(0, 256, (32, 32, 3)).astype(np.uint8)
        paths.append(folder / f"{index}.png")
        Image.fromarray(noise).save(paths[-1])
    return Items("drone", [path.name for path in paths], paths)


def quiet(_done, _total):
    pass


def test_rows_are_what_the_model_embeds(model, pictures, tmp_path):
    found = embed_items(model, pictures, tmp_path / "out", "test/query drone", "", quiet)

    assert np.array_equal(found.rows, model.embed("drone", pictures.contents))
    assert (tmp_path / "out" / "test-query-drone.npy").exists()
    assert found.cut == 0


def test_pictures_that_are_made_equal_their_files(model, pictures, tmp_path):
    makers = [lambda path=path: np.asarray(Image.open(path)) for path in pictures.contents]
    made = replace(pictures, contents=makers)

    found = embed_items(model, made, tmp_path, "made", "", quiet)

    assert np.allclose(found.rows, model.embed("drone", pictures.contents), atol=1e-6)


def test_what_is_embedded_is_not_embedded_again(model, pictures, tmp_path, monkeypatch):
    first = embed_items(model, pictures, tmp_path, "drone", "", quiet).rows.copy()
    monkeypatch.setattr(GeoBridge, "embed", lambda *_args, **_kwargs: pytest.fail("again"))

    assert np.array_equal(embed_items(model, pictures, tmp_path, "drone", "", quiet).rows, first)


def test_a_stopped_embedding_goes_on_where_it_was(model, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(embeddings, "_AT_ONCE", 2)
    asked = []

    def stop_after_two(done, _total):
        asked.append(done)
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_items(model, pictures, tmp_path, "drone", "", stop_after_two)
    asked.clear()
    found = embed_items(model, pictures, tmp_path, "drone", "", lambda done, _: asked.append(done))

    assert asked == [2, 4, 5]
    assert np.allclose(found.rows, model.embed("drone", pictures.contents), atol=1e-6)


def test_another_model_or_other_items_are_refused(model, pictures, tmp_path):
    embed_items(model, pictures, tmp_path, "drone", "", quiet)

    with pytest.raises(EvaluationError, match="embeddings of other items: give another --out"):
        embed_items(model, pictures, tmp_path, "drone", "fov_deg=90", quiet)
    note = json.loads((tmp_path / "drone.json").read_text())
    (tmp_path / "drone.json").write_text(json.dumps(note | {"model": "0123"}))
    with pytest.raises(EvaluationError, match="embeddings of another model"):
        embed_items(model, pictures, tmp_path, "drone", "", quiet)


def test_a_damaged_note_begins_again(model, pictures, tmp_path):
    embed_items(model, pictures, tmp_path, "drone", "", quiet)
    (tmp_path / "drone.json").write_text("{")

    found = embed_items(model, pictures, tmp_path, "drone", "", quiet)

    assert np.array_equal(found.rows, model.embed("drone", pictures.contents))


@pytest.mark.parametrize("kept", [200, 4, 0], ids=["rows", "head", "all"])
def test_a_file_that_is_cut_off_begins_again(model, pictures, tmp_path, kept):
    embed_items(model, pictures, tmp_path, "drone", "", quiet)
    array = tmp_path / "drone.npy"
    array.write_bytes(array.read_bytes()[:kept])

    found = embed_items(model, pictures, tmp_path, "drone", "", quiet)

    assert np.array_equal(found.rows, model.embed("drone", pictures.contents))


def test_a_disk_without_room_says_so_before_anything_is_embedded(
    model, pictures, tmp_path, monkeypatch
):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)

    with pytest.raises(OSError, match="No space left"):
        embed_items(model, pictures, tmp_path, "drone", "", quiet)


def test_long_texts_are_cut_and_counted(model, tmp_path):
    words = "a stadium by a river"
    texts = Items("text", ["short", "long"], [words, " ".join([words] * 200)])

    found = embed_items(model, texts, tmp_path, "text", "", quiet)

    assert found.cut == 1
    assert np.allclose(found.rows[0], model.embed("text", [words])[0], atol=1e-6)


def test_a_digest_tells_files_and_texts_apart(pictures):
    same = items_digest(pictures, "")
    Image.new("RGB", (40, 40)).save(pictures.contents[0])

    assert items_digest(pictures, "") != same
    texts = Items("text", ["1"], ["a river"])
    assert items_digest(texts, "") != items_digest(replace(texts, contents=["a road"]), "")


def test_a_digest_tells_the_files_that_pictures_are_made_of(pictures):
    made = replace(pictures, contents=[partial(read_image, path) for path in pictures.contents])
    same = items_digest(made, "")
    Image.new("RGB", (40, 40)).save(pictures.contents[0])

    assert items_digest(made, "") != same


def test_a_missing_file_is_named(pictures):
    pictures.contents[3].unlink()

    with pytest.raises(EvaluationError, match=r"3\.png cannot be read .*data doctor"):
        items_digest(pictures, "")
