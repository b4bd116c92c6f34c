"""The state of a run on the disk: whole or not there, safe to open, and of one configuration.

Where lightning hands a state to its `CheckpointIO`, and where not (version 2.6): saving goes
through it for one process, DDP and FSDP with whole states; loading for one process and DDP. FSDP
reads a whole state itself, with an unpickler that runs code, and sharded states pass it by both
ways. Under FSDP call `AtomicCheckpointIO.load_checkpoint` first: it refuses what must not be read.
"""

import contextlib
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from geobridge.errors import MissingExtraError, TrainingError

try:
    from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
except ImportError as error:
    raise MissingExtraError("Training", "lightning", "train") from error

CONFIGURATION_KEY = "geobridge"
"""Where a state keeps the resolved configuration of its run, as plain JSON."""

_SHOWN_CHARACTERS = 60


class AtomicCheckpointIO(CheckpointIO):
    """Saves and loads the states of one run for lightning: `Trainer(plugins=[...])`.

    Args:
        configuration: the resolved configuration, of what JSON can hold; it travels in each state.
        may_change: key paths, such as `fit.steps`, in which the run that a state is loaded into
            may differ from the one that saved it; a path covers everything below it.
    """

    def __init__(self, configuration: Mapping[str, Any], may_change: Collection[str] = ()) -> None:
        self._configuration = _as_json(configuration)
        self._may_change = may_change
        self._read: dict[Path, dict[str, Any]] = {}

    def read(self, path: str | Path) -> dict[str, Any]:
        """`load_checkpoint`, which then hands out the same again: a state is long to read.

        Raises:
            TrainingError: as in `load_checkpoint`.
        """
        self._read[Path(path)] = self.load_checkpoint(path)
        return self._read[Path(path)]

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """`save_state`, with the configuration; there are no storage options.

        Raises:
            TrainingError: as in `save_state`.
        """
        if storage_options is not None:
            raise TypeError("a state is a file on a disk and takes no storage options")
        save_state({**checkpoint, CONFIGURATION_KEY: self._configuration}, Path(path))

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Any = None,
        weights_only: bool | None = None,  # noqa: ARG002 - never anything but True here
    ) -> dict[str, Any]:
        """`load_state`, if it is of this configuration; what was `read` is handed out once.

        Args:
            path: of the state.
            map_location: as in `torch.load`; the CPU by default.
            weights_only: without effect: a state is never unpickled in full.

        Raises:
            TrainingError: as in `load_state` and `check_configuration`.
        """
        if Path(path) in self._read:
            return self._read.pop(Path(path))
        state = load_state(Path(path), map_location or "cpu")
        check_configuration(state, self._configuration, Path(path), self._may_change)
        return state

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a state, be it a file or a folder of shards; none there is fine."""
        path = Path(path)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def save_state(state: Mapping[str, Any], path: Path) -> None:
    """Replace a state in one step: whoever reads `path`, at any moment, finds one that is whole.

    Killed meanwhile, it leaves the former state and a hidden `.NAME.part` beside it, which the
    next call takes over.

    Args:
        state: tensors and plain values, nested.
        path: of the state; missing folders are made.

    Raises:
        TrainingError: the disk is full or not writable, or the state holds what `load_state`
            would refuse; what was saved before is untouched.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # To a file of ours: of a path torch reports a full disk without saying so.
        with part.open("wb") as file:
            torch.save(dict(state), file)
            file.flush()
            os.fsync(file.fileno())
        _refuse_objects(part, path)
        part.replace(path)
        _sync_folder(path.parent)
    except (OSError, RuntimeError) as error:
        reason = _disk_error(error)
        if reason is None:
            raise
        raise TrainingError(
            f"the run's state {path} cannot be written ({reason.strerror or reason}): free space "
            f"or make its folder writable, then resume from the state saved before, which is whole."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def load_state(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a state: tensors and plain values only, every byte checked against its checksum.

    Args:
        path: a file that `save_state` wrote.
        map_location: as in `torch.load`.

    Raises:
        TrainingError: it is missing, cannot be read, is damaged or holds more than tensors and
            plain values.
    """
    if not path.is_file():
        raise TrainingError(
            f"there is no state {path} to resume from: name the folder of a run that saved one, "
            f"or begin anew."
        )
    try:
        # torch does not compare checksums: it would load a flipped bit as a weight.
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
        if broken:
            raise zipfile.BadZipFile(f"checksum of {broken}")
        _refuse_objects(path, path)
        state = torch.load(path, map_location=map_location, weights_only=True)
    except PermissionError as error:
        raise TrainingError(
            f"the state {path} cannot be read ({error.strerror}): make it readable and resume."
        ) from error
    except (zipfile.BadZipFile, OSError, RuntimeError, ValueError, KeyError, EOFError,
            NotImplementedError, pickle.UnpicklingError) as error:  # fmt: skip
        raise _damaged(path) from error
    if not isinstance(state, dict):
        raise _damaged(path)
    return state


def check_configuration(
    state: Mapping[str, Any],
    wanted: Mapping[str, Any],
    path: Path,
    may_change: Collection[str] = (),
) -> None:
    """Make sure that a run goes on with the configuration it began with.

    Args:
        state: what was loaded.
        wanted: the resolved configuration of the run that is to go on.
        path: of the state, for the error.
        may_change: as in `first_difference`.

    Raises:
        TrainingError: the state has no configuration, or another one; the first key that differs
            is named with both values.
    """
    saved = state.get(CONFIGURATION_KEY)
    if not isinstance(saved, Mapping):
        raise TrainingError(
            f"the state {path} does not say which configuration it is of: resume from a state "
            f"that `geobridge train` wrote."
        )
    key = first_difference(saved, wanted, may_change)
    if key is not None:
        before, now = (_show(data, key) for data in (saved, _as_json(wanted)))
        raise TrainingError(
            f"the state {path} is of another configuration, where {key} is {before} and not "
            f"{now}: take that back, or begin a run in another folder."
        )


def first_difference(
    saved: Mapping[str, Any], wanted: Mapping[str, Any], may_change: Collection[str] = ()
) -> str | None:
    """The first key path, in the order of `wanted`, at which two configurations differ.

    Args:
        saved: of what JSON can hold; tuples count as lists.
        wanted: the same.
        may_change: key paths that are not compared, nor what is below them.

    Returns:
        Such as `data.train.0.per_batch`, or None where they agree.
    """
    pairs = _differences(_as_json(saved), _as_json(wanted), "")
    return next((path for path in pairs if not _covered(path, may_change)), None)


def _differences(saved: Any, wanted: Any, path: str) -> Iterator[str]:
    """Paths of all leaves that differ; a branch that is on one side only counts as one."""
    for held in (dict, list):
        if isinstance(saved, held) and isinstance(wanted, held):
            left, right = _branches(saved), _branches(wanted)
            for key in dict.fromkeys([*right, *left]):
                below = f"{path}.{key}" if path else key
                if key in left and key in right:
                    yield from _differences(left[key], right[key], below)
                else:
                    yield below
            return
    # True is 1 in Python, and not in a configuration.
    if saved != wanted or isinstance(saved, bool) != isinstance(wanted, bool):
        yield path


def _branches(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    if isinstance(value, list):
        return {str(index): item for index, item in enumerate(value)}
    return {}


def _covered(path: str, may_change: Collection[str]) -> bool:
    return any(path == free or path.startswith(f"{free}.") for free in may_change)


def _show(data: Any, path: str) -> str:
    """The value at a key path as people read it, shortened."""
    for key in path.split("."):
        branches = _branches(data)
        if key not in branches:
            return "left out"
        data = branches[key]
    text = json.dumps(data, ensure_ascii=False)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 3]}..."


def _as_json(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """The same as it comes back from a file: keys are words, tuples are lists."""
    data: dict[str, Any] = json.loads(json.dumps(dict(configuration)))
    return data


def _refuse_objects(file: Path, path: Path) -> None:
    """Raise TrainingError if a file holds objects that only code could restore."""
    foreign = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(file))
    if foreign:
        raise TrainingError(
            f"the state {path} holds objects ({', '.join(foreign[:3])}), which could run code when "
            f"opened: keep only tensors, numbers and words in it."
        )


def _sync_folder(folder: Path) -> None:
    """A rename is on the disk only when its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _disk_error(error: BaseException | None) -> OSError | None:
    """What the operating system said: torch buries it under errors of its own."""
    while error is not None and not isinstance(error, OSError):
        error = error.__context__
    return error


def _damaged(path: Path) -> TrainingError:
    return TrainingError(
        f"the state {path} is damaged: resume from another state of the run, or copy it again."
    )
