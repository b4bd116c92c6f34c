"""Rasters that stages read: which there are, whose they are and of when."""

import datetime as clock
import difflib
import fnmatch
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio

from geobridge.curation.http import DownloadError
from geobridge.curation.remote import RemoteFile, RemoteFiles
from geobridge.errors import CurationError, RasterError
from geobridge.files import stamp
from geobridge.geo.rasters import Picture, RasterMap, RasterWindow
from geobridge.imagery.files import list_files
from geobridge.model.config import Settings

RASTER_SUFFIXES = (".tif", ".tiff", ".vrt", ".jp2", ".mbtiles")
"""Names of georeferenced rasters, as they are looked for in folders."""

# Without this GDAL keeps decoded blocks in a twentieth of the machine's memory. rasterio hands it
# over in bytes; with too few every pixel is decoded with its whole block.
_CACHE_BYTES = 128_000_000

# Colons between the numbers are how TIFF 6.0 writes a date (tag 306).
_DATE = re.compile(r"\s*(\d{4})[-:](\d{2})[-:](\d{2})(?!\d)")

_DATE_TAGS = ("ACQUISITIONDATETIME", "ACQUISITION_DATE", "TIFFTAG_DATETIME")
_LICENCE_TAGS = ("LICENSE", "LICENCE")
_ATTRIBUTION_TAGS = ("ATTRIBUTION", "TIFFTAG_COPYRIGHT", "TIFFTAG_ARTIST")


class RasterFacts(Settings):
    """What is known of a raster besides its pixels; None where it is not.

    Attributes:
        date: when it was taken.
        licence: terms its makers state.
        attribution: what must be said when it is shown.
        source: where it comes from.
    """

    date: clock.date | None = None
    licence: str | None = None
    attribution: str | None = None
    source: str | None = None

    def over(self, other: "RasterFacts") -> "RasterFacts":
        """These facts, and the other ones where these say nothing."""
        return RasterFacts(**{**_told(other), **_told(self)})

    def columns(self) -> dict[str, str | None]:
        """As columns of a table, the date as ISO 8601 text."""
        date = self.date.isoformat() if self.date else None
        return {
            "date": date,
            "licence": self.licence,
            "attribution": self.attribution,
            "source": self.source,
        }


@dataclass(frozen=True)
class Found:
    """A raster to be read.

    Attributes:
        raster: path or address.
        is_named: whether the configuration names it itself, so that it must be readable.
        facts: what whoever listed it says of it.
        fault: why it is no raster, as far as its name tells, or None.
    """

    raster: str
    is_named: bool
    facts: RasterFacts = field(default_factory=RasterFacts)
    fault: str | None = None

    @property
    def version(self) -> str:
        """Changes when the file does; an address is taken for the same for ever."""
        return self.raster if self.fault else version_of(self.raster)


def is_address(raster: str) -> bool:
    """Whether a raster is somewhere in a network rather than in a file."""
    return "://" in raster


def version_of(name: str | Path) -> str:
    """Changes when a file does, by its size and time; an address is taken for the same for ever."""
    if is_address(str(name)):
        return str(name)
    try:
        return f"{name} {stamp(Path(name))}"
    except OSError:
        return f"{name} missing"


def list_rasters(listed: Iterable[str]) -> list[Found]:
    """Rasters of a configuration: paths and addresses as they are, folders file by file.

    Each comes once, and other files of a folder with why they are no raster. What is no path
    itself is a pattern (`flight-1/*.tif`), whose files are named, in order.

    Raises:
        CurationError: a path does not exist, or a pattern fits nothing.
    """
    found: dict[str, Found] = {}
    for entry in (path for one in listed for path in _matching(one)):
        if is_address(entry) or Path(entry).is_file():
            found[entry] = Found(entry, is_named=True)
        elif Path(entry).is_dir():
            for name in list_files(Path(entry)):
                raster = (Path(entry) / name).as_posix()
                found.setdefault(raster, Found(raster, is_named=False, fault=_fault_of(name)))
        else:
            raise CurationError(
                f"{entry} is neither a file, a folder nor an address, and no file fits it as a "
                f"pattern: correct the configuration."
            )
    return list(found.values())


def _matching(entry: str) -> list[str]:
    """The files and folders that fit a pattern; the entry itself where it is none."""
    if is_address(entry) or Path(entry).exists():
        return [entry]
    root = Path(Path(entry).anchor)
    found = root.glob(Path(entry).relative_to(root).as_posix())
    return sorted(path.as_posix() for path in found) or [entry]


