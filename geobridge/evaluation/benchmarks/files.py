"""What readers of benchmarks share: finding pictures, and saying what a wrong root holds."""

from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from pathlib import Path

from geobridge.errors import EvaluationError
from geobridge.imagery.files import PICTURE_SUFFIXES, list_files

# Entries of a wrong folder that an error names.
_ENTRIES = 8


def find_pictures(folder: Path, suffixes: Collection[str] = PICTURE_SUFFIXES) -> list[Path]:
    """All pictures in a folder and the folders below, sorted by path; hidden ones are left out.

    Args:
        folder: where to look.
        suffixes: of names, in lower case with their dot; the case of names does not matter.

    Raises:
        EvaluationError: the folder is none, or one below it may not be read, or the name of a
            picture is not UTF-8, which no table could hold.
    """
    if not folder.is_dir():
        raise EvaluationError(
            f"{folder} is no folder, and pictures were looked for in it: check the path."
        )
    names = list(list_files(folder))
    closed = [name for name in names if name.endswith("/")]
    if closed:
        raise EvaluationError(f"{folder / closed[0]} may not be read: check its permissions.")
    pictures = [name for name in sorted(names) if Path(name).suffix.lower() in suffixes]
    for name in pictures:
        if any("\ud800" <= sign <= "\udfff" for sign in name):
            raise EvaluationError(
                f"{folder} holds a picture whose name is not UTF-8, {name!a}: rename it."
            )
    return [folder / name for name in pictures]


def relative_names(root: Path, paths: Iterable[Path]) -> list[str]:
    """Paths as seen from a folder, with forward slashes: stable ids of files."""
    return [path.relative_to(root).as_posix() for path in paths]


def require(root: Path, name: str, wanted: Sequence[str]) -> None:
    """Refuse a root that lacks a file or folder a benchmark cannot do without.

    Args:
        root: the folder a person named.
        name: of the data set, for the message.
        wanted: paths below the root, with forward slashes; all are needed.

    Raises:
        EvaluationError: what was looked for, what of it is missing, and what was found instead.
    """
    missing = [path for path in wanted if not (root / path).exists()]
    if missing:
        raise EvaluationError(
            f"{root} is not {name}: looked for {', '.join(wanted)}; missing are "
            f"{', '.join(missing)}, and found was {_found(root)}: name the folder that holds them."
        )


def _found(folder: Path) -> str:
    if not folder.exists():
        return "no such folder"
    if not folder.is_dir():
        return "a file"
    entries = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    shown = ", ".join(islice(entries, _ENTRIES))
    more = f" and {len(entries) - _ENTRIES} more" if len(entries) > _ENTRIES else ""
    return (shown or "an empty folder") + more
