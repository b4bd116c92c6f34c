"""Between the pixels of a raster and the ground: position and true size of every pixel."""

import math

import numpy as np
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError
from rasterio import Affine
from rasterio.io import DatasetReader

from geobridge.errors import RasterError
from geobridge.geo.distance import Floats, offset_m, unwrap_lon, wrap_lon

# A grid turned by less than this counts as north up: UTM and national grids stay below it.
MAX_TURN_DEG = 5.0

Bounds = tuple[float, float, float, float]


class PixelGrid:
    """Between a raster's pixels and WGS-84, and how large its pixels are on the ground."""

    def __init__(self, dataset: DatasetReader, path: str) -> None:
        self._transform: Affine = _checked_transform(dataset, path)
        self._inverse: Affine = ~self._transform
        crs = _checked_crs(dataset, path)
        self._to_wgs84 = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
        self._from_wgs84 = Transformer.from_crs("EPSG:4326", crs, always_xy=True)
        self._check_place(dataset, crs, path)
        self._around = _around(crs, self._from_wgs84)
        axes = self._axes(dataset.width, dataset.height)
        # How much larger than a square of the grid the north-up square around it is.
        self.spread = float(np.abs(axes).sum(axis=2).max())
        straightness = np.minimum(axes[:, 0, 0], -axes[:, 1, 1]).min()
        self.is_turned = bool(straightness < math.cos(math.radians(MAX_TURN_DEG)))

    def to_lonlat(self, cols: Floats, rows: Floats) -> tuple[Floats, Floats]:
        """Degrees (lon, lat) of pixel positions."""
        x, y = _apply(self._transform, cols, rows)
        lon, lat = self._to_wgs84.transform(x, y)
        return np.asarray(lon), np.asarray(lat)

    def to_pixel(self, lon: Floats, lat: Floats) -> tuple[Floats, Floats]:
        """Pixel positions (col, row) of degrees, on the side of the antimeridian of the raster."""
        x, y = self._from_wgs84.transform(unwrap_lon(lon, self._center_lon), lat)
        if self._around:
            # Grids in degrees may run from 0 to 360, and maps of the world on beyond its edge.
            with np.errstate(invalid="ignore"):
                turns = np.rint((np.asarray(x) - self._center_x) / self._around)
                x = np.asarray(x) - self._around * turns
        return _apply(self._inverse, np.asarray(x), np.asarray(y))

    def steps_m(self, cols: Floats, rows: Floats) -> Floats:
        """(N, 2, 2): metres (east, north) per step of one pixel (right, down) at N positions."""
        half = 0.5
        from_cols = np.stack([cols - half, cols], axis=1)
        from_rows = np.stack([rows, rows - half], axis=1)
        to_cols = np.stack([cols + half, cols], axis=1)
        to_rows = np.stack([rows, rows + half], axis=1)
        lon, lat = self.to_lonlat(from_cols, from_rows)
        return np.stack(offset_m(lon, lat, *self.to_lonlat(to_cols, to_rows)), axis=1)

    def extents_px(self, cols: Floats, rows: Floats, side_m: float) -> tuple[Floats, Floats]:
        """How many pixels wide and high a ground square is at N positions, (N,) each."""
        steps = self.steps_m(cols, rows)
        across_m = np.hypot(steps[:, 0, 0], steps[:, 1, 0])
        down_m = np.hypot(steps[:, 0, 1], steps[:, 1, 1])
        return side_m / across_m, side_m / down_m

    def bounds(self, width: int, height: int) -> Bounds:
        """West, south, east, north of the outline, sampled at 21 points a side."""
        along = np.linspace(0, 1, 21)
        zero, one = np.zeros_like(along), np.ones_like(along)
        cols = np.concatenate([along, one, along[::-1], zero]) * width
        rows = np.concatenate([zero, along, one, along[::-1]]) * height
        lon, lat = self.to_lonlat(cols, rows)
        lon = np.unwrap(lon, period=360)
        west = float(wrap_lon(lon.min()))
        east = west + float(lon.max() - lon.min())
        return west, float(lat.min()), east if east <= 180 else east - 360, float(lat.max())

    def _check_place(self, dataset: DatasetReader, crs: CRS, path: str) -> None:
        """Refuse a raster that does not lie where its coordinate system is."""
        area = _area_of_use(dataset)
        cols = np.array([0.5, 0, 1, 1, 0]) * dataset.width
        rows = np.array([0.5, 0, 0, 1, 1]) * dataset.height
        x, y = _apply(self._transform, cols, rows)
        lon, lat = self._to_wgs84.transform(x, y)
        # PROJ lets latitudes beyond the poles pass; half a degree forgives global grids.
        is_placed = np.isfinite([lon, lat]).all() and np.abs(lat).max() <= 90.5
        if not is_placed or not _within(area, lon[0], lat[0], 10.0):
            swapped_lon, swapped_lat = self._to_wgs84.transform(y[0], x[0])
            if _within(area, swapped_lon, swapped_lat, 1.0):
                raise RasterError(
                    f"{path} lies outside its coordinate system {crs.name}, but would lie inside "
                    f"with its axes swapped: rewrite its transform with x east and y north."
                )
        if not is_placed:
            raise RasterError(
                f"{path} reaches beyond where its coordinate system {crs.name} is defined: "
                f"correct its transform, or cut it with gdalwarp -te."
            )
        self._center_lon, self._center_x = float(lon[0]), float(x[0])

    def _axes(self, width: int, height: int) -> Floats:
        """(25, 2, 2): unit vectors (east, north) of right and down, at 25 points inside."""
        inside = np.linspace(0.05, 0.95, 5)
        cols, rows = (axis.ravel() for axis in np.meshgrid(inside * width, inside * height))
        steps = self.steps_m(cols, rows)
        return steps / np.hypot(steps[:, :1], steps[:, 1:])


