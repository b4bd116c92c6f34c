"""Tensors out of a pickled model, without executing anything in the file.

A pickle is a program: it may call whatever it names. Here it may call nothing but our own
stand-ins for torch's tensor rebuilding. A class or function it names becomes an inert record; a
name from the standard library, and a call of anything else, is refused.
"""

import math
import pickle
import re
import struct
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn

import torch
from torch import Tensor

from geobridge.errors import ModelError

_DTYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_DAMAGE = (
    pickle.UnpicklingError, AttributeError, TypeError, EOFError, LookupError, ValueError,
    RecursionError, MemoryError, OverflowError, struct.error,
)  # fmt: skip
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
# Far more than any model holds; a file that refers to itself many times over stops here.
_MOST_NODES = 200_000


class _RefusedError(Exception):
    """The file wants to call something; the message names it."""


class _Storage(NamedTuple):
    """Where the numbers of a tensor lie in the file."""

    read: Callable[[], bytearray]
    dtype: torch.dtype
    numel: int


class TensorRecord(NamedTuple):
    """A tensor that has not been read yet."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Size in bytes once read."""
        return math.prod(self.shape) * self.storage.dtype.itemsize

    def load(self) -> Tensor:
        """Read the numbers.

        Raises:
            ModelError: they reach beyond what the file holds.
        """
        data = self.storage.read()
        if len(data) != self.storage.numel * self.storage.dtype.itemsize:
            raise ModelError(
                f"a tensor of shape {list(self.shape)} is cut short in the file: download it again."
            )
        if not math.prod(self.shape):
            return torch.empty(self.shape, dtype=self.storage.dtype)
        flat = torch.frombuffer(data, dtype=self.storage.dtype)
        return flat.as_strided(self.shape, self.stride, self.offset).clone()


class Pickled(NamedTuple):
    """What a pickled model holds.

    Attributes:
        tensors: by their key in the state dict.
        attributes: plain attributes of the modules (numbers and strings), by dotted path; empty
            for a state dict.
    """

    tensors: dict[str, TensorRecord]
    attributes: dict[str, Any]


def read_pickled(path: Path) -> Pickled:
    """Take the tensors out of a file that `torch.save` wrote, without executing anything in it.

    Args:
        path: a whole module or a state dict; the zip format or the one before torch 1.6.

    Raises:
        ModelError: the file is missing, damaged, or names something a model has no use for.
    """
    try:
        if zipfile.is_zipfile(path):
            root = _read_zip(path)
        else:
            with path.open("rb") as file:
                root = _read_legacy(file, path)
        found = list(_walk(root, "", set(), [_MOST_NODES]))
    except _RefusedError as refused:
        raise ModelError(
            f"{path} wants to call {refused}, which no model needs and which could do harm "
            f"(nothing in the file was run): do not trust it, take the weights from their "
            f"publisher."
        ) from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}): check the path.") from None
    except (*_DAMAGE, zipfile.BadZipFile) as error:
        raise ModelError(
            f"{path} is no file of torch.save or is damaged ({type(error).__name__}: {error}): "
            f"download it again."
        ) from None
    tensors = {key: value for key, value in found if isinstance(value, TensorRecord)}
    if not tensors:
        raise ModelError(f"{path} holds no tensors: name the file with the model's weights.")
    return Pickled(tensors, {key: value for key, value in found if key not in tensors})


class _Call:
    """One of our stand-ins, callable by a pickle; nothing about it can be changed from there."""

    __slots__ = ("_function",)
    _function: Callable[..., Any]

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise pickle.UnpicklingError("the file tries to change how it is read")

    def __setstate__(self, state: Any) -> NoReturn:
        raise pickle.UnpicklingError("the file tries to change how it is read")


class _InertType(type):
    """Type of the stand-ins for named classes and functions: they cannot be called."""

    def __call__(cls, *_: Any, **__: Any) -> NoReturn:
        raise _RefusedError(f"{cls.__module__}.{cls.__qualname__}")


class _Inert(metaclass=_InertType):
    """An instance of a class the file names: its attributes, and no behaviour."""

    state: dict[str, Any]

    def __new__(cls, *_: Any, **__: Any) -> "_Inert":
        instance = object.__new__(cls)
        object.__setattr__(instance, "state", {})
        return instance

    def __setstate__(self, state: Any) -> None:
        parts = state if isinstance(state, tuple) else (state,)
        for part in parts:
            if isinstance(part, dict):
                self.state.update(part)


def _rebuild_tensor(
    storage: Any, offset: Any, shape: Any, stride: Any, *_unused: Any
) -> TensorRecord:
    """Stand-in for `torch._utils._rebuild_tensor_v2`: checks the numbers, reads nothing."""
    shape, stride = tuple(shape), tuple(stride)
    numbers = (offset, *shape, *stride)
    if not isinstance(storage, _Storage) or len(shape) != len(stride):
        raise pickle.UnpicklingError("a tensor without storage")
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise pickle.UnpicklingError("a tensor with an impossible shape")
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    if math.prod(shape) and (last >= storage.numel or math.prod(shape) > storage.numel):
        raise pickle.UnpicklingError("a tensor larger than its storage")
    return TensorRecord(storage, offset, shape, stride)


def _rebuild_parameter(data: Any, *_unused: Any) -> Any:
    return data


def _rebuild_from_type(rebuild: Any, _type: Any, arguments: Any, _state: Any) -> Any:
    if not isinstance(rebuild, _Call):
        raise pickle.UnpicklingError("a tensor of unknown making")
    return rebuild(*arguments)


