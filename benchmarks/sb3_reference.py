"""The reference: an agent loaded and evaluated by Stable-Baselines3 itself.

Unlike SqueezeRL's own loader this one unpickles what is in the files, so it is for agents that
you trust. Agents saved in 2021 ask for a package `gym`; Gymnasium stands in for it.
"""

from __future__ import annotations

import sys
import time
import types
from pathlib import Path
from typing import Any

import gymnasium
import sb3_contrib
import stable_baselines3
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

_UNREADABLE = ("action_noise", "clip_range", "exploration_schedule", "lr_schedule")


def load_with_sb3(folder: Path, env_id: str) -> tuple[Any, Any]:
    """The model and its vector environment, from an rl-zoo folder `.../<Env>_1`."""
    if "gym" not in sys.modules:
        package = types.ModuleType("gym")
        package.spaces = gymnasium.spaces  # type: ignore[attr-defined]
        sys.modules |= {"gym": package, "gym.spaces": gymnasium.spaces}
        sys.modules |= {
            f"gym.spaces.{n}": getattr(gymnasium.spaces, n) for n in ("box", "discrete")
        }
    name, algorithm = folder.name.removesuffix("_1"), folder.parent.name.upper()
    library = stable_baselines3 if hasattr(stable_baselines3, algorithm) else sb3_contrib
    venv: Any = DummyVecEnv([lambda: Monitor(gymnasium.make(env_id))])
    saved = folder / name / "vecnormalize.pkl"
    if saved.is_file():
        venv = VecNormalize.load(str(saved), venv)
        venv.training = venv.norm_reward = False
    model = getattr(library, algorithm).load(
        folder / f"{name}.zip",
        device="cpu",
        custom_objects=dict.fromkeys(_UNREADABLE, lambda _: 0.0)
        | {
            "action_space": venv.action_space,
            "buffer_size": 1,
            "learning_rate": 0.0,
            "observation_space": venv.observation_space,
        },
    )
    return model, venv


def evaluate_with_sb3(model: Any, venv: Any, episodes: int) -> tuple[list[float], int, float]:
    """Returns, environment steps and seconds of `evaluate_policy` with one environment."""
    start = time.perf_counter()
    returns, lengths = evaluate_policy(
        model, venv, n_eval_episodes=episodes, deterministic=True, return_episode_rewards=True
    )
    return list(returns), sum(lengths), time.perf_counter() - start
