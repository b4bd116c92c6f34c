"""Files that appear whole or not at all, and whether they have changed."""

import os
from pathlib import Path


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file under another name, flush it to the disk, and only then give it its name."""
    draft = path.with_name(f".{path.name}.new")
    with draft.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def stamp(path: Path) -> str:
    """Size in bytes and time of the last change in nanoseconds: another one when a file changes.

    Raises:
        OSError: there is no such file.
    """
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns}"
