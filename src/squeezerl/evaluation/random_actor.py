"""The random policy: the zero of the retention scale."""

from __future__ import annotations

import numpy as np

from squeezerl.evaluation.environment import Environment
from squeezerl.runtimes.base import Actions, Actor, Observations, Rows


class RandomActor(Actor):
    """Uniform actions within the environment's bounds, standard normal where it has none."""

    def __init__(self, environment: Environment, seed: int) -> None:
        super().__init__(environment)
        self._low, self._high = environment.action_low, environment.action_high
        self._rng = np.random.default_rng(seed)

    def act(self, observations: Observations, rows: Rows | None = None) -> Actions:
        """One random action for each observation."""
        size = (len(observations), *self.action_shape)
        if self.action_count is not None:
            return self._rng.integers(self.action_count, size=size)
        assert self._low is not None
        assert self._high is not None
        bounded = np.isfinite(self._low) & np.isfinite(self._high)
        low, high = np.where(bounded, self._low, 0), np.where(bounded, self._high, 1)
        uniform = self._rng.uniform(low, high, size)
        normal = np.clip(self._rng.standard_normal(size), self._low, self._high)
        return np.where(bounded, uniform, normal).astype(np.float32)