def _checked_transform(dataset: DatasetReader, path: str) -> Affine:
    transform: Affine = dataset.transform
    if transform == Affine.identity() or transform.is_degenerate:
        remedy = "warp it first with gdalwarp" if dataset.gcps[0] else "add one with gdal_edit.py"
        raise RasterError(f"{path} has no geotransform, so its place is unknown: {remedy}.")
    return transform


def _checked_crs(dataset: DatasetReader, path: str) -> CRS:
    if dataset.crs is None:
        raise RasterError(
            f"{path} has no coordinate reference system: add the one it was made in, for "
            f"example with `rio edit-info --crs EPSG:32633 {path}`."
        )
    try:
        crs = CRS.from_wkt(dataset.crs.to_wkt())
        Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    except ProjError as error:
        raise RasterError(
            f"the coordinate system of {path} cannot be related to WGS-84: set the one it was "
            f"made in with `rio edit-info --crs`."
        ) from error
    return crs


def _around(crs: CRS, from_wgs84: Transformer) -> float:
    """How far x goes once around the earth, where it goes on as it began; else 0."""
    if crs.is_geographic:
        return 360.0
    operation = crs.coordinate_operation
    if operation is None or "Mercator" not in operation.method_name:
        return 0.0
    if "Transverse" in operation.method_name or "Oblique" in operation.method_name:
        return 0.0
    x, _ = from_wgs84.transform([0.0, 1.0, 2.0], [0.0, 0.0, 0.0])
    # One of the two degrees may lie across the edge.
    return float(np.abs(np.diff(x)).min()) * 360


def _apply(transform: Affine, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    a, b, c, d, e, f = transform[:6]
    return a * x + b * y + c, d * x + e * y + f


def _area_of_use(dataset: DatasetReader) -> Bounds | None:
    """West, south, east, north of where the coordinate system is meant to be used."""
    epsg = dataset.crs.to_epsg()
    area = CRS.from_epsg(epsg).area_of_use if epsg else None
    return area.bounds if area else None


def _within(area: Bounds | None, lon: float, lat: float, margin_deg: float) -> bool:
    """Whether a position lies in the area a coordinate system is made for, or close to it."""
    if not (math.isfinite(lon) and abs(lat) <= 90.5):
        return False
    if area is None:
        return True
    west, south, east, north = area
    width = (east - west) % 360 or 360.0
    is_between_meridians = (lon - west + margin_deg) % 360 <= width + 2 * margin_deg
    return is_between_meridians and south - margin_deg <= lat <= north + margin_deg
