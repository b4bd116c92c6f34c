"""Pictures at their size, from files or from one file, which is never half of one."""

import math
import os
import threading

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from training_stage import picture, write_picture

from geobridge.errors import ImageError, TrainingError
from geobridge.imagery.decode import read_image
from geobridge.imagery.preprocess import Preprocess
from geobridge.imagery.street import StreetField
from geobridge.training import pictures
from geobridge.training.pictures import PictureStore

SMALL = Preprocess(8, 8)
BYTES = 3 * 8 * 8


@pytest.fixture
def paths(tmp_path):
    return [write_picture(tmp_path / f"{number}.jpg", number) for number in range(5)]


@pytest.fixture
def store(paths):
    return PictureStore(paths, SMALL)


def cached(folder):
    (file,) = folder.glob("*.pictures")
    return file


def test_pictures_come_in_the_order_they_are_asked_for(store, paths):
    taken = store.take([3, 0, 3])

    expected = [SMALL.prepare(read_image(paths[row], min_side=8)) for row in (3, 0, 3)]
    assert taken.dtype == torch.uint8
    assert torch.equal(taken, torch.stack(expected))


def test_cached_pictures_are_the_same_and_may_be_written_to(store, tmp_path):
    plain = store.take([4, 1])
    store.cache(tmp_path / "new" / "cache")

    taken = store.take([4, 1])
    assert torch.equal(taken, plain)
    taken.zero_()
    assert torch.equal(store.take([4, 1]), plain)
    assert cached(tmp_path / "new" / "cache").stat().st_size == 5 * BYTES


def test_asking_for_none_gives_none(store, tmp_path):
    assert store.take([]).shape == (0, 3, 8, 8)

    store.cache(tmp_path / "cache")

    assert store.take([]).shape == (0, 3, 8, 8)


def test_a_store_of_nothing_caches_nothing(tmp_path):
    store = PictureStore([], SMALL)

    store.cache(tmp_path / "cache")

    assert len(store) == 0
    assert store.take([]).shape == (0, 3, 8, 8)
    assert not (tmp_path / "cache").exists()


def test_pictures_of_another_decoding_are_decoded_again(store, paths, tmp_path, monkeypatch):
    store.cache(tmp_path / "cache")
    monkeypatch.setattr(pictures, "DECODING", pictures.DECODING + 1)

    PictureStore(paths, SMALL).cache(tmp_path / "cache")

    assert len(list((tmp_path / "cache").glob("*.pictures"))) == 2


def test_a_later_run_decodes_nothing(store, paths, tmp_path, monkeypatch):
    store.cache(tmp_path / "cache")
    monkeypatch.setattr(pictures, "read_image", None)

    again = PictureStore(paths, SMALL)
    again.cache(tmp_path / "cache")

    assert torch.equal(again.take([2]), store.take([2]))


@pytest.mark.parametrize("size", [0, 5 * BYTES - 1, 5 * BYTES + 1])
def test_a_file_of_another_length_is_written_again(size, store, paths, tmp_path):
    store.cache(tmp_path / "cache")
    expected = store.take(range(5))
    os.truncate(cached(tmp_path / "cache"), size)

    again = PictureStore(paths, SMALL)
    again.cache(tmp_path / "cache")

    assert torch.equal(again.take(range(5)), expected)


def test_a_changed_picture_or_another_size_is_decoded_anew(store, paths, tmp_path):
    store.cache(tmp_path / "cache")
    write_picture(paths[1], 99)
    os.utime(paths[1], ns=(1, 1))

    changed, larger = PictureStore(paths, SMALL), PictureStore(paths, Preprocess(16, 16))
    changed.cache(tmp_path / "cache")
    larger.cache(tmp_path / "cache")

    assert len(list((tmp_path / "cache").glob("*.pictures"))) == 3
    assert not torch.equal(changed.take([1]), store.take([1]))
    assert torch.equal(changed.take([0]), store.take([0]))
    assert larger.take([0]).shape == (1, 3, 16, 16)


def test_progress_is_told_and_comes_to_an_end(paths, tmp_path):
    told = []

    PictureStore(paths * 30, SMALL).cache(
        tmp_path / "cache", lambda done, total: told.append((done, total))
    )

    assert told == [(64, 150), (128, 150), (150, 150)]


def test_a_killed_writer_leaves_nothing_that_is_mistaken_for_whole(store, tmp_path, monkeypatch):
    calls = []

    def interrupted(rows):
        calls.append(rows)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return torch.zeros(1, 3, 8, 8, dtype=torch.uint8)

    with monkeypatch.context() as patch:
        patch.setattr(store, "take", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.cache(tmp_path / "cache")
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]

    store.cache(tmp_path / "cache")

    assert store.take([2]).any()


