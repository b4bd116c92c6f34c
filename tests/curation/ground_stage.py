"""Rasters painted for the stages that cut ground, and a server of imagery on this machine.

Rasters show a pattern that is a function of the ground (`ground_colour`), so that whatever is cut
out of them, in whatever coordinate system, can be told to show the right place.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import geopandas
import numpy as np
import pandas as pd
import rasterio
from PIL import Image
from pyproj import Transformer
from rasterio import Affine
from shapely import Point

from geobridge.geo.distance import LocalFrame

LAT, LON = 48.0, 9.0
"""The middle of every raster here that does not say otherwise: on UTM 32's central meridian."""

COLUMNS = (
    *("pano_id", "provider", "seed_id", "lat", "lon", "captured", "heading_deg", "distance_m"),
    *("url", "path", "width", "height", "licence", "attribution", "kept", "reason", "is_360"),
)


def ignore(_what):
    """A step nobody watches."""
    return lambda _done, _total: None


def ground_colour(lat, lon):
    """uint8 (..., 3): waves of 25 and 40 m east and north of the middle, in red and green."""
    east, north = LocalFrame(LAT, LON).to_metric(lon, lat)
    red = 127 + 100 * np.sin(east * 2 * np.pi / 25)
    green = 127 + 100 * np.sin(north * 2 * np.pi / 40)
    blue = 127 + 100 * np.sin((east + north) * 2 * np.pi / 60)
    return np.rint(np.stack([red, green, blue], axis=-1)).astype(np.uint8)


def expected_crop(lat, lon, side_m, size):
    """The ground's colours at the pixel centres of a north-up square around a position."""
    at = ((np.arange(size) + 0.5) / size - 0.5) * side_m
    east, north = np.meshgrid(at, -at)
    lons, lats = LocalFrame(lat, lon).to_lonlat(east, north)
    return ground_colour(lats, lons)


def middle(crs, lat=LAT, lon=LON):
    """x and y of a position in a coordinate system."""
    return Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(lon, lat)


def north_up(crs, width, height, pixel_x, pixel_y, lat=LAT, lon=LON):
    """A transform that puts the middle of a raster on a position."""
    x, y = middle(crs, lat, lon)
    return Affine(pixel_x, 0, x - width / 2 * pixel_x, 0, -pixel_y, y + height / 2 * pixel_y)


def write_raster(path, pixels, crs, transform, tags=None, **options):
    """Write (H, W, B) pixels as a GeoTIFF."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", width=pixels.shape[1], height=pixels.shape[0],
        count=pixels.shape[2], dtype=pixels.dtype, crs=crs, transform=transform, **options,
    ) as dataset:  # fmt: skip
        dataset.write(np.moveaxis(pixels, 2, 0))
        dataset.update_tags(**(tags or {}))
    return path


def paint(path, crs="EPSG:32632", px=600, transform=None, frame=0, tags=None, **options):
    """A raster of the ground's colours, 1 m a pixel in UTM 32 unless told otherwise.

    `frame` pixels around it are 0 and declared to be no data.
    """
    transform = transform or north_up(crs, px, px, 1.0, 1.0)
    cols, rows = np.meshgrid(np.arange(px) + 0.5, np.arange(px) + 0.5)
    a, b, c, d, e, f = transform[:6]
    to_lonlat = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    lon, lat = to_lonlat.transform(a * cols + b * rows + c, d * cols + e * rows + f)
    pixels = ground_colour(lat, lon)
    if frame:
        inside = np.zeros((px, px, 1), bool)
        inside[frame:-frame, frame:-frame] = True
        pixels = pixels * inside
        options["nodata"] = 0
    return write_raster(path, pixels, crs, transform, tags, **options)


def write_tiles(folder, z, px=256, suffix="png", mode="RGB", lon=LON):
    """Tiles of the ground's colours around the middle, named z/x/y."""
    count = 2**z
    x0 = int((lon + 180) / 360 * count)
    y0 = int((1 - np.arcsinh(np.tan(np.radians(LAT))) / np.pi) / 2 * count)
    for x in range(x0 - 2, x0 + 3):
        for y in range(y0 - 2, y0 + 3):
            cols, rows = np.meshgrid(*[(np.arange(px) + 0.5) / px] * 2)
            lons = (x + cols) / count * 360 - 180
            lats = np.degrees(np.arctan(np.sinh(np.pi * (1 - 2 * (y + rows) / count))))
            pixels = ground_colour(lats, lons + LON - lon)
            path = folder / str(z) / str(x % count) / f"{y}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).convert(mode).save(path)


