"""Observation and action spaces, from the JSON text that Stable-Baselines3 writes of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from squeezerl.errors import CheckpointError, UnsupportedPolicyError


@dataclass(frozen=True)
class BoxSpace:
    """Arrays of `shape`, between `low` and `high` (flattened)."""

    shape: tuple[int, ...]
    dtype: str
    low: npt.NDArray[np.float32]
    high: npt.NDArray[np.float32]


@dataclass(frozen=True)
class DiscreteSpace:
    """One of `n` choices."""

    n: int


def parse_space(data: Any, role: str) -> BoxSpace | DiscreteSpace:
    """A space from its entry in the checkpoint's metadata; `role` names it in errors."""
    if not isinstance(data, dict):
        raise CheckpointError(f"the metadata has no readable {role} space")
    kind = str(data.get(":type:", "")).removeprefix("<class '").removesuffix("'>")
    kind = kind.rpartition(".")[2]
    if kind == "Discrete":
        n, start = data.get("n"), data.get("start", 0)
        count = int(str(n)) if str(n).isdecimal() and len(str(n)) < 8 else 0
        if not 1 <= count <= 1_000_000:
            raise CheckpointError(f"the {role} space is discrete, but its size is {n!r}")
        if str(start) != "0":
            raise UnsupportedPolicyError(f"discrete {role} spaces that start at {start} (not 0)")
        return DiscreteSpace(count)
    if kind != "Box":
        raise UnsupportedPolicyError(
            f"{kind or 'unknown'} {role} spaces are not supported yet"
            + (" (a dict-observation policy)" if kind == "Dict" else "")
            + "; supported are Box observations, and Box or Discrete actions"
        )
    shape = data.get("shape", data.get("_shape"))
    if not isinstance(shape, list) or not all(isinstance(n, int) and n > 0 for n in shape):
        raise CheckpointError(f"the {role} space has no valid shape: {shape!r}")
    size = math.prod(shape)
    if size > 1_000_000:
        raise CheckpointError(f"the {role} space claims {size:,} features")
    low, high = (
        _parse_bounds(data.get(key), size, role, required=role == "action")
        for key in ("low", "high")
    )
    if not (low <= high).all():
        raise CheckpointError(f"the bounds of the {role} space are crossed")
    return BoxSpace(tuple(shape), str(data.get("dtype")), low, high)


def _parse_bounds(text: Any, size: int, role: str, *, required: bool) -> npt.NDArray[np.float32]:
    """Bounds from numpy's printed form; eight digits, which float32 actions do not exceed."""
    if not required:
        return np.zeros(0, dtype=np.float32)
    words = str(text).replace("[", " ").replace("]", " ").replace(",", " ").split()
    try:
        bounds = np.array([float(word) for word in words], dtype=np.float32)
    except ValueError:
        bounds = np.zeros(0, dtype=np.float32)
    if bounds.size != size or np.isnan(bounds).any():
        raise CheckpointError(f"the bounds of the {role} space cannot be read: {str(text)[:80]!r}")
    return bounds
