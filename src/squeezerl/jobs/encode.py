"""Jobs and results to and from what the tables hold: JSON as text, arrays as one blob.

Arrays are in the safetensors format, compressed; reading it runs nothing that is in it. NumPy's npz
takes many times as long to read, and a study has one blob for each evaluation.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from squeezerl.errors import StoreError
from squeezerl.jobs.job import Arrays, Job

# The columns of the table of jobs that a `Job` is made of.
JOB_COLUMNS = ("id", "kind", "version", "params", "needs", "exclusive", "estimate_s")


def to_text(value: Any, what: str) -> str:
    """Plain JSON as compact text.

    Raises:
        StoreError: if the value is not plain JSON; an unknown number is `None`, not NaN.
    """
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise StoreError(f"{what} is not plain JSON: {error}") from error


def from_texts(texts: Sequence[str]) -> list[Any]:
    """Parse many texts at once, which is faster than one by one."""
    parsed: list[Any] = json.loads(f"[{','.join(texts)}]")
    return parsed


def clean(text: str) -> str:
    """Replace what databases do not accept in text: NUL and halves of surrogate pairs."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def job_of(row: Any) -> Job:
    """A job from its row."""
    values = {name: getattr(row, name) for name in JOB_COLUMNS}
    return make_job(*{**values, "params": json.loads(row.params)}.values())


def make_job(
    id_: str,
    kind: str,
    version: int,
    params: dict[str, Any],
    needs: str,
    exclusive: bool,
    estimate_s: float | None,
) -> Job:
    """A job from the values of `JOB_COLUMNS`, with its parameters parsed.

    It skips the constructor of the frozen class and the hashing of the id, which would take most
    of the time where there are many jobs.
    """
    job = object.__new__(Job)
    job.__dict__.update(
        id=id_,
        kind=kind,
        version=version,
        params=params,
        needs=tuple(needs.split()),
        exclusive=exclusive,
        estimate_s=estimate_s,
    )
    return job


def pack(arrays: Arrays) -> bytes:
    """Turn named arrays into a blob.

    Raises:
        StoreError: if an array holds anything but numbers or truth values.
    """
    try:
        return zlib.compress(save({name: _plain(given) for name, given in arrays.items()}))
    except SafetensorError as error:
        raise StoreError(f"these arrays cannot be stored: {error}") from error


def _plain(array: npt.ArrayLike) -> npt.NDArray[Any]:
    """The array in the memory order and byte order of the format."""
    plain = np.asarray(array, order="C")
    return plain.astype(plain.dtype.newbyteorder("="), copy=False)


def unpack(blob: bytes | None) -> Arrays:
    """Read a blob back; `None` holds no arrays.

    Raises:
        StoreError: if the blob is damaged.
    """
    if blob is None:
        return {}
    try:
        return load(zlib.decompress(blob))
    except (SafetensorError, zlib.error, ValueError, KeyError) as error:
        raise StoreError(f"arrays in the store are damaged ({error})") from error
