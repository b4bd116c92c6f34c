"""How much of a footprint a raster has data for, without reading its pixels window by window."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import shapely
from shapely import Polygon

from geobridge.geo.distance import Floats
from geobridge.geo.rasters import RasterMap

# Samples along the side of a footprint, and at most as many cells: 0.02 % of it each.
_SAMPLES = 64

# A mask of this many cells is 64 MB.
_MAX_CELLS = 1 << 26

# Footprints looked at together: a million samples.
_TOGETHER = 256


class Coverage:
    """A raster's mask at low resolution, read once, and what of footprints it covers.

    Args:
        raster: to be looked at; it may be closed afterwards only when no more is asked.
        footprint_m: usual side of the footprints, which decides how fine the mask has to be.

    Raises:
        RasterError: the mask cannot be read.
    """

    def __init__(self, raster: RasterMap, footprint_m: float) -> None:
        fine = int(footprint_m / raster.gsd_m / _SAMPLES)
        least = math.ceil(math.sqrt(raster.width * raster.height / _MAX_CELLS))
        self._raster = raster
        self._cell_px = max(1, fine, least)
        self._mask = raster.read_mask(self._cell_px)

    def shares(self, footprints: Sequence[Polygon]) -> Floats:
        """Share (0..1) with data of each four-cornered footprint, (N,).

        Corners are in lon, lat, in their order around the footprint; what lies beyond the raster
        has no data.
        """
        parts = [
            self._shares(footprints[start : start + _TOGETHER])
            for start in range(0, len(footprints), _TOGETHER)
        ]
        return np.concatenate(parts) if parts else np.zeros(0)

    def _shares(self, footprints: Sequence[Polygon]) -> Floats:
        corners = shapely.get_coordinates(shapely.get_exterior_ring(footprints))
        lonlat = corners.reshape(len(footprints), 5, 2)[:, :4]
        cols, rows = self._raster.to_pixels(lonlat[..., 1], lonlat[..., 0])
        col, row = _inside(cols), _inside(rows)
        with np.errstate(invalid="ignore"):
            inside = (col >= 0) & (row >= 0) & (col < self._raster.width)
            inside &= row < self._raster.height
        # What is outside, or has no pixel at all, is looked up anywhere and then left out.
        col, row = np.where(inside, col, 0.0), np.where(inside, row, 0.0)
        cells = self._mask[(row // self._cell_px).astype(int), (col // self._cell_px).astype(int)]
        shares: Floats = (cells & inside).mean(axis=(1, 2))
        return shares


def _inside(corners: Floats) -> Floats:
    """One coordinate of points spread evenly inside quadrangles, (N, 4) to (N, S, S)."""
    along = (np.arange(_SAMPLES) + 0.5) / _SAMPLES
    across: npt.NDArray[np.float64] = along[None, None, :]
    down = along[None, :, None]
    nw, ne, se, sw = (corners[:, corner, None, None] for corner in range(4))
    upper, lower = nw + (ne - nw) * across, sw + (se - sw) * across
    inside: Floats = upper + (lower - upper) * down
    return inside
