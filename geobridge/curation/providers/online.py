"""What providers behind addresses have in common: downloads, and searches page by page."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from geobridge.curation.http import Client, Credential, DownloadError, Kind, shown
from geobridge.curation.providers import Bounds, Limits, Panorama, mapping, search_parts, text
from geobridge.errors import CurationError

Page = tuple[list[dict[str, Any]], str | None]
"""The entries of a page, and the address of the next one or None."""


def linked_pages(
    first: str, where: str, ask: Callable[[str], Page]
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Addresses and entries of a page and of those it links; one without entries is the last.

    Args:
        first: address of the first page.
        where: they come from, for messages.
        ask: gives the page of an address.

    Raises:
        CurationError: the pages link each other in a circle.
    """
    seen: set[str] = set()
    url: str | None = first
    while url:
        if url in seen:
            raise CurationError(f"{where} links its pages in a circle: report it there.")
        seen.add(url)
        found, link = ask(url)
        yield url, found
        url = link if found else None


def next_link(page: Any, url: str) -> str | None:
    """Address of the page that a page of a STAC API links as the next one, or None.

    Raises:
        CurationError: it has to be asked for by POST.
    """
    links = mapping(page).get("links")
    for link in map(mapping, links if isinstance(links, list) else []):
        href = text(link.get("href"))
        if link.get("rel") == "next" and href:
            if str(link.get("method", "GET")).upper() != "GET":
                raise CurationError(
                    f"{shown(url)} links its next page by POST, which is not asked for: narrow "
                    f"the area or the dates until one page holds everything."
                )
            return urljoin(url, href)
    return None


class Online:
    """Pictures behind lasting addresses: this part of `Provider`.

    Args:
        url: root of the API.
        client: that asks.
        pictures: what is taken as one.
        limits: of the API.
        credential: is sent along to its own origin, or None.
    """

    def __init__(
        self,
        url: str,
        client: Client,
        pictures: Kind,
        limits: Limits,
        credential: Credential | None = None,
    ) -> None:
        self.limits = limits
        self._root = url.rstrip("/")
        self._client = client
        self._pictures = pictures
        self._credential = credential

    def has_picture(self, panorama: Panorama) -> bool:
        """See `Provider`."""
        return bool(panorama.url and self._client.cached(panorama.url, self._pictures))

    def picture(self, panorama: Panorama) -> Path:
        """See `Provider`."""
        if panorama.url is None:
            raise DownloadError("the picture has no address", is_final=True)
        return self._client.fetch(
            panorama.url, self._pictures, pace=self.limits.pace, credential=self._credential
        )


class Paged(Online, ABC):
    """Searches by box whose answers come in pages: all of `Provider`."""

    def search(self, bounds: Bounds) -> Iterator[Panorama]:
        """See `Provider`."""
        return search_parts(bounds, self.limits, self._ask)

    def search_requests(self, bounds: Bounds) -> int:
        """See `Provider`."""
        return len(bounds.split(self.limits.side_deg))

    @abstractmethod
    def _first_page(self, part: Bounds) -> str:
        """Address of the first page of what is in a box."""

    @abstractmethod
    def _page(self, url: str) -> Page:
        """The page of an address."""

    @abstractmethod
    def _panorama(self, entry: dict[str, Any]) -> Panorama:
        """What an entry says."""

    def _ask(self, part: Bounds) -> tuple[list[Panorama], bool]:
        pages = [found for _, found in linked_pages(self._first_page(part), self._root, self._page)]
        # A full page that links no other may be cut off.
        is_cut = len(pages) == 1 and len(pages[0]) >= self.limits.page
        return [self._panorama(entry) for page in pages for entry in page], is_cut
