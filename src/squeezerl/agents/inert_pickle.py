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

from squeezerl.errors import CheckpointError


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

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _read_bytearray(unpickler: Any) -> None:
    """Read a bytearray; `pickle` itself first makes room for as much as the file claims."""
    (length,) = struct.unpack("<Q", unpickler.read(8))
    if length > unpickler.size:
        raise CheckpointError("the pickle claims more bytes than it has")
    unpickler.append(bytearray(unpickler.read(length)))


# This is the unpickler in Python. A few bytes can make the one in C allocate gigabytes.
class InertUnpickler(pickle._Unpickler):
    """Builds `Inert` records for the names that `allowed` matches.

    Args:
        content: the pickle, whole: a file would make room for as much as the pickle claims.
        allowed: matches the full names that such a file needs.
        what: the kind of file, for the message about any other name.
    """

    dispatch: ClassVar[dict[int, Any]] = {
        **pickle._Unpickler.dispatch,
        pickle.BYTEARRAY8[0]: _read_bytearray,
    }

    def __init__(self, content: bytes, *, allowed: re.Pattern[str], what: str) -> None:
        super().__init__(io.BytesIO(content))
        self.size = len(content)
        self._allowed, self._what = allowed, what

    def find_class(self, module: str, name: str) -> type[Inert]:
        """A stand-in for what the pickle names, if the name is allowed."""
        full_name = f"{module}.{name}"
        if not self._allowed.fullmatch(full_name):
            raise CheckpointError(
                f"the pickle asks for {full_name!r}, which {self._what} never needs; "
                "refused, nothing was executed"
            )
        return type("Inert", (Inert,), {"name": full_name})

    def persistent_load(self, pid: Any) -> Any:
        """Refuse what a pickle says of data outside itself, unless a subclass knows better."""
        raise CheckpointError("the pickle refers to data outside the file; refused")
