"""Pictures at the size training takes them, from files or from one file on the disk."""

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path

import filelock
import numpy as np
import torch
from torch import Tensor

from geobridge.errors import TrainingError
from geobridge.imagery.decode import read_image
from geobridge.imagery.preprocess import Preprocess
from geobridge.imagery.street import street_field_of_file
from geobridge.progress import Report

DECODING = 1
"""Version of how a file becomes pixels. Raise it with every change that alters them: caches of
decoded pictures belong to one version, and are written again for another."""


class PictureStore:
    """N pictures as uint8 (3, height, width), each decoded when it is asked for.

    Args:
        paths: of the pictures.
        preprocess: brings each to its size.
    """

    def __init__(self, paths: Sequence[Path], preprocess: Preprocess) -> None:
        self.paths = list(paths)
        self.preprocess = preprocess
        self._held: np.memmap | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, rows: Sequence[int]) -> Tensor:
        """The pictures of these rows, in their order.

        Returns:
            uint8 (n, 3, height, width), a copy.

        Raises:
            ImageError: a picture cannot be decoded, or is gone.
        """
        if self._held is not None:
            return torch.from_numpy(self._held[np.asarray(rows, np.int64)])
        pictures = [self._open(self.paths[row]) for row in rows]
        shape = (0, 3, self.preprocess.height, self.preprocess.width)
        return torch.stack(pictures) if pictures else torch.zeros(shape, dtype=torch.uint8)

    def _open(self, path: Path) -> Tensor:
        side = max(self.preprocess.height, self.preprocess.width)
        image = read_image(path, min_side=side)
        field = None
        if self.preprocess.fit == "angular":  # as `GeoBridge.embed` will see it
            field = street_field_of_file(path, image.shape[1], image.shape[0])
        return self.preprocess.prepare(image, field)

    def cache(self, folder: Path, progress: Report | None = None) -> None:
        """Decode all pictures into one file in a folder, once; later runs find it there.

        The file appears whole or not at all, and one process writes it while others wait. It
        belongs to the paths, their sizes and times of change, the size pictures are brought to, and
        the version of the decoding; one that has not the length it should have is written again.

        Args:
            folder: made if it is missing.
            progress: told how many pictures are decoded.

        Raises:
            ImageError: a picture cannot be decoded.
            TrainingError: a picture is gone, or the file cannot be written.
        """
        if not len(self):
            return
        shape = (len(self), 3, self.preprocess.height, self.preprocess.width)
        path = folder / f"{self._digest()}.pictures"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(path.with_suffix(".lock")):
                if not path.exists() or path.stat().st_size != math.prod(shape):
                    self._write(path, progress)
            self._held = np.memmap(path, np.uint8, "r", shape=shape)
        except OSError as error:
            raise TrainingError(
                f"the decoded pictures cannot be written to {folder} "
                f"({error.strerror or error}, {math.prod(shape) / 1e9:.1f} GB are needed): free "
                f"space, or set `cache: false`."
            ) from error

    def _digest(self) -> str:
        how = json.dumps([DECODING, self.preprocess.to_dict()], sort_keys=True)
        digest = hashlib.sha256(how.encode())
        for path in self.paths:
            try:
                status = path.stat()
            except OSError as error:
                raise TrainingError(
                    f"the picture {path} is not there ({error.strerror}): restore it, or take its "
                    f"place out of the data."
                ) from None
            digest.update(f"{path.resolve()} {status.st_size} {status.st_mtime_ns}\n".encode())
        return digest.hexdigest()[:24]

    def _write(self, path: Path, progress: Report | None) -> None:
        unfinished = path.with_suffix(".part")
        try:
            with unfinished.open("wb") as file:
                for row in range(len(self)):
                    file.write(self.take([row]).numpy().tobytes())
                    if progress and ((row + 1) % 64 == 0 or row + 1 == len(self)):
                        progress(row + 1, len(self))
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                unfinished.unlink()
            raise
