"""What a network's values are in the states that its agent visits, and ranges for them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import numpy as np
import numpy.typing as npt

from squeezerl.errors import CompressionError, SpecError
from squeezerl.methods.integers import LEVELS, affine_rounding
from squeezerl.network.arithmetic import act, rounded
from squeezerl.network.network import Float, Network

Calibration = Literal["minmax", "percentile", "mse", "entropy"]
_PERCENTILE = 99.99
_SHARES = np.linspace(1, 0.4, 25)  # of the whole range, to choose from
_MOST_VALUES, _BINS = 100_000, 2048


def values_seen(
    network: Network, observations: npt.NDArray[np.float32] | None, names: Collection[str]
) -> dict[str, Float]:
    """The named values of the network's chain, each (n, features), for raw observations.

    Raises:
        SpecError: if there are no observations.
        CompressionError: if they do not fit the network, or are not finite.
    """
    if observations is None:
        raise SpecError(
            "static quantization needs observations of the agent's own episodes to calibrate with"
        )
    observations = np.asarray(observations, dtype=np.float32)
    shape = network.observation_shape
    if len(observations) == 0 or observations.shape[1:] != shape:
        raise CompressionError(
            f"calibration observations of shape {observations.shape} given, (n, "
            f"{', '.join(map(str, shape))}) needed with n of at least 1"
        )
    if not np.isfinite(observations).all():
        raise CompressionError("the calibration observations hold NaN or infinite values")
    seen: dict[str, Float] = {}

    def observe(name: str, value: Float) -> None:
        if name in names:
            seen[name] = value

    act(network, observations, observe)
    return seen


def range_of(values: Float, how: Calibration) -> tuple[float, float]:
    """The range that integers of 8 bits shall hold, for values as they were seen.

    "minmax" holds all of them, "percentile" all but the outermost 0.01 %. "mse" takes the share of
    the range that loses least to rounding and clipping, in mean squared error; "entropy" the one
    with the least divergence from the values' distribution (Migacz 2017, "8-bit inference with
    TensorRT").
    """
    low, high = float(values.min()), float(values.max())
    if how == "minmax" or low == high:
        return low, high
    if how == "percentile":
        ends = np.percentile(values, [100 - _PERCENTILE, _PERCENTILE])
        return float(ends[0]), float(ends[1])
    some = values.ravel()[:: -(-values.size // _MOST_VALUES)]
    loss = _squared_error if how == "mse" else _divergence
    share = min(_SHARES, key=lambda share: loss(some, share * low, share * high))
    return float(share * low), float(share * high)


def _squared_error(values: Float, low: float, high: float) -> float:
    integers, scale = rounded(values[:, np.newaxis], affine_rounding(low, high))
    return float(((integers[:, 0] * scale[:, 0] - values) ** 2).mean())


def _divergence(values: Float, low: float, high: float) -> float:
    """Kullback-Leibler divergence of the rounded distribution from that of the clipped values."""
    counts, _ = np.histogram(np.clip(values, low, high), _BINS, (low, high))
    inside, _ = np.histogram(values[(values >= low) & (values <= high)], _BINS, (low, high))
    levels = np.arange(_BINS) * (LEVELS + 1) // _BINS
    filled = inside > 0
    sums = np.bincount(levels, inside, LEVELS + 1)
    bins = np.maximum(np.bincount(levels, filled, LEVELS + 1), 1)
    smooth = np.where(filled, (sums / bins)[levels], 0)
    theirs, ours = counts / counts.sum(), smooth / max(smooth.sum(), 1)
    some = theirs > 0
    return float((theirs[some] * np.log(theirs[some] / np.maximum(ours[some], 1e-9))).sum())
