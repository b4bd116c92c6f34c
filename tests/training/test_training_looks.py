"""Looks: two pictures of one ground, the same again from the same generator."""

import pytest
import torch

pytest.importorskip("kornia", reason="needs geobridge[train]")

from pydantic import ValidationError

from geobridge.training.looks import (
    LooksConfig,
    looks_at,
    near_looks,
    random_street,
    two_looks,
)

STILL = LooksConfig(
    heading_known=1.0, heading_error_deg=0.0, scale=(1.0, 1.0), shift=0.0, north_error_deg=0.0,
    skew=0.0, tilt_share=0.0, season=0.0, sensor=0.0,
)  # fmt: skip


def noise(count=3, side=24):
    generator = torch.Generator().manual_seed(9)
    return torch.randint(0, 256, (count, 3, side, side), generator=generator, dtype=torch.uint8)


def seeded(seed=4):
    return torch.Generator().manual_seed(seed)


def at(pictures, config, side=1.0, north_deg=0.0, size=24):
    count = len(pictures)
    return looks_at(
        pictures, pictures, torch.full((count, 2), 0.5), torch.full((count,), side),
        torch.full((count,), north_deg), size, seeded(), config,
    )  # fmt: skip


def test_looks_that_differ_by_nothing_give_the_picture_back():
    pictures = noise()

    drone, satellite = at(pictures, STILL)

    assert (drone.int() - pictures.int()).abs().max() <= 1
    assert (satellite.int() - pictures.int()).abs().max() <= 1


def test_a_reference_that_has_east_up_is_the_picture_turned_to_the_left():
    pictures = noise()

    _, satellite = at(pictures, STILL, north_deg=90.0)

    assert (satellite.int() - torch.rot90(pictures, 1, (2, 3)).int()).abs().max() <= 1


def test_the_two_looks_may_be_of_two_dates():
    before, after = noise(), 255 - noise()
    middle, whole = torch.full((3, 2), 0.5), torch.ones(3)

    drone, satellite = looks_at(before, after, middle, whole, torch.zeros(3), 24, seeded(), STILL)

    assert (drone.int() - before.int()).abs().max() <= 1
    assert (satellite.int() - after.int()).abs().max() <= 1


@pytest.mark.parametrize(
    "look",
    [
        lambda generator: two_looks(noise(), noise(), 16, generator),
        lambda generator: two_looks(noise(), noise(), 16, generator, LooksConfig(season=1.0)),
        lambda generator: [near_looks("drone", noise(), 16, generator)],
        lambda generator: [near_looks("satellite", noise(), 16, generator)],
        lambda generator: [random_street(noise(side=24), generator)],
    ],
)
def test_a_look_is_a_pure_function_of_its_generator(look):
    torch.manual_seed(1)
    first = look(seeded())
    state = torch.get_rng_state()
    torch.manual_seed(2)
    again, other = look(seeded()), look(seeded(5))

    assert all(picture.dtype == torch.uint8 for picture in first)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    # The process's own generator was not touched either.
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_heading_called_known_is_known_to_its_error():
    # A vertical line through the centre stays within the error of vertical.
    pictures = torch.zeros(64, 3, 65, 65, dtype=torch.uint8)
    pictures[:, :, :, 31:34] = 255

    drone, _ = at(pictures, STILL.model_copy(update={"heading_error_deg": 20.0}), size=65)

    for picture in drone[:, 0]:
        y, x = (picture > 127).nonzero().float().T
        angle = torch.rad2deg(torch.atan(((x - 32) * (y - 32)).sum() / ((y - 32) ** 2).sum()))
        assert abs(float(angle)) < 21


def test_a_street_picture_keeps_its_columns_or_turns_as_a_whole():
    pictures = torch.arange(60).mul(4).add(1).byte().expand(40, 3, 4, 60).contiguous()

    seen = random_street(pictures, seeded(), STILL)

    turned = 0
    for picture in seen[:, 0, 0].int():
        kept = picture[picture != 128]  # a limited field leaves grey around what it shows
        steps = kept.diff()
        assert ((steps == 4) | (steps == -236)).all()
        turned += int(picture[0] not in (1, 128))
    assert 0 < turned < 40


def test_a_share_of_the_pictures_keeps_its_sensor():
    pictures = noise(count=40)
    half = STILL.model_copy(update={"sensor": 1.0, "sensor_share": 0.5})

    drone, _ = at(pictures, half)

    kept = (drone.int() - pictures.int()).abs().amax(dim=(1, 2, 3)) <= 1
    assert 8 < int(kept.sum()) < 32


def test_no_panorama_is_turned_or_cut_unless_asked_for():
    panoramas = noise(count=20)
    still = STILL.model_copy(update={"shifted": 0.0, "limited": 0.0})

    assert torch.equal(random_street(panoramas, seeded(), still), panoramas)


@pytest.mark.parametrize(
    "wrong",
    [{"scale": (1.2, 0.8)}, {"side": (0.0, 0.5)}, {"tilt_deg": 80.0}, {"heading_know": 0.5}],
)
def test_what_cannot_be_looked_at_is_refused(wrong):
    with pytest.raises(ValidationError):
        LooksConfig(**wrong)
