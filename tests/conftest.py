"""One small town for everything above the gallery: a map, a model that knows no view, a gallery."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

# Tests are imported by path, so that their helpers have to be findable.
sys.path.insert(0, str(Path(__file__).parent))

from tiny_model import tiny_settings

ORIGIN_EAST_M, ORIGIN_NORTH_M = 690_000.0, 5_334_000.0
TOWN_CRS = "EPSG:32632"
TOWN_PX = 400


@pytest.fixture(scope="session")
def town_picture():
    """400 x 400 m of coloured blocks at 1 m a pixel, uint8 (400, 400, 3), no two parts alike."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (20, 20, 3)).astype(np.uint8)
    blocks = Image.fromarray(coarse).resize((TOWN_PX, TOWN_PX), Image.Resampling.NEAREST)
    fine = rng.integers(0, 80, (100, 100, 3)).astype(np.uint8)
    texture = Image.fromarray(fine).resize((TOWN_PX, TOWN_PX), Image.Resampling.BILINEAR)
    return (np.asarray(blocks) * 0.68 + np.asarray(texture)).astype(np.uint8)


@pytest.fixture(scope="session")
def town_map(town_picture, tmp_path_factory):
    """The town as a GeoTIFF in UTM 32N."""
    import rasterio
    from rasterio.transform import Affine

    path = tmp_path_factory.mktemp("town") / "town.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=TOWN_PX, height=TOWN_PX, count=3, dtype="uint8",
        crs=TOWN_CRS, transform=Affine(1.0, 0.0, ORIGIN_EAST_M, 0.0, -1.0, ORIGIN_NORTH_M),
    ) as raster:  # fmt: skip
        raster.write(town_picture.transpose(2, 0, 1))
    return path


@pytest.fixture(scope="session")
def town_position():
    """From a pixel of the town (x, y) to its latitude and longitude."""
    from pyproj import Transformer

    to_lonlat = Transformer.from_crs(TOWN_CRS, "EPSG:4326", always_xy=True)

    def position(x, y):
        lon, lat = to_lonlat.transform(ORIGIN_EAST_M + x, ORIGIN_NORTH_M - y)
        return lat, lon

    return position


@pytest.fixture(scope="session")
def one_eyed_checkpoint(tmp_path_factory):
    """A tiny untrained model that embeds every view alike: a picture finds itself again."""
    from geobridge.model.config import parse_config
    from geobridge.model.geobridge import GeoBridge
    from geobridge.model.tokens import train_tokenizer
    from geobridge.training.config import merge_settings

    square = {"height": 32, "width": 32}
    config = merge_settings(
        tiny_settings(),
        {
            "name": "one-eyed",
            "dim": 32,
            "weights": "shared",
            "image": {"config": {"embedding_size": 16, "hidden_sizes": [16, 32]}},
            "text": {"config": {"projection_dim": 32}},
            "preprocess": {"drone": square, "satellite": square},
            # So small a temperature that the one reference that is the query outweighs the rest.
            "calibration": {"satellite": {"temperature": 1e-5, "radius_scale": 2.0, "queries": 40}},
        },
    )
    folder = tmp_path_factory.mktemp("models") / "one-eyed"
    words = train_tokenizer(["a stadium by a river", "red roofs along a road"], 300)
    GeoBridge.from_config(parse_config(config, "the test"), seed=3, tokenizer=words).save(folder)
    return folder


@pytest.fixture(scope="session")
def one_eyed(one_eyed_checkpoint):
    """The model in memory."""
    from geobridge.model.geobridge import GeoBridge

    return GeoBridge.load(one_eyed_checkpoint)


@pytest.fixture(scope="session")
def town_folder(town_map, one_eyed, tmp_path_factory):
    """The town's gallery on the disk: 49 windows of 100 m every 50 m."""
    from geobridge.api import Gallery

    out = tmp_path_factory.mktemp("galleries") / "town.gallery"
    Gallery.build(town_map, one_eyed, view="satellite", out=out, footprint_m=100, stride_m=50)
    return out


@pytest.fixture(scope="session")
def town_gallery(town_folder, one_eyed):
    """The town's gallery, open."""
    from geobridge.api import Gallery

    return Gallery.open(town_folder, one_eyed)
