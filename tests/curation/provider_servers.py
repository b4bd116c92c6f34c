"""Small HTTP servers on this machine that speak the APIs of panorama providers.

    with ProviderServer(shots) as server:
        PanoramaxConfig(url=server.panoramax)      # and MapillaryConfig(url=server.mapillary)
        GoogleConfig(url=server.google)

One server has the same pictures behind every API. Faults are answers put before a path: each is
given once, in order. `server.asked` lists the paths, with parameters, that were asked for.
"""

import io
import json
import math
import threading
import time
from collections import defaultdict, deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from PIL import ExifTags, Image


@dataclass(frozen=True)
class Shot:
    """A panorama and where and when it was truly taken."""

    id: str
    lat: float
    lon: float
    jpeg: bytes
    captured: str = "2024-05-01T10:00:00Z"
    heading_deg: float | None = 90.0
    is_360: bool = True
    width: int = 128
    height: int = 64


def jpeg(seed=0, width=128, height=64, exif_lat=None, exif_lon=None):
    """A picture of noise, with a position in its EXIF where one is given."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    exif = Image.Exif()
    if exif_lat is not None:
        exif[ExifTags.IFD.GPSInfo] = {
            ExifTags.GPS.GPSLatitudeRef: "N" if exif_lat >= 0 else "S",
            ExifTags.GPS.GPSLatitude: (abs(exif_lat), 0.0, 0.0),
            ExifTags.GPS.GPSLongitudeRef: "E" if exif_lon >= 0 else "W",
            ExifTags.GPS.GPSLongitude: (abs(exif_lon), 0.0, 0.0),
        }
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90, exif=exif)
    return buffer.getvalue()


@dataclass
class Fault:
    """An answer that is given in place of the right one.

    Attributes:
        status: of HTTP.
        headers: put over the usual ones.
        body: what is sent.
        cut: bytes that are announced and not sent.
        wait_s: before anything is sent.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: int = 0
    wait_s: float = 0.0


