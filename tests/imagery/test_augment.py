import pytest
import torch

pytest.importorskip("kornia", reason="needs geobridge[train]")

from geobridge.imagery.augment import GroundCrop, crop_ground, random_sensor


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


def test_a_sensor_changes_colours_within_range_and_repeats_with_its_seeds():
    pictures = torch.rand(6, 3, 32, 32)

    def seen():
        torch.manual_seed(3)
        return random_sensor(pictures, torch.Generator().manual_seed(5))

    first = seen()

    assert first.shape == pictures.shape
    assert float(first.min()) >= 0
    assert float(first.max()) <= 1
    assert not torch.allclose(first, pictures, atol=0.02)
    assert torch.equal(first, seen())
