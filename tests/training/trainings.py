"""Trainings small enough for a test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import squeezerl
from squeezerl.training.result import TrainingResult

# Small networks, and rollouts of 64 steps with 2 environments.
ON_POLICY = ("n_envs:2", "n_steps:32", "batch_size:32", "net_arch:[16, 16]")
OFF_POLICY = ("learning_starts:50", "batch_size:16", "net_arch:[16, 16]")
SHORT = {"max_episode_steps": 20}
PPO = ("ppo", "CartPole-v1")
SAC = ("sac", "Pendulum-v1")


def train(what: tuple[str, str], output: Path, *more: str, **options: Any) -> TrainingResult:
    """Train for a moment; `more` are further hyperparameters."""
    small = ON_POLICY if what[0] in ("ppo", "trpo") else OFF_POLICY
    settings: dict[str, Any] = {
        "steps": 256,
        "evaluations": 2,
        "eval_episodes": 2,
        "env_kwargs": SHORT,
        "device": "cpu",
    }
    return squeezerl.train(
        *what, output=output, hyperparameters=(*small, *more), **(settings | options)
    )


def stop_after(rollouts: int) -> Callable[[], bool]:
    """Asked between rollouts: whether these many were made."""
    asked = iter(range(rollouts))
    return lambda: next(asked, None) is None