class ProviderServer:
    """Serves shots through the APIs of Panoramax, Mapillary and Google Street View.

    Args:
        shots: what it has.
        page: most pictures in one answer, whatever is asked for.
        link_pages: whether further pages are linked; if not, an answer is just cut off.
        token: that Mapillary's and Google's requests must carry.
        wait_s: that each picture takes.
    """

    def __init__(self, shots, *, page=1000, link_pages=True, token="", wait_s=0.0):
        self.shots = {shot.id: shot for shot in shots}
        self.page = page
        self.link_pages = link_pages
        self.token = token
        self.wait_s = wait_s
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.faults: dict[str, deque[Fault]] = defaultdict(deque)
        self.lies: dict[str, dict[str, Any]] = {}
        """What is said in place of the truth, by id: lat, lon, url."""
        self._lock = threading.Lock()
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

    @property
    def panoramax(self):
        return f"{self.origin}/panoramax/api"

    @property
    def mapillary(self):
        return f"{self.origin}/mapillary"

    @property
    def google(self):
        return f"{self.origin}/google"

    def pictures_asked(self):
        """Ids of the pictures that were asked for, as often as they were."""
        with self._lock:
            paths = [urlsplit(path).path for path in self.asked]
        return [path.rsplit("/", 1)[1][:-4] for path in paths if path.startswith("/pictures/")]

    def answer(self, path, headers):
        """Status, headers and body, or a fault."""
        with self._lock:
            self.asked.append(path)
            self.headers.append(headers)
            waiting = self.faults.get(urlsplit(path).path)
            if waiting:
                return waiting.popleft()
        parts = urlsplit(path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        if parts.path.startswith("/pictures/"):
            return self._picture(parts.path)
        if parts.path == "/panoramax/api/search":
            return self._panoramax(query)
        if parts.path.startswith("/mapillary/"):
            if headers.get("Authorization") != f"OAuth {self.token}":
                return _json({"error": {"message": "Invalid OAuth access token"}}, status=401)
            if parts.path == "/mapillary/images":
                return self._mapillary(query)
            return self._mapillary_image(parts.path.rsplit("/", 1)[1])
        if parts.path.startswith("/google"):
            if query.get("key") != self.token:
                return _json({"status": "REQUEST_DENIED", "error_message": query.get("key")})
            return self._google(parts.path, query)
        return _json({"message": "not found"}, status=404)

    def _picture(self, path):
        shot = self.shots.get(path.rsplit("/", 1)[1][:-4])
        if shot is None:
            return _json({}, status=404)
        time.sleep(self.wait_s)
        return Fault(headers={"Content-Type": "image/jpeg"}, body=shot.jpeg)

    def _within(self, bbox):
        west, south, east, north = (float(number) for number in bbox.split(","))
        return [
            shot
            for _, shot in sorted(self.shots.items())
            if (south <= shot.lat <= north and west <= shot.lon <= east) or shot.id in self.lies
        ]

    def _page(self, query):
        found = self._within(query["bbox"])
        size = min(self.page, int(query["limit"]))
        start = int(query.get("after", 0))
        has_more = self.link_pages and start + size < len(found)
        return found[start : start + size], start + size if has_more else None

    def _said(self, shot):
        said = {"lat": shot.lat, "lon": shot.lon, "url": f"{self.origin}/pictures/{shot.id}.jpg"}
        return said | self.lies.get(shot.id, {})

    def _panoramax(self, query):
        found, after = self._page(query)
        items = []
        for shot in found:
            said = self._said(shot)
            items.append(
                {
                    "type": "Feature",
                    "id": shot.id,
                    "geometry": {"type": "Point", "coordinates": [said["lon"], said["lat"]]},
                    "properties": {
                        "datetime": shot.captured,
                        "view:azimuth": shot.heading_deg,
                        "license": "etalab-2.0",
                        "geovisio:producer": "A. Surveyor",
                        "original_file:size": len(shot.jpeg),
                        "pers:interior_orientation": {
                            "field_of_view": 360 if shot.is_360 else 70,
                            "sensor_array_dimensions": [shot.width, shot.height],
                        },
                    },
                    "assets": {"hd": {"href": said["url"], "type": "image/jpeg"}},
                }
            )
        links = [{"rel": "root", "href": f"{self.panoramax}/"}]
        if after is not None:
            link = (
                f"{self.panoramax}/search?bbox={query['bbox']}&limit={query['limit']}&after={after}"
            )
            links.append({"rel": "next", "href": link})
        page = {"type": "FeatureCollection", "features": items, "links": links}
        return _json(page, content_type="application/geo+json")

    def _mapillary(self, query):
        west, south, east, north = (float(number) for number in query["bbox"].split(","))
        if east - west >= 0.01 or north - south >= 0.01:
            return _json({"error": {"message": "bbox too large"}}, status=400)
        found, after = self._page(query)
        fields = query["fields"].split(",")
        images = [self._mapillary_fields(shot, fields) for shot in found]
        page = {"data": images}
        if after is not None:
            page["paging"] = {
                "next": f"{self.mapillary}/images?access_token={self.token}&bbox={query['bbox']}"
                f"&limit={query['limit']}&fields={query['fields']}&after={after}"
            }
        return _json(page)

    def _mapillary_fields(self, shot, fields):
        said = self._said(shot)
        point = {"type": "Point", "coordinates": [said["lon"], said["lat"]]}
        known = {
            "id": shot.id,
            "geometry": point,
            "computed_geometry": point,
            "captured_at": _milliseconds(shot.captured),
            "compass_angle": shot.heading_deg,
            "computed_compass_angle": shot.heading_deg,
            "is_pano": shot.is_360,
            "width": shot.width,
            "height": shot.height,
            "creator": {"username": "a_surveyor", "id": "1"},
        }
        return {name: known[name] for name in fields}

    def _mapillary_image(self, name):
        shot = self.shots.get(name)
        if shot is None:
            return _json({"error": {"message": "Unsupported get request"}}, status=400)
        with self._lock:
            number = len(self.asked)
        # Another address each time, as signed ones are.
        url = f"{self._said(shot)['url']}?expires={number}"
        return _json({"id": shot.id, "thumb_original_url": url})

    def _google(self, path, query):
        if path == "/google/metadata":
            lat, lon = (float(number) for number in query["location"].split(","))
            shot = min(self.shots.values(), key=lambda shot: _apart_m(shot, lat, lon))
            if _apart_m(shot, lat, lon) > float(query["radius"]):
                return _json({"status": "ZERO_RESULTS"})
            said = self._said(shot)
            return _json(
                {
                    "status": "OK",
                    "pano_id": shot.id,
                    "date": shot.captured[:7],
                    "copyright": "© A. Surveyor",
                    "location": {"lat": said["lat"], "lng": said["lon"]},
                }
            )
        shot = self.shots.get(query["pano"])
        if shot is None:
            return _json({}, status=404)
        return Fault(headers={"Content-Type": "image/jpeg"}, body=shot.jpeg)


def _apart_m(shot, lat, lon):
    north, east = shot.lat - lat, (shot.lon - lon) * math.cos(math.radians(lat))
    return 111_320 * math.hypot(north, east)


def _milliseconds(text):
    import datetime

    return int(datetime.datetime.fromisoformat(text).timestamp() * 1000)


def _json(value, status=200, content_type="application/json; charset=UTF-8"):
    return Fault(status, {"Content-Type": content_type}, json.dumps(value).encode())


def _handler(server):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            answer = server.answer(self.path, dict(self.headers))
            time.sleep(answer.wait_s)
            headers = {"Content-Length": str(len(answer.body)), **answer.headers}
            try:
                self.send_response(answer.status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body[: len(answer.body) - answer.cut])
                if answer.cut:
                    self.close_connection = True
            except OSError:
                # The client was killed, or has heard enough.
                self.close_connection = True

        def log_message(self, *_):
            pass

    return Handler
