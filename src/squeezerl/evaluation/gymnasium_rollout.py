"""Episodes in Gymnasium's vector environment: any registered id, also your own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from squeezerl.errors import EnvError
from squeezerl.evaluation.environment import Environment, make_gymnasium
from squeezerl.records import Episode
from squeezerl.runtimes.actor import Actor, Observations

_SLOTS = 32
_PROGRESS_EVERY = 20
_ENDLESS = 1_000_000


def run_gymnasium(
    actor: Actor,
    environment: Environment,
    seeds: Sequence[int],
    on_progress: Callable[[float], None],
    observer: Callable[[Observations], None],
) -> tuple[Episode, ...]:
    """See `rollout`. A slot whose episode has ended is reset to the next seed that waits."""
    slots = min(_SLOTS, len(seeds))
    envs = SyncVectorEnv(
        [lambda: make_gymnasium(environment.id, environment.kwargs)] * slots,
        autoreset_mode=AutoresetMode.DISABLED,
    )
    finished: list[Episode | None] = [None] * len(seeds)
    episode_of = np.arange(slots)  # -1 for a slot that only idles along
    waiting = slots
    returns, lengths = np.zeros(slots), np.zeros(slots, dtype=np.int64)
    step = done = 0
    try:
        observations, _ = envs.reset(seed=[int(seed) for seed in seeds[:slots]])
        while done < len(seeds):
            batch = observations.astype(np.float32)
            observer(batch[episode_of >= 0])
            observations, rewards, terminated, truncated, _ = envs.step(actor.act(batch))
            returns += rewards
            lengths += 1
            ended = terminated | truncated
            if ended.any():
                reset_seeds: list[int | None] = [None] * slots
                for slot in np.flatnonzero(ended):
                    if (index := episode_of[slot]) >= 0:
                        finished[index] = Episode(
                            seed=int(seeds[index]),
                            return_=float(returns[slot]),
                            length=int(lengths[slot]),
                        )
                        done += 1
                    episode_of[slot] = waiting if waiting < len(seeds) else -1
                    if waiting < len(seeds):
                        reset_seeds[slot] = int(seeds[waiting])
                        waiting += 1
                returns[ended], lengths[ended] = 0.0, 0
                observations, _ = envs.reset(seed=reset_seeds, options={"reset_mask": ended})
            step += 1
            if lengths.max() > (environment.max_episode_steps or _ENDLESS):
                raise EnvError(
                    f"{environment.id}: an episode did not end after {lengths.max():,} steps; "
                    "register the environment with max_episode_steps"
                )
            if step % _PROGRESS_EVERY == 0 or done == len(seeds):
                partly = lengths[episode_of >= 0].sum() / (environment.max_episode_steps or np.inf)
                on_progress((done + partly) / len(seeds))
    finally:
        envs.close()
    return tuple(episode for episode in finished if episode is not None)
