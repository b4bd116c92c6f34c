"""Google Street View Static: plain views with a key, for those whose agreement allows it.

Google's terms in general forbid to fetch in bulk, to store, and to train models on what this API
gives (Google Maps Platform Terms of Service, section 3.2.3, https://cloud.google.com/maps-platform
/terms, and https://developers.google.com/maps/documentation/streetview/policies). So it is off
until a person states in the configuration to have an agreement that allows it, and what it gives
has no licence that may be passed on: `publish: {only_redistributable: true}` leaves it out.

Metadata first, which is free of charge (https://developers.google.com/maps/documentation/
streetview/metadata): it knows no boxes, but gives the nearest panorama within a radius, so that a
box is asked for at points of a grid. Then the picture (https://developers.google.com/maps/
documentation/streetview/request-streetview): at most 640 x 640 pixels and 120 degrees, never a
whole panorama. Requests are not signed. Nothing of this could be tried from here, for want of a
network.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Literal
from urllib.parse import urlencode

from pydantic import Field

from geobridge.curation.http import (
    JSON_TYPES,
    Client,
    Credential,
    DownloadError,
    Kind,
    Pace,
    PlainAddress,
    TryAgainError,
    origin,
)
from geobridge.curation.providers import (
    Bounds,
    Limits,
    Panorama,
    check_answer,
    located,
    mapping,
    text,
)
from geobridge.curation.providers.online import Online
from geobridge.errors import CurationError
from geobridge.geo.distance import METRES_A_DEGREE
from geobridge.model.config import Settings

KEY = "GOOGLE_MAPS_KEY"
SIDE_DEG = 0.01
# Circles of this radius around the points of a square grid of the same spacing leave no gap.
RADIUS_M = 50
PICTURE_PX = 640
PICTURE_FOV_DEG = 120
PICTURE_BYTES = 100_000

_DATE = re.compile(r"\d{4}(-\d{2}){0,2}")


class GoogleConfig(Settings):
    """Google Street View as a provider.

    Attributes:
        kind: `google`.
        i_accept_the_terms: true states that an agreement with Google allows what is done here:
            its terms in general forbid to store these pictures and to train models on them.
        url: of the API.
        requests_per_second: at most.
    """

    kind: Literal["google"] = "google"
    i_accept_the_terms: bool = False
    url: PlainAddress = "https://maps.googleapis.com/maps/api/streetview"
    requests_per_second: float = Field(default=10.0, gt=0)


class Google(Online):
    """See `Provider`.

    Raises:
        CurationError: the terms are not accepted.
    """

    name = "google"

    def __init__(self, config: GoogleConfig, client: Client, pictures: Kind) -> None:
        if not config.i_accept_the_terms:
            raise CurationError(
                "Google's terms in general forbid to store Street View pictures and to train "
                "models on them: leave the provider out, or set i_accept_the_terms to true if an "
                "agreement allows it."
            )
        super().__init__(
            config.url,
            client,
            pictures,
            Limits(SIDE_DEG, 1, Pace(per_second=config.requests_per_second), PICTURE_BYTES),
            Credential(KEY, origin(config.url), parameter="key"),
        )

    def search(self, bounds: Bounds) -> Iterator[Panorama]:
        """See `Provider`; the nearest panorama to each point of a grid."""
        for cell in self._cells(bounds):
            panorama = self._nearest((cell.south + cell.north) / 2, (cell.west + cell.east) / 2)
            if panorama is not None:
                yield check_answer(panorama, bounds)

    def search_requests(self, bounds: Bounds) -> int:
        """See `Provider`."""
        return len(self._cells(bounds))

    def _cells(self, bounds: Bounds) -> list[Bounds]:
        # By latitude alone: towards the poles the grid only becomes closer than it must be.
        return bounds.split(RADIUS_M / METRES_A_DEGREE)

    def _nearest(self, lat: float, lon: float) -> Panorama | None:
        query = urlencode(
            {"location": f"{lat:.7f},{lon:.7f}", "radius": RADIUS_M, "source": "outdoor"}, safe=","
        )
        path = self._client.fetch(
            f"{self._root}/metadata?{query}",
            _METADATA,
            pace=self.limits.pace,
            credential=self._credential,
        )
        answer = mapping(json.loads(path.read_bytes()))
        name = text(answer.get("pano_id"))
        if answer.get("status") != "OK" or name is None:
            return None
        view = {
            "size": f"{PICTURE_PX}x{PICTURE_PX}",
            "pano": name,
            "heading": 0,
            "pitch": 0,
            "fov": PICTURE_FOV_DEG,
            # A missing picture then has a status, in place of a grey sign.
            "return_error_code": "true",
        }
        date = text(answer.get("date"))
        panorama = Panorama(
            id=name,
            provider=self.name,
            captured=date if date and _DATE.fullmatch(date) else None,
            heading_deg=0.0,
            url=f"{self._root}?{urlencode(view)}",
            width=PICTURE_PX,
            height=PICTURE_PX,
            licence="Google Maps Platform Terms of Service",
            attribution=text(answer.get("copyright")) or "Google",
            is_360=False,
        )
        where = mapping(answer.get("location"))
        return located(panorama, where.get("lat"), where.get("lng"))


def _check_metadata(data: bytes) -> None:
    """Answers that are worth keeping: found, or nothing there. Faults come with status 200."""
    try:
        status: Any = mapping(json.loads(data)).get("status")
    except (ValueError, RecursionError):
        raise TryAgainError("the answer is not JSON") from None
    if status in ("OVER_QUERY_LIMIT", "UNKNOWN_ERROR"):
        raise TryAgainError(f"status {status}")
    if status not in ("OK", "ZERO_RESULTS", "NOT_FOUND"):
        raise DownloadError(
            f"Google Street View answered {text(status) or 'without a status'}: check {KEY} and "
            f"that the Street View Static API is enabled for it.",
            is_final=True,
        )


_METADATA = Kind("answer", JSON_TYPES, 1 << 20, _check_metadata)
