"""STAC catalogues of imagery: what they have somewhere and of when, and where its raster is.

After the STAC API's item search, https://github.com/radiantearth/stac-api-spec/tree/v1.0.0/
item-search, asked with GET, whose pages are linked; items after https://github.com/radiantearth/
stac-spec/blob/v1.0.0/item-spec/item-spec.md.

OpenAerialMap has one at https://api.imagery.hotosm.org/stac, whose items are described in
https://github.com/hotosm/openaerialmap under `backend/stactools-hotosm`. Their `gsd` may be in
degrees, so it only rules rasters out; what counts is what the raster itself tells.

Rasters of Microsoft's Planetary Computer want an address signed for an hour or so, which is not
asked for here (https://planetarycomputer.microsoft.com/docs/concepts/sas): its storage answers with
a status instead. NAIP and Sentinel-2 have to come from a catalogue with open addresses, or from
downloaded files.
"""

import datetime as clock
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlencode, urljoin, urlsplit

import shapely
from pydantic import Field, field_validator, model_validator
from shapely.errors import ShapelyError
from shapely.geometry.base import BaseGeometry

from geobridge.curation.http import (
    Client,
    Pace,
    PlainAddress,
    is_public,
    secret_in,
    shown,
    without_secrets,
)
from geobridge.curation.providers import Bounds, entries, mapping, number, text
from geobridge.curation.providers.online import Page, linked_pages, next_link
from geobridge.curation.rasters import Found, RasterFacts, parse_date
from geobridge.errors import CurationError
from geobridge.geo.distance import check_position
from geobridge.model.config import Settings

_PAGE_SIZE = 100

# Names of the asset people look at: Sentinel-2, NAIP and OpenAerialMap have one of them.
_PICTURE_ASSETS = ("visual", "image")

_PRODUCER_ROLES = {"producer", "licensor"}


class StacConfig(Settings):
    """A STAC API and what of it is wanted.

    Attributes:
        url: its root, below which `search` is.
        collections: that are searched.
        after: earliest date, or None.
        before: latest date, or None.
        asset: name of the picture among an item's assets; by default `visual` or `image`.
        max_items: a search that finds more is refused.
        requests_per_second: at most, to each host.
        allow_private: whether addresses of this machine and its networks may be asked.
    """

    url: PlainAddress
    collections: tuple[str, ...] = Field(min_length=1)
    after: clock.date | None = None
    before: clock.date | None = None
    asset: str | None = None
    max_items: int = Field(default=2000, ge=1)
    requests_per_second: float = Field(default=5.0, gt=0)
    allow_private: bool = False

    @property
    def pace(self) -> Pace:
        """Of requests."""
        return Pace(per_second=self.requests_per_second)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.after and self.before and self.after > self.before:
            raise ValueError(f"`after` {self.after} is later than `before` {self.before}: swap.")
        return self


class Catalogue(StacConfig):
    """A catalogue of orthomosaics, OpenAerialMap's by default, and the area to search.

    Attributes:
        bounds: west, south, east, north in degrees; east < west crosses the antimeridian.
        max_gsd_m: items that say they are coarser are left out.
    """

    url: PlainAddress = "https://api.imagery.hotosm.org/stac"
    collections: tuple[str, ...] = Field(default=("openaerialmap",), min_length=1)
    bounds: tuple[float, float, float, float]
    max_gsd_m: float = Field(default=1.0, gt=0)

    @field_validator("bounds")
    @classmethod
    def _on_earth(
        cls, bounds: tuple[float, float, float, float]
    ) -> tuple[float, float, float, float]:
        west, south, east, north = bounds
        for lat, lon in ((south, west), (north, east)):
            # Null island is a corner like any other here.
            check_position(lat or 1e-9, lon, "a corner of the bounds")
        if south >= north or west == east:
            raise ValueError("the bounds have no extent: give west, south, east, north.")
        return bounds


@dataclass(frozen=True)
class Item:
    """A raster in a catalogue.

    Attributes:
        item_id: `collection/id`.
        raster: address of the picture; empty where there is none.
        ground: where it has pixels, lon/lat, or None.
        cloud: share of it that is covered, in per cent, or None.
        gsd_m: what the catalogue says, or None.
        facts: date, licence, attribution and source.
        fault: why it cannot be used, or None.
    """

    item_id: str
    raster: str
    ground: BaseGeometry | None
    cloud: float | None
    gsd_m: float | None
    facts: RasterFacts
    fault: str | None


