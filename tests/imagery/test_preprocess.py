"""From a picture to a tensor: fit, resize, scale; Pillow is the reference for the resize."""

import numpy as np
import pytest
import torch
from PIL import Image

from geobridge.errors import ModelError
from geobridge.imagery.preprocess import Preprocess
from geobridge.imagery.street import StreetField

CLIP = {"mean": (0.4814, 0.4578, 0.4082), "std": (0.2686, 0.2613, 0.2757)}


def noise(height, width, seed=0):
    coarse = np.random.default_rng(seed).integers(
        0, 255, (height // 4, width // 4, 3), dtype=np.uint8
    )
    return np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def pillow(image, width, height):
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def as_picture(tensor):
    return tensor.permute(1, 2, 0).numpy()


@pytest.mark.parametrize("size", [(300, 300), (60, 90), (1024, 700)])
def test_squash_resizes_as_pillow_does(size):
    image = noise(*size)

    prepared = Preprocess(96, 128, fit="squash").prepare(image)

    assert prepared.dtype == torch.uint8
    assert prepared.shape == (3, 96, 128)
    np.testing.assert_allclose(as_picture(prepared).astype(int), pillow(image, 128, 96), atol=2)


@pytest.mark.parametrize(("height", "width"), [(300, 500), (500, 300), (400, 400)])
def test_cover_keeps_the_centred_square(height, width):
    image = noise(height, width)
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2

    prepared = Preprocess(100, 100).prepare(image)

    expected = pillow(np.ascontiguousarray(image[top : top + side, left : left + side]), 100, 100)
    np.testing.assert_allclose(as_picture(prepared).astype(int), expected, atol=1)


def test_cover_gives_what_resizing_first_and_cropping_then_gives():
    image = noise(270, 480)

    prepared = as_picture(Preprocess(90, 90).prepare(image))

    # 480 x 270 to 160 x 90, then the middle 90 columns.
    expected = pillow(image, 160, 90)[:, 35:125]
    inner = np.s_[:, 2:-2]
    np.testing.assert_allclose(prepared[inner].astype(int), expected[inner], atol=2)


def test_cover_fits_canvases_that_are_not_square():
    image = np.zeros((400, 400, 3), np.uint8)
    image[100:300] = 255

    assert (Preprocess(50, 100).prepare(image) == 255).all()


def test_a_picture_of_the_right_size_is_passed_on_unchanged():
    image = noise(64, 64)

    prepared = Preprocess(64, 64).prepare(image)

    np.testing.assert_array_equal(as_picture(prepared), image)
    assert np.shares_memory(as_picture(prepared), image)


def test_pictures_that_torch_cannot_borrow_are_taken_too():
    image = noise(80, 80)
    expected = Preprocess(32, 32).prepare(image)
    frozen = image.copy()
    frozen.flags.writeable = False
    mirrored = image[:, ::-1].copy()[:, ::-1]

    for variant in (frozen, mirrored):
        assert torch.equal(Preprocess(32, 32).prepare(variant), expected)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((10, 10), np.uint8),
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((10, 10, 3), np.float32),
        np.zeros((3, 10, 10), np.uint8),
    ],
)
def test_what_is_no_picture_is_a_mistake(image):
    with pytest.raises(ValueError, match="uint8"):
        Preprocess(8, 8).prepare(image)


# By angle


def test_a_whole_sphere_is_cut_to_the_canvas():
    # 360 x 90 degrees of canvas: the middle half of a sphere's rows.
    sphere = np.zeros((180, 360, 3), np.uint8)
    sphere[45:135] = 255

    prepared = Preprocess(64, 256, fit="angular").prepare(sphere)

    assert prepared.shape == (3, 64, 256)
    assert prepared.float().mean() > 253


def test_a_strip_is_placed_by_its_height():
    strip = np.full((45, 360, 3), 200, np.uint8)  # 360 x 45 degrees

    prepared = Preprocess(64, 256, mean=(0, 0, 0), fit="angular").prepare(strip)

    assert (prepared[:, 16:48] == 200).all()
    assert not prepared[:, :16].any()
    assert not prepared[:, 48:].any()


def test_a_limited_field_takes_its_share_of_the_circle():
    photo = np.full((300, 400, 3), 200, np.uint8)
    preprocess = Preprocess(64, 256, mean=(0.2, 0.4, 0.6), fit="angular")

    prepared = preprocess.prepare(photo, StreetField(90, 45))

    # A quarter of 256 columns, half of 64 rows, centred; the rest is the mean colour.
    assert (prepared[:, 16:48, 96:160] == 200).all()
    assert prepared[:, 0, 0].tolist() == [51, 102, 153]
    outside = prepared.clone()
    outside[:, 16:48, 96:160] = prepared[:, :1, :1]
    assert (outside == prepared[:, :1, :1]).all()


def test_a_field_higher_than_the_canvas_loses_sky_and_ground():
    photo = np.zeros((200, 100, 3), np.uint8)
    photo[50:150] = 255  # the middle 90 of 180 degrees

    prepared = Preprocess(64, 256, mean=(0, 0, 0), fit="angular").prepare(
        photo, StreetField(90, 180)
    )

    assert prepared[:, :, 98:158].float().mean() > 250
    assert not prepared[:, :, :96].any()


def test_a_square_canvas_holds_the_whole_sphere():
    prepared = Preprocess(64, 64, mean=(0, 0, 0), fit="angular").prepare(
        np.full((100, 200, 3), 255, np.uint8)
    )

    # 360 degrees across and 64 rows for 360 degrees: the sphere fills the middle half.
    assert (prepared[:, 16:48] == 255).all()
    assert not prepared[:, :16].any()


# Scale


def test_normalizing_follows_its_definition():
    batch = torch.arange(2 * 3 * 4 * 5, dtype=torch.uint8).reshape(2, 3, 4, 5)
    preprocess = Preprocess(4, 5, **CLIP)

    normalized = preprocess.normalize(batch)

    assert normalized.dtype == torch.float32
    for channel in range(3):
        expected = (batch[:, channel].double() / 255 - CLIP["mean"][channel]) / CLIP["std"][channel]
        torch.testing.assert_close(normalized[:, channel].double(), expected, atol=1e-6, rtol=1e-6)
    assert batch[1, 0, 0, 0] == 60


def test_float_batches_are_left_as_they_were():
    batch = torch.full((1, 3, 2, 2), 255.0)

    Preprocess(2, 2).normalize(batch)

    assert (batch == 255).all()


# Configuration


def test_it_goes_through_json_unchanged():
    preprocess = Preprocess(112, 616, fit="angular", **CLIP)
    values = preprocess.to_dict()

    assert Preprocess.from_dict({**values, "mean": list(values["mean"])}) == preprocess


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"height": 0}, "canvas of 0 x 32"),
        ({"width": 3.5}, "canvas of 32 x 3.5"),
        ({"fit": "contain"}, "unknown fit 'contain'"),
        ({"mean": [0.5, 0.5]}, "three values"),
        ({"std": [0.5, 0.5, 0.0]}, "divided by"),
        ({"mean": [0.5, 0.5, float("nan")]}, "divided by"),
        ({"colour": "rgb"}, "colour"),
    ],
)
def test_a_broken_configuration_is_refused(change, reason):
    with pytest.raises(ModelError, match=reason):
        Preprocess.from_dict({"height": 32, "width": 32} | change)


def test_a_configuration_without_size_is_refused():
    with pytest.raises(ModelError, match="needs height and width"):
        Preprocess.from_dict({"mean": [0.5, 0.5, 0.5]})
