"""`skipped.csv`: every item that did not become a reference, once, with its reason.

The file is appended to while a gallery is built, so that a killed build does not read nodata or
broken files again, and rewritten in order when it is complete. A line torn by a kill is cut off:
its item is simply met again.
"""

import csv
import io
import os
from collections import Counter
from collections.abc import Container
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import IO

from geobridge.files import write_atomically
from geobridge.gallery.sources.items import Skipped

FILE_NAME = "skipped.csv"


@dataclass(frozen=True)
class Entry:
    """One line. `source_id` tells which request left the item out."""

    ref_id: str
    outcome: str
    reason: str
    detail: str
    modality: str
    source: str
    path: str
    window: str
    source_id: str

    @classmethod
    def of(cls, skipped: Skipped, source_id: str) -> "Entry":
        """The line of an item; its window reads `column row width height`."""
        values = (
            skipped.ref_id,
            skipped.outcome,
            skipped.reason,
            skipped.detail,
            skipped.modality,
            skipped.source,
            skipped.path,
            " ".join(f"{number:g}" for number in skipped.window or ()),
            source_id,
        )
        # One line an entry: that is what lets a torn one be told from a whole one.
        return cls(*(" ".join(value.splitlines()) for value in values))


_COLUMNS = [field.name for field in fields(Entry)]


class Ledger:
    """The items left out of one gallery, by `ref_id`; the last word about an item counts."""

    def __init__(self, gallery: Path) -> None:
        self.path = gallery / FILE_NAME
        self._entries: dict[str, Entry] = {}
        self._file: IO[str] | None = None
        self._read()

    def __len__(self) -> int:
        return len(self._entries)

    def ids(self, source_id: str, *, unreadable: bool) -> set[str]:
        """Items one request has left out; `unreadable` says whether broken ones are among them."""
        return {
            entry.ref_id
            for entry in self._entries.values()
            if entry.source_id == source_id and (unreadable or entry.outcome == "skipped")
        }

    def add(self, entry: Entry) -> bool:
        """Note an item; whether that is news."""
        if self._entries.get(entry.ref_id) == entry:
            return False
        self._entries[entry.ref_id] = entry
        if self._file is None:
            self._file = self._append_to()
        csv.writer(self._file, lineterminator="\n").writerow(astuple(entry))
        return True

    def flush(self) -> None:
        """Hand what was noted to the operating system, which keeps it if we are killed."""
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def finish(self, indexed: Container[str]) -> None:
        """Rewrite the file: every item once, without those that have become references."""
        self.close()
        self._entries = {i: entry for i, entry in self._entries.items() if i not in indexed}
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(astuple(entry) for entry in self._entries.values())
        write_atomically(self.path, text.getvalue().encode("utf-8", "surrogateescape"))

    def outcomes(self) -> Counter[str]:
        """How many were skipped and how many unreadable."""
        return Counter(entry.outcome for entry in self._entries.values())

    def reasons(self) -> Counter[str]:
        """How many were left out for each reason."""
        return Counter(entry.reason for entry in self._entries.values())

    def _read(self) -> None:
        if not self.path.exists():
            return
        with self.path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            whole = [line for line in file if line.endswith("\n")]
        rows = csv.reader(whole)
        next(rows, None)
        self._entries = {row[0]: Entry(*row) for row in rows if len(row) == len(_COLUMNS)}

    def _append_to(self) -> IO[str]:
        """Open the file for appending, after the last line that is whole."""
        data = self.path.read_bytes() if self.path.exists() else b""
        whole = data.rfind(b"\n") + 1
        if whole:
            os.truncate(self.path, whole)
        else:
            write_atomically(self.path, (",".join(_COLUMNS) + "\n").encode())
        return self.path.open("a", encoding="utf-8", errors="surrogateescape", newline="")
