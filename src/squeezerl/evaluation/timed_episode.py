"""One episode in one environment with the time that its decisions took, as the study measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

from squeezerl.evaluation import stepping


def timed_episode(
    env: gymnasium.Env[Any, Any], act: Callable[[Any], Any], seed: int
) -> tuple[float, int, float]:
    """Play one episode; return its return, its length, and the seconds spent in `act`.

    Args:
        env: a Gymnasium environment.
        act: takes observations (1, *shape) in float32, gives actions (1, *shape).
        seed: of the episode.

    Raises:
        EnvError: if the episode does not end, or the environment does what `stepping` refuses.
    """
    clock = time.perf_counter
    name = "the environment" if env.spec is None else env.spec.id
    shape = env.observation_space.shape
    assert shape is not None
    limit = None if env.spec is None else env.spec.max_episode_steps
    observation = stepping.reset(env, shape, name, seed)
    return_, length, acting_s, done = 0.0, 0, 0.0, False
    while not done:
        batch = np.asarray(observation, dtype=np.float32)[np.newaxis]
        if not stepping.all_finite(batch):
            stepping.refuse_nan(batch, "observation", name, [seed], [length])
        start = clock()
        action = act(batch)[0]
        acting_s += clock() - start
        length += 1
        observation, reward, done = stepping.step(env, action, shape, name, seed, length)
        return_ += reward
        if not done:
            stepping.check_length(name, limit, length)
    return return_, length, acting_s
