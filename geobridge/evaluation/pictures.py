"""What a data set's pictures are when they are looked at one by one: readable, empty, or alike."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geobridge.errors import GeoBridgeError
from geobridge.imagery.decode import FORMATS, read_image
from geobridge.progress import Report, unheard

Picture = NDArray[np.uint8]

Shown = Path | Callable[[], Picture]
"""A picture's file, or a function that makes a picture, uint8 (H, W, 3) RGB."""

LOOK_SIDE = 16
"""Cells a side that the look of a picture is told from: one bit for each."""

NEAR_BITS = 20
"""Two looks with at most so many different bits of 256 are of one picture.

Of real and simulated pictures that were saved again at JPEG quality 60, at half their size and at
0.7 and 0.8 of it, 99.6 % stayed within; those of different ground were 66 bits apart and more.
"""

# Only looks with a part in common are compared. Twenty bits that fall into sixteen parts by chance
# leave none of them whole once in some thousand times.
_PART = np.uint16
# The least spread of the cells, in grey levels, that makes a look tell anything.
_LEAST_SPREAD = 2.0
_AT_ONCE = 512
# Pictures may be reduced while they are decoded, with no side shorter than this.
_DECODED_SIDE = 8 * LOOK_SIDE
# Bits of one part come from all over the picture: a white sky alone must not make parts alike.
_SHUFFLE = np.random.default_rng(0).permutation(LOOK_SIDE * LOOK_SIDE)


@dataclass(frozen=True)
class Seen:
    """What came of looking at one picture.

    Attributes:
        size: bytes of its file, -1 where there is none; 0 of a picture that is made.
        trouble: why it cannot be read, a sentence; None where it can.
        digest: of its bytes; None where they were not read.
        look: uint8 (32,), equal or nearly so for pictures that look alike; None of a picture of
            one colour, and where pixels were not read.
    """

    size: int
    trouble: str | None = None
    digest: bytes | None = None
    look: NDArray[np.uint8] | None = None


def see_all(
    contents: Sequence[Shown],
    *,
    quick: bool = False,
    workers: int = 2,
    progress: Report = unheard,
) -> list[Seen]:
    """Look at pictures, each once and in their order.

    Args:
        contents: files, or functions that make pictures.
        quick: read the heads of files only; digests are then made of files of equal size alone,
            and there are no looks. Pictures that are made are not made.
        workers: how many threads read and decode.
        progress: is told how many are done.
    """
    see = _see_head if quick else _see
    found: list[Seen] = []
    progress(0, len(contents))
    with ThreadPoolExecutor(workers, "doctor") as pool:
        for start in range(0, len(contents), _AT_ONCE):
            found += pool.map(see, contents[start : start + _AT_ONCE])
            progress(len(found), len(contents))
        if quick:
            found = _with_digests(contents, found, pool)
    return found


def _see(content: Shown) -> Seen:
    """Decode a picture as a whole."""
    if not isinstance(content, Path):
        return _see_made(content)
    size = _size(content)
    if size <= 0:
        return Seen(size)
    try:
        # All of a file is read and checked, also where it is reduced meanwhile.
        image = read_image(content, min_side=_DECODED_SIDE)
    except GeoBridgeError as error:
        return Seen(size, str(error), _digest(content))
    return Seen(size, None, _digest(content), look_of(image))


def _see_made(make: Callable[[], Picture]) -> Seen:
    try:
        image = make()
    except GeoBridgeError as error:
        return Seen(0, str(error))
    return Seen(0, None, hashlib.blake2b(image.tobytes()).digest(), look_of(image))


def _see_head(content: Shown) -> Seen:
    """Read no more than what says that it is a picture."""
    if not isinstance(content, Path):
        return Seen(0)
    size = _size(content)
    if size <= 0:
        return Seen(size)
    try:
        with Image.open(content, formats=FORMATS):
            return Seen(size)
    except Exception:  # what Pillow does not know may be a TIFF of more bands: decode it
        try:
            read_image(content)
        except GeoBridgeError as error:
            return Seen(size, str(error))
        return Seen(size)


def _with_digests(
    contents: Sequence[Shown], found: Sequence[Seen], pool: ThreadPoolExecutor
) -> list[Seen]:
    """Digests of the files whose size another file has: others cannot be the same."""
    of_size: dict[int, list[int]] = {}
    for row, seen in enumerate(found):
        if seen.size > 0:
            of_size.setdefault(seen.size, []).append(row)
    rows = [row for held in of_size.values() if len(held) > 1 for row in held]
    paths = [content for row in rows if isinstance(content := contents[row], Path)]
    changed = list(found)
    for row, digest in zip(rows, pool.map(_digest, paths), strict=True):
        changed[row] = Seen(found[row].size, found[row].trouble, digest)
    return changed


def _size(path: Path) -> int:
    """Bytes of a file, -1 where there is none."""
    try:
        return path.stat().st_size if path.is_file() else -1
    except OSError:
        return -1


def _digest(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "blake2b").digest()
    except OSError:
        return None


def look_of(image: Picture) -> NDArray[np.uint8] | None:
    """What a picture looks like, in 256 bits: where its grey rises from left to right.

    The "difference hash" of N. Krawetz, "Kind of Like That", 2013, of 16 x 16 cells.

    Args:
        image: (H, W, 3) uint8.

    Returns:
        uint8 (32,), None where the picture has next to no contrast.
    """
    grey = Image.fromarray(image).convert("L")
    cells = np.asarray(
        grey.resize((LOOK_SIDE + 1, LOOK_SIDE), Image.Resampling.BICUBIC), dtype=np.int16
    )
    if cells.std() < _LEAST_SPREAD:
        return None
    rises = cells[:, 1:] > cells[:, :-1]
    return np.packbits(rises.ravel()[_SHUFFLE])


def near_pairs(looks: NDArray[np.uint8], places: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Pictures of different places that look alike, each but the first of its kind once.

    Args:
        looks: uint8 (N, 32) of `look_of`.
        places: int64 (N,), equal where pictures are of the same place.

    Yields:
        Rows of two pictures, the smaller first.
    """
    words = np.ascontiguousarray(looks).view(np.uint64)
    parts = np.ascontiguousarray(looks).view(_PART)
    told = np.zeros(len(looks), np.bool_)
    for part in range(parts.shape[1]):
        # Rows of one part's value are neighbours in this order, ascending among themselves.
        order = np.argsort(parts[:, part], kind="stable")
        values = parts[order, part]
        at = np.arange(len(order))
        for step in range(1, len(order)):
            # Whoever has no equal so many rows on has none farther on either.
            at = at[at < len(order) - step]
            at = at[values[at] == values[at + step]]
            if not len(at):
                break
            one, other = order[at], order[at + step]
            asked = (places[one] != places[other]) & ~told[other]
            one, other = one[asked], other[asked]
            apart = np.bitwise_count(words[one] ^ words[other]).sum(axis=1)
            one, other = one[apart <= NEAR_BITS], other[apart <= NEAR_BITS]
            told[other] = True
            yield from zip(one.tolist(), other.tolist(), strict=True)
