"""Complete episodes of an actor, one per seed, in EnvPool or in Gymnasium."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from squeezerl.errors import EnvError, SqueezeRLError
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.gymnasium_rollout import run_gymnasium
from squeezerl.records import Episode
from squeezerl.runtimes.base import Actor, Observations

Progress = Callable[[float], None]
Observer = Callable[[Observations], None]


def rollout(
    actor: Actor,
    environment: Environment,
    seeds: Sequence[int],
    *,
    on_progress: Progress = lambda fraction: None,
    observer: Observer = lambda observations: None,
    threads: int | None = None,
) -> tuple[Episode, ...]:
    """Run one complete episode for each seed, to its end however long, and count them all.

    An environment is created for (or reset to) each seed and its first episode is the one that
    counts, so long episodes weigh as much as short ones and both sides of a comparison start from
    the same states.

    Args:
        actor: acts deterministically, or draws its actions with the seed of the episode.
        environment: where.
        seeds: one for each episode.
        on_progress: called now and then with the share of the work that is done.
        observer: called with each batch of raw observations that the actor acts on.
        threads: of the environments; unless given, one per core. Returns do not depend on it.

    Raises:
        EnvError: if policy and environment do not fit, or a return is not a number.
    """
    environment.check_fits(actor)
    if environment.backend == "envpool":
        # EnvPool is an extra, so its module is loaded only where it is used.
        from squeezerl.evaluation.envpool_rollout import run_envpool as run
    else:
        run = run_gymnasium
    try:
        episodes = run(actor.for_batches(), environment, seeds, on_progress, observer, threads)
    except SqueezeRLError:
        raise
    except Exception as error:  # an environment's own code may raise anything
        raise EnvError(f"{environment.id} failed while it ran: {error!r}") from error
    if broken := [e.seed for e in episodes if not np.isfinite(e.return_)]:
        raise EnvError(f"{environment.id}: the returns of seeds {broken[:5]} are not finite")
    return episodes