def test_what_a_dead_writer_left_is_overwritten(store, tmp_path):
    plain = store.take([0, 4])
    store.cache(tmp_path / "cache")
    file = cached(tmp_path / "cache")
    file.rename(file.with_suffix(".part"))
    os.truncate(file.with_suffix(".part"), 3)

    again = PictureStore(store.paths, SMALL)
    again.cache(tmp_path / "cache")

    assert torch.equal(again.take([0, 4]), plain)
    assert not file.with_suffix(".part").exists()


def test_of_two_at_once_one_decodes(paths, tmp_path, monkeypatch):
    decoded = []

    def counted(path, min_side):
        decoded.append(path)
        return read_image(path, min_side=min_side)

    monkeypatch.setattr(pictures, "read_image", counted)
    stores = [PictureStore(paths, SMALL) for _ in range(2)]
    threads = [threading.Thread(target=s.cache, args=(tmp_path / "cache",)) for s in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(decoded) == 5
    assert torch.equal(stores[0].take(range(5)), stores[1].take(range(5)))


def test_a_picture_that_vanishes_is_named_when_it_is_asked_for(store, paths):
    store.take([2])
    paths[2].unlink()

    assert len(store.take([1, 3])) == 2
    with pytest.raises(ImageError, match=r"2\.jpg does not exist: check the path"):
        store.take([2])


def test_a_picture_that_is_none_is_named_while_decoding(store, paths, tmp_path):
    paths[3].write_bytes(b"no picture")

    with pytest.raises(ImageError, match=r"3\.jpg is not a picture we know"):
        store.cache(tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.p*"))


def test_a_picture_that_is_gone_before_decoding_is_named(store, paths, tmp_path):
    paths[3].unlink()

    with pytest.raises(TrainingError, match=r"the picture .*3\.jpg is not there .*: restore it"):
        store.cache(tmp_path / "cache")


def test_a_cache_that_cannot_be_written_says_what_it_needs(store, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(
        TrainingError, match=r"cannot be written to .*file/cache \(.*`cache: false`"
    ):
        store.cache(tmp_path / "file" / "cache")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        TrainingError, match=r"\(No space left on device, 0.0 GB are needed\): free"
    ):
        store.cache(tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.p*"))


def test_a_panorama_and_a_photo_find_their_place_on_the_street_canvas(tmp_path):
    canvas = Preprocess(8, 32, fit="angular")
    whole = write_picture(tmp_path / "whole.jpg", 1, (16, 64))
    photo = tmp_path / "photo.png"
    Image.fromarray(picture(2, 30, 40)).save(photo)

    taken = PictureStore([whole, photo], canvas).take([0, 1])

    assert torch.equal(taken[0], canvas.prepare(read_image(whole, min_side=32)))
    assert torch.equal(taken[1], canvas.prepare(read_image(photo)))
    # Beside the photo's field of view the canvas is the mean colour.
    assert np.unique(taken[1][:, :, 0]).tolist() == [128]


def test_a_street_photo_is_placed_by_its_focal_length_as_a_model_does(tmp_path):
    canvas = Preprocess(8, 32, fit="angular")
    exif = Image.Exif()
    exif[ExifTags.IFD.Exif] = {ExifTags.Base.FocalLengthIn35mmFilm: 18}
    # A position without a fix says nothing about the angles.
    exif[ExifTags.IFD.GPSInfo] = {1: "N", 2: (0.0, 0.0, 0.0), 3: "E", 4: (0.0, 0.0, 0.0)}
    Image.fromarray(picture(2, 32, 48)).save(tmp_path / "nowhere.png", exif=exif)
    del exif[ExifTags.IFD.GPSInfo]
    Image.fromarray(picture(2, 32, 48)).save(tmp_path / "wide.png", exif=exif)

    taken = PictureStore([tmp_path / "wide.png", tmp_path / "nowhere.png"], canvas).take([0, 1])

    # 36 mm of film 18 mm behind the lens are 90 degrees, a quarter of the canvas; 24 mm are 67.
    field = StreetField(90.0, 2 * math.degrees(math.atan(12 / 18)))
    assert torch.equal(taken[0], canvas.prepare(picture(2, 32, 48), field))
    assert (taken[0] != 128).any(dim=0).any(dim=0).sum() == 8
    assert not torch.equal(taken[1], taken[0])
