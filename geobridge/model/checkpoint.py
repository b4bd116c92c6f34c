"""A model as a folder: `config.json`, `model.safetensors` and, with text, `tokenizer.json`."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from geobridge.errors import ModelError
from geobridge.model.config import ModelConfig, read_config

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
SHIPPED_FOLDER = Path(__file__).parent / "weights"
_PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".pkl", ".pickle")


# Where `geobridge train` leaves the best model of a run.
_OF_A_RUN = "checkpoint"


class Checkpoint(NamedTuple):
    """What a checkpoint's folder holds."""

    config: ModelConfig
    tensors: dict[str, Tensor]
    tokenizer: Tokenizer | None


def find_checkpoint(name: str | Path) -> Path:
    """The folder a name stands for: a shipped model, a folder, or a hub model (downloaded).

    Raises:
        ModelError: nothing by that name, a pickled file, or no way to reach the hub.
    """
    path = Path(name)
    if str(name) in shipped_names():
        return SHIPPED_FOLDER / str(name)
    if path.is_dir():
        if not (path / CONFIG).exists() and (path / _OF_A_RUN / CONFIG).exists():
            raise ModelError(
                f"{path} is the folder of a training run: name its checkpoint, {path / _OF_A_RUN}."
            )
        return _refuse_pickled_folder(path)
    if path.is_file():
        raise _wrong_file(path)
    backup = _backup(path)
    if backup.is_dir():
        raise ModelError(
            f"the checkpoint {path} is missing because a save was interrupted: its former state "
            f"is in {backup}, rename that back."
        )
    if isinstance(name, str) and name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return _download(name)
    raise ModelError(
        f"there is no model {str(name)!r}: name a folder with {CONFIG} and {WEIGHTS}, a hub model "
        f"(owner/name) or a shipped one ({', '.join(shipped_names()) or 'none is installed'})."
    )


