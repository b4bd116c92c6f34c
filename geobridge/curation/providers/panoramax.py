"""Panoramax: open street pictures behind a STAC API, one's own server or the federation's.

https://docs.panoramax.fr/ (instances document every route under `/api/docs/swagger`), after the
STAC API's item search, https://github.com/radiantearth/stac-api-spec/tree/v1.0.0/item-search, and
the perspective imagery extension, https://github.com/stac-extensions/perspective-imagery.

Known from the published source of the server (geovisio 2.11.0, `geovisio/web/items.py`,
https://gitlab.com/panoramax/server/api): `limit` goes from 1 to 10,000, answers to a box are sorted
by the distance to its middle, and carry no link to a next page: a full one may be cut off.
`place_position` and `place_distance` (3 to 15 m by default) look for pictures of a point and not in
an area, so they are not used. What differs from STAC is told in `docs/dev/STAC_compatibility.md`
there. Other STAC servers do link a next page. Not checked from here, for want of a network: what
the federation's catalogue (api.panoramax.xyz) allows in a second, and that it keeps to the same
limit.
"""

import datetime as clock
from typing import Any, Literal
from urllib.parse import quote, urlencode, urljoin

from pydantic import Field

from geobridge.curation.http import Client, Kind, Pace, PlainAddress, secret_in, without_secrets
from geobridge.curation.providers import (
    Bounds,
    Limits,
    Panorama,
    entries,
    heading,
    located,
    mapping,
    pair,
    text,
    whole,
)
from geobridge.curation.providers.online import Page, Paged, next_link
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
    url: PlainAddress = "https://api.panoramax.xyz/api"
    asset: Literal["hd", "sd"] = "hd"
    requests_per_second: float = Field(default=5.0, gt=0)


class Panoramax(Paged):
    """See `Provider`."""

    name = "panoramax"

    def __init__(self, config: PanoramaxConfig, client: Client, pictures: Kind) -> None:
        pace = Pace(per_second=config.requests_per_second)
        super().__init__(
            config.url, client, pictures, Limits(SIDE_DEG, PAGE_SIZE, pace, PICTURE_BYTES)
        )
        self._asset = config.asset

    def _first_page(self, part: Bounds) -> str:
        query = urlencode({"bbox": str(part), "limit": self.limits.page}, safe=",")
        return f"{self._root}/search?{query}"

    def _page(self, url: str) -> Page:
        # Nothing in the address is secret, and pages may differ in a `token` alone.
        page = self._client.page(url, pace=self.limits.pace, key=url)
        return entries(page, "features", self._root), next_link(page, url)

    def _panorama(self, entry: dict[str, Any]) -> Panorama:
        properties = mapping(entry.get("properties"))
        camera = mapping(properties.get("pers:interior_orientation"))
        width, height = pair(camera.get("sensor_array_dimensions"))
        assets = mapping(entry.get("assets"))
        asset = mapping(assets.get(self._asset))
        href = text(asset.get("href"))
        url = urljoin(f"{self._root}/", href) if href else None
        panorama = Panorama(
            id=quote(str(entry.get("id")), safe=""),
            provider=self.name,
            captured=utc(properties.get("datetime")),
            heading_deg=heading(properties.get("view:azimuth")),
            url=without_secrets(url) if url and secret_in(url) else url,
            width=whole(width),
            height=whole(height),
            size_bytes=whole(properties.get("original_file:size")) if self._asset == "hd" else None,
            licence=text(properties.get("license")),
            attribution=_producer(entry, properties),
            is_360=camera.get("field_of_view") == 360,
            fault=self._fault(url),
        )
        lon, lat = pair(mapping(entry.get("geometry")).get("coordinates"))
        return located(panorama, lat, lon)

    def _fault(self, url: str | None) -> str | None:
        if url is None:
            return f"the provider gives no {self._asset} picture"
        where = secret_in(url)
        return f"its address is not open: it holds a secret in {where}" if where else None


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


def _producer(item: dict[str, Any], properties: dict[str, Any]) -> str | None:
    """Who took it: the last of the producers, as each instance puts itself before the person."""
    named = [
        text(mapping(provider).get("name"))
        for provider in item.get("providers") or properties.get("providers") or ()
        if "producer" in (mapping(provider).get("roles") or ())
    ]
    return text(properties.get("geovisio:producer")) or (named[-1] if named else None)
