"""Photos made from a map: where they look, which way, and how they are changed."""

import math

import numpy as np
import pytest
import rasterio
import torch
from pyproj import Transformer
from rasterio.transform import Affine

pytest.importorskip("kornia", reason="needs geobridge[train]")

from geobridge.errors import RasterError, TrainingError
from geobridge.localization import simulated
from geobridge.localization.simulated import (
    POSITION_ERROR_M,
    change_camera,
    said_position,
    simulate_photos,
)

EAST_M, NORTH_M, SCALE, SIDE_M = 500_000.0, 5_300_000.0, 0.9996, 500


@pytest.fixture(scope="module")
def ramps(tmp_path_factory):
    """A map whose red grows by 1 every 2 m eastwards, and green southwards."""
    path = tmp_path_factory.mktemp("maps") / "ramps.tif"
    grey = np.arange(SIDE_M) // 2
    pixels = np.full((3, SIDE_M, SIDE_M), 50, np.uint8)
    pixels[0], pixels[1] = grey[None, :], grey[:, None]
    with rasterio.open(
        path, "w", driver="GTiff", width=SIDE_M, height=SIDE_M, count=3, dtype="uint8",
        crs="EPSG:32632", transform=Affine(SCALE, 0, EAST_M, 0, -SCALE, NORTH_M),
    ) as raster:  # fmt: skip
        raster.write(pixels)
    return path


def draw(ramps, model, count=40, strength=(0.0, 0.0), seed=1):
    return simulate_photos([ramps], model, count, strength=strength, seed=seed)


def ground_m(photo, across, down):
    """Metres east and south of the map's corner of the ground at a place of a photo (0..1)."""
    height, width = photo.pixels.shape[:2]
    y, x = int(down * (height - 1)), int(across * (width - 1))
    around = photo.pixels[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2, :2]
    return 2 * around.reshape(-1, 2).astype(float).mean(axis=0)


def test_photos_look_where_they_say(ramps, one_eyed):
    to_grid = Transformer.from_crs("EPSG:4326", "EPSG:32632", always_xy=True)
    off_m = []
    for photo in draw(ramps, one_eyed):
        x, y = to_grid.transform(photo.lon, photo.lat)
        said = np.array([x - EAST_M, NORTH_M - y]) / SCALE
        off_m.append(ground_m(photo, 0.5, 0.5) - said)

    # 80 numbers: their deviation is that of the position error, with a pixel of a coarse photo.
    assert np.std(off_m) == pytest.approx(POSITION_ERROR_M, abs=2.5)
    assert np.abs(off_m).max() < 5 * POSITION_ERROR_M


def test_their_tops_face_the_stated_heading(ramps, one_eyed):
    off_deg = []
    for photo in draw(ramps, one_eyed):
        # The middle half: its corners are on the map.
        east, south = ground_m(photo, 0.5, 0.3) - ground_m(photo, 0.5, 0.7)
        heading = math.degrees(math.atan2(east, -south))
        off_deg.append((heading - photo.yaw_deg + 180) % 360 - 180)

    # Ten degrees of the heading's own error, and the skew's.
    assert np.abs(off_deg).max() < 25
    assert np.abs(off_deg).mean() < 10


def test_those_that_tell_their_width_are_right_to_a_sixth(ramps, one_eyed):
    photos = draw(ramps, one_eyed, count=60)
    told = [photo for photo in photos if photo.ground_width_m is not None]

    assert 15 < len(told) < 45
    for photo in told:
        wide = 2 * np.linalg.norm(ground_m(photo, 0.75, 0.5) - ground_m(photo, 0.25, 0.5))
        assert photo.ground_width_m == pytest.approx(wide, rel=0.3)
    for photo in photos:
        assert photo.pixels.shape[0] / photo.pixels.shape[1] == pytest.approx(0.75, abs=0.04)


def test_the_seed_decides_which_photos(ramps, one_eyed):
    first, again, other = (draw(ramps, one_eyed, 5, (1.0, 3.0), seed) for seed in (1, 1, 2))

    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(first, again, strict=True))
    assert [a.lat for a in first] == [b.lat for b in again]
    assert not {a.lat for a in first} & {b.lat for b in other}


def test_a_heading_is_asked_with_only_where_it_is_known(ramps, one_eyed):
    photo = draw(ramps, one_eyed, 1)[0]

    assert photo.query(heading_known=True).yaw_deg == photo.yaw_deg
    assert photo.query(heading_known=False).yaw_deg is None
    assert photo.query(heading_known=False).drone is photo.pixels


def test_cameras_change_a_picture_more_the_stronger():
    picture = np.random.default_rng(0).integers(60, 190, (24, 32, 3), np.uint8)

    def changed(strength):
        off = [
            np.abs(
                change_camera(picture, strength, torch.Generator().manual_seed(seed)).astype(float)
                - picture
            ).mean()
            for seed in range(20)
        ]
        return np.mean(off)

    assert changed(0.0) == 0
    assert 5 < changed(1.0) < changed(2.0) < changed(3.0)


def test_positions_are_said_as_far_off_in_each_direction():
    rng = np.random.default_rng(0)
    said = np.array([said_position(60.0, 10.0, rng) for _ in range(2000)]) - [60.0, 10.0]

    # At 60 degrees north a degree of longitude is half as long as one of latitude.
    north_m, east_m = said.T * [[111_400.0], [55_800.0]]
    assert north_m.std() == pytest.approx(POSITION_ERROR_M, rel=0.06)
    assert east_m.std() == pytest.approx(POSITION_ERROR_M, rel=0.06)


def test_the_default_is_at_least_as_strong_as_what_adaptation_trains_with():
    from geobridge.training.adapt import LOOKS

    assert min(simulated.STRENGTH) >= max(LOOKS.sensor, LOOKS.season)


def test_what_cannot_be_drawn_from_is_refused(ramps, one_eyed, tmp_path):
    with pytest.raises(RasterError, match="cannot be opened"):
        simulate_photos([tmp_path / "no.tif"], one_eyed, 5)
    with pytest.raises(TrainingError, match="no whole footprint of 900 m"):
        simulate_photos([ramps], one_eyed, 5, footprint_m=900)
