"""What a source hands out: references to embed, and what it had to leave out."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import shapely

from geobridge.gallery.manifest import SourceRecord
from geobridge.imagery.street import StreetField
from geobridge.views import Modality

Image = npt.NDArray[np.uint8]
Window = tuple[float, float, float, float]
Outcome = Literal["skipped", "unreadable"]

NO_DATA = "no data"
BLANK = "no variation"
NOT_A_PICTURE = "not a picture"
NO_POSITION = "no position"
BAD_POSITION = "impossible position"
NO_PATH = "no path"
NO_PICTURE = "no picture of this view"
LISTED_TWICE = "listed twice"
NOT_A_TILE = "not named like a tile"
COARSE_TILE = "tile of a coarser zoom"
UNREADABLE = "unreadable picture"
MISSING = "missing file"
CLOSED_FOLDER = "folder may not be read"
BAD_NAME = "name is not UTF-8"


class LeftOutError(Exception):
    """Raised by `ReferenceItem.load`: the item can be read, and is of no use as a reference."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class ReferenceItem:
    """A reference before it is embedded.

    Attributes:
        ref_id: the same for the same item in every run: see `reference_id`.
        footprint: ground covered, polygon in lon, lat with continuous longitudes.
        source: absolute path of the file or folder it comes from.
        path: where in a folder or table it is; the file's name for a raster; for a window over
            tiles the one in the corner that its pixels are counted from, as `z/x/y`.
        load: reads the picture (H, W, 3) uint8, or the sentence of a text; raises
            `LeftOutError` where there is nothing to embed, `GeoBridgeError` where it is broken.
        window: column, row, width and height in pixels of a raster, None for whole pictures.
        field: what a street picture spans; None is for the builder to take from its shape.
    """

    ref_id: str
    modality: Modality
    lat: float
    lon: float
    footprint: shapely.Polygon
    source: str
    path: str
    load: Callable[[], Image | str]
    window: Window | None = None
    date: str | None = None
    place_id: str | None = None
    text: str | None = None
    field: StreetField | None = None

    def left_out(self, outcome: Outcome, reason: str, detail: str = "") -> "Skipped":
        """The record of why this item does not become a reference."""
        return Skipped(
            ref_id=self.ref_id,
            outcome=outcome,
            reason=reason,
            detail=detail,
            modality=self.modality,
            source=self.source,
            path=self.path,
            window=self.window,
        )


@dataclass(frozen=True)
class Skipped:
    """An item that does not become a reference: `reason` counts, `detail` explains.

    `skipped` items hold nothing to embed; `unreadable` ones are broken.
    """

    ref_id: str
    outcome: Outcome
    reason: str
    detail: str
    modality: Modality
    source: str
    path: str
    window: Window | None = None


class Source(ABC):
    """Somewhere references come from. Iterates in the same order every time."""

    kind: ClassVar[str]

    def __init__(self, path: Path, view: Modality) -> None:
        self.path = path.resolve()
        self.view = view

    @property
    def record(self) -> SourceRecord:
        """The request this source stands for, as `gallery.json` keeps it."""
        return SourceRecord(
            kind=self.kind, path=str(self.path), view=self.view, settings=self.settings
        )

    @property
    def settings(self) -> dict[str, float | int | bool | str]:
        """What decides which references come out, beside the path and the view."""
        return {}

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """Modalities the items may have."""
        return (self.view,)

    def total(self) -> int | None:
        """How many items there are, None where counting would cost as much as reading."""
        return None

    @abstractmethod
    def items(self, done: Container[str] = frozenset()) -> Iterator[ReferenceItem | Skipped]:
        """All items but those whose `ref_id` is in `done`; cheap for those that are."""

    def __iter__(self) -> Iterator[ReferenceItem | Skipped]:
        return self.items()

    def close(self) -> None:  # noqa: B027 - most sources hold nothing open
        """Let go of open files."""


def reference_id(source: str | Path, path: str, modality: Modality, key: str = "") -> str:
    """20 hexadecimal digits that name an item of a source, the same in every run.

    Args:
        source: absolute path of the source.
        path: the item's path in it.
        modality: what it is embedded as.
        key: what tells items of one path apart, such as a window or a sentence.
    """
    parts = "\0".join((str(source), path, modality, key))
    return hashlib.sha1(
        parts.encode("utf-8", "surrogateescape"), usedforsecurity=False
    ).hexdigest()[:20]


def is_blank(image: Image) -> bool:
    """Whether every pixel of (H, W, 3) has the same colour."""
    first = image[0, 0]
    # A sparse look settles nearly every picture at a hundredth of the cost.
    return bool((image[::16, ::16] == first).all() and (image == first).all())


def is_utf8(name: str) -> bool:
    """Whether a name from the file system is text, and not bytes that stand for none."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
