"""What a network's values are in the states that its agent visits."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from squeezerl.errors import CompressionError, SpecError
from squeezerl.network.arithmetic import act
from squeezerl.network.network import Float, Network


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
