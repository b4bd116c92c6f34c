"""The ground around an answer, painted from the references themselves.

No tile server and no network: rasters are read where they lie, decimated to the size of the
picture, mosaics of tiles as the tiles there; tiles and photos are laid on their footprints.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import RasterioError
from rasterio.transform import Affine
from rasterio.vrt import WarpedVRT

from geobridge.errors import GeoBridgeError
from geobridge.gallery.sources.files import is_tile_corner, open_map, picture_path
from geobridge.geo.distance import LocalFrame
from geobridge.geo.rasters import color_bands, open_dataset
from geobridge.imagery.decode import read_image
from geobridge.localization.estimate import Estimate

_EMPTY_COLOR = (232, 234, 237)
# A map wider than this many footprints shows them too small to recognise anything.
_WIDEST_FOOTPRINTS = 40
_MARGIN = 1.15
# Pictures painted on one map: more would take longer than the answer itself.
_MOST_PICTURES = 400
# A picture is at most twice as fine as the map, so this is at least two of the map's pixels.
_EDGE_PX = 4


@dataclass(frozen=True)
class Scene:
    """A square piece of ground, north up, in metres around its centre.

    Attributes:
        lat: degrees, centre.
        lon: degrees, centre.
        width_m: side of the square on the ground.
        size_px: side of its picture in pixels.
    """

    lat: float
    lon: float
    width_m: float
    size_px: int

    @property
    def metres_per_pixel(self) -> float:
        """Ground metres per pixel, the same in both directions."""
        return self.width_m / self.size_px

    def pixels(self, lon: ArrayLike, lat: ArrayLike) -> NDArray[np.float64]:
        """Pixel coordinates (N, 2), x to the right and y down, of N positions in degrees."""
        x_m, y_m = LocalFrame(self.lat, self.lon).to_metric(np.asarray(lon), np.asarray(lat))
        half = self.width_m / 2
        east, north = np.atleast_1d(np.asarray(x_m)), np.atleast_1d(np.asarray(y_m))
        return np.stack([east + half, half - north], axis=-1) / self.metres_per_pixel


def scene_around(estimate: Estimate, size_px: int) -> Scene:
    """The ground that holds the estimate, its radius and its candidates.

    What would make the map wider than 40 footprints is left outside: a rival in another town
    would turn everything else into dots.
    """
    frame = LocalFrame(estimate.lat, estimate.lon)
    limit_m = _WIDEST_FOOTPRINTS * max(estimate.within_m, 1.0)
    reach_m = min(estimate.radius_m, limit_m / 2)
    low, high = np.array([-reach_m, -reach_m]), np.array([reach_m, reach_m])
    for candidate in estimate.candidates:
        ring = np.asarray(candidate.footprint.exterior.coords)[:, :2]
        corners = np.stack(frame.to_metric(ring[:, 0], ring[:, 1]), axis=-1)
        wider_low = np.minimum(low, corners.min(axis=0))
        wider_high = np.maximum(high, corners.max(axis=0))
        if (wider_high - wider_low).max() <= limit_m:
            low, high = wider_low, wider_high
    lon, lat = frame.to_lonlat(*((low + high) / 2))
    width_m = float((high - low).max()) * _MARGIN
    return Scene(float(lat), (float(lon) + 180) % 360 - 180, max(width_m, 1.0), size_px)


@dataclass
class Basemap:
    """A picture of a scene, painted piece by piece; what is painted first stays on top.

    Attributes:
        scene: the ground it shows.
        image: RGB, `scene.size_px` square.
        covered: (size, size) bool, where imagery has been painted.
        problems: one sentence for each reference that could not be painted.
    """

    scene: Scene
    image: Image.Image = field(init=False)
    covered: NDArray[np.bool_] = field(init=False)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        size = (self.scene.size_px, self.scene.size_px)
        self.image = Image.new("RGB", size, _EMPTY_COLOR)
        self.covered = np.zeros(size, bool)

    def paint_below(self, layer: Image.Image, shown: NDArray[np.bool_]) -> None:
        """Add a layer (full size RGB) where it is `shown` and nothing lies yet."""
        new = shown & ~self.covered
        self.image.paste(layer, mask=Image.fromarray(new))
        self.covered |= new


def paint_basemap(estimate: Estimate, metadata: pa.Table, size_px: int) -> Basemap:
    """Paint the references around an estimate.

    Candidates that are pictures lie on top, then come rasters, then the other pictures, near
    ones first. Street pictures and texts show no ground from above and are left out.

    Args:
        estimate: its candidates decide what ground is shown.
        metadata: the gallery's rows, as `GalleryStore.metadata()` gives them.
        size_px: side of the picture.
    """
    basemap = Basemap(scene_around(estimate, size_px))
    rows = _rows_within(basemap.scene, metadata)
    first = {candidate.ref_id for candidate in estimate.candidates}
    pictures = [row for row in rows if row["window"] is None]
    _paint_pictures(basemap, [row for row in pictures if row["ref_id"] in first])
    windows = [row for row in rows if row["window"] is not None]
    for source, path in dict.fromkeys((row["source"], row["path"]) for row in windows):
        file = picture_path(source, path)
        if is_tile_corner(path):
            _attempt(basemap, file, partial(_paint_mosaic, basemap, source, path))
        else:
            _attempt(basemap, file, partial(_paint_raster, basemap, file))
    _paint_pictures(basemap, [row for row in pictures if row["ref_id"] not in first])
    return basemap


def _rows_within(scene: Scene, metadata: pa.Table) -> list[dict[str, Any]]:
    """The nadir references whose footprints may reach into the scene, nearest first."""
    above = metadata.filter(pc.is_in(metadata["modality"], pa.array(["satellite", "drone"])))
    if not above.num_rows:
        return []
    at = scene.pixels(above["lon"].to_numpy(), above["lat"].to_numpy())
    away_m = np.linalg.norm(at - scene.size_px / 2, axis=1) * scene.metres_per_pixel
    reach_m = scene.width_m / math.sqrt(2) + above["size_m"].to_numpy()
    order = np.argsort(away_m, kind="stable")
    near = order[away_m[order] <= reach_m[order]]
    wanted = above.select(["ref_id", "source", "path", "window", "footprint"])
    return list(wanted.take(pa.array(near)).to_pylist())


def _paint_pictures(basemap: Basemap, rows: Sequence[dict[str, Any]]) -> None:
    for row in rows[:_MOST_PICTURES]:
        path = picture_path(row["source"], row["path"])
        corners = basemap.scene.pixels(*picture_corners(shapely.from_wkb(row["footprint"])).T)
        _attempt(basemap, path, partial(_paint_picture, basemap, path, corners))


def _attempt(basemap: Basemap, path: Path, paint: Callable[[], None]) -> None:
    """A map with a hole says so; it is no reason to withhold the answer."""
    try:
        paint()
    except GeoBridgeError as error:
        basemap.problems.append(str(error))
    except (RasterioError, OSError) as error:
        basemap.problems.append(f"{path} could not be drawn ({error}).")


def _paint_picture(basemap: Basemap, path: Path, corners: NDArray[np.float64]) -> None:
    """Lay a picture on its footprint, whose corners are in pixels of the scene."""
    size = basemap.scene.size_px
    shape = Image.new("1", (size, size))
    ImageDraw.Draw(shape).polygon([tuple(corner) for corner in corners.tolist()], fill=1)
    shown = np.asarray(shape, bool)
    if not (shown & ~basemap.covered).any():
        return
    across_px = max(1, min(math.ceil(float(np.ptp(corners, axis=0).max())), size))
    pixels = read_image(path, min_side=across_px)
    times = max(1, min(pixels.shape[:2]) // across_px)
    reduced = np.asarray(Image.fromarray(pixels).reduce(times))
    # Pixels on the outline have their centre outside by a fraction: continue the picture there.
    padded = np.pad(reduced, ((_EDGE_PX, _EDGE_PX), (_EDGE_PX, _EDGE_PX), (0, 0)), mode="edge")
    a, b, c, d, e, f = _picture_from_scene((reduced.shape[1], reduced.shape[0]), corners)
    layer = Image.fromarray(padded).transform(
        (size, size),
        Image.Transform.AFFINE,
        (a, b, c + _EDGE_PX, d, e, f + _EDGE_PX),
        Image.Resampling.BILINEAR,
    )
    basemap.paint_below(layer, shown)


def picture_corners(footprint: shapely.Polygon) -> NDArray[np.float64]:
    """Longitude and latitude (4, 2) of a picture's top left, top right, bottom right, bottom left.

    Footprints of turned pictures start at their top left corner and run clockwise, as
    `footprint_around` makes them. All others are taken as north-up: by their bounds.
    """
    ring = np.asarray(footprint.exterior.coords)[:-1, :2]
    is_box = len(np.unique(ring[:, 0])) == 2 and len(np.unique(ring[:, 1])) == 2
    if len(ring) == 4 and not is_box and not footprint.exterior.is_ccw:
        return ring
    west, south, east, north = footprint.bounds
    return np.array([[west, north], [east, north], [east, south], [west, south]])


def _picture_from_scene(
    size: tuple[int, int], corners: NDArray[np.float64]
) -> tuple[float, float, float, float, float, float]:
    """Affine coefficients, as Pillow wants them, from scene pixels to picture pixels."""
    origin, right, _, down = corners
    # Scene = origin + u (right - origin) + v (down - origin), with u, v in 0..1 over the picture.
    to_picture = np.diag(size) @ np.linalg.inv(np.stack([right - origin, down - origin], axis=1))
    shift = -to_picture @ origin
    (a, b), (d, e) = to_picture.tolist()
    return a, b, float(shift[0]), d, e, float(shift[1])


def _paint_raster(basemap: Basemap, path: Path) -> None:
    """Warp what a raster holds of the scene, reading no more pixels than the picture has."""
    scene = basemap.scene
    half = scene.width_m / 2
    step = scene.metres_per_pixel
    ground = CRS.from_proj4(
        f"+proj=aeqd +lat_0={scene.lat!r} +lon_0={scene.lon!r} +datum=WGS84 +units=m"
    )
    with open_dataset(path) as raster:
        bands = color_bands(raster)
        palette = ColorInterp.palette in [raster.colorinterp[band - 1] for band in bands]
        with WarpedVRT(
            raster,
            crs=ground,
            transform=Affine(step, 0.0, -half, 0.0, -step, half),
            width=scene.size_px,
            height=scene.size_px,
            resampling=Resampling.nearest if palette else Resampling.bilinear,
            add_alpha=ColorInterp.alpha not in raster.colorinterp,
        ) as warped:
            pixels = warped.read(bands)
            shown = warped.dataset_mask() > 0
        colors = raster.colormap(bands[0]) if palette else None
    rgb = _from_palette(pixels[0], colors) if colors else _eight_bit(pixels, shown)
    layer = np.broadcast_to(rgb, (3, *shown.shape)).transpose(1, 2, 0)
    basemap.paint_below(Image.fromarray(np.ascontiguousarray(layer)), shown)


def _paint_mosaic(basemap: Basemap, source: str, path: str) -> None:
    """What tiles hold of the scene."""
    scene = basemap.scene
    with open_map(source, path) as tiles:
        pixels, shown = tiles.read_north_up(scene.lat, scene.lon, scene.width_m, scene.size_px)
    basemap.paint_below(Image.fromarray(pixels), shown)


def _from_palette(indices: NDArray[Any], colors: Mapping[int, Sequence[int]]) -> NDArray[np.uint8]:
    """Colours (3, H, W) of palette indices (H, W)."""
    table = np.zeros((max(colors) + 1, 3), np.uint8)
    for index, color in colors.items():
        table[index] = color[:3]
    rgb: NDArray[np.uint8] = table[np.minimum(indices, len(table) - 1)].transpose(2, 0, 1)
    return rgb


def _eight_bit(pixels: NDArray[Any], shown: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Values (B, H, W) as uint8; other types stretched between their 1st and 99th percentile."""
    if pixels.dtype == np.uint8 or not shown.any():
        return np.asarray(pixels, np.uint8)
    low, high = np.percentile(pixels[:, shown], (1, 99))
    stretched = (pixels.astype(np.float32) - low) * (255 / max(high - low, 1e-6))
    return np.asarray(np.clip(stretched, 0, 255), np.uint8)
