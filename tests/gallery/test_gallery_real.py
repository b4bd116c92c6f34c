"""Galleries of the real pictures beside the project."""

import os
from pathlib import Path

import numpy as np
import pandas
import pytest

from geobridge.gallery.build import build_gallery
from geobridge.gallery.sources import open_source
from geobridge.gallery.store import GalleryStore, references
from geobridge.geo.distance import distance_m

DATA = Path(os.environ.get("GEOBRIDGE_DATA", Path(__file__).parents[3] / "shared" / "data"))

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not DATA.is_dir(), reason="the real pictures are not beside the project"),
]


def index(model, out, *requests, **options):
    sources = [open_source(DATA / path, view, stride_m=100, **options) for path, view in requests]
    summary = build_gallery(sources, model, out)
    return summary, GalleryStore.open(out)


def test_a_map_and_the_photos_taken_over_it(tmp_path, model):
    summary, store = index(
        model,
        tmp_path / "g",
        ("fongyuan/satellite_map.tif", "satellite"),
        ("fongyuan/drone", "drone"),
    )
    # The map is 667 x 627 m: windows every 100 m, and one flush with each far edge.
    assert store.counts.by_modality == {"satellite": 7 * 7, "drone": 51}
    assert summary.skipped == summary.unreadable == 0
    metadata = store.metadata().to_pandas()
    stated = pandas.read_csv(DATA / "fongyuan" / "drone.csv").set_index("file")
    photos = metadata[metadata["modality"] == "drone"]
    truth = stated.loc["drone/" + photos["path"]]
    away_m = distance_m(photos["lat"], photos["lon"], truth["lat"], truth["lon"])
    assert np.max(away_m) < 0.1


def test_tiles_lie_where_their_table_says(tmp_path, model):
    _, tiles = index(model, tmp_path / "tiles", ("ariel/satellite", "satellite"), whole_tiles=True)
    _, table = index(model, tmp_path / "table", ("ariel/satellite.csv", "satellite"))
    assert len(tiles) == len(table) == 132
    by_name = {Path(r.path).name: r for r in references(table.metadata(), range(132))}
    for tile in references(tiles.metadata(), range(132)):
        stated = by_name[tile.path]
        assert distance_m(tile.lat, tile.lon, stated.lat, stated.lon) < 0.1
        assert tile.size_m == pytest.approx(stated.size_m, abs=0.1)


@pytest.mark.parametrize(
    ("folder", "view", "photos"), [("exif_drone", "drone", 42), ("exif_street", "street", 10)]
)
def test_photos_with_positions_in_their_files(tmp_path, model, folder, view, photos):
    summary, store = index(model, tmp_path / "g", (folder, view))
    assert len(store) == photos
    # The table of positions lies among the photos.
    assert summary.by_reason == {"not a picture": 1}
