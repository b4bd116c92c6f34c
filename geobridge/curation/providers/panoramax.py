"""Panoramax: open street pictures behind a STAC API, one's own server or the federation's.

https://docs.panoramax.fr/ (instances document every route under `/api/docs/swagger`), after the
STAC API's item search, https://github.com/radiantearth/stac-api-spec/tree/v1.0.0/item-search, and
the perspective imagery extension, https://github.com/stac-extensions/perspective-imagery.

Known from the published source of the server: `limit` goes from 1 to 10,000, answers to a box are
sorted by the distance to its middle, and carry no link to a next page: a full one may be cut off.
Other STAC servers do link it. Not checked from here, for want of a network: what the federation's
catalogue (api.panoramax.xyz) allows in a second, and that it keeps to the same limit.
"""

import datetime as clock
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlencode, urljoin

from pydantic import Field

from geobridge.curation.http import Client, DownloadError, Kind, Pace
from geobridge.curation.providers import (
    Bounds,
    Limits,
    Panorama,
    entries,
    heading,
    located,
    mapping,
    pair,
    search_parts,
    text,
    whole,
)
from geobridge.errors import CurationError
from geobridge.model.config import Settings

PAGE_SIZE = 500
# About a kilometre: the seeds of one orthomosaic take a few requests, and what lies between
# distant seeds is not listed.
SIDE_DEG = 0.01
# 5760 x 2880 pixels as JPEG.
PICTURE_BYTES = 6_000_000


class PanoramaxConfig(Settings):
    """Panoramax as a provider.

    Attributes:
        kind: `panoramax`.
        url: root of the API.
        asset: `hd` is the picture as it was taken, `sd` has 2048 pixels across.
        requests_per_second: at most, to each host.
    """

    kind: Literal["panoramax"] = "panoramax"
    url: str = "https://api.panoramax.xyz/api"
    asset: Literal["hd", "sd"] = "hd"
    requests_per_second: float = Field(default=5.0, gt=0)


class Panoramax:
    """See `Provider`."""

    name = "panoramax"

    def __init__(self, config: PanoramaxConfig, client: Client, pictures: Kind) -> None:
        self._config = config
        self._client = client
        self._pictures = pictures
        self._root = config.url.rstrip("/")
        self.limits = Limits(
            SIDE_DEG, PAGE_SIZE, Pace(per_second=config.requests_per_second), PICTURE_BYTES
        )

    def search(self, bounds: Bounds) -> Iterator[Panorama]:
        """See `Provider`."""
        return search_parts(bounds, self.limits, self._ask)

    def search_requests(self, bounds: Bounds) -> int:
        """See `Provider`."""
        return len(bounds.split(self.limits.side_deg))

    def has_picture(self, panorama: Panorama) -> bool:
        """See `Provider`."""
        return bool(panorama.url and self._client.cached(panorama.url, self._pictures))

    def picture(self, panorama: Panorama) -> Path:
        """See `Provider`."""
        if panorama.url is None:
            raise DownloadError("the picture has no address", is_final=True)
        return self._client.fetch(panorama.url, self._pictures, pace=self.limits.pace)

    def _ask(self, part: Bounds) -> tuple[list[Panorama], bool]:
        query = urlencode({"bbox": str(part), "limit": self.limits.page}, safe=",")
        url: str | None = f"{self._root}/search?{query}"
        found: list[Panorama] = []
        seen: set[str] = set()
        page_size = 0
        while url:
            if url in seen:
                raise CurationError(f"{self._root} links its pages in a circle: report it there.")
            seen.add(url)
            # Nothing in the address is secret, and pages may differ in a `token` alone.
            page = self._client.page(url, pace=self.limits.pace, key=url)
            items = entries(page, "features", self._root)
            found += [self._panorama(item) for item in items]
            page_size = len(items)
            url = _next_page(page, url) if items else None
        return found, len(seen) == 1 and page_size >= self.limits.page

    def _panorama(self, item: dict[str, Any]) -> Panorama:
        properties = mapping(item.get("properties"))
        camera = mapping(properties.get("pers:interior_orientation"))
        width, height = pair(camera.get("sensor_array_dimensions"))
        assets = mapping(item.get("assets"))
        asset = mapping(assets.get(self._config.asset))
        url = text(asset.get("href"))
        panorama = Panorama(
            id=quote(str(item.get("id")), safe=""),
            provider=self.name,
            captured=utc(properties.get("datetime")),
            heading_deg=heading(properties.get("view:azimuth")),
            url=urljoin(f"{self._root}/", url) if url else None,
            width=whole(width),
            height=whole(height),
            size_bytes=whole(properties.get("original_file:size"))
            if self._config.asset == "hd"
            else None,
            licence=text(properties.get("license")),
            attribution=_producer(item, properties),
            is_360=camera.get("field_of_view") == 360,
            fault=None if url else f"the provider gives no {self._config.asset} picture",
        )
        lon, lat = pair(mapping(item.get("geometry")).get("coordinates"))
        return located(panorama, lat, lon)


def utc(value: Any) -> str | None:
    """An RFC 3339 time out of JSON in UTC, to the second, or None."""
    try:
        found = clock.datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    if found.tzinfo:
        found = found.astimezone(clock.UTC).replace(tzinfo=None)
        return found.isoformat(timespec="seconds") + "Z"
    return found.isoformat(timespec="seconds")


def _next_page(page: Any, url: str) -> str | None:
    for link in mapping(page).get("links") or ():
        href = text(mapping(link).get("href"))
        if mapping(link).get("rel") == "next" and href:
            return urljoin(url, href)
    return None


def _producer(item: dict[str, Any], properties: dict[str, Any]) -> str | None:
    """Who took it: the last of the producers, as each instance puts itself before the person."""
    named = [
        text(mapping(provider).get("name"))
        for provider in item.get("providers") or properties.get("providers") or ()
        if "producer" in (mapping(provider).get("roles") or ())
    ]
    return text(properties.get("geovisio:producer")) or (named[-1] if named else None)
