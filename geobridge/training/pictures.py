"""Pictures at the size training takes them, from files or from one file on the disk."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from geobridge.errors import TrainingError
from geobridge.imagery.decode import read_image
from geobridge.imagery.preprocess import Preprocess

Progress = Callable[[int, int | None], None]


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
        """uint8 (n, 3, height, width), a copy.

        Raises:
            ImageError: a picture cannot be decoded, or is gone.
        """
        if self._held is not None:
            return torch.from_numpy(self._held[np.asarray(rows, np.int64)])
        side = max(self.preprocess.height, self.preprocess.width)
        pictures = [
            self.preprocess.prepare(read_image(self.paths[row], min_side=side)) for row in rows
        ]
        shape = (0, 3, self.preprocess.height, self.preprocess.width)
        return torch.stack(pictures) if pictures else torch.zeros(shape, dtype=torch.uint8)

    def cache(self, folder: Path, progress: Progress | None = None) -> None:
        """Decode all pictures into one file in a folder, once; later runs find it there.

        The file appears whole or not at all. It belongs to the paths, their sizes and times of
        change, and the size pictures are brought to.

        Raises:
            ImageError: a picture cannot be decoded, or is gone.
            TrainingError: the file cannot be written.
        """
        shape = (len(self), 3, self.preprocess.height, self.preprocess.width)
        path = folder / f"{self._digest()}.pictures"
        if not path.exists() and len(self):
            self._write(path, shape, progress)
        if len(self):
            self._held = np.memmap(path, np.uint8, "r", shape=shape)

    def _digest(self) -> str:
        digest = hashlib.sha256(json.dumps(self.preprocess.to_dict(), sort_keys=True).encode())
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

    def _write(self, path: Path, shape: tuple[int, ...], progress: Progress | None) -> None:
        unfinished = path.with_suffix(f".{os.getpid()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with unfinished.open("wb") as file:
                for row in range(shape[0]):
                    file.write(self.take([row]).numpy().tobytes())
                    if progress and row % 64 == 0:
                        progress(row, shape[0])
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        except OSError as error:
            raise TrainingError(
                f"the decoded pictures cannot be written to {path.parent} "
                f"({error.strerror or error}, {np.prod(shape) / 1e9:.1f} GB are needed): free "
                f"space, or set `cache: false`."
            ) from error
        finally:
            unfinished.unlink(missing_ok=True)
