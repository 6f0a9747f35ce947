"""Reads the named tensors in a torch file, and the layers they form, without torch.

A torch file is a zip with a pickle that describes the tensors, and one record for the bytes of each
storage. The pickle is read by a reader that executes nothing.
"""

from __future__ import annotations

import io
import math
import re
import warnings
import zipfile
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from squeezerl.agents.inert_pickle import Inert, InertUnpickler
from squeezerl.errors import CheckpointError, UnsupportedPolicyError
from squeezerl.network.network import Layer

Array = npt.NDArray[Any]
State = Mapping[str, Array]

REBUILD_TENSOR, ORDERED_DICT = "torch._utils._rebuild_tensor_v2", "collections.OrderedDict"
# Storage class → the dtype of its numbers. NumPy has no bfloat16, the upper half of a float32.
_DTYPES = {
    "Float": "f4",
    "Double": "f8",
    "Half": "f2",
    "BFloat16": "u2",
    "Long": "i8",
    "Int": "i4",
    "Short": "i2",
    "Char": "i1",
    "Byte": "u1",
    "Bool": "?",
    "ComplexFloat": "c8",
    "ComplexDouble": "c16",
}
STORAGE = re.compile(rf"torch\.({'|'.join(_DTYPES)})Storage")
TENSOR_NAMES = f"{re.escape(REBUILD_TENSOR)}|{re.escape(ORDERED_DICT)}|{STORAGE.pattern}"
_ALLOWED = re.compile(TENSOR_NAMES)


def read_state_dict(content: bytes, name: str) -> dict[str, Array]:
    """The tensors in a torch file, which are read-only; nothing in the file is executed.

    Args:
        content: of the file. Files in the format before torch 1.6, which are not zips, are read by
            torch itself (`weights_only`).
        name: of the file, for messages.

    Raises:
        CheckpointError: if the file is damaged or holds anything but named tensors.
    """
    _check_sizes(content, name)
    try:
        if content.startswith(b"PK\x03\x04"):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                return _tensors(TorchArchive(archive))
        return _read_legacy(content)
    except Exception as error:  # a hostile file can make the reader fail in any way
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{name!r} cannot be read as plain weights ({reason[:200]}); nothing was executed"
        ) from error


def _check_sizes(content: bytes, name: str) -> None:
    """Refuse a zip whose records would unpack to more than the file itself.

    Torch writes its records uncompressed, so a sound file never grows.
    """
    try:
        if not zipfile.is_zipfile(io.BytesIO(content)):
            return
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            total = sum(info.file_size for info in archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise CheckpointError(f"{name!r} is damaged ({error})") from error
    if total > len(content):
        raise CheckpointError(
            f"{name!r} claims to unpack from {len(content):,} to {total:,} bytes; "
            "refused as a possible zip bomb"
        )


class _Unpickler(InertUnpickler):
    """Also remembers what the pickle says of storages, whose bytes are elsewhere in the zip."""

    def persistent_load(self, pid: Any) -> Any:
        return Inert(*pid)


def is_tensor(record: Any) -> bool:
    """Whether a record of a pickle stands for a tensor."""
    return isinstance(record, Inert) and record.name == REBUILD_TENSOR


class TorchArchive:
    """The pickles and tensors of one torch zip; tensors that share a storage share its memory.

    Raises:
        CheckpointError: if the zip has none, or several sets of them.
    """

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._names = set(archive.namelist())
        found = [n for n in archive.namelist() if re.fullmatch(r"[^/]+/data\.pkl", n)]
        if len(found) != 1:
            raise CheckpointError("it holds no tensors, or several sets of them")
        self._folder = found[0].rpartition("/")[0]
        written = self.read("byteorder") if "byteorder" in self else b"little"
        if written not in (b"little", b"big"):
            raise CheckpointError(f"unknown byte order {written[:20]!r}")
        self._order: Literal["<", ">"] = "<" if written == b"little" else ">"
        self._storages: dict[tuple[str, str], Array] = {}

    def __contains__(self, name: str) -> bool:
        return f"{self._folder}/{name}" in self._names

    def read(self, name: str) -> bytes:
        """The bytes of a member."""
        return self._archive.read(f"{self._folder}/{name}")

    def records(
        self, name: str, allowed: re.Pattern[str], what: str, *, any_class: bool = False
    ) -> Any:
        """What the pickle of a name holds, as `InertUnpickler` reads it."""
        return _Unpickler(self.read(name), allowed=allowed, what=what, any_class=any_class).load()

    def tensor(self, record: Inert, name: str, folder: str = "data") -> Array:
        """The tensor that a record stands for; `folder` has its storage, `name` is for messages."""
        return self._tensor(name, folder, *record.arguments)

    def _tensor(
        self,
        name: str,
        folder: str,
        storage: Inert,
        offset: int,
        size: tuple[int, ...],
        stride: tuple[int, ...],
        requires_grad: bool,
        hooks: Any,
        flags: Any = None,
    ) -> Array:
        numbers = (offset, *size, *stride)
        if len(size) != len(stride) or any(type(n) is not int or n < 0 for n in numbers):
            raise CheckpointError(f"{name!r} has no sound shape")
        if flags:
            raise CheckpointError(f"{name!r} is a conjugate or negative view")
        flat = self._storage(folder, *storage.arguments)
        count = math.prod(size)
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if count == 0:
            return np.zeros(size, flat.dtype)
        if count > len(flat) or last >= len(flat):
            raise CheckpointError(f"{name!r} claims shape {size} but holds less data")
        steps = tuple(step * flat.itemsize for step in stride)
        return np.lib.stride_tricks.as_strided(flat[offset:], size, steps, writeable=False)

    def _storage(
        self, folder: str, what: str, kind: Any, key: str, location: str, count: int
    ) -> Array:
        match = STORAGE.fullmatch(getattr(kind, "name", ""))
        if what != "storage" or not match or not isinstance(key, str) or type(count) is not int:
            raise CheckpointError("a tensor refers to something that is not a storage")
        place = f"{folder}/{key}"
        if (place, match[1]) not in self._storages:
            content = self.read(place)
            dtype = np.dtype(_DTYPES[match[1]]).newbyteorder(self._order)
            if len(content) != count * dtype.itemsize:
                raise CheckpointError(
                    f"storage {key[:20]!r} claims {count} numbers of {dtype.itemsize} bytes; "
                    f"the size of its record is {len(content)}"
                )
            numbers = np.frombuffer(content, dtype) if content else np.zeros(0, dtype)
            if match[1] == "BFloat16":
                numbers = (numbers.astype(np.uint32) << 16).view(np.float32)
            self._storages[place, match[1]] = numbers
        return self._storages[place, match[1]]


def _tensors(archive: TorchArchive) -> dict[str, Array]:
    """All tensors by name."""
    record = archive.records("data.pkl", _ALLOWED, "a file of plain weights")
    if isinstance(record, Inert) and record.name == ORDERED_DICT and not record.arguments:
        record = record.items
    if not isinstance(record, dict) or not all(
        isinstance(key, str) and is_tensor(value) for key, value in record.items()
    ):
        raise CheckpointError("it does not hold a mapping of names to tensors")
    return {name: archive.tensor(value, name) for name, value in record.items()}


def _read_legacy(content: bytes) -> dict[str, Array]:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    if not isinstance(loaded, Mapping) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in loaded.items()
    ):
        raise CheckpointError("it does not hold a mapping of names to tensors")
    state = {}
    for name, tensor in loaded.items():
        if tensor.layout != torch.strided or tensor.is_nested or tensor.is_meta:
            raise CheckpointError(f"{name!r} is not a dense tensor")
        if tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
            raise CheckpointError(
                f"{name!r} claims shape {tuple(tensor.shape)} but holds less data"
            )
        plain = tensor.detach().float() if tensor.dtype == torch.bfloat16 else tensor.detach()
        state[name] = plain.numpy()
    return state


