"""Episodes in Gymnasium: any registered id, also your own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

from squeezerl.errors import EnvError
from squeezerl.evaluation.environment import Environment, make_gymnasium
from squeezerl.records import Episode
from squeezerl.runtimes.base import Actor, Observations

_SLOTS = 32
_PROGRESS_EVERY = 20
_ENDLESS = 1_000_000


@dataclass
class _Slot:
    """An environment in the middle of an episode."""

    row: int
    env: gymnasium.Env[Any, Any]
    seed: int
    observation: npt.NDArray[Any]
    return_: float = 0.0
    length: int = 0


def run_gymnasium(
    actor: Actor,
    environment: Environment,
    seeds: Sequence[int],
    on_progress: Callable[[float], None],
    observer: Callable[[Observations], None],
    threads: int | None = None,
) -> tuple[Episode, ...]:
    """See `rollout`; it runs in one thread.

    Some environments share each batch of actions; one whose episode has ended takes the next seed.
    Gymnasium's own vector environments would keep stepping those that have nothing left to play.
    """
    waiting = [int(seed) for seed in reversed(seeds)]
    finished: dict[int, Episode] = {}
    limit = environment.max_episode_steps or _ENDLESS
    envs: list[gymnasium.Env[Any, Any]] = []
    try:
        slots = []
        for row in range(min(_SLOTS, len(seeds))):
            envs.append(make_gymnasium(environment.id, environment.kwargs))
            slots.append(_start(row, envs[-1], waiting.pop(), actor))
        step = 0
        while slots:
            observations = np.array([slot.observation for slot in slots], dtype=np.float32)
            observer(observations)
            actions = actor.act(observations, np.array([slot.row for slot in slots]))
            running = []
            for slot, action in zip(slots, actions, strict=True):
                slot.observation, reward, terminated, truncated, _ = slot.env.step(action)
                slot.return_ += float(reward)
                slot.length += 1
                if not (terminated or truncated):
                    running.append(slot)
                    continue
                finished[slot.seed] = Episode(
                    seed=slot.seed, return_=slot.return_, length=slot.length
                )
                if waiting:
                    running.append(_start(slot.row, slot.env, waiting.pop(), actor))
            slots = running
            step += 1
            longest = max((slot.length for slot in slots), default=0)
            if longest > limit:
                raise EnvError(
                    f"{environment.id}: an episode did not end after {longest:,} steps; "
                    "register the environment with max_episode_steps"
                )
            if step % _PROGRESS_EVERY == 0 or not slots:
                partly = sum(slot.length for slot in slots) / limit
                on_progress((len(finished) + partly) / len(seeds))
    finally:
        for env in envs:
            env.close()
    return tuple(finished[int(seed)] for seed in seeds)


def _start(row: int, env: gymnasium.Env[Any, Any], seed: int, actor: Actor) -> _Slot:
    observation, _ = env.reset(seed=seed)
    actor.start(np.array([row]))
    return _Slot(row, env, seed, observation)
