"""Episodes in Gymnasium: any registered id, also your own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

from squeezerl.evaluation import stepping
from squeezerl.evaluation.environment import Environment
from squeezerl.records import Episode
from squeezerl.runtimes.base import Actor, Observations

_SLOTS = 32
_PROGRESS_EVERY = 20


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
    name, shape = environment.id, environment.observation_shape
    waiting = list(reversed(range(len(seeds))))  # episodes, each of which has a row of its own
    finished: dict[int, Episode] = {}
    envs: list[gymnasium.Env[Any, Any]] = []

    def start(row: int, env: gymnasium.Env[Any, Any]) -> _Slot:
        seed = int(seeds[row])
        observation = stepping.reset(env, shape, name, seed)
        actor.seed_noise(np.array([row]), [seed])
        actor.start(np.array([row]))
        return _Slot(row, env, seed, observation)

    def refuse_nan(
        values: npt.NDArray[Any], what: str, later: int, *, infinite: bool = False
    ) -> None:
        if stepping.all_finite(values):
            return
        in_steps = [slot.length + later for slot in slots]
        in_episodes = [slot.seed for slot in slots]
        stepping.refuse_nan(values, what, name, in_episodes, in_steps, infinite=infinite)

    try:
        slots = []
        for _ in range(min(_SLOTS, len(seeds))):
            envs.append(environment.make())
            slots.append(start(waiting.pop(), envs[-1]))
        step = 0
        while slots:
            observations = np.array([slot.observation for slot in slots], dtype=np.float32)
            refuse_nan(observations, "observation", 0)
            observer(observations)
            actions = actor.act(observations, np.array([slot.row for slot in slots]))
            refuse_nan(actions, "policy's action", 1, infinite=True)
            running = []
            for slot, action in zip(slots, actions, strict=True):
                slot.length += 1
                slot.observation, reward, ended = stepping.step(
                    slot.env, action, shape, name, slot.seed, slot.length
                )
                slot.return_ += reward
                if not ended:
                    running.append(slot)
                    continue
                finished[slot.row] = Episode(
                    seed=slot.seed, return_=slot.return_, length=slot.length
                )
                if waiting:
                    running.append(start(waiting.pop(), slot.env))
            slots = running
            step += 1
            longest = max((slot.length for slot in slots), default=0)
            stepping.check_length(name, environment.max_episode_steps, longest)
            if step % _PROGRESS_EVERY == 0 or not slots:
                limit = environment.max_episode_steps or stepping.ENDLESS
                partly = sum(slot.length for slot in slots) / limit
                on_progress((len(finished) + partly) / len(seeds))
    finally:
        for env in envs:
            env.close()
    return tuple(finished[row] for row in range(len(seeds)))
