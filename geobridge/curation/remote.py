"""GeoTIFFs of the network, of which GDAL reads parts through the pipeline's own client.

GDAL can read addresses itself (`/vsicurl/`, https://gdal.org/en/stable/user/
virtual_file_systems.html), but follows redirects wherever they lead, looks names up anew, and
remembers for the whole process what was missing once. So it is given files that read by `Client`,
by rasterio's Python openers (https://rasterio.readthedocs.io/en/stable/topics/vsi.html): what may
be asked, how often and how long is decided in one place, and GDAL asks the network for nothing.
"""

import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import TypeVar

from geobridge.curation.http import Client, DownloadError, Pace, shown

_T = TypeVar("_T")

BLOCK_BYTES = 1 << 16
"""What is asked for is widened to whole blocks: headers are read in hundreds of small bits."""

MOST_BYTES = 64 << 20
"""Most that is read at once; a tile of a GeoTIFF has some hundred kilobytes."""

_REMEMBERED_BLOCKS = 1024

# Rasters lie in object stores, and one window takes a few requests.
_PACE = Pace(per_second=20.0, connections=4)

# TIFF 6.0, section 2, in both byte orders, and BigTIFF.
_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


@contextmanager
def remote_files(cache: Path, *, allow_private: bool) -> Iterator["RemoteFiles"]:
    """Files of the network, read by a client of their own; arguments are those of `Client`."""
    with Client(cache, allow_private=allow_private) as client:
        yield RemoteFiles(client)


class RemoteFiles:
    """Files of the network; the parts read last are remembered. From any thread.

    Args:
        client: that asks for them.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: dict[str, tuple[int, str]] = {}
        self._blocks: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def size(self, url: str) -> int:
        """Bytes of a GeoTIFF.

        Raises:
            DownloadError: it did not come, or is no GeoTIFF.
        """
        if url not in self._known:
            part = self._client.part(url, 0, BLOCK_BYTES, pace=_PACE)
            if not part.data.startswith(_SIGNATURES):
                raise DownloadError(
                    f"{shown(url)} is no GeoTIFF: other formats are read from files alone.",
                    is_final=True,
                )
            self._known[url] = part.size, part.version
            self._remember(url, {0: part.data})
        return self._known[url][0]

    def read(self, url: str, start: int, length: int) -> bytes:
        """Bytes of a file from one on, fewer where it ends.

        Raises:
            DownloadError: they did not come, are too many, of another content than what was read
                before, or of no GeoTIFF.
        """
        if length > MOST_BYTES:
            raise DownloadError(
                f"{shown(url)} cannot be read in parts of less than {length:,} bytes: download "
                f"it and make it tiled, for example with gdal_translate -of COG.",
                is_final=True,
            )
        length = min(length, self.size(url) - start)
        if length <= 0:
            return b""
        wanted = range(start // BLOCK_BYTES, (start + length - 1) // BLOCK_BYTES + 1)
        with self._lock:
            found = {n: block for n in wanted if (block := self._blocks.get((url, n))) is not None}
        for first, count in _runs([number for number in wanted if number not in found]):
            found |= self._fetch(url, first, count)
        self._remember(url, found)
        offset = start - wanted[0] * BLOCK_BYTES
        return b"".join(found[n] for n in wanted)[offset : offset + length]

    def _remember(self, url: str, blocks: dict[int, bytes]) -> None:
        with self._lock:
            for number, block in blocks.items():
                self._blocks[url, number] = block
                self._blocks.move_to_end((url, number))
            while len(self._blocks) > _REMEMBERED_BLOCKS:
                self._blocks.popitem(last=False)

    def _fetch(self, url: str, first: int, count: int) -> dict[int, bytes]:
        """Blocks that follow each other, by their numbers."""
        part = self._client.part(url, first * BLOCK_BYTES, count * BLOCK_BYTES, pace=_PACE)
        if self._known[url] != (part.size, part.version):
            raise DownloadError(
                f"{shown(url)} was changed while it was read: run the stage again.",
                is_final=False,
            )
        starts = range(0, len(part.data), BLOCK_BYTES)
        return {first + n: part.data[at : at + BLOCK_BYTES] for n, at in enumerate(starts)}


class RemoteFile(io.RawIOBase):
    """One of them, as GDAL reads it.

    It raises nothing, since GDAL could not pass it on: it ends early instead.

    Args:
        files: that it is one of.
        url: its address.
        failures: what went wrong is put there; as long as there is something, nothing is read.
    """

    def __init__(self, files: RemoteFiles, url: str, failures: list[DownloadError]) -> None:
        self._files = files
        self._url = url
        self._failures = failures
        self._at = 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As of any file."""
        self._at = offset + (0, self._at, self._size() if whence == io.SEEK_END else 0)[whence]
        return self._at

    def tell(self) -> int:
        """As of any file."""
        return self._at

    def read(self, size: int = -1) -> bytes:
        """The next bytes, none after a failure."""
        wanted = self._size() if size < 0 else size
        data = self._unless_failed(lambda: self._files.read(self._url, self._at, wanted), b"")
        self._at += len(data)
        return data

    def _size(self) -> int:
        return self._unless_failed(lambda: self._files.size(self._url), 0)

    def _unless_failed(self, ask: Callable[[], _T], nothing: _T) -> _T:
        if self._failures:
            return nothing
        try:
            return ask()
        except DownloadError as error:
            self._failures.append(error)
            return nothing


def _runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Ascending numbers as first ones and how many follow each other."""
    for _, run in groupby(enumerate(numbers), lambda entry: entry[1] - entry[0]):
        found = [number for _, number in run]
        yield found[0], len(found)