def put_panoramas(workspace, positions, seed_id, width=64, **columns):
    """A `street` table of panoramas at positions (lat, lon), and their pictures.

    A panorama's middle column is white, and it looks east.
    """
    rows = []
    for index, (lat, lon) in enumerate(positions):
        picture = np.full((width // 2, width, 3), 40 + index % 100, np.uint8)
        picture[:, width // 2] = 255
        path = workspace.cache / "00" / f"pano{index}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(picture).save(path)
        row = dict.fromkeys(COLUMNS) | {
            "pano_id": f"folder:{index:04d}",
            "provider": "folder",
            "seed_id": seed_id,
            "lat": lat,
            "lon": lon,
            "heading_deg": 90.0,
            "path": path.relative_to(workspace.folder).as_posix(),
            "kept": True,
            "is_360": True,
        }
        rows.append(row | columns)
    points = [Point(row["lon"], row["lat"]) for row in rows]
    frame = pd.DataFrame(rows, columns=[*COLUMNS]).astype({"heading_deg": "float64"})
    workspace.write("street", geopandas.GeoDataFrame(frame, geometry=points, crs="EPSG:4326"))


def offsets(metres):
    """Positions so many metres (east, north) from the middle, (lat, lon)."""
    lons, lats = LocalFrame(LAT, LON).to_lonlat(*np.array(metres, np.float64).T)
    return list(zip(lats.tolist(), lons.tolist(), strict=True))


class ImageryServer:
    """Serves files of a folder, whole or in ranges, and a STAC catalogue of items.

    Args:
        folder: of the files, below /files/.
        items: of the catalogue, at /stac; a search gives those whose bbox meets the one asked
            for and whose date lies between those asked for, `page` at a time.
        page: items in an answer.
    """

    def __init__(self, folder, items=(), page=2):
        self.folder = Path(folder)
        self.items = list(items)
        self.page = page
        self.asked = []
        self.status = {}
        """Answers by the beginning of a path, in place of what is there."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def origin(self):
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def item(self, item_id, name, bbox, date="2021-06-01T10:00:00Z", asset="image", **properties):
        """Add an item whose picture is a file of the folder."""
        west, south, east, north = bbox
        ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
        self.items.append(
            {
                "type": "Feature",
                "id": item_id,
                "collection": "pictures",
                "bbox": list(bbox),
                "geometry": {"type": "Polygon", "coordinates": [ring]},
                "properties": {"datetime": date, **properties},
                "assets": {asset: {"href": f"{self.origin}/files/{name}", "type": "image/tiff"}},
            }
        )

    def answer(self, path):
        """Status, content type and body."""
        self.asked.append(path)
        parts = urlsplit(path)
        for beginning, status in self.status.items():
            if path.startswith(beginning):
                return status, "text/plain", b"no"
        if parts.path == "/stac/search":
            return 200, "application/geo+json", json.dumps(self._search(parts)).encode()
        file = self.folder / parts.path.removeprefix("/files/")
        if not file.is_file():
            return 404, "text/plain", b"not here"
        kinds = {".tif": "image/tiff", ".jpg": "image/jpeg", ".png": "image/png"}
        return 200, kinds[file.suffix], file.read_bytes()

    def _search(self, parts):
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        west, south, east, north = (float(number) for number in query["bbox"].split(","))
        after, before = query.get("datetime", "../..").split("/")
        found = [
            item
            for item in self.items
            if item["collection"] in query["collections"].split(",")
            and item["bbox"][0] <= east and item["bbox"][2] >= west
            and item["bbox"][1] <= north and item["bbox"][3] >= south
            and (after == ".." or item["properties"]["datetime"] >= after)
            and (before == ".." or item["properties"]["datetime"] <= before)
        ]  # fmt: skip
        start = int(query.get("token", "next:0").removeprefix("next:"))
        links = []
        if start + self.page < len(found):
            # As pgstac's: all pages differ in their token alone.
            further = urlencode({**query, "token": f"next:{start + self.page}"})
            links.append({"rel": "next", "href": f"{self.origin}/stac/search?{further}"})
        return {
            "type": "FeatureCollection",
            "features": found[start : start + self.page],
            "links": links,
        }


def _handler(server):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self._send(True)

        def do_HEAD(self):
            self._send(False)

        def _send(self, with_body):
            try:
                self._answer(with_body)
            except OSError:
                # The client was killed, or has heard enough.
                self.close_connection = True

        def _answer(self, with_body):
            status, kind, body = server.answer(self.path)
            total = len(body)
            wanted = self.headers.get("Range", "")
            extra = {}
            if status == 200 and wanted.startswith("bytes="):
                first, _, last = wanted.removeprefix("bytes=").partition("-")
                begin, end = int(first), min(int(last or total - 1), total - 1)
                status, body = 206, body[begin : end + 1]
                extra["Content-Range"] = f"bytes {begin}-{end}/{total}"
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Accept-Ranges", "bytes")
            for name, value in extra.items():
                self.send_header(name, value)
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def log_message(self, *_):
            pass

    return Handler
