"""Trainings small enough for a test, and what the tests of this folder share."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from typer.testing import CliRunner

import squeezerl
from squeezerl.cli import app
from squeezerl.network.network import Network, as_float
from squeezerl.training.algorithms import find_algorithm
from squeezerl.training.checkpoint import Checkpoint, find_checkpoint
from squeezerl.training.result import TrainingResult

# Small networks, and rollouts of 64 steps with 2 environments.
ON_POLICY = ("n_envs:2", "n_steps:32", "batch_size:32", "net_arch:[16, 16]")
OFF_POLICY = ("learning_starts:50", "batch_size:16", "net_arch:[16, 16]")
SHORT = {"max_episode_steps": 20}
PPO = ("ppo", "CartPole-v1")
SAC = ("sac", "Pendulum-v1")
PATIENCE_S = 120
_COMMAND = Path(sys.executable).with_name("squeezerl")
_HOW = ("resume", "on_progress", "should_stop")


def train_as(what: tuple[str, str | None], output: Path, **options: Any) -> TrainingResult:
    """Train an algorithm in an environment; options are `TrainConfig`'s fields or `train`'s."""
    how = {name: options.pop(name) for name in _HOW if name in options}
    config = squeezerl.TrainConfig(algorithm=what[0], env=what[1], **options)
    return squeezerl.train(config, output=output, **how)


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
    return train_as(what, output, hyperparameters=(*small, *more), **(settings | options))


def stop_after(rollouts: int) -> Callable[[], bool]:
    """A `should_stop` that returns true after this many rollouts."""
    asked = iter(range(rollouts))
    return lambda: next(asked, None) is None


def checkpoint_in(output: Path) -> Checkpoint:
    """The latest checkpoint, which must exist."""
    checkpoint = find_checkpoint(output)
    assert checkpoint is not None
    return checkpoint


def saved_state(output: Path) -> dict[str, Any]:
    """The content of `model.pt` in the latest checkpoint."""
    state: dict[str, Any] = torch.load(checkpoint_in(output).path / "model.pt", weights_only=True)
    return state


def plain(value: Any) -> Any:
    """The value with all tensors and arrays in it as lists."""
    if isinstance(value, torch.Tensor | np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def tensors(network: Network) -> dict[str, Any]:
    """All tensors of a network by name, as lists."""
    return {name: as_float(tensor).tolist() for name, tensor in network.tensors()}


def make_sb3(
    name: str,
    *,
    normalized: bool,
    n_envs: int = 1,
    seed: int = 0,
    env_id: str | None = None,
    **settings: Any,
) -> Any:
    """A model of Stable-Baselines3 itself; for CartPole or Pendulum unless told otherwise."""
    env_id = env_id or ("CartPole-v1" if name in ("dqn", "qrdqn") else "Pendulum-v1")
    env: Any = DummyVecEnv([lambda: gymnasium.make(env_id)] * n_envs)
    if normalized:
        env = VecNormalize(env)
    return find_algorithm(name).load()("MlpPolicy", env, seed=seed, device="cpu", **settings)


def start_command(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """`squeezerl train` in a process of its own, as a user starts it from `folder`."""
    names = ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "PYTHONWARNINGS")
    return subprocess.Popen(
        [_COMMAND, "train", *arguments],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name not in names},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_default_signals,
    )


def wait_for(process: subprocess.Popen[str], happened: Callable[[], object]) -> bool:
    """Whether it happened before the process ended."""
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        if process.poll() is not None:
            return False
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return True


def go_on(folder: Path, *arguments: str) -> dict[str, Any]:
    """`squeezerl train --resume` in this process, to its end; returns its JSON."""
    with contextlib.chdir(folder):
        ended = CliRunner().invoke(app, ["train", *arguments, "--resume"])
    assert ended.exit_code == 0, ended.stderr
    data: dict[str, Any] = json.loads(ended.stdout)
    return data


def _default_signals() -> None:
    """A shell in the background ignores Ctrl-C, and its children would as well."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
