"""Reads pickles without executing them: the result is a tree of inert records.

A pickle is a program that names functions and calls them. This reader gives each name that its
caller allows a stand-in that only remembers its arguments, and refuses all other names. So nothing
of the file, of torch, NumPy, Gym or Stable-Baselines3 runs.
"""

from __future__ import annotations

import io
import pickle
import re
import struct
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from squeezerl.errors import CheckpointError

# What pickles of NumPy's arrays, scalars and random generators name.
NUMPY_NAMES = (
    r"numpy\.(dtype|ndarray|float64|float32|int64|bool_)"
    r"|numpy\.(_core|core)\.multiarray\.(_reconstruct|scalar)"
    r"|numpy\.(_core|core)\.numeric\._frombuffer"
    r"|numpy\.random\._pickle\.(__randomstate_ctor|__generator_ctor|__bit_generator_ctor)"
    r"|numpy\.random\._(mt19937\.MT19937|pcg64\.PCG64)"
    r"|numpy\.random\.bit_generator\.(SeedSequence|__pyx_unpickle_SeedSequence)"
    r"|_codecs\.encode"
    r"|builtins\.(bytearray|complex)"
    r"|__builtin__\.bytes"  # b"" in protocol 2
)
_DTYPES = ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "b1")


class Inert:
    """What a pickle wanted to call: the arguments, items and state that it gave.

    `name` is the full name of what it wanted to call, for example "numpy.dtype".
    """

    name = ""
    arguments: tuple[Any, ...]
    items: dict[Any, Any]
    state: Any

    def __new__(cls, *arguments: Any, **keywords: Any) -> Self:
        """Keep the arguments."""
        record = super().__new__(cls)
        record.arguments, record.items, record.state = arguments, {}, None
        return record

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        """Do nothing, since `__new__` has kept the arguments."""

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items[key] = value

    def append(self, item: Any) -> None:
        """Keep an item of a sequence under its place."""
        self.items[len(self.items)] = item

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _read_bytearray(unpickler: Any) -> None:
    """Read a bytearray; `pickle` itself first makes room for as much as the file claims."""
    (length,) = struct.unpack("<Q", unpickler.read(8))
    if length > unpickler.size:
        raise CheckpointError("the pickle claims more bytes than it has")
    unpickler.append(bytearray(unpickler.read(length)))


def _read_reduce(unpickler: Any) -> None:
    """Refuse to stand in for the call of a name that is not allowed; a class may just stand there.

    An object of a class is made without a call (`NEWOBJ`), so that this tells the two apart.
    """
    function = unpickler.stack[-2]
    if getattr(function, "name", None) in unpickler.strangers:
        unpickler.refuse(function.name)
    pickle._Unpickler.load_reduce(unpickler)  # type: ignore[attr-defined]


# This is the unpickler in Python. A few bytes can make the one in C allocate gigabytes.
class InertUnpickler(pickle._Unpickler):
    """Builds `Inert` records for the names that `allowed` matches.

    Args:
        content: the pickle, whole: a file would make room for as much as the pickle claims.
        allowed: matches the full names that such a file needs.
        what: the kind of file, for the message about any other name.
        any_class: whether objects of other classes become records as well. Calls of other names are
            refused all the same.
    """

    dispatch: ClassVar[dict[int, Any]] = {
        **pickle._Unpickler.dispatch,
        pickle.BYTEARRAY8[0]: _read_bytearray,
        pickle.REDUCE[0]: _read_reduce,
    }

    def __init__(
        self, content: bytes, *, allowed: re.Pattern[str], what: str, any_class: bool = False
    ) -> None:
        super().__init__(io.BytesIO(content))
        self.size = len(content)
        self.strangers: set[str] = set()
        self._allowed, self._what, self._any_class = allowed, what, any_class

    def find_class(self, module: str, name: str) -> type[Inert]:
        """A stand-in for what the pickle names, if the name is allowed."""
        full_name = f"{module}.{name}"
        if not self._allowed.fullmatch(full_name):
            if not self._any_class:
                self.refuse(full_name)
            self.strangers.add(full_name)
        return type("Inert", (Inert,), {"name": full_name})

    def refuse(self, name: str) -> None:
        """Raise the error about a name that is not allowed."""
        raise CheckpointError(
            f"the pickle asks for {name!r}, which {self._what} never needs; "
            "refused, nothing was executed"
        )

    def persistent_load(self, pid: Any) -> Any:
        """Refuse what a pickle says of data outside itself, unless a subclass knows better."""
        raise CheckpointError("the pickle refers to data outside the file; refused")


def array_of(record: Any) -> npt.NDArray[Any]:
    """The numbers in the record of a pickled array (of NumPy 1 or 2) or scalar, in their own dtype.

    Raises:
        CheckpointError, LookupError, TypeError, ValueError, AttributeError: if it holds none.
    """
    function = record.name.rpartition(".")[2]
    if function == "_reconstruct":
        _, shape, dtype, fortran, content = record.state
    elif function == "_frombuffer":
        content, dtype, shape, order = record.arguments
        fortran = order == "F"
    elif function == "scalar":
        (dtype, content), shape, fortran = record.arguments, (), False
    else:
        raise CheckpointError(f"{record.name!r} stands where numbers should")
    code, byte_order = dtype.arguments[0], dtype.state[1]
    if not (isinstance(code, str) and code in _DTYPES and byte_order in ("<", ">", "=", "|")):
        raise CheckpointError("numbers of another type than float or int are not expected")
    if isinstance(content, Inert):  # bytes as protocol 2 writes them: encode(text, "latin1")
        text = content.arguments[0]
        if not isinstance(text, str):
            raise CheckpointError("the bytes of the numbers are not bytes")
        content = text.encode("latin1")
    flat = np.frombuffer(content, dtype=np.dtype(byte_order.replace("|", "=") + code))
    return flat.reshape(shape, order="F" if fortran else "C")
