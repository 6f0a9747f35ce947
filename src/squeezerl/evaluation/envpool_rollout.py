"""Episodes in EnvPool: one environment per seed, all stepped together by C++ threads."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from typing import Any

import numpy as np
import numpy.typing as npt

from squeezerl.evaluation import stepping
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.envpool_support import make_pool
from squeezerl.records import Episode
from squeezerl.runtimes.base import Actions, Actor, Observations, Rows

# Episodes at once.
WAVE = 256
_PROGRESS_EVERY = 20


class _Pool:
    """The environments of some seeds, of which `ids` are still in their episode."""

    def __init__(
        self, environment: Environment, seeds: Sequence[int], threads: int, first_row: int
    ) -> None:
        self._env = make_pool(environment.id, environment.kwargs, seeds, threads)
        self.seeds, self._first_row = seeds, first_row
        self._id = environment.id
        self.ids: npt.NDArray[np.int32] = np.arange(len(seeds), dtype=np.int32)
        self.returns = np.zeros(len(seeds))
        self.lengths = np.zeros(len(seeds), dtype=np.int64)
        self.observations: Observations = self._env.reset()[0].astype(np.float32)
        self._refuse_nan(self.observations, "observation", 0)

    @property
    def rows(self) -> Rows:
        """The actor's row of each running environment."""
        return self.ids + np.int64(self._first_row)

    def send(self, actions: Actions) -> None:
        """Start a step of the running environments; returns at once."""
        self._refuse_nan(actions, "policy's action", 1, infinite=True)
        self._env.send(actions, self.ids)

    def receive(self) -> None:
        """Wait for the step and drop the environments whose episode has ended."""
        observations, rewards, terminated, truncated, info = self._env.recv()
        ids = info["env_id"]
        self.ids = ids
        self._refuse_nan(rewards, "reward", 1, infinite=True)
        self.returns[ids] += rewards
        self.lengths[ids] += 1
        running = ~(terminated | truncated)
        self.ids = ids[running]
        self.observations = observations[running].astype(np.float32)
        self._refuse_nan(self.observations, "observation", 0)

    def _refuse_nan(
        self, values: npt.NDArray[Any], what: str, later: int, *, infinite: bool = False
    ) -> None:
        if stepping.all_finite(values):
            return
        seeds = [self.seeds[index] for index in self.ids]
        steps = (self.lengths[self.ids] + later).tolist()
        stepping.refuse_nan(values, what, self._id, seeds, steps, infinite=infinite)

    def close(self) -> None:
        self._env.close()


def run_envpool(
    actor: Actor,
    environment: Environment,
    seeds: Sequence[int],
    on_progress: Callable[[float], None],
    observer: Callable[[Observations], None],
    threads: int | None = None,
) -> tuple[Episode, ...]:
    """See `rollout`. EnvPool seeds an environment once, so each serves for one episode only.

    Two pools take turns: while the threads step one, the actor works on the other. With one thread,
    the actor waits for it, so that the two together take one core; all else stays in its order.
    """
    episodes: list[Episode] = []
    waves = np.array_split(np.asarray(seeds), -(-len(seeds) // WAVE))
    threads = threads or os.cpu_count() or 1
    for number, wave in enumerate(waves):
        halves = [half.tolist() for half in np.array_split(wave, 2) if len(half)]
        with warnings.catch_warnings(), ExitStack() as stack:
            warnings.filterwarnings("ignore", ".*precision lowered")  # of the bounds of a Box
            pools = [
                stack.enter_context(closing(_Pool(environment, half, threads, first_row)))
                for half, first_row in zip(halves, (0, len(halves[0])), strict=False)
            ]
            actor.seed_noise(np.arange(len(wave)), wave.tolist())
            actor.start(np.arange(len(wave)))
            _run_wave(
                actor,
                pools,
                observer,
                lambda done, number=number: on_progress((number + done) / len(waves)),  # type: ignore[misc]
                environment,
                in_turn=threads == 1,
            )
        episodes += [
            Episode(seed=seed, return_=float(return_), length=int(length))
            for pool in pools
            for seed, return_, length in zip(pool.seeds, pool.returns, pool.lengths, strict=True)
        ]
    return tuple(episodes)


def _run_wave(
    actor: Actor,
    pools: list[_Pool],
    observer: Callable[[Observations], None],
    on_progress: Callable[[float], None],
    environment: Environment,
    *,
    in_turn: bool,
) -> None:
    def act(pool: _Pool) -> None:
        observer(pool.observations)
        pool.send(actor.act(pool.observations, pool.rows))

    if not in_turn:
        for pool in pools:
            act(pool)
    running, step, max_steps = list(pools), 0, environment.max_episode_steps
    total = sum(len(pool.seeds) for pool in pools)
    while running:
        for pool in list(running):
            if in_turn:
                act(pool)
            pool.receive()
            if not len(pool.ids):
                running.remove(pool)
            elif not in_turn:
                act(pool)
        step += 1
        if running:
            stepping.check_length(environment.id, max_steps, step)
        if step % _PROGRESS_EVERY == 0 or not running:
            alive = sum(len(pool.ids) for pool in running)
            partly = step / max_steps if max_steps else 0.0
            on_progress((total - alive + alive * partly) / total)
