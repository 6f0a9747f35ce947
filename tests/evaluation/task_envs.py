"""Environments whose episodes are known beforehand."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Box, Discrete

Array = npt.NDArray[np.float32]
Reset = tuple[Array, dict[str, Any]]
Step = tuple[Array, float, bool, bool, dict[str, Any]]


def fate(seed: int) -> tuple[int, float]:
    """Length and return of the episode that `Fate` has in store for a seed."""
    if np.random.default_rng(seed).random() < 0.5:
        return 1 + seed % 3, 0.0
    return 40 + seed % 17, 1.0


class Fate(gymnasium.Env[Array, Array]):
    """The seed alone decides: a short episode with return 0, or a long one with return 1."""

    observation_space = Box(-np.inf, np.inf, (1,))
    action_space = Box(-1, 1, (1,))

    def reset(self, *, seed: int | None = None, options: Any = None) -> Reset:
        super().reset(seed=seed)
        self._left, self._reward = fate(seed) if seed is not None else (1000, 0.0)
        return np.zeros(1, np.float32), {}

    def step(self, action: Array) -> Step:
        self._left -= 1
        ended = self._left == 0
        return np.zeros(1, np.float32), self._reward * ended, ended, False, {}


class Endless(gymnasium.Env[Array, Array]):
    """Never ends by itself; each step is worth 1."""

    observation_space = Box(-np.inf, np.inf, (1,))
    action_space = Box(-1, 1, (1,))

    def reset(self, *, seed: int | None = None, options: Any = None) -> Reset:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: Array) -> Step:
        return np.zeros(1, np.float32), 1.0, False, False, {}


class Mirror(gymnasium.Env[Array, Array]):
    """One step, worth the action; the observation is whether the seed is odd.

    `seeds` lists what the episodes were seeded with.
    """

    observation_space = Box(0, 1, (1,))
    action_space = Box(0, 1, (1,))
    seeds: ClassVar[list[int]] = []

    def reset(self, *, seed: int | None = None, options: Any = None) -> Reset:
        super().reset(seed=seed)
        if seed is not None:
            self.seeds.append(seed)
        return np.float32([(seed or 0) % 2]), {}

    def step(self, action: Array) -> Step:
        return np.zeros(1, np.float32), float(action[0]), True, False, {}


class Choice(gymnasium.Env[Array, Any]):
    """One step, worth the most for the second of three actions."""

    observation_space = Box(-1, 1, (1,))
    action_space = Discrete(3)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Reset:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Step:
        return np.zeros(1, np.float32), float(action == 1), True, False, {}


class Echo(gymnasium.Env[Array, Array]):
    """Four steps; each observation is the action before it, the first is the seed's remainder."""

    observation_space = Box(-np.inf, np.inf, (1,))
    action_space = Box(-1, 1, (1,))

    def reset(self, *, seed: int | None = None, options: Any = None) -> Reset:
        super().reset(seed=seed)
        self._step = 0
        return np.float32([(seed or 0) % 1000]), {}

    def step(self, action: Array) -> Step:
        self._step += 1
        return action.astype(np.float32), 0.0, self._step == 4, False, {}


FATE, ENDLESS, TEN_STEPS = "tests/Fate-v0", "tests/Endless-v0", "tests/TenSteps-v0"
MIRROR, ECHO, CHOICE = "tests/Mirror-v0", "tests/Echo-v0", "tests/Choice-v0"

gymnasium.register(FATE, Fate)
gymnasium.register(ENDLESS, Endless)
gymnasium.register(TEN_STEPS, Endless, max_episode_steps=10)
gymnasium.register(MIRROR, Mirror)
gymnasium.register(ECHO, Echo)
gymnasium.register(CHOICE, Choice)
