"""A bare town to put known things into, and the eye that finds them."""

import math

import numpy as np

from geobridge.world import World
from geobridge.world import kernels as k


class Stage:
    """A town cleared to a flat lawn without shadows, on which a test puts its own things."""

    def __init__(self) -> None:
        self.town = World(0).town("prairie", 0)
        self.ground, self.dated = self.town._ground, self.town._at(0)
        for raster in (
            self.dated.crown_top,
            self.dated.crown_base,
            self.dated.height,
            self.ground.owner,
            self.dated.shadow,
            self.dated.tops,
        ):
            raster[:] = 0
        self.dated.material[:] = k.CONCRETE
        self.dated.colour[:] = (90, 110, 90)

    def red_box(self, x, y, half=1.5, top=-1.0):
        """A red square on the ground, or a red block of that height."""
        flags = np.zeros_like(self.dated.material)
        dated = self.dated
        owner = self.ground.owner
        k.paint_rect(
            dated.height, dated.material, dated.colour, owner, flags, x, y, 1.0, 0.0, half,
            half, k.CONCRETE, 250, 20, 20, float(top), k.FLAT, 0.0, -1, -1, False,
        )  # fmt: skip
        dated.tops[:] = k.block_maximum(dated.height, dated.crown_top, 16)

    def red_house(self, x, y, turn_deg, half_width, half_depth, eave):
        """A red house with a flat roof and bare walls, its front `turn_deg` off the east."""
        ux, uy = math.cos(math.radians(turn_deg)), math.sin(math.radians(turn_deg))
        row = self.ground.owners[1]
        row[:] = 0
        row[[k.O_X, k.O_Y, k.O_UX, k.O_UY]] = x, y, ux, uy
        row[[k.O_HW, k.O_HL, k.O_FLOOR, k.O_BAY]] = half_width, half_depth, 3.0, 3.0
        row[[k.O_R, k.O_SR, k.O_EAVE, k.O_TOP, k.O_STYLE]] = 250, 250, eave, eave, 3
        k.paint_rect(
            self.dated.height, self.dated.material, self.dated.colour, self.ground.owner,
            np.zeros_like(self.dated.material), x, y, ux, uy, half_width, half_depth,
            k.ROOF_METAL, 250, 20, 20, float(eave), k.FLAT, 0.0, 1, -1, False,
        )  # fmt: skip
        self.dated.tops[:] = k.block_maximum(self.dated.height, self.dated.crown_top, 16)


def is_red(picture):
    """Which pixels are red."""
    values = picture.astype(int)
    return values[..., 0] - np.maximum(values[..., 1], values[..., 2]) > 60


def red_center(picture):
    """Row and column, in pixels from the outer corner, of the middle of what is red."""
    red = is_red(picture)
    assert red.any(), "nothing red in the picture"
    rows, cols = np.nonzero(red)
    return rows.mean() + 0.5, cols.mean() + 0.5, rows.min(), rows.max() + 1
