"""Where only a policy that draws its actions gets out, and real agents that do.

The corridor has three places that look alike, and in the middle one left is right (Sutton and Barto
2018, example 13.1). A policy that always does the same goes to and fro for ever.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete

from made_agents import Recipe, make_model

LIMIT = 200


class Corridor(gymnasium.Env[Any, Any]):
    """Each step costs 1. Actions are left, right, and two that do nothing."""

    observation_space = Box(-1, 1, (2,))
    action_space: gymnasium.Space[Any] = Discrete(4)

    def __init__(self, render_mode: str | None = None) -> None:
        self._place = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self._place = 0
        return np.ones(2, np.float32), {}

    def step(self, action: Any) -> Any:
        direction = self._direction(action) * (-1 if self._place == 1 else 1)
        self._place = max(0, self._place + direction)
        return np.ones(2, np.float32), -1.0, self._place == 3, False, {}

    def _direction(self, action: Any) -> int:
        return (-1, 1, 0, 0)[action]


class SmoothCorridor(Corridor):
    """The same for a number: its sign is the direction, but small ones do nothing."""

    action_space = Box(-1, 1, (1,))

    def _direction(self, action: Any) -> int:
        return int(np.sign(action[0])) if abs(action[0]) > 0.8 else 0


CORRIDOR, SMOOTH = "blind_corridor:Corridor-v0", "blind_corridor:SmoothCorridor-v0"
gymnasium.register("Corridor-v0", Corridor, max_episode_steps=LIMIT)
gymnasium.register("SmoothCorridor-v0", SmoothCorridor, max_episode_steps=LIMIT)


def save_agent(algorithm: str, path: Path) -> Path:
    """A checkpoint of PPO or SAC whose draws go right with a probability of about 0.6.

    The hidden neurons see a constant 1 or nothing; the last layers are set by hand.
    """
    from stable_baselines3.common.vec_env import DummyVecEnv

    discrete = algorithm == "PPO"
    env_id = CORRIDOR if discrete else SMOOTH
    net_arch = {"pi": [16], "vf": [4], "qf": [4]}
    recipe = Recipe(algorithm, policy_kwargs={"net_arch": net_arch})
    model: Any = make_model(recipe, DummyVecEnv([lambda: gymnasium.make(env_id)]))
    state = model.policy.state_dict()
    if discrete:
        ends = {"action_net": np.log([0.4, 0.58, 0.01, 0.01])}
    else:
        ends = {"actor.mu": np.array([0.7]), "actor.log_std": np.log([3.0])}
    for name, bias in ends.items():
        state[f"{name}.weight"] = torch.zeros_like(state[f"{name}.weight"])
        state[f"{name}.bias"] = torch.tensor(bias, dtype=torch.float32)
    model.policy.load_state_dict(state)
    model.save(path)
    return path
