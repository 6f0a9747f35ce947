"""Recorded observations in, single samples out: NumPy's own files, nothing executed."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

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
        observations = np.load(path, allow_pickle=False)
        if not isinstance(observations, np.ndarray) or observations.ndim < 2:
            raise ValueError("not an array of the shape (n, *observation_shape)")
        return observations.astype(np.float32, casting="same_kind")
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise InvalidArgumentError(f"{path}: cannot be read as observations ({error})") from error


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
