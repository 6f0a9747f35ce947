"""Arrays as one compressed blob; reading it runs nothing that is in it.

Not NumPy's npz, which takes 30 times as long to read: a study has a blob for every evaluation.
The blob is a magic word and, deflated, the length of a JSON header, the header with name, type,
shape and place of each array, and their values.
"""

from __future__ import annotations

import json
import math
import zlib
from typing import Any

import numpy as np

from squeezerl.errors import StoreError
from squeezerl.store.job import Arrays

_MAGIC = b"SQZA1"
_LENGTH_BYTES = 8
_ALIGNMENT = 16
# Truth values, integers, floating and complex numbers, text of fixed length.
_KINDS = frozenset("biufcSU")


def pack(arrays: Arrays) -> bytes:
    """Turn named arrays into a blob.

    Raises:
        StoreError: if an array holds anything but numbers and text.
    """
    header: list[tuple[str, str, tuple[int, ...], int]] = []
    values: list[bytes] = []
    place = 0
    for name, given in arrays.items():
        array = np.asarray(given)
        if array.dtype.kind not in _KINDS:
            raise StoreError(f"array {name!r} holds {array.dtype}, which is not stored")
        header.append((name, array.dtype.str, array.shape, place))
        content = array.tobytes()
        values.append(_padded(content))
        place += len(values[-1])
    text = _padded(json.dumps(header, separators=(",", ":")).encode(), b" ")
    length = len(text).to_bytes(_LENGTH_BYTES, "little")
    return _MAGIC + zlib.compress(b"".join((length, bytes(_LENGTH_BYTES), text, *values)))


def _padded(content: bytes, filler: bytes = b"\0") -> bytes:
    return content + filler * (-len(content) % _ALIGNMENT)


def unpack(blob: bytes | None) -> Arrays:
    """Read a blob back, as arrays that cannot be written to; `None` is no arrays.

    Raises:
        StoreError: if it is damaged.
    """
    if blob is None:
        return {}
    try:
        if blob[: len(_MAGIC)] != _MAGIC:
            raise ValueError("not arrays")
        content = zlib.decompress(blob[len(_MAGIC) :])
        first = 2 * _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
        header = json.loads(content[2 * _LENGTH_BYTES : first])
        return {
            name: _array(content, dtype, shape, first + place)
            for name, dtype, shape, place in header
        }
    except (ValueError, TypeError, zlib.error) as error:
        raise StoreError(f"arrays in the store are damaged ({error})") from error


def _array(content: bytes, dtype: str, shape: list[int], place: int) -> np.ndarray[Any, Any]:
    kind = np.dtype(dtype)
    if kind.kind not in _KINDS:
        raise ValueError(f"{dtype} is not stored")
    array = np.frombuffer(content, kind, math.prod(shape), place)
    return array.reshape(shape)
