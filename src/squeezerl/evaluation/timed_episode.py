"""One episode in one environment with the time that its decisions took, as the study measured."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

from squeezerl.errors import EnvError

_ENDLESS = 1_000_000


def timed_episode(
    env: gymnasium.Env[Any, Any], act: Callable[[Any], Any], seed: int
) -> tuple[float, int, float]:
    """Play one episode; return its return, its length, and the seconds spent in `act`.

    Args:
        env: a Gymnasium environment.
        act: takes observations (1, *shape) in float32, gives actions (1, *shape).
        seed: of the episode.

    Raises:
        EnvError: if the episode does not end, or its return is not a number.
    """
    clock = time.perf_counter
    observation, _ = env.reset(seed=seed)
    return_, length, acting_s, done = 0.0, 0, 0.0, False
    while not done:
        batch = np.asarray(observation, dtype=np.float32)[np.newaxis]
        start = clock()
        action = act(batch)[0]
        acting_s += clock() - start
        observation, reward, terminated, truncated, _ = env.step(action)
        return_ += float(reward)
        length += 1
        done = terminated or truncated
        if length >= _ENDLESS and not done:
            raise EnvError(f"an episode did not end after {length:,} steps")
    if not math.isfinite(return_):
        raise EnvError(f"the return of seed {seed} is not finite")
    return return_, length, acting_s
