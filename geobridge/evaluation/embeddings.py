"""Embeddings of a set of items on the disk: made once, gone on with after a stop, read in parts.

FOLDER/<set>.npy     float32 (N, D), rows of unit norm in the order of the set
FOLDER/<set>.json    whose they are (fingerprint, items) and how many rows are done
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geobridge.errors import EvaluationError
from geobridge.evaluation.tasks import Content, Items
from geobridge.files import write_atomically
from geobridge.model.geobridge import GeoBridge
from geobridge.model.tokens import shortened
from geobridge.progress import Report

_AT_ONCE = 512
"""Rows between two notes of progress: what a kill costs at most."""


@dataclass(frozen=True)
class Embedded:
    """The embeddings of one set.

    Attributes:
        rows: float32 (N, D), rows of unit norm, read from the disk as they are needed.
        cut: how many texts were cut to what the model takes.
    """

    rows: NDArray[np.float32]
    cut: int


def embed_items(
    model: GeoBridge, items: Items, folder: Path, name: str, salt: str, report: Report
) -> Embedded:
    """Embed a set into a folder, or read what a former call has embedded of it.

    Texts with more tokens than the model takes lose their last words and are counted.

    Args:
        model: that has the modality of the items.
        items: at least one.
        folder: of the embeddings.
        name: of the set, which names the files.
        salt: what the items depend on beside their names and files, such as options.
        report: progress.

    Raises:
        EvaluationError: the folder holds embeddings of another model, or of other items.
        ImageError: a picture cannot be decoded.
        ModelError: an embedding is not finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = slug(name)
    array, note = folder / f"{stem}.npy", folder / f"{stem}.json"
    whose = {"model": model.fingerprint, "items": items_digest(items, salt), "rows": len(items)}
    done, cut = _done_before(note, whose)
    shape = (len(items), model.dim)
    rows = _held(array, shape) if done else None
    if rows is None:
        done, cut, rows = 0, 0, _room(array, shape)
    report(done, len(items))
    for start in range(done, len(items), _AT_ONCE):
        stop = min(start + _AT_ONCE, len(items))
        rows[start:stop], cut_here = _embed(model, items, start, stop)
        cut += cut_here
        rows.flush()
        _write_note(note, {**whose, "done": stop, "cut": cut})
        report(stop, len(items))
    return Embedded(rows, cut)


def _held(path: Path, shape: tuple[int, int]) -> np.memmap[Any, Any] | None:
    """What a former call has left; None where that is gone or damaged."""
    try:
        # Opened for writing, a file that is cut off would be filled up with zeros.
        found = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError):
        return None
    if found.shape != shape or found.dtype != np.float32:
        return None
    return np.lib.format.open_memmap(path, mode="r+")


def _room(path: Path, shape: tuple[int, int]) -> np.memmap[Any, Any]:
    """New rows; a disk that is too small for all of them says so now, by an OSError."""
    rows = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    if hasattr(os, "posix_fallocate"):
        # A mapped file has holes, and writing into one on a full disk kills the process.
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return rows


def refuse_other_model(folder: Path, model: GeoBridge) -> None:
    """Keep results of two models out of one folder.

    Raises:
        EvaluationError: a set in the folder was embedded by another model.
    """
    for note in sorted(folder.glob("*.json")):
        try:
            of = json.loads(note.read_text(encoding="utf-8"))["model"]
        except (ValueError, KeyError, TypeError):
            continue  # damaged, so that the set is embedded again
        if of != model.fingerprint:
            raise EvaluationError(
                f"{folder} holds embeddings of another model: give another --out, or delete the "
                f"folder."
            )


def slug(name: str) -> str:
    """A name that every file system takes: letters, digits, dots and dashes."""
    return "".join(sign if sign.isalnum() or sign in "._-" else "-" for sign in name)


def items_digest(items: Items, salt: str) -> str:
    """Names a set: its modality, names and texts, and size and date of its files.

    Files that a `partial` or a dataclass makes its picture of are among them.
    """
    digest = hashlib.sha256(f"{items.modality}\0{salt}".encode())
    for name, content in zip(items.names, items.contents, strict=True):
        digest.update(f"\0{name}\0{_identity(content)}".encode("utf-8", "replace"))
    return digest.hexdigest()[:24]


def _identity(content: Content) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, Path):
        held = getattr(content, "__dict__", {}).values()
        given = content.args if isinstance(content, partial) else held
        files = [_identity(part) for part in given if isinstance(part, Path)]
        return " ".join(["made", *(f"of {file}" for file in files)])
    try:
        found = content.stat()
    except OSError as error:
        raise EvaluationError(
            f"{content} cannot be read ({error.strerror}): restore it, or check the data set with "
            f"`geobridge data doctor`."
        ) from error
    return f"{content.name} {found.st_size} {found.st_mtime_ns}"


def _done_before(note: Path, whose: dict[str, Any]) -> tuple[int, int]:
    """How many rows, and texts that were cut, a former call has left."""
    if not note.exists():
        return 0, 0
    try:
        found = json.loads(note.read_text(encoding="utf-8"))
        before = {key: found[key] for key in whose}
        done, cut = int(found["done"]), int(found["cut"])
    except (ValueError, KeyError, TypeError):
        return 0, 0
    for key, what in (
        ("model", "another model"),
        ("items", "other items"),
        ("rows", "other items"),
    ):
        if before[key] != whose[key]:
            raise EvaluationError(
                f"{note.parent} holds embeddings of {what}: give another --out, or delete the "
                f"folder."
            )
    return done, cut


def _write_note(path: Path, note: dict[str, Any]) -> None:
    write_atomically(path, json.dumps(note).encode())


def _embed(
    model: GeoBridge, items: Items, start: int, stop: int
) -> tuple[NDArray[np.float32], int]:
    contents = items.contents[start:stop]
    if items.modality == "text":
        texts = list(_that_fit(model, [str(text) for text in contents]))
        cut = sum(text != given for text, given in zip(texts, contents, strict=True))
        return model.embed("text", texts), cut
    fields = items.fields[start:stop] if items.fields else None
    found = [np.zeros((0, model.dim), np.float32)]
    # Pictures that are made lie in memory: no more of them at once than the model takes.
    for first in range(0, len(contents), _PICTURES):
        part = slice(first, first + _PICTURES)
        pictures = [content() if callable(content) else content for content in contents[part]]
        found.append(model.embed(items.modality, pictures, fields=fields[part] if fields else None))
    return np.concatenate(found), 0


_PICTURES = 32


def _that_fit(model: GeoBridge, texts: Sequence[str]) -> Iterator[str]:
    if model.tokenizer is None or model.config.text is None:
        return iter(texts)  # the model says what is missing
    tokenizer, most = model.tokenizer, model.config.text.max_tokens
    return (shortened(tokenizer, text, most) for text in texts)