_CALLS: dict[tuple[str, str], Any] = {
    ("torch._utils", "_rebuild_tensor"): _Call(_rebuild_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): _Call(_rebuild_tensor),
    ("torch._utils", "_rebuild_parameter"): _Call(_rebuild_parameter),
    ("torch._utils", "_rebuild_parameter_with_state"): _Call(_rebuild_parameter),
    ("torch._tensor", "_rebuild_from_type_v2"): _Call(_rebuild_from_type),
    ("torch", "Size"): _Call(lambda sizes=(): tuple(sizes)),
    ("torch", "device"): _Call(lambda *parts: ":".join(map(str, parts))),
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
}


class _Unpickler(pickle.Unpickler):
    """Resolves every name of a pickle to something harmless, or refuses it.

    Args:
        file: positioned at a pickle.
        storage: makes the record of a storage from its key, dtype and length.
    """

    def __init__(
        self, file: IO[bytes], storage: Callable[[str, torch.dtype, int], _Storage]
    ) -> None:
        super().__init__(file, encoding="utf-8")
        self._storage = storage
        self._types: dict[tuple[str, str], type] = {}

    def find_class(self, module: str, name: str) -> Any:
        """A stand-in for the named object; the object itself is never looked up."""
        if (module, name) in _CALLS:
            return _CALLS[module, name]
        top = module.split(".")[0]
        # `__main__` is where a training script's own classes live.
        if top != "__main__" and (top in sys.stdlib_module_names or top == "__builtin__"):
            raise _RefusedError(f"{module}.{name}")
        if (module, name) not in self._types:
            members = {"__module__": module, "__qualname__": name}
            self._types[module, name] = _InertType(name.split(".")[-1], (_Inert,), members)
        return self._types[module, name]

    def persistent_load(self, pid: Any) -> Any:
        """A storage (or, in the old format, a class with its source, which is ignored)."""
        if isinstance(pid, tuple) and len(pid) >= 2 and pid[0] == "module":
            return pid[1]
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
            raise pickle.UnpicklingError("an unknown kind of storage")
        _, kind, key, _, numel = pid[:5]
        dtype = _DTYPES.get(getattr(kind, "__qualname__", ""))
        if dtype is None or not re.fullmatch(r"\w+", str(key)) or type(numel) is not int:
            raise pickle.UnpicklingError(f"a storage that cannot be read: {pid[1:]}")
        return self._storage(str(key), dtype, numel)


def _read_zip(path: Path) -> Any:
    """The records of a file in the zip format (torch 1.6 and later)."""
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise pickle.UnpicklingError("a zip file without data.pkl")
        folder = pickles[0].removesuffix("data.pkl")
        # torch stores without compression; what is compressed could grow without bound.
        if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
            raise pickle.UnpicklingError("a compressed zip file")
        order = folder + "byteorder"
        if order in archive.namelist() and archive.read(order) != b"little":
            raise pickle.UnpicklingError("written on a big-endian machine")

        def storage(key: str, dtype: torch.dtype, numel: int) -> _Storage:
            return _Storage(lambda: _read_member(path, f"{folder}data/{key}"), dtype, numel)

        with archive.open(pickles[0]) as file:
            return _Unpickler(file, storage).load()


def _read_member(path: Path, name: str) -> bytearray:
    with zipfile.ZipFile(path) as archive:
        try:
            return bytearray(archive.read(name))
        except (KeyError, zipfile.BadZipFile, EOFError) as error:
            raise ModelError(f"{path} is damaged ({error}): download it again.") from None


def _read_legacy(file: IO[bytes], path: Path) -> Any:
    """The records of a file in the format before torch 1.6: pickles, then raw storages."""
    places: dict[str, tuple[int, int]] = {}
    lengths: dict[str, int] = {}

    def storage(key: str, dtype: torch.dtype, numel: int) -> _Storage:
        lengths[key] = dtype.itemsize
        return _Storage(lambda: _read_span(path, *places[key]), dtype, numel)

    magic, _protocol, _system, root, keys = (_Unpickler(file, storage).load() for _ in range(5))
    if magic != _LEGACY_MAGIC:
        raise pickle.UnpicklingError("no file of torch.save")
    for key in keys:
        (numel,) = struct.unpack("<q", file.read(8))
        if numel < 0:
            raise pickle.UnpicklingError("a storage of negative length")
        size = numel * lengths[key]
        places[key] = (file.tell(), size)
        # Seeking goes past the end without complaint, and a tower that is dropped is never read.
        if file.seek(size, 1) > path.stat().st_size:
            raise pickle.UnpicklingError("a storage that is cut short")
    return root


def _read_span(path: Path, start: int, size: int) -> bytearray:
    with path.open("rb") as file:
        file.seek(start)
        return bytearray(file.read(size))


def _walk(node: Any, prefix: str, above: set[int], budget: list[int]) -> Iterator[tuple[str, Any]]:
    """Tensors by state-dict key and plain attributes by path, from modules or a state dict."""
    budget[0] -= 1
    if budget[0] < 0:
        raise pickle.UnpicklingError("more parts than any model has")
    if id(node) in above:
        return
    above = above | {id(node)}
    for key, value in _members(node):
        if isinstance(value, TensorRecord | int | float | str):
            yield prefix + key, value
        else:
            yield from _walk(value, f"{prefix}{key}.", above, budget)


def _members(node: Any) -> Iterator[tuple[str, Any]]:
    """What belongs to a module (as in its state dict), plus its attributes; or a dict's items."""
    groups, left_out = [node], ()
    if isinstance(node, _Inert):
        kinds = ("_parameters", "_buffers", "_modules")
        groups = [*(node.state.get(kind) for kind in kinds), node.state]
        left_out = node.state.get("_non_persistent_buffers_set") or ()
    for group in groups:
        for key, value in group.items() if isinstance(group, Mapping) else ():
            if isinstance(key, str) and not key.startswith("_") and key not in left_out:
                yield key, value
