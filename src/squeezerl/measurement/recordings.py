"""What a profile reads and writes besides policies; nothing in a file is executed."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt

from squeezerl.errors import InvalidArgumentError
from squeezerl.measurement.result import Profile
from squeezerl.runtimes.actor import Observations

_MOST_BYTES = 2**30


def read_observations(path: Path) -> Observations:
    """Observations (n, *shape) from a .npy file, as float32.

    Raises:
        InvalidArgumentError: if it is not one.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError("larger than 1 GiB")
        return as_observations(np.load(path, allow_pickle=False))
    except Exception as error:  # a damaged file can make the reader fail in any way
        raise InvalidArgumentError(f"{path}: cannot be read as observations ({error})") from error


def as_observations(values: npt.ArrayLike) -> Observations:
    """Numbers of the shape (n, *observation_shape) as float32.

    Raises:
        InvalidArgumentError: if they are not.
    """
    try:
        array = np.asarray(values)
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused
            observations: Observations = array.astype(np.float32, casting="same_kind")
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"observations must be numbers ({error})") from error
    if observations.ndim < 2:
        raise InvalidArgumentError(
            "observations must be an array of the shape (n, *observation_shape), "
            f"not {observations.shape}"
        )
    return observations


def samples_npz(profile: Profile) -> bytes:
    """The time of every single decision, as a compressed .npz.

    The arrays of `LatencySamples` are named `row/round/field`, rows counted from 0.
    """
    arrays = {
        f"{number}/{process.round}/{name}": getattr(process.latency, name)
        for number, row in enumerate(profile.rows)
        for process in row.processes
        for name in ("nanoseconds", "chunk_ends", "gauges")
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()