def checked(state: State, name: str) -> npt.NDArray[np.float32]:
    """One tensor in float32, of floating-point numbers that are all finite."""
    if name not in state:
        raise CheckpointError(f"the weights lack {name!r}")
    if not np.issubdtype(state[name].dtype, np.floating):
        raise CheckpointError(f"{name!r} is not a floating-point tensor")
    with np.errstate(over="ignore"):
        tensor = np.array(state[name], np.float32, order="C")
    if not np.isfinite(tensor).all():
        raise CheckpointError(f"{name!r} holds NaN or infinite values")
    return tensor


def read_linear(state: State, name: str, activation: str | None) -> Layer:
    """The layer whose tensors are `name.weight` (out, in) and `name.bias` (out,)."""
    weight, bias = checked(state, f"{name}.weight"), checked(state, f"{name}.bias")
    if weight.ndim != 2 or bias.shape != weight.shape[:1]:
        raise CheckpointError(
            f"{name!r} is no linear layer: weight {weight.shape}, bias {bias.shape}"
        )
    return Layer(weight=weight, bias=bias, activation=activation)


def read_sequential(
    state: State, prefix: str, activation: str | None, *, ends_linear: bool = False
) -> list[Layer]:
    """The linear layers `prefix.0`, `prefix.2`, ... of a torch Sequential; there can be none.

    An activation stands behind each of them, but not behind the last one if it `ends_linear`. The
    slopes of a PReLU are read from `prefix.1`, `prefix.3`, ...
    """
    pattern = re.compile(re.escape(prefix) + r"\.(\d+)\.(.+)")
    indices: set[str] = set()
    slopes: dict[str, str] = {}
    for key, tensor in state.items():
        if not (match := pattern.fullmatch(key)):
            continue
        if activation == "PReLU" and match[2] == "weight" and tensor.ndim == 1:
            numbers = [str(number) for number in checked(state, key)]
            slopes[match[1]] = ":".join([activation, *numbers])
            continue
        if match[2] not in ("weight", "bias") or (match[2] == "weight" and tensor.ndim != 2):
            raise UnsupportedPolicyError(
                f"{key!r} is not part of a plain multilayer perceptron; only linear layers "
                "with activations between them are supported"
            )
        indices.add(match[1])
    # An activation stands between two layers, so the layers have the even places.
    expected = [str(2 * place) for place in range(len(indices))]
    if indices != set(expected):
        raise CheckpointError(f"{prefix!r} lacks layers: only {sorted(indices)[:9]} are there")
    behind = [activation] * len(expected)
    if ends_linear:
        behind[-1:] = [None] * len(behind[-1:])
    if activation == "PReLU":
        places = [str(2 * place + 1) for place, name in enumerate(behind) if name is not None]
        if {*places} != {*slopes}:
            raise CheckpointError(f"{prefix!r} has slopes of PReLU at {sorted(slopes)[:9]} only")
        behind[: len(places)] = [slopes[place] for place in places]
    return [
        read_linear(state, f"{prefix}.{index}", after)
        for index, after in zip(expected, behind, strict=True)
    ]