def shipped_names() -> list[str]:
    """Models whose weights came with the package."""
    return sorted(path.parent.name for path in SHIPPED_FOLDER.glob(f"*/{WEIGHTS}"))


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint's folder; weights come back in float32.

    Raises:
        ModelError: a file is missing or damaged.
    """
    config = read_config(folder / CONFIG)
    path = folder / WEIGHTS
    try:
        stored = load_file(path)
    except FileNotFoundError:
        raise ModelError(
            f"the checkpoint {folder} lacks {WEIGHTS}: copy it whole or save the model again."
        ) from None
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"the weights {path} are damaged ({error}): copy the checkpoint again."
        ) from None
    tensors = {key: _to_float32(tensor) for key, tensor in stored.items()}
    return Checkpoint(config, tensors, _read_tokenizer(folder / TOKENIZER) if config.text else None)


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint's folder; it appears whole or not at all.

    A checkpoint that is already there is replaced; other files in its folder stay.

    Raises:
        ModelError: the folder exists and is no checkpoint, or cannot be written.
    """
    folder = folder.absolute()
    others = check_replaceable(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            _write_files(fresh, checkpoint)
            for path in others:
                (shutil.copytree if path.is_dir() else shutil.copy2)(path, fresh / path.name)
            fresh.chmod(0o755)
            _swap(fresh, folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    except OSError as error:
        raise ModelError(
            f"the checkpoint {folder} cannot be written ({error.strerror or error}): free space "
            f"or choose another folder; what was there before is untouched."
        ) from error


def storable(tensors: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Tensors as they lie on disk: contiguous, on the CPU, floats in `stored_dtype`.

    Raises:
        ModelError: a weight does not fit the number format, or is not finite.
    """
    dtype = getattr(torch, config.stored_dtype)
    result = {}
    for key, tensor in tensors.items():
        stored = tensor.detach().cpu()
        if stored.is_floating_point():
            stored = stored.to(dtype)
            if not torch.isfinite(stored).all():
                raise ModelError(
                    f"the weight {key} of model {config.name!r} is not finite in "
                    f"{config.stored_dtype}: go back to the last good weights, or store float32."
                )
        result[key] = stored.contiguous()
    return result


def fingerprint(checkpoint: Checkpoint) -> str:
    """Sixteen hex digits that name an embedding space: settings, weights and tokenizer.

    Weights count as they are stored, so that a model and its saved copy agree. Name, origin and
    calibration do not count.
    """
    digest = hashlib.sha256(checkpoint.config.digest())
    stored = storable(checkpoint.tensors, checkpoint.config)
    for key in sorted(stored):
        tensor = stored[key]
        digest.update(f"{key} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    if checkpoint.tokenizer:
        digest.update(checkpoint.tokenizer.to_str().encode())
    return digest.hexdigest()[:16]


def check_fit(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], where: str) -> None:
    """Compare a model's weights with a file's, by name and shape.

    Raises:
        ModelError: says how many are missing, unexpected or of another shape, and names the first.
    """
    missing = sorted(expected.keys() - found.keys())
    unexpected = sorted(found.keys() - expected.keys())
    reshaped = [
        f"{key} is {list(found[key].shape)} instead of {list(expected[key].shape)}"
        for key in sorted(expected.keys() & found.keys())
        if found[key].shape != expected[key].shape
    ]
    complaints = [
        f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for what, names in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape", reshaped),
        )
        if names
    ]
    if complaints:
        raise ModelError(
            f"the weights in {where} do not fit its configuration: {'; '.join(complaints)}; "
            f"put the {CONFIG} beside them that they were saved with."
        )


def _to_float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _read_tokenizer(path: Path) -> Tokenizer | None:
    if not path.exists():
        return None
    try:
        return Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # the library raises plain Exception
        raise ModelError(
            f"the tokenizer {path} is damaged ({error}): copy the checkpoint again."
        ) from None


def _write_files(folder: Path, checkpoint: Checkpoint) -> None:
    settings = checkpoint.config.model_dump(mode="json")
    text = json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
    (folder / CONFIG).write_text(text, encoding="utf-8")
    try:
        save_file(storable(checkpoint.tensors, checkpoint.config), folder / WEIGHTS)
    except SafetensorError as error:
        raise OSError(str(error)) from error
    # safetensors lets only the owner read; a checkpoint is as readable as its configuration.
    (folder / WEIGHTS).chmod((folder / CONFIG).stat().st_mode)
    if checkpoint.tokenizer:
        (folder / TOKENIZER).write_text(checkpoint.tokenizer.to_str(), encoding="utf-8")
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def check_replaceable(folder: Path) -> list[Path]:
    """Refuse to write a checkpoint over what is none.

    Returns:
        The files of the folder that are not the checkpoint's own, and stay.

    Raises:
        ModelError: the folder is a file, or holds other things.
    """
    if folder.is_file():
        raise ModelError(f"{folder} is a file: name a folder for the checkpoint.")
    held = sorted(folder.iterdir()) if folder.is_dir() else []
    if held and not (folder / WEIGHTS).exists():
        raise ModelError(
            f"{folder} holds files but no checkpoint, so it is not replaced: name a new or an "
            f"empty folder."
        )
    return [path for path in held if path.name not in (CONFIG, WEIGHTS, TOKENIZER)]


def _backup(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.replaced")


def _swap(fresh: Path, folder: Path) -> None:
    backup = _backup(folder)
    if folder.exists():
        shutil.rmtree(backup, ignore_errors=True)
        folder.rename(backup)
    try:
        fresh.rename(folder)
    except OSError:
        if backup.exists():
            backup.rename(folder)
        raise
    shutil.rmtree(backup, ignore_errors=True)


def _wrong_file(path: Path) -> ModelError:
    if path.suffix in _PICKLES:
        return ModelError(
            f"{path} is a pickled file, which could run code when opened: turn it into a "
            f"checkpoint with `geobridge import-release {path} OUT` and load OUT."
        )
    return ModelError(f"{path} is a file: name the checkpoint's folder instead.")


def _refuse_pickled_folder(folder: Path) -> Path:
    pickles = sorted(path for path in folder.iterdir() if path.suffix in _PICKLES)
    if pickles and not (folder / WEIGHTS).exists():
        raise _wrong_file(pickles[0])
    return folder


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=[CONFIG, WEIGHTS, TOKENIZER]))
    except Exception as error:  # network, hub and cache errors share no base
        first = (str(error).strip() or type(error).__name__).splitlines()[0][:200].rstrip(" .:")
        raise ModelError(
            f"there is no folder {name!r} and the hub model of that name cannot be downloaded "
            f"({first}): check the name and the connection, or copy its folder here."
        ) from error
