"""Arrays as one compressed blob in the safetensors format; reading it runs nothing that is in it.

Not NumPy's npz, which takes many times as long to read: a study has a blob for every evaluation.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from squeezerl.errors import StoreError
from squeezerl.store.job import Arrays


def pack(arrays: Arrays) -> bytes:
    """Turn named arrays into a blob.

    Raises:
        StoreError: if an array holds anything but numbers or truth values.
    """
    try:
        return zlib.compress(save({name: _plain(given) for name, given in arrays.items()}))
    except SafetensorError as error:
        raise StoreError(f"these arrays are not stored: {error}") from error


def _plain(array: npt.ArrayLike) -> npt.NDArray[Any]:
    """In the order and the bytes that the format has."""
    plain = np.asarray(array, order="C")
    return plain.astype(plain.dtype.newbyteorder("="), copy=False)


def unpack(blob: bytes | None) -> Arrays:
    """Read a blob back; `None` is no arrays.

    Raises:
        StoreError: if it is damaged.
    """
    if blob is None:
        return {}
    try:
        return load(zlib.decompress(blob))
    except (SafetensorError, zlib.error, ValueError, KeyError) as error:
        raise StoreError(f"arrays in the store are damaged ({error})") from error
