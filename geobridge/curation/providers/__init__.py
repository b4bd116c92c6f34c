"""Where panoramas come from: what a provider does, in whatever way its API puts it."""

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from geobridge.curation.http import Pace
from geobridge.errors import CurationError, PositionError
from geobridge.geo.distance import check_position

SWAPPED = "latitude and longitude are swapped"
OUTSIDE = "no seed's footprint holds it"
ELSEWHERE = "the provider put it outside the area it was asked for"

# Positions may be corrected after they were indexed; a street's width is no lie.
_MARGIN_DEG = 5e-4
_SMALLEST_DEG = 1e-5


@dataclass(frozen=True)
class Bounds:
    """Between two meridians and two parallels, in degrees; never across the antimeridian."""

    west: float
    south: float
    east: float
    north: float

    def __str__(self) -> str:
        return f"{self.west:.7f},{self.south:.7f},{self.east:.7f},{self.north:.7f}"

    def holds(self, lat: float, lon: float, margin_deg: float = 0.0) -> bool:
        """Whether a position lies within, or so near outside."""
        return (
            self.south - margin_deg <= lat <= self.north + margin_deg
            and self.west - margin_deg <= lon <= self.east + margin_deg
        )

    def split(self, side_deg: float) -> "list[Bounds]":
        """Equal parts no side of which is longer."""
        across = max(1, math.ceil((self.east - self.west) / side_deg - 1e-9))
        down = max(1, math.ceil((self.north - self.south) / side_deg - 1e-9))
        return self._parts(across, down)

    def quarters(self) -> "list[Bounds]":
        """Its four quarters."""
        return self._parts(2, 2)

    def _parts(self, across: int, down: int) -> "list[Bounds]":
        wide, high = (self.east - self.west) / across, (self.north - self.south) / down
        return [
            Bounds(
                self.west + column * wide,
                self.south + row * high,
                self.east if column + 1 == across else self.west + (column + 1) * wide,
                self.north if row + 1 == down else self.south + (row + 1) * high,
            )
            for row in range(down)
            for column in range(across)
        ]


@dataclass(frozen=True)
class Panorama:
    """What a provider says of one picture.

    Attributes:
        id: under which the provider knows it.
        provider: its name.
        lat: WGS-84 degrees, or None where the provider gives none.
        lon: likewise.
        captured: ISO 8601, in UTC where the zone is known, perhaps a year or a month only; or
            None.
        heading_deg: compass of its middle column in [0, 360), or None.
        url: its lasting address without secrets, or None for a file.
        file: where it lies on this machine, or None.
        width: pixels, or None.
        height: pixels, or None.
        size_bytes: of the picture, or None.
        licence: short name, or None.
        attribution: whom to name, or None.
        is_360: whether it goes all the way round.
        fault: why it cannot be used, or None.
    """

    id: str
    provider: str
    lat: float | None = None
    lon: float | None = None
    captured: str | None = None
    heading_deg: float | None = None
    url: str | None = None
    file: Path | None = None
    width: int | None = None
    height: int | None = None
    size_bytes: int | None = None
    licence: str | None = None
    attribution: str | None = None
    is_360: bool = False
    fault: str | None = None

    @property
    def pano_id(self) -> str:
        """Unique among all providers."""
        return f"{self.provider}:{self.id}"


@dataclass(frozen=True)
class Limits:
    """What may be asked of a provider.

    Attributes:
        side_deg: longest side of one box.
        page: most pictures in one answer.
        pace: of requests.
        picture_bytes: what a picture usually has; a guess, for estimates.
    """

    side_deg: float
    page: int
    pace: Pace
    picture_bytes: int