def find_rasters(client: Client, catalogue: Catalogue) -> list[Found]:
    """The rasters of a catalogue in an area, sorted; those that cannot be used with the reason.

    Raises:
        CurationError: the catalogue cannot be asked, or has more than `max_items`.
    """
    west, south, east, north = catalogue.bounds
    crosses = east < west
    parts = [Bounds(west, south, 180.0 if crosses else east, north)]
    if crosses:
        parts.append(Bounds(-180.0, south, east, north))
    found = {}
    for item in (item for part in parts for item in search(client, catalogue, part)):
        fault = item.fault
        if fault is None and item.gsd_m is not None and item.gsd_m > catalogue.max_gsd_m:
            fault = f"the catalogue says its pixels are {item.gsd_m:g} m"
        raster = item.raster or item.item_id
        found[raster] = Found(raster, is_named=False, facts=item.facts, fault=fault)
    return [found[raster] for raster in sorted(found)]


def search(client: Client, config: StacConfig, bounds: Bounds) -> Iterator[Item]:
    """Everything a catalogue has in a box between its dates, page by page.

    Raises:
        CurationError: an answer did not come or has not the form it should have, the pages go in
            a circle, or there are more than `max_items`.
    """
    root = config.url.rstrip("/")
    after = f"{config.after}T00:00:00Z" if config.after else ".."
    before = f"{config.before}T23:59:59Z" if config.before else ".."
    query = {
        "collections": ",".join(config.collections),
        "bbox": str(bounds),
        "datetime": f"{after}/{before}",
        "limit": str(_PAGE_SIZE),
    }
    if not (config.after or config.before):
        del query["datetime"]
    count = 0

    def ask(url: str) -> Page:
        # Pages are told apart by a `token`, which is no secret here and belongs to the key.
        page = client.page(url, pace=config.pace, key=url)
        return entries(page, "features", shown(root)), next_link(page, url)

    first = f"{root}/search?{urlencode(query, safe=',/:')}"
    for url, items in linked_pages(first, shown(root), ask):
        count += len(items)
        if count > config.max_items:
            raise CurationError(
                f"{shown(root)} has more than {config.max_items} items there: narrow the area or "
                f"the dates, or raise max_items."
            )
        yield from (_item(item, config, url) for item in items)


def address_fault(url: str, allow_private: bool) -> str | None:
    """Why an address out of an answer cannot be read, or None, before anything is asked of it.

    A name is looked up again when the raster is read, by the client, which is what protects.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        return "its address is not of http or https"
    if allow_private:
        return None
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port or 443, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return f"there is no host {parts.hostname}"
    if not all(is_public(str(entry[4][0])) for entry in found):
        return "its address is of this machine or its networks, and allow_private is not set"
    return None


def _item(item: Mapping[str, Any], config: StacConfig, url: str) -> Item:
    properties = mapping(item.get("properties"))
    item_id = f"{text(item.get('collection')) or config.collections[0]}/{item.get('id')}"
    href = _picture(mapping(item.get("assets")), config.asset)
    raster = urljoin(url, href) if href else ""
    date = parse_date(text(properties.get("datetime")))
    facts = RasterFacts(
        date=date or parse_date(text(properties.get("start_datetime"))),
        licence=text(properties.get("license")),
        attribution=_attribution(properties),
        source=item_id,
    )
    fault = address_fault(raster, config.allow_private) if raster else _no_picture(config.asset)
    if where := secret_in(raster):
        # It would be part of every table, and is of use for an hour or so.
        raster = without_secrets(raster)
        fault = f"its address is not open: it holds a secret in {where}"
    return Item(
        item_id=item_id,
        raster=raster,
        ground=_ground(item.get("geometry")),
        cloud=number(properties.get("eo:cloud_cover")),
        gsd_m=number(properties.get("gsd")),
        facts=facts,
        fault=fault,
    )


def _no_picture(asset: str | None) -> str:
    return f"the catalogue gives no asset {asset or ' or '.join(_PICTURE_ASSETS)!r} for it"


def _picture(assets: Mapping[str, Any], asset: str | None) -> str | None:
    names = (asset,) if asset else _PICTURE_ASSETS
    hrefs = (text(mapping(assets.get(name)).get("href")) for name in names)
    return next((href for href in hrefs if href), None)


def _attribution(properties: Mapping[str, Any]) -> str | None:
    providers = properties.get("providers")
    found = [mapping(entry) for entry in providers] if isinstance(providers, list) else []
    names = [
        name
        for entry in found
        if (name := text(entry.get("name")))
        and isinstance(entry.get("roles"), list)
        and _PRODUCER_ROLES & {str(role) for role in entry["roles"]}
    ]
    return ", ".join(dict.fromkeys(names)) or None


def _ground(geometry: Any) -> BaseGeometry | None:
    try:
        shape = shapely.geometry.shape(mapping(geometry))
    except (ShapelyError, ValueError, TypeError, KeyError, AttributeError, IndexError):
        return None
    return shape if shape.is_valid and not shape.is_empty else None
