"""A bare town to put known things into, and the eye that finds them."""

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


def red_center(picture):
    """Row and column, in pixels from the outer corner, of the middle of what is red."""
    values = picture.astype(int)
    red = values[..., 0] - np.maximum(values[..., 1], values[..., 2]) > 60
    assert red.any(), "nothing red in the picture"
    rows, cols = np.nonzero(red)
    return rows.mean() + 0.5, cols.mean() + 0.5, rows.min(), rows.max() + 1