@contextmanager
def opened(raster: str, files: RemoteFiles) -> Iterator[RasterMap]:
    """Open a raster with little memory; one from the network only where it is a GeoTIFF.

    Args:
        raster: path, or address of http or https.
        files: that read what is behind an address.

    Raises:
        RasterError: it cannot be opened, or not be placed on the ground.
    """
    with (
        rasterio.Env(GDAL_CACHEMAX=_CACHE_BYTES),
        RemoteRaster(raster, files) if is_address(raster) else RasterMap(raster) as found,
    ):
        yield found


class RemoteRaster(RasterMap):
    """A raster of the network; what did not come is an error of the reading it was needed for.

    GDAL goes on without parts that it can do without, such as nodata and offsets of tiles, and
    would give wrong pixels: here it is asked after each reading whether everything came.

    Args:
        url: its address.
        files: that read it.

    Raises:
        RasterError: it did not come, or is no raster as `RasterMap` wants it.
    """

    def __init__(self, url: str, files: RemoteFiles) -> None:
        self._files = files
        self._failures: list[DownloadError] = []
        self.path = url
        with self._whole():
            super().__init__(url, self._open_file)

    @property
    def tags(self) -> dict[str, str]:
        """See `RasterMap`."""
        with self._whole():
            return super().tags

    def read_mask(self, cell_px: int) -> npt.NDArray[np.bool_]:
        """See `RasterMap`."""
        with self._whole():
            return super().read_mask(cell_px)

    def read(self, window: RasterWindow, size: int | None = None) -> tuple[Picture, float]:
        """See `RasterMap`."""
        with self._whole():
            return super().read(window, size)

    def read_north_up(
        self, lat: float, lon: float, side_m: float, size: int
    ) -> tuple[Picture, npt.NDArray[np.bool_]]:
        """See `RasterMap`."""
        with self._whole():
            return super().read_north_up(lat, lon, side_m, size)

    def _open_file(self) -> RemoteFile:
        return RemoteFile(self._files, self.path, self._failures)

    @contextmanager
    def _whole(self) -> Iterator[None]:
        try:
            yield
        finally:
            if self._failures:
                error = self._failures[0]
                self._failures.clear()
                raise RasterError(str(error)) from error


def facts_of(
    entry: Found, tags: Mapping[str, str], configured: Mapping[str, RasterFacts]
) -> RasterFacts:
    """What is known of a raster: from the configuration, then whoever listed it, then its tags.

    Args:
        entry: the raster.
        tags: of the file.
        configured: facts by a pattern (`*.tif`, `flight-1/*`) of the path or the file's name;
            the first that fits counts.
    """
    fitting = (facts for pattern, facts in configured.items() if _fits(entry.raster, pattern))
    own = RasterFacts(
        date=next((date for tag in _DATE_TAGS if (date := parse_date(tags.get(tag)))), None),
        licence=_first(tags, _LICENCE_TAGS),
        attribution=_first(tags, _ATTRIBUTION_TAGS),
    )
    return next(fitting, RasterFacts()).over(entry.facts).over(own)


def idle_facts(configured: Mapping[str, RasterFacts], rasters: Sequence[str]) -> list[str]:
    """A sentence without its end for each pattern of `facts` that fits no raster there is."""
    names = [raster.rpartition("/")[2] for raster in rasters]
    told = []
    for pattern in configured:
        if not any(_fits(raster, pattern) for raster in rasters):
            close = difflib.get_close_matches(pattern.rpartition("/")[2], names, n=1, cutoff=0)
            like = f"; the closest name is {close[0]}" if close else ""
            told.append(f"the facts of {pattern!r} are of no raster{like}")
    return told


def _fits(raster: str, pattern: str) -> bool:
    name = raster.rpartition("/")[2]
    return fnmatch.fnmatchcase(raster, pattern) or fnmatch.fnmatchcase(name, pattern)


def parse_date(text: Any) -> clock.date | None:
    """The day a date or date-time (ISO 8601, or TIFF's with colons) begins with; None if none.

    Cells of tables that hold nothing are none.
    """
    match = _DATE.match(text) if isinstance(text, str) else None
    if match is None:
        return None
    try:
        return clock.date(*(int(number) for number in match.groups()))
    except ValueError:
        return None


def digest(*parts: Any) -> str:
    """Short hexadecimal digest of what can be JSON; equal parts have equal digests anywhere."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """Hexadecimal digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fault_of(name: str) -> str | None:
    if name.endswith("/"):
        return "the folder may not be read"
    if Path(name).suffix.lower() not in RASTER_SUFFIXES:
        return "its name is not one of a georeferenced raster"
    return None


def _told(facts: RasterFacts) -> dict[str, Any]:
    return {name: value for name, value in facts.model_dump().items() if value is not None}


def _first(tags: Mapping[str, str], names: Iterable[str]) -> str | None:
    return next((value for name in names if (value := tags.get(name, "").strip())), None)
