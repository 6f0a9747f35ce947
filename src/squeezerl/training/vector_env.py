"""Environments to train in, behind Stable-Baselines3's interface."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Box
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecMonitor

from squeezerl.errors import EnvError
from squeezerl.evaluation import envpool_support
from squeezerl.evaluation.environment import Environment, make_gymnasium

# On two cores a second thread makes MuJoCo's steps 1.3 to 1.8 times faster and those of classic
# control slower; learning takes most of the time, and other trainings want the cores.
_THREADS = 1
_SEEDS = 2**31  # EnvPool's are int32

Array = npt.NDArray[Any]
Indices = int | Sequence[int] | None


def make_vector_env(
    environment: Environment, n_envs: int, *, seed: int, monitor: Path | None
) -> VecEnv:
    """Environments that are stepped together, each starting a new episode when one has ended.

    Args:
        environment: its backend decides where they run.
        n_envs: how many; they are seeded with `seed`, `seed + 1`, ...
        seed: takes effect at the first reset.
        monitor: file for return, length and time of each episode; ".monitor.csv" is added to its
            name. `None` for no file.

    Raises:
        EnvError: if the environment cannot be made.
    """
    if environment.backend == "envpool":
        env: VecEnv = EnvPoolVecEnv(environment, n_envs, seed=seed)
    else:
        env = DummyVecEnv([lambda: make_gymnasium(environment.id, environment.kwargs)] * n_envs)
        env.seed(seed)
    return VecMonitor(env, None if monitor is None else str(monitor))


@final
class EnvPoolVecEnv(VecEnv):  # type: ignore[misc]
    """EnvPool behind Stable-Baselines3's interface for vectorised environments.

    The spaces are Gymnasium's, so that a saved agent can be loaded with Gymnasium's environment.
    New seeds take effect at the next reset, which makes a new pool: EnvPool takes seeds only then.

    An episode that terminates in the very step of its time limit counts as truncated, because
    EnvPool does not report both.
    """

    def __init__(self, environment: Environment, n_envs: int, *, seed: int) -> None:
        self._environment = environment
        self._pool: Any = None
        super().__init__(n_envs, *_spaces(environment))
        self.seed(seed)

    def reset(self) -> Array:
        """First observations, shape (n_envs, *observation)."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "Box low's precision lowered"
            if self._seeds[0] is not None:
                self.close()
                self._pool = self._make_pool()
                self._reset_seeds()
            return self._cast(self._pool.reset()[0])

    def step_async(self, actions: Array) -> None:
        """Start a step, actions (n_envs, *action); returns at once."""
        self._pool.send(actions)

    def step_wait(self) -> tuple[Array, Array, Array, list[dict[str, Any]]]:
        """Observations (n_envs, *observation), rewards (n_envs,), dones (n_envs,), infos.

        Where an episode is done, the observation is the first of the next one and that of the
        last step is in its info.
        """
        # While all environments are stepped together, the results are in the order of their ids.
        received, rewards, terminated, truncated, _ = self._pool.recv()
        observations = self._cast(received)
        dones = terminated | truncated
        infos: list[dict[str, Any]] = [
            {"TimeLimit.truncated": cut} for cut in (truncated & ~terminated).tolist()
        ]
        if dones.any():
            ids = np.flatnonzero(dones).astype(np.int32)
            for i in ids:
                infos[i]["terminal_observation"] = observations[i].copy()
            # Left alone, EnvPool would spend the next step on the reset and ignore its action.
            observations[ids] = self._pool.reset(ids)[0]
        return observations, rewards.astype(np.float32), dones, infos

    def close(self) -> None:
        """Stop the threads."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def get_attr(self, attr_name: str, indices: Indices = None) -> list[Any]:
        """`None` for "render_mode", which Stable-Baselines3 asks for; nothing else is known here.

        Raises:
            AttributeError: for any other name.
        """
        if attr_name != "render_mode":
            raise AttributeError(f"EnvPool's environments have no attribute {attr_name!r}")
        return [None for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Indices = None) -> None:
        """Not supported.

        Raises:
            AttributeError: always.
        """
        raise AttributeError(f"EnvPool's environments have no attribute {attr_name!r}")

    def env_method(
        self, method_name: str, *method_args: Any, indices: Indices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Not supported.

        Raises:
            AttributeError: always.
        """
        raise AttributeError(f"EnvPool's environments have no method {method_name!r}")

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Indices = None) -> list[bool]:
        """Always false for each environment."""
        return [False for _ in self._get_indices(indices)]

    def _make_pool(self) -> Any:
        seeds = [seed % _SEEDS for seed in self._seeds]
        return envpool_support.make_pool(
            self._environment.id, self._environment.kwargs, seeds, _THREADS
        )

    def _cast(self, observations: Array) -> Array:
        """A copy of EnvPool's array in the type of the observation space."""
        return observations.astype(self.observation_space.dtype)


def _spaces(environment: Environment) -> tuple[gymnasium.Space[Any], gymnasium.Space[Any]]:
    """Observation and action space as Gymnasium has them.

    EnvPool's differ: float64 for MuJoCo's actions, empty bounds for LunarLander's observations.
    EnvPool's are used where Gymnasium lacks the environment (HalfCheetah-v3) or its arguments.
    """
    try:
        env = make_gymnasium(environment.id, environment.kwargs)
    except EnvError:
        spaces = envpool_support.find_spaces(environment.id, environment.kwargs)
        if spaces is None:
            raise
        action = spaces.action
        if isinstance(action, Box):
            low, high = action.low.astype(np.float32), action.high.astype(np.float32)
            action = Box(low, high, dtype=np.float32)
        return spaces.observation, action
    env.close()
    return env.observation_space, env.action_space
