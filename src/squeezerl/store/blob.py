"""Arrays as one compressed blob in NumPy's npz format; nothing is unpickled on reading."""

from __future__ import annotations

import io
import zipfile

import numpy as np

from squeezerl.errors import StoreError
from squeezerl.store.job import Arrays


def pack(arrays: Arrays) -> bytes:
    """Turn named arrays into a blob.

    Raises:
        StoreError: if an array holds Python objects.
    """
    buffer = io.BytesIO()
    # Not np.savez_compressed: it takes the names as keywords, and "file" is taken.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, values in arrays.items():
            array = np.asarray(values)
            if array.dtype.hasobject:
                raise StoreError(f"array {name!r} holds Python objects, which are not stored")
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
    return buffer.getvalue()


def unpack(blob: bytes | None) -> Arrays:
    """Read a blob back; `None` is no arrays.

    Raises:
        StoreError: if it is damaged, or holds pickled objects.
    """
    if blob is None:
        return {}
    try:
        with np.load(io.BytesIO(blob), allow_pickle=False) as file:
            return dict(file)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise StoreError(f"arrays in the store are damaged ({error})") from error
