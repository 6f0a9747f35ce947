"""A body in a plane that thrusters push to the middle: actions that are several choices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, MultiBinary, MultiDiscrete

LIMIT = 50


class Thrusters(gymnasium.Env[Any, Any]):
    """Each axis is pushed back, not at all, or forward; a third choice doubles the push."""

    observation_space = Box(-np.inf, np.inf, (4,))
    action_space: gymnasium.Space[Any] = MultiDiscrete([3, 3, 2])

    def __init__(self, render_mode: str | None = None) -> None:
        self._place = self._speed = np.zeros(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self._place, self._speed = self.np_random.uniform(-1, 1, 2), np.zeros(2)
        return self._observation(), {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(np.asarray(action))
        self._speed = 0.8 * self._speed + 0.05 * self._push(np.asarray(action))
        self._place = self._place + self._speed
        return self._observation(), -float(np.abs(self._place).sum()), False, False, {}

    def _observation(self) -> Any:
        return np.concatenate([self._place, self._speed]).astype(np.float32)

    def _push(self, action: Any) -> Any:
        return (action[:2] - 1.0) * (1 + action[2])


class Switches(Thrusters):
    """Four thrusters that are on or off."""

    action_space = MultiBinary(4)

    def _push(self, action: Any) -> Any:
        return 1.5 * (action[:2].astype(float) - action[2:])


THRUSTERS, SWITCHES = "thrusters:Thrusters-v0", "thrusters:Switches-v0"
gymnasium.register("Thrusters-v0", Thrusters, max_episode_steps=LIMIT)
gymnasium.register("Switches-v0", Switches, max_episode_steps=LIMIT)


def train_agent(algorithm: str, env_id: str, path: Path, steps: int = 5_000) -> Any:
    """A model of PPO or A2C that was trained and saved; a few seconds."""
    import stable_baselines3
    from stable_baselines3.common.vec_env import DummyVecEnv

    env = DummyVecEnv([lambda: gymnasium.make(env_id)] * 8)
    settings: dict[str, Any] = {"learning_rate": 3e-3, "gamma": 0.9, "seed": 0, "device": "cpu"}
    settings["policy_kwargs"] = {"net_arch": [32, 32]}
    if algorithm == "PPO":
        settings |= {"n_steps": 64, "batch_size": 128, "n_epochs": 5}
    model = getattr(stable_baselines3, algorithm)("MlpPolicy", env, **settings)
    model.learn(steps)
    model.save(path)
    return model
