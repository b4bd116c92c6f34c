"""Mapillary: street pictures under CC BY-SA behind Meta's Graph API, with a free token.

https://www.mapillary.com/developer/api-documentation (image search by box, fields of an image,
`Authorization: OAuth TOKEN`). The token is read from the environment variable MAPILLARY_TOKEN and
sent in a header, so that no address holds it. 60,000 requests a minute were allowed by one report
(https://github.com/OpenStreetMapSpeeds/conflation/pull/19), other limits hold for tiles, which are
not asked for; the pace is far below.

A box must be smaller than "0.01 degrees square", which can be read as its area or as its sides:
boxes here keep both. At most 2,000 pictures come in an answer. Addresses of pictures expire, so
one is asked for only when its picture is downloaded. Not checked from here, for want of a network:
whether a search by box links a next page. If it does, it is followed; if not, a full answer is
asked for again in quarters.
"""

import datetime as clock
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlencode

from pydantic import Field

from geobridge.curation.http import (
    Client,
    Credential,
    DownloadError,
    Kind,
    Pace,
    PlainAddress,
    origin,
    without_secrets,
)
from geobridge.curation.providers import (
    Bounds,
    Limits,
    Panorama,
    entries,
    heading,
    located,
    mapping,
    number,
    pair,
    text,
    whole,
)
from geobridge.curation.providers.online import Page, Paged
from geobridge.model.config import Settings

TOKEN = "MAPILLARY_TOKEN"  # noqa: S105 - the variable's name
PAGE_SIZE = 2000
SIDE_DEG = 0.0099
PICTURE_BYTES = 5_000_000

FIELDS = (
    "id,geometry,computed_geometry,captured_at,compass_angle,computed_compass_angle,is_pano,"
    "width,height,creator"
)


class MapillaryConfig(Settings):
    """Mapillary as a provider.

    Attributes:
        kind: `mapillary`.
        url: root of the API.
        requests_per_second: at most, to each host.
    """

    kind: Literal["mapillary"] = "mapillary"
    url: PlainAddress = "https://graph.mapillary.com"
    requests_per_second: float = Field(default=10.0, gt=0)


class Mapillary(Paged):
    """See `Provider`."""

    name = "mapillary"

    def __init__(self, config: MapillaryConfig, client: Client, pictures: Kind) -> None:
        super().__init__(
            config.url,
            client,
            pictures,
            Limits(SIDE_DEG, PAGE_SIZE, Pace(per_second=config.requests_per_second), PICTURE_BYTES),
            Credential(TOKEN, origin(config.url), header="Authorization", prefix="OAuth "),
        )

    def picture(self, panorama: Panorama) -> Path:
        """See `Provider`; two requests, the first for the address of the day."""
        if panorama.url is None:
            raise DownloadError("the picture has no address", is_final=True)
        kept = self._client.cached(panorama.url, self._pictures)
        if kept:
            return kept
        pace = self.limits.pace
        answer = self._client.ask(panorama.url, pace=pace, credential=self._credential)
        url = text(mapping(answer).get("thumb_original_url"))
        if url is None:
            raise DownloadError(
                f"{self._root} gives no address for picture {panorama.id}: it may have been "
                f"withdrawn.",
                is_final=True,
            )
        return self._client.fetch(url, self._pictures, pace=pace, key=panorama.url)

    def _first_page(self, part: Bounds) -> str:
        query = {"bbox": str(part), "limit": self.limits.page, "fields": FIELDS}
        return f"{self._root}/images?{urlencode(query, safe=',')}"

    def _page(self, url: str) -> Page:
        page = self._client.page(url, pace=self.limits.pace, credential=self._credential)
        link = text(mapping(mapping(page).get("paging")).get("next"))
        # The Graph API repeats the token in its links.
        return entries(page, "data", self._root), without_secrets(link) if link else None

    def _panorama(self, entry: dict[str, Any]) -> Panorama:
        name = quote(str(entry.get("id")), safe="")
        creator = text(mapping(entry.get("creator")).get("username"))
        # Where Mapillary has reconstructed the scene it knows better than the camera's compass.
        computed = heading(entry.get("computed_compass_angle"))
        panorama = Panorama(
            id=name,
            provider=self.name,
            captured=_captured(entry.get("captured_at")),
            heading_deg=heading(entry.get("compass_angle")) if computed is None else computed,
            url=f"{self._root}/{name}?fields=thumb_original_url",
            width=whole(entry.get("width")),
            height=whole(entry.get("height")),
            licence="CC-BY-SA-4.0",
            attribution=f"Mapillary, {creator}" if creator else "Mapillary",
            is_360=entry.get("is_pano") is True,
        )
        geometry = mapping(entry.get("computed_geometry")) or mapping(entry.get("geometry"))
        lon, lat = pair(geometry.get("coordinates"))
        return located(panorama, lat, lon)


def _captured(value: Any) -> str | None:
    """Milliseconds since 1970 as an ISO time in UTC, or None."""
    milliseconds = number(value)
    if milliseconds is None:
        return None
    try:
        found = clock.datetime.fromtimestamp(milliseconds / 1000, clock.UTC)
    except (OverflowError, OSError, ValueError):
        return None
    return found.replace(tzinfo=None).isoformat(timespec="seconds") + "Z"
