"""Looking at pictures one by one: what is readable, what is equal, what looks alike."""

import numpy as np
import pytest
from PIL import Image

from geobridge.errors import ImageError
from geobridge.evaluation.pictures import NEAR_BITS, look_of, near_pairs, see_all


def noise(seed, side=64):
    """Blocks of random grey, so that nothing is lost when it is resized or saved again."""
    cells = np.random.default_rng(seed).integers(0, 256, (17, 17, 3)).astype(np.uint8)
    return np.array(Image.fromarray(cells).resize((side, side), Image.Resampling.BICUBIC))


@pytest.fixture
def folder(tmp_path):
    Image.fromarray(noise(1)).save(tmp_path / "a.jpg", quality=95)
    Image.fromarray(noise(1, 96)).save(tmp_path / "a_again.png")
    Image.fromarray(noise(2)).save(tmp_path / "b.jpg")
    (tmp_path / "b_copy.jpg").write_bytes((tmp_path / "b.jpg").read_bytes())
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "words.jpg").write_bytes(b"no picture at all")
    (tmp_path / "empty.jpg").write_bytes(b"")
    Image.new("RGB", (64, 64), "navy").save(tmp_path / "plain.png")
    return tmp_path


NAMES = ["a.jpg", "a_again.png", "b.jpg", "b_copy.jpg", "cut.jpg", "words.jpg", "empty.jpg",
         "plain.png", "gone.jpg"]  # fmt: skip


@pytest.fixture
def seen(folder):
    told = []
    found = see_all([folder / name for name in NAMES], progress=lambda *at: told.append(at))
    assert told == [(0, 9), (9, 9)]
    return dict(zip(NAMES, found, strict=True))


def test_what_can_be_read(seen):
    troubled = {name for name, one in seen.items() if one.trouble}

    assert troubled == {"cut.jpg", "words.jpg"}
    assert "is damaged" in seen["cut.jpg"].trouble
    assert "not a picture we know" in seen["words.jpg"].trouble
    assert (seen["empty.jpg"].size, seen["gone.jpg"].size) == (0, -1)
    assert seen["gone.jpg"].digest is None


def test_equal_files_have_equal_digests(seen):
    assert seen["b.jpg"].digest == seen["b_copy.jpg"].digest
    assert seen["a.jpg"].digest != seen["a_again.png"].digest


def test_a_picture_saved_and_resized_again_looks_alike(seen):
    def apart(one, other):
        return int(np.bitwise_count(seen[one].look ^ seen[other].look).sum())

    assert apart("a.jpg", "a_again.png") <= NEAR_BITS
    # Half of 256 bits agree by chance.
    assert 90 < apart("a.jpg", "b.jpg") < 166
    assert seen["plain.png"].look is None


def test_quick_reads_heads_and_tells_equal_files_all_the_same(folder):
    found = see_all([folder / name for name in NAMES], quick=True)
    seen = dict(zip(NAMES, found, strict=True))

    assert {name for name, one in seen.items() if one.trouble} == {"words.jpg"}
    assert seen["b.jpg"].digest == seen["b_copy.jpg"].digest is not None
    assert seen["a_again.png"].digest is None
    assert all(one.look is None for one in found)


def test_pictures_that_are_made():
    def broken():
        raise ImageError("the window cannot be read.")

    good, same, bad = see_all([lambda: noise(1), lambda: noise(1), broken])

    assert good.digest == same.digest
    assert good.look is not None
    assert bad.trouble == "the window cannot be read."
    assert see_all([broken], quick=True)[0].trouble is None


def test_the_look_is_where_grey_rises():
    ramp = np.repeat(np.arange(0, 255, 15, dtype=np.uint8)[None, :, None], 16, axis=0)
    picture = np.repeat(ramp, 3, axis=2)

    # 17 cells that rise 16 times in each of 16 rows: all bits set; turned round, none.
    assert look_of(picture).tolist() == [255] * 32
    assert look_of(picture[:, ::-1]).tolist() == [0] * 32


def test_near_pairs_against_every_pair():
    rng = np.random.default_rng(5)
    looks = rng.integers(0, 256, (60, 32)).astype(np.uint8)
    for copy, original, flips in ((40, 3, 0), (41, 7, NEAR_BITS), (42, 7, NEAR_BITS + 1)):
        bits = np.unpackbits(looks[original])
        bits[rng.choice(256, flips, replace=False)] ^= 1
        looks[copy] = np.packbits(bits)
    places = np.arange(60)

    assert sorted(near_pairs(looks, places)) == [(3, 40), (7, 41)]
    places[40] = 3  # the same place
    assert list(near_pairs(looks, places)) == [(7, 41)]
    assert list(near_pairs(looks[:0], places[:0])) == []