class Provider(Protocol):
    """A source of panoramas.

    Attributes:
        name: short, part of every id.
        limits: of its API.
    """

    name: str
    limits: Limits

    def search(self, bounds: Bounds) -> Iterator[Panorama]:
        """Everything it has in a box of any size, in parts and pages as its limits want.

        A picture may come twice, where it lies on the edge of two parts. What cannot be used
        comes with its fault.

        Raises:
            CurationError: an answer did not come or has not the form it should have.
        """

    def search_requests(self, bounds: Bounds) -> int:
        """How many requests a search takes at least."""

    def has_picture(self, panorama: Panorama) -> bool:
        """Whether the picture needs no download."""

    def picture(self, panorama: Panorama) -> Path:
        """The picture's file in the cache, downloaded unless it was before.

        Raises:
            DownloadError: it did not come.
        """


def search_parts(
    bounds: Bounds, limits: Limits, ask: Callable[[Bounds], tuple[list[Panorama], bool]]
) -> Iterator[Panorama]:
    """Ask for the parts of a box, and for quarters of those whose answer was cut off.

    Args:
        bounds: the box.
        limits: of the provider.
        ask: gives what is in a part, and whether there may be more than it could give.

    Raises:
        CurationError: there are more pictures on one spot than the provider gives.
    """
    parts = deque(bounds.split(limits.side_deg))
    while parts:
        part = parts.popleft()
        found, is_cut = ask(part)
        checked = [check_answer(panorama, part) for panorama in found]
        # Only what lies within is a reason to look closer: an API that answers the same
        # whatever it is asked would be asked for ever.
        if not is_cut or all(panorama.fault for panorama in checked):
            yield from checked
        elif part.east - part.west < _SMALLEST_DEG:
            raise CurationError(
                f"the provider has more than {limits.page} pictures at {part.south:.6f}, "
                f"{part.west:.6f} and no way to list them: leave out the seeds there."
            )
        else:
            parts.extend(part.quarters())


def check_answer(panorama: Panorama, asked: Bounds) -> Panorama:
    """The panorama, with a fault where it does not lie in the box that was asked for."""
    if panorama.fault or panorama.lat is None or panorama.lon is None:
        return panorama
    if asked.holds(panorama.lat, panorama.lon, _MARGIN_DEG):
        return panorama
    is_swapped = asked.holds(panorama.lon, panorama.lat, _MARGIN_DEG)
    return replace(panorama, fault=SWAPPED if is_swapped else ELSEWHERE)


def located(panorama: Panorama, lat: Any, lon: Any) -> Panorama:
    """The panorama with a position, or with the fault of what was given as one."""
    lat_deg, lon_deg = number(lat), number(lon)
    if lat_deg is None or lon_deg is None:
        return replace(panorama, fault="the provider gives no position")
    try:
        check_position(lat_deg, lon_deg, "the position")
    except PositionError as error:
        return replace(panorama, fault=str(error).partition(":")[0])
    return replace(panorama, lat=lat_deg, lon=lon_deg)


def number(value: Any) -> float | None:
    """A finite number out of JSON, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def whole(value: Any) -> int | None:
    """A positive whole number out of JSON, or None."""
    found = number(value)
    return int(found) if found and 0 < found < 2**31 else None


def heading(value: Any) -> float | None:
    """Degrees out of JSON, brought into [0, 360), or None."""
    found = number(value)
    return None if found is None else found % 360.0


def text(value: Any) -> str | None:
    """A string out of JSON that is not empty, or None."""
    return value.strip() or None if isinstance(value, str) else None


def mapping(value: Any) -> dict[str, Any]:
    """An object out of JSON, or an empty one."""
    return value if isinstance(value, dict) else {}


def pair(value: Any) -> tuple[Any, Any]:
    """The first two of a list out of JSON, or two times None."""
    return (value[0], value[1]) if isinstance(value, list) and len(value) >= 2 else (None, None)


def entries(page: Any, name: str, where: str) -> list[dict[str, Any]]:
    """The list of objects under a name of an answer.

    Raises:
        CurationError: the answer has none.
    """
    found = mapping(page).get(name)
    if not isinstance(found, list):
        raise CurationError(
            f"{where} answered without a list {name!r}: check that the address is of this kind "
            f"of provider."
        )
    return [mapping(entry) for entry in found]
