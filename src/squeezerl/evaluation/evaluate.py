"""`evaluate`: the return of an actor over seeded episodes."""

from __future__ import annotations

import time

import numpy as np

from squeezerl.errors import InvalidArgumentError
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.rollout import Progress, rollout
from squeezerl.records import Calibration, EvaluationRecord
from squeezerl.runtimes.base import Actor, Observations

MAX_EPISODES = 1_000_000
MAX_SEED = 500_000_000
# Seeds are 32-bit in EnvPool: evaluation, confirmation and calibration each have their range.
CONFIRMATION_SEED_OFFSET = 600_000_000
_CALIBRATION_SEED_OFFSET = 1_200_000_000


def evaluate(
    actor: Actor,
    environment: Environment | str,
    *,
    episodes: int = 100,
    seed: int = 0,
    threads: int | None = None,
    on_progress: Progress = lambda fraction: None,
) -> EvaluationRecord:
    """Run complete episodes with the seeds `seed`, `seed + 1`, ...

    `threads` of the environments are one per core unless given; returns do not depend on them.

    Raises:
        EnvError: if the environment is unknown or does not fit the policy.
        InvalidArgumentError: if a number is out of range.
    """
    check_numbers(episodes, seed)
    if isinstance(environment, str):
        environment = Environment.find(environment)
    return play(
        actor,
        environment,
        episodes=episodes,
        seed=seed,
        threads=threads,
        on_progress=on_progress,
    )


def play(
    actor: Actor,
    environment: Environment,
    *,
    episodes: int,
    seed: int,
    threads: int | None = None,
    on_progress: Progress = lambda fraction: None,
) -> EvaluationRecord:
    """`evaluate` for any seed, also those that are set apart for confirmation."""
    start = time.perf_counter()
    played = rollout(
        actor,
        environment,
        range(seed, seed + episodes),
        on_progress=on_progress,
        threads=threads,
    )
    return EvaluationRecord(
        env_id=environment.id,
        env_kwargs=dict(environment.kwargs),
        backend=environment.backend,
        seed=seed,
        episodes=played,
        seconds=time.perf_counter() - start,
        noise_seed=seed if actor.draws else None,
    )


def calibrate(
    actor: Actor,
    environment: Environment,
    *,
    episodes: int = 10,
    count: int = 4096,
    seed: int = 0,
    threads: int | None = None,
    on_progress: Progress = lambda fraction: None,
) -> tuple[Observations, Calibration]:
    """Raw observations that the actor visited, (at most count, *shape), and how they came about.

    A uniform sample over whole episodes whose seeds no evaluation uses, so that calibration
    never sees what it is later judged on.

    Raises:
        InvalidArgumentError: if a number is out of range.
    """
    check_numbers(episodes, seed)
    batches: list[Observations] = []
    first = _CALIBRATION_SEED_OFFSET + seed
    rollout(
        actor,
        environment,
        range(first, first + episodes),
        on_progress=on_progress,
        observer=batches.append,
        threads=threads,
    )
    visited: Observations = np.concatenate(batches)
    if len(visited) > count:
        rng = np.random.default_rng(seed)
        visited = visited[np.sort(rng.choice(len(visited), count, replace=False))]
    return visited, Calibration(
        observations=len(visited),
        env_id=environment.id,
        env_kwargs=dict(environment.kwargs),
        backend=environment.backend,
        first_seed=first,
        episodes=episodes,
    )


def check_numbers(episodes: int, seed: int) -> None:
    """Raise an `InvalidArgumentError` if one is out of range."""
    if not 1 <= episodes <= MAX_EPISODES:
        raise InvalidArgumentError(f"`episodes` must be 1 to {MAX_EPISODES:,}, not {episodes}")
    if not 0 <= seed <= MAX_SEED:
        raise InvalidArgumentError(f"`seed` must be 0 to {MAX_SEED:,}, not {seed}")


def check_limit(episodes: int, max_episodes: int) -> None:
    """Raise an `InvalidArgumentError` if the limit is below the number to start with."""
    if not episodes <= max_episodes <= MAX_EPISODES:
        raise InvalidArgumentError(
            f"`max_episodes` must be {episodes:,} (the episodes to start with) to "
            f"{MAX_EPISODES:,}, not {max_episodes}"
        )
