import math

import pytest
import torch

pytest.importorskip("kornia", reason="needs geobridge[train]")

from geobridge.imagery.augment import (
    GroundCrop,
    crop_ground,
    random_season,
    random_sensor,
    tilt_skew,
)


def crop(center=(0.5, 0.5), side=1.0, yaw_deg=0.0):
    return GroundCrop(
        torch.tensor([center]), torch.tensor([side]), torch.tensor([yaw_deg]), torch.zeros(1, 4, 2)
    )


def quadrants() -> torch.Tensor:
    """A 32-pixel picture: red north-west, green north-east, blue south-west, black south-east."""
    picture = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    picture[0, 0, :16, :16] = 255
    picture[0, 1, :16, 16:] = 255
    picture[0, 2, 16:, :16] = 255
    return picture


def test_the_whole_picture_comes_back_unchanged():
    picture = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)

    same = crop_ground(picture, crop(), 32)

    assert torch.allclose(same * 255, picture.float(), atol=0.05)


def test_a_crop_looks_where_its_center_is():
    north_east = crop_ground(quadrants(), crop(center=(0.75, 0.25), side=0.4), 8)

    assert torch.allclose(north_east[0, :, 4, 4], torch.tensor([0.0, 1.0, 0.0]), atol=1e-3)


def test_the_top_of_a_crop_heading_east_is_the_east_of_the_ground():
    heading_east = crop_ground(quadrants(), crop(yaw_deg=90.0), 32)[0]

    # Facing east, north is on the left: top-left shows the north-east (green).
    assert torch.allclose(heading_east[:, 4, 4], torch.tensor([0.0, 1.0, 0.0]), atol=1e-3)
    assert torch.allclose(heading_east[:, 28, 4], torch.tensor([1.0, 0.0, 0.0]), atol=1e-3)


def test_ground_beyond_a_picture_is_its_reflection():
    picture = torch.arange(8, dtype=torch.uint8).mul(30).expand(1, 3, 8, 8).contiguous()

    wide = crop_ground(picture, crop(side=2.0), 16)[0, 0, 8] * 255

    # Eight pixels 0, 30, ... 210 in the middle, mirrored at their outer edges.
    ramp = torch.arange(8) * 30.0
    assert torch.allclose(wide, torch.cat([ramp[:4].flip(0), ramp, ramp[4:].flip(0)]), atol=0.05)


def test_a_camera_that_looks_straight_down_has_no_skew():
    assert torch.allclose(tilt_skew(torch.zeros(1), 45.0), torch.zeros(1, 4, 2), atol=1e-6)


def test_a_tilted_camera_sees_the_trapezoid_that_its_corner_rays_meet():
    tilt_deg, fov_deg = 30.0, 60.0

    corners = tilt_skew(torch.tensor([tilt_deg]), fov_deg)[0] + torch.tensor(
        [[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]
    )

    # A camera at height 1: its axis meets the ground tan 30 ahead after 1 / cos 30, where the
    # picture is 2 tan 30 / cos 30 wide. The top edge is seen 60 degrees from nadir, the bottom 0.
    axis = 1 / math.cos(math.radians(30))
    side = 2 * math.tan(math.radians(30)) * axis
    ahead = (math.tan(math.radians(60)) - math.tan(math.radians(30))) / side
    behind = math.tan(math.radians(30)) / side
    # A corner ray leaves the plane of its edge sideways by tan 30 a unit along the axis.
    reach_top = 1 / math.cos(math.radians(60)) * math.cos(math.radians(30))
    reach_bottom = 1 / math.cos(0) * math.cos(math.radians(30))
    top = reach_top * math.tan(math.radians(30)) / side
    bottom = reach_bottom * math.tan(math.radians(30)) / side
    expected = [[-top, -ahead], [top, -ahead], [bottom, behind], [-bottom, behind]]
    assert torch.allclose(corners, torch.tensor(expected), atol=1e-5)


def test_a_sensor_changes_colours_within_range_and_repeats_with_its_generator():
    pictures = torch.rand(6, 3, 32, 32)

    def seen():
        return random_sensor(pictures, torch.Generator().manual_seed(5))

    first = seen()
    torch.manual_seed(3)  # of the process, which plays no part

    assert first.shape == pictures.shape
    assert float(first.min()) >= 0
    assert float(first.max()) <= 1
    assert not torch.allclose(first, pictures, atol=0.02)
    assert torch.equal(first, seen())


def test_a_sensor_of_no_strength_gives_the_picture_back():
    pictures = torch.rand(4, 3, 16, 16)

    same = random_sensor(pictures, torch.Generator().manual_seed(0), strength=0.0)

    assert torch.allclose(same, pictures, atol=2e-4)


def test_a_season_changes_plants_and_shadows_and_nothing_else():
    picture = torch.full((8, 3, 2, 2), 0.7)
    picture[:, :, 0, 0] = torch.tensor([0.2, 0.6, 0.2])  # grass
    picture[:, :, 0, 1] = 0.05  # shadow

    other = random_season(picture, torch.Generator().manual_seed(1))
    same = random_season(picture, torch.Generator().manual_seed(1), strength=0.0)

    assert torch.equal(same, picture)
    changed = (other - picture).abs().amax(dim=1)
    assert float(changed[:, 0, 0].min()) > 0.005
    assert float(changed[:, 0, 1].min()) > 0.005
    assert float(changed[:, 1].max()) == 0
