"""A curation's folder with tables of stages as if they had been run, and small pictures."""

import io

import geopandas
import numpy as np
import pandas as pd
from PIL import Image
from shapely import Point

from geobridge.curation.state import write_notes
from geobridge.curation.workspace import Workspace
from geobridge.geo.distance import LocalFrame
from geobridge.geo.footprint import footprint_around
from geobridge.places.release import footprint_name

# As the pipeline notes them: keys with secrets or paths of the maker are nobody else's.
SETTINGS = {
    "seeds": {"rasters": ["/home/someone/flights/town.tif"], "side_m": 180.0},
    "street": {
        "providers": [
            {"kind": "panoramax", "asset": "sd"},
            {"kind": "folder", "folder": "/home/someone/photos"},
            {"kind": "google", "i_accept_the_terms": True},
        ]
    },
    "crop": {"sides_m": [80.0], "quality": 90},
    "satellite": {
        "rasters": ["/home/someone/naip"],
        "gsd_m": 0.6,
        "facts": {"~/naip/*.tif": {"licence": "public domain"}},
    },
}


def silent(*_):
    """Takes what begins, and how far it is."""
    return silent


def picture(seed, width=16, height=16):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def stage_tables(folder, offsets_m, *, lat=52.52, lon=13.405, licences=None, kept=None):
    """Tables `seeds`, `street`, `crops`, `clean`, `satellite` and `describe` of a few places.

    Args:
        offsets_m: east and north of each place from lat, lon.
        licences: of street pictures, by row; Etalab's where none is given.
        kept: by stage, the rows it does not keep, with a reason.
    """
    workspace = Workspace(folder)
    notes = {stage: {"settings": told, "whose": "x"} for stage, told in SETTINGS.items()}
    write_notes(workspace.folder, notes)
    licences, kept = licences or {}, kept or {}
    at_lon, at_lat = LocalFrame(lat, lon).to_lonlat(*np.array(offsets_m, float).T)
    rows = []
    for index, (x, y) in enumerate(zip(at_lon.tolist(), at_lat.tolist(), strict=True)):
        footprint = footprint_around(y, x, 80, 80)
        name = footprint_name(footprint)
        row = {"index": index, "lat": y, "lon": x, "footprint": footprint, "place_id": name}
        row["drone"] = workspace.picture(f"drone/{name}.jpg", picture(3 * index))
        row["street"] = workspace.picture(f"street/p{index}.jpg", picture(3 * index + 1, 32))
        row["satellite"] = workspace.picture(f"satellite/{name}.jpg", picture(3 * index + 2))
        rows.append(row)

    def column(function, kind=object):
        return pd.Series([function(row) for row in rows], dtype=kind)

    def judged(stage, columns, place="place_id"):
        reasons = kept.get(stage, {})
        frame = pd.DataFrame({place: column(lambda row: row["place_id"]), **columns})
        frame["kept"] = [row["index"] not in reasons for row in rows]
        frame["reason"] = pd.Series([reasons.get(row["index"]) for row in rows], dtype=object)
        return frame

    def located(frame, geometry):
        return geopandas.GeoDataFrame(
            frame, geometry=geopandas.GeoSeries(geometry, crs="EPSG:4326"), crs="EPSG:4326"
        )

    seeds = pd.DataFrame(
        {
            "seed_id": ["town_0_0"], "raster": ["/home/someone/flights/town.tif"], "lat": [lat],
            "lon": [lon], "side_m": [180.0], "gsd_m": [0.1], "valid": [1.0],
            "date": ["2023-06-01"], "licence": ["CC-BY-4.0"], "attribution": ["A. Pilot"],
            "source": pd.Series([None], dtype=object),
        }
    )  # fmt: skip
    seeds["footprint"] = geopandas.GeoSeries([footprint_around(lat, lon, 180, 180)])
    seeds = geopandas.GeoDataFrame(seeds, geometry="footprint", crs="EPSG:4326")
    workspace.write("seeds", seeds)
    street = pd.DataFrame(
        {
            "pano_id": column(lambda row: f"panoramax:p{row['index']}"),
            "provider": "panoramax", "seed_id": "town_0_0",
            "lat": column(lambda row: row["lat"], float),
            "lon": column(lambda row: row["lon"], float),
            "captured": "2024-05-01T10:00:00Z",
            "heading_deg": 90.0,
            "distance_m": 1.0,
            "url": column(lambda row: f"https://example.org/p{row['index']}.jpg"),
            "path": column(lambda row: row["street"]),
            "width": 32, "height": 16,
            "licence": column(lambda row: licences.get(row["index"], "etalab-2.0")),
            "attribution": "A. Surveyor", "is_360": True, "kept": True, "reason": None,
        }
    )  # fmt: skip
    workspace.write("street", located(street, [Point(row["lon"], row["lat"]) for row in rows]))
    crops = judged(
        "crops",
        {
            "pano_id": street["pano_id"], "seed_id": "town_0_0",
            "raster": "/home/someone/flights/town.tif", "lat": street["lat"],
            "lon": street["lon"], "side_m": 80.0, "gsd_m": 0.2, "valid": 1.0,
            "drone": column(lambda row: row["drone"]), "street": street["path"],
        },
    )  # fmt: skip
    crops["footprint"] = geopandas.GeoSeries([row["footprint"] for row in rows], crs="EPSG:4326")
    crops = geopandas.GeoDataFrame(crops, geometry="footprint", crs="EPSG:4326")
    workspace.write("crops", crops.sort_values("place_id"))
    workspace.write("clean", judged("clean", {"duplicate_of": None}).sort_values("place_id"))
    satellite = judged(
        "satellite",
        {
            "satellite": column(lambda row: row["satellite"]), "gsd_m": 0.6,
            "raster": "/home/someone/naip/town.tif", "date": "2022-07-01",
            "source": "NAIP", "licence": "public domain", "attribution": None,
        },
    )  # fmt: skip
    workspace.write("satellite", satellite.sort_values("place_id"))
    describe = judged(
        "describe",
        {
            "text": column(lambda row: f"place number {row['index']}"), "model": "words",
            "prompt_digest": "abc", "similarity_drone": None, "similarity_street": None,
            "similarity_satellite": None, "attempts": 1,
        },
    )  # fmt: skip
    workspace.write("describe", describe.sort_values("place_id"))
    return workspace, [row["place_id"] for row in rows]
