"""Environments that a learning policy visits, side by side, one step after the other."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Self, final

import numpy as np
import numpy.typing as npt

from squeezerl.errors import EnvError
from squeezerl.evaluation import envpool_support
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.envpool_rollout import WAVE
from squeezerl.evaluation.rollout import rollout
from squeezerl.methods.base import Act, Transitions
from squeezerl.runtimes.base import Actions, Actor, Observations, Rows

# No evaluation uses these seeds; EnvPool takes 32 bits.
_SEED_OFFSET = 1_700_000_000
# Where the seeds of `returns` begin, behind all those of `roll`.
_RETURNS_OFFSET = 200_000_000
_ROWS = 32
# Between the seeds of one step of a recipe and of the next.
_STRIDE = 100


@final
class EnvironmentVisits:
    """See `squeezerl.methods.base.Visits`. EnvPool and Gymnasium give the same interface.

    The step after the last one of an episode resets the environment and ignores the action.

    Args:
        environment: where.
        seed: of the environments.
        threads: of EnvPool; unless given, one per core. What is visited does not depend on it.
    """

    def __init__(self, environment: Environment, seed: int, threads: int | None = None) -> None:
        self.rows = _ROWS
        self._environment, self._threads = environment, threads or os.cpu_count() or 1
        self._seed = seed
        self._env: Any = None
        self.restart(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def restart(self, number: int) -> None:
        """See `Visits`."""
        self._close()
        self._first = _SEED_OFFSET + (self._seed + number * _STRIDE) * 1_009 % _RETURNS_OFFSET
        self._observations: Observations = np.empty(0, np.float32)
        self._ended = np.zeros(_ROWS, np.bool_)

    def roll(self, act: Act, steps: int) -> Transitions:
        """See `Visits`."""
        if self._env is None:
            self._open()
        observations, rewards = [self._observations], []
        ended, truncated, counts = [], [], []
        for _ in range(steps):
            counts.append(~self._ended)
            self._observations, reward, terminated, cut = self._step(act(self._observations))
            self._ended = terminated | cut
            observations.append(self._observations)
            rewards.append(reward)
            ended.append(self._ended)
            truncated.append(cut & ~terminated)
        return Transitions(
            observations=np.stack(observations),
            rewards=np.stack(rewards).astype(np.float32),
            ended=np.stack(ended),
            truncated=np.stack(truncated),
            counts=np.stack(counts),
        )

    def returns(
        self, acts: Sequence[Act], episodes: int, first: int = 0
    ) -> npt.NDArray[np.float64]:
        """See `Visits`."""
        start = self._first + _RETURNS_OFFSET + first
        seeds = list(range(start, start + episodes))
        # Actors are told the rows of a wave, so all that are together have to fit into one.
        together = max(1, WAVE // episodes)
        returns = [
            episode.return_
            for begin in range(0, len(acts), together)
            for some in [acts[begin : begin + together]]
            for episode in rollout(
                _Acting(self._environment, some, episodes),
                self._environment,
                seeds * len(some),
                threads=self._threads,
            )
        ]
        return np.array(returns).reshape(len(acts), episodes)

    def _close(self) -> None:
        if self._env is not None:
            self._env.close()
            self._env = None

    def _open(self) -> None:
        seeds = [self._first + row for row in range(_ROWS)]
        environment = self._environment
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "Box low's precision lowered"
            if environment.backend == "envpool":
                self._env = envpool_support.make_pool(
                    environment.id, environment.kwargs, seeds, self._threads
                )
                observations, _ = self._env.reset()
            else:
                from gymnasium.vector import SyncVectorEnv

                make: list[Callable[[], Any]] = [environment.make] * _ROWS
                self._env = SyncVectorEnv(make)
                observations, _ = self._env.reset(seed=seeds)
        self._observations = observations.astype(np.float32)

    def _step(
        self, actions: Actions
    ) -> tuple[Observations, npt.NDArray[Any], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        observations, rewards, terminated, truncated, info = self._env.step(actions)
        if self._environment.backend == "envpool":
            order = np.argsort(info["env_id"])
            observations, rewards = observations[order], rewards[order]
            terminated, truncated = terminated[order], truncated[order]
        if np.isnan(observations).any() or not np.isfinite(rewards).all():
            raise EnvError(
                f"{self._environment.id}: an observation with NaN, or a reward that is not finite, "
                "while the policy learned"
            )
        return observations.astype(np.float32), rewards, terminated, truncated


class _Acting(Actor):
    """An actor of functions, each of which acts in so many of the rows."""

    def __init__(self, environment: Environment, acts: Sequence[Act], episodes: int) -> None:
        super().__init__(environment)
        self._acts, self._episodes = acts, episodes

    def act(self, observations: Observations, rows: Rows | None = None) -> Actions:
        if len(self._acts) == 1:
            return self._acts[0](observations)
        assert rows is not None
        turns = rows // self._episodes
        order = np.argsort(turns, kind="stable")
        present, starts = np.unique(turns[order], return_index=True)
        actions = [
            self._acts[turn](observations[some])
            for turn, some in zip(present, np.split(order, starts[1:]), strict=True)
        ]
        joined = np.concatenate(actions)
        placed = np.empty_like(joined)
        placed[order] = joined
        return placed
