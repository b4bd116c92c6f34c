"""A folder of one's own street photos and panoramas, placed by their EXIF and XMP."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from geobridge.curation.http import PICTURE_TYPES, Client, DownloadError, Kind, Pace
from geobridge.curation.providers import ELSEWHERE, OUTSIDE, Bounds, Limits, Panorama, check_answer
from geobridge.errors import CurationError, ImageError, PositionError
from geobridge.geo.photos import read_photo_metadata
from geobridge.imagery.files import list_files
from geobridge.imagery.street import street_field
from geobridge.model.config import Settings

_SUFFIXES = {".jpeg": ".jpg", **{suffix: suffix for suffix in PICTURE_TYPES.values()}}


class FolderConfig(Settings):
    """A folder as a provider.

    Attributes:
        kind: `folder`.
        folder: is searched with all its subfolders for JPEG, PNG and WebP.
        licence: of all its pictures.
        attribution: whom to name for them.
    """

    kind: Literal["folder"] = "folder"
    folder: Path
    licence: str | None = None
    attribution: str | None = None


class Folder:
    """See `Provider`; files are copied into the cache, so that the curation is whole.

    Raises:
        CurationError: there is no such folder.
    """

    name = "folder"
    limits = Limits(360.0, 1, Pace(), 0)

    def __init__(self, config: FolderConfig, client: Client, pictures: Kind) -> None:
        if not config.folder.is_dir():
            raise CurationError(f"{config.folder} is no folder: correct street.providers.")
        self._config = config
        self._client = client
        self._pictures = pictures

    def search(self, bounds: Bounds) -> Iterator[Panorama]:
        """See `Provider`; every box gives all photos, those elsewhere with that fault."""
        for panorama in self._panoramas:
            checked = check_answer(panorama, bounds)
            # A folder was asked for nothing: what lies elsewhere is no lie, but of no use.
            yield replace(checked, fault=OUTSIDE) if checked.fault == ELSEWHERE else checked

    def search_requests(self, bounds: Bounds) -> int:  # noqa: ARG002 - see `Provider`
        """See `Provider`."""
        return 0

    def has_picture(self, panorama: Panorama) -> bool:  # noqa: ARG002 - see `Provider`
        """See `Provider`."""
        return True

    def picture(self, panorama: Panorama) -> Path:
        """See `Provider`."""
        if panorama.file is None:
            raise DownloadError("the picture has no file", is_final=True)
        try:
            if panorama.file.stat().st_size > self._pictures.max_bytes:
                raise DownloadError(
                    f"{panorama.file} is larger than the {self._pictures.max_bytes:,} bytes a "
                    f"picture may have: allow more in the configuration.",
                    is_final=True,
                )
            data = panorama.file.read_bytes()
        except OSError as error:
            raise DownloadError(
                f"{panorama.file} cannot be read ({error.strerror}): check the folder.",
                is_final=False,
            ) from error
        return self._client.keep(data, _SUFFIXES[panorama.file.suffix.lower()])

    @cached_property
    def _panoramas(self) -> list[Panorama]:
        """All photos of the folder, sorted by their paths."""
        folder = self._config.folder
        files = (path for name in list_files(folder) if (path := folder / name).is_file())
        return [self._panorama(path) for path in sorted(files) if path.suffix.lower() in _SUFFIXES]

    def _panorama(self, path: Path) -> Panorama:
        panorama = Panorama(
            id=path.relative_to(self._config.folder).as_posix(),
            provider=self.name,
            file=path,
            licence=self._config.licence,
            attribution=self._config.attribution,
        )
        try:
            meta = read_photo_metadata(path)
        except (ImageError, PositionError) as error:
            # Without the path, which the id tells: tables do not depend on where a folder lies.
            fault = str(error).replace(str(path), "the photo").partition(":")[0]
            return replace(panorama, fault=fault)
        whole = bool(
            meta.width and meta.height and street_field(meta.width, meta.height, meta).is_panorama
        )
        return replace(
            panorama,
            lat=meta.lat,
            lon=meta.lon,
            captured=meta.datetime,
            heading_deg=meta.yaw_deg,
            width=meta.width,
            height=meta.height,
            is_360=whole,
            fault=None if meta.lat is not None else "the photo has no position in its EXIF",
        )
