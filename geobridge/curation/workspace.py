"""The folder of a curation: one table a stage, journals of what is under way, and a cache.

DIR/<stage>.parquet        what a stage came to, GeoParquet where it has geometry
DIR/journal/<stage>.jsonl  what an unfinished stage has done, one line an item
DIR/cache/                 what was downloaded, by the digest of its address
DIR/pictures/              pictures that stages write
"""

import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import filelock
import geopandas
import pandas as pd
import pyarrow
import pyarrow.parquet
import shapely

from geobridge.curation.http import clear_torn
from geobridge.errors import CurationError
from geobridge.files import write_atomically

_LOCK = ".lock"


class Workspace:
    """A curation's folder, made if it is missing.

    Args:
        folder: of the curation.

    Raises:
        CurationError: the folder cannot be written.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        try:
            for name in ("journal", "cache", "pictures"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CurationError(
                f"{self.folder} cannot be made a curation's folder ({error.strerror}): choose "
                f"another with --out."
            ) from error

    @property
    def cache(self) -> Path:
        """Folder of what was downloaded."""
        return self.folder / "cache"

    def path(self, stage: str) -> Path:
        """Where the table of a stage is."""
        return self.folder / f"{stage}.parquet"

    def has(self, stage: str) -> bool:
        """Whether a stage is finished."""
        return self.path(stage).is_file()

    def read(self, stage: str) -> pd.DataFrame:
        """The table of a stage; a GeoDataFrame where it has geometry, also if pandas stored it.

        Raises:
            CurationError: the stage has not been run, or its table cannot be read.
        """
        path = self.path(stage)
        if not path.is_file():
            raise CurationError(
                f"{path} is not there: run the stage that writes it first, with `geobridge curate`."
            )
        try:
            schema = pyarrow.parquet.read_schema(path)
            if b"geo" in (schema.metadata or {}):
                return geopandas.read_parquet(path)
            return _with_geometry(pd.read_parquet(path), schema)
        except (ValueError, OSError, pyarrow.ArrowException, shapely.GEOSException) as error:
            raise CurationError(
                f"{path} cannot be read ({str(error).splitlines()[0]}): delete it and run the "
                f"stage again."
            ) from error

    def write(self, stage: str, table: pd.DataFrame) -> pd.DataFrame:
        """Write the table of a stage whole, in place of a former one, and give it back.

        Rows are written in their order and without an index, so that equal tables have equal
        bytes.
        """
        buffer = io.BytesIO()
        table.to_parquet(buffer, index=False)
        write_atomically(self.path(stage), buffer.getvalue())
        return table

    def picture(self, relative: str, data: bytes) -> str:
        """Write a picture below `pictures/`, whole or not at all, and give its path in DIR."""
        path = self.folder / "pictures" / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)
        return path.relative_to(self.folder).as_posix()

    def sha256(self, path: str) -> str | None:
        """Digest of a file by its path in DIR, None where it is gone.

        Tables tell it beside the path of a picture, so that a table is another one when its
        pictures are, and the stages after it are run again.
        """
        try:
            with (self.folder / path).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            return None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder, so that two processes do not write the same files.

        The operating system lets go of the lock when its process ends, however it ends. What a
        download has left that was killed is removed here, where none can be under way.

        Raises:
            CurationError: another process holds it.
        """
        lock = filelock.FileLock(self.folder / _LOCK)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise CurationError(
                f"{self.folder} is being worked on by another process: wait until that has ended, "
                f"or name another folder with --out."
            ) from None
        try:
            clear_torn(self.cache)
            yield
        finally:
            lock.release()

    def journal(self, stage: str, whose: str) -> "Journal":
        """What an unfinished stage has done under the same settings; to be used in a `with`.

        Args:
            stage: name of the stage.
            whose: what its results depend on, such as a digest of settings and input; where it
                is another than before, the stage begins anew.
        """
        return Journal(self.folder / "journal" / f"{stage}.jsonl", whose)


class Journal:
    """Items that are done, one JSON line each, kept whatever moment the process dies at.

    A line that a kill has torn is cut off: its item is simply done again.

    Args:
        path: of the file.
        whose: see `Workspace.journal`.
    """

    def __init__(self, path: Path, whose: str) -> None:
        self._path = path
        self._whose = whose
        self._items: dict[str, Any] = {}
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        kept = self._read()
        self._file = self._path.open("r+" if self._path.exists() else "w+", encoding="utf-8")
        self._file.truncate(kept)
        self._file.seek(kept)
        if not kept:
            self._line({"whose": self._whose})
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file:
            self._file.close()
            self._file = None

    def __contains__(self, key: str) -> bool:
        return key in self._items

    def __getitem__(self, key: str) -> Any:
        return self._items[key]

    def __len__(self) -> int:
        return len(self._items)

    def add(self, key: str, value: Any) -> None:
        """Note what came of an item, as JSON; what the line tells must already be on the disk."""
        self._line({"key": key, "value": value})
        self._items[key] = value

    def items(self) -> Iterator[tuple[str, Any]]:
        """Keys and values, sorted by key, so that tables do not depend on the order of work."""
        return iter(sorted(self._items.items()))

    def _line(self, value: Mapping[str, Any]) -> None:
        if self._file is None:
            raise RuntimeError(f"the journal {self._path} is not open: use it in a `with`")
        self._file.write(json.dumps(value, ensure_ascii=True) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def _read(self) -> int:
        """Read what is there; how many of its bytes are whole lines of the same work."""
        self._items = {}
        if not self._path.exists():
            return 0
        kept = 0
        for index, line in enumerate(self._path.read_bytes().splitlines(keepends=True)):
            try:
                found = json.loads(line)
                if not line.endswith(b"\n"):
                    break
                if index == 0:
                    if found["whose"] != self._whose:
                        return 0
                else:
                    self._items[found["key"]] = found["value"]
            except (ValueError, KeyError, TypeError):
                break
            kept += len(line)
        return kept


def _with_geometry(table: pd.DataFrame, schema: pyarrow.Schema) -> pd.DataFrame:
    """A table that was edited with pandas, which stores geometry as WKB and does not say so.

    Raises:
        shapely.GEOSException: a column of bytes is no WKB.
    """
    # No stage writes bytes that are something else.
    names = [part.name for part in schema if pyarrow.types.is_binary(part.type)]
    for name in names:
        table[name] = geopandas.GeoSeries.from_wkb(table[name], crs="EPSG:4326")
    return geopandas.GeoDataFrame(table, geometry=names[0]) if names else table
