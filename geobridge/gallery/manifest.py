"""`gallery.json`: what a gallery is, who embedded it and whether it is whole."""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from geobridge.errors import GalleryError
from geobridge.files import write_atomically
from geobridge.views import Modality

FILE_NAME = "gallery.json"
FORMAT_VERSION = 1


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ModelRecord(_Record):
    """The model that embedded the references; `fingerprint` decides whether another one fits.

    `loaded_from` is the name or the absolute folder it was loaded from; None where it never was.
    """

    name: str
    loaded_from: str | None = None
    fingerprint: str
    dim: int = Field(gt=0)


class SourceRecord(_Record):
    """One source as it was asked for; the same record again continues or repeats that request."""

    kind: str
    path: str
    view: Modality
    settings: dict[str, float | int | bool | str] = {}
    complete: bool = False

    def same_request(self, other: "SourceRecord") -> bool:
        """Whether both ask for the same references, however far each has come."""
        return self.model_copy(update={"complete": other.complete}) == other


class Counts(_Record):
    """How many references there are, and how many items did not become one and why."""

    indexed: int = 0
    by_modality: dict[Modality, int] = {}
    skipped: int = 0
    unreadable: int = 0
    by_reason: dict[str, int] = {}


class Manifest(_Record):
    """Everything in `gallery.json`.

    `footprint_m` is the median side, in metres, of the references of each modality: the ground
    a query should show to look most alike.
    """

    format: Literal["geobridge gallery"] = "geobridge gallery"
    version: int = FORMAT_VERSION
    complete: bool = False
    model: ModelRecord
    sources: list[SourceRecord] = []
    counts: Counts = Counts()
    footprint_m: dict[Modality, float] = {}

    def unfinished(self) -> list[SourceRecord]:
        """Sources whose indexing was begun and not ended."""
        return [source for source in self.sources if not source.complete]


def read_manifest(gallery: Path) -> Manifest:
    """Read and check `gallery.json`, complete or not.

    Raises:
        GalleryError: there is no gallery, its description is damaged, or its format is newer.
    """
    path = gallery / FILE_NAME
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise GalleryError(
            f"{gallery} is no gallery (it has no {FILE_NAME}): "
            f"build one with `geobridge index SOURCE --view VIEW --out {gallery}`."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(path, error) from None
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise _damaged(path, error) from None
    # Before anything else is checked: a newer format may well have fields this one forbids.
    version = content.get("version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise GalleryError(
            f"{gallery} has gallery format {version}, and this geobridge reads up to "
            f"{FORMAT_VERSION}: update geobridge, or index the sources again."
        )
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _damaged(path, f"{where}: {first['msg']}" if where else first["msg"]) from None


def write_manifest(gallery: Path, manifest: Manifest) -> None:
    """Replace `gallery.json` in one step, so that a reader sees the old or the new one, whole."""
    write_atomically(gallery / FILE_NAME, manifest.model_dump_json(indent=2).encode() + b"\n")


def _damaged(path: Path, reason: Any) -> GalleryError:
    return GalleryError(
        f"{path} is damaged ({reason}): restore it from a copy, or delete the gallery and index "
        f"its sources again."
    )
