"""Which files below a folder are pictures."""

import os
from collections.abc import Iterator
from pathlib import Path

PICTURE_SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".mpo", ".png", ".webp", ".bmp", ".gif"),
    *(".tif", ".tiff", ".jp2", ".ppm", ".pgm"),
}


def list_files(folder: Path) -> Iterator[str]:
    """Paths relative to a folder, with forward slashes, sorted; hidden files are left alone.

    A folder inside that may not be read comes last, with a slash at its end.
    A folder that links lead to again, as in a circle, is walked once.
    """
    unreadable: list[OSError] = []
    walked: set[tuple[int, int]] = set()
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=unreadable.append):
        status = Path(parent).stat()
        if (status.st_dev, status.st_ino) in walked:
            folders.clear()
            continue
        walked.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        relative = Path(parent).relative_to(folder)
        for name in sorted(names):
            if not name.startswith("."):
                yield (relative / name).as_posix()
    for error in unreadable:
        yield Path(error.filename).relative_to(folder).as_posix() + "/"


def is_picture_name(path: str) -> bool:
    """Whether a file's suffix is one of a picture."""
    return Path(path).suffix.lower() in PICTURE_SUFFIXES
