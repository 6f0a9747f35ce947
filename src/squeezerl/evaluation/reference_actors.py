"""Policies that know nothing: what a trained one must be better than."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.rollout import rollout
from squeezerl.runtimes.base import Actions, Actor, Observations, Rows

_CONSTANTS, _FINAL_EPISODES = 32, 2
_AT_ONCE = 32  # so that each of them is a row of its own, in any backend
_SEED_OFFSET = 1_200_001_000  # where calibration has its seeds, too; EnvPool takes 32 bits


class RandomActor(Actor):
    """Uniform actions within the environment's bounds, standard normal where it has none."""

    def __init__(self, environment: Environment, seed: int) -> None:
        super().__init__(environment)
        self._environment = environment
        self._rng = np.random.default_rng(seed)

    def act(self, observations: Observations, rows: Rows | None = None) -> Actions:
        """One random action for each observation."""
        return random_actions(self._environment, len(observations), self._rng)


class ConstantActor(Actor):
    """The same action at every step: one for all episodes, or one for each row.

    Args:
        environment: where it plays.
        actions: of shape (rows, *action_shape); a single one is for all rows.
    """

    def __init__(self, environment: Environment, actions: Actions) -> None:
        super().__init__(environment)
        self._actions = actions

    def act(self, observations: Observations, rows: Rows | None = None) -> Actions:
        """The constant action of each row."""
        if len(self._actions) == 1:
            return np.repeat(self._actions, len(observations), axis=0)
        chosen: Actions = self._actions[np.arange(len(observations)) if rows is None else rows]
        return chosen


def best_constant(
    environment: Environment, seed: int, *, count: int = _CONSTANTS, threads: int | None = None
) -> ConstantActor:
    """The best of so many constant actions: doing nothing, and random ones.

    Each plays one episode; the best eighth play two more, on seeds that no evaluation uses, and the
    mean of these decides. `threads` are those of `rollout`.
    """
    rng = np.random.default_rng(seed)
    actions: npt.NDArray[Any]
    if environment.choices is not None:
        # Each choice goes through its actions; several do so side by side.
        steps = np.arange(min(max(environment.choices), count))[:, np.newaxis]
        actions = (steps % environment.choices).reshape(len(steps), *environment.action_shape)
    else:
        actions = random_actions(environment, count, rng)
        actions[0] = np.clip(0, environment.action_low, environment.action_high)
    first = _SEED_OFFSET + seed
    returns = _returns(environment, actions, first, threads)
    finalists = actions[np.argsort(-returns, kind="stable")[: max(4, count // 8)]]
    repeated = np.repeat(finalists, _FINAL_EPISODES, axis=0)
    finals = _returns(environment, repeated, first + 1_000, threads)
    best = finals.reshape(len(finalists), _FINAL_EPISODES).mean(axis=1).argmax()
    return ConstantActor(environment, finalists[best][np.newaxis])


def random_actions(environment: Environment, count: int, rng: np.random.Generator) -> Actions:
    """So many random actions, as `RandomActor` takes them."""
    size = (count, *environment.action_shape)
    if environment.choices is not None:
        counts = environment.choices if environment.action_shape else environment.choices[0]
        return rng.integers(counts, size=size)
    low, high = environment.action_low, environment.action_high
    assert low is not None
    assert high is not None
    bounded = np.isfinite(low) & np.isfinite(high)
    uniform = rng.uniform(np.where(bounded, low, 0), np.where(bounded, high, 1), size)
    normal = np.clip(rng.standard_normal(size), low, high)
    return np.where(bounded, uniform, normal).astype(np.float32)


def _returns(
    environment: Environment, actions: Actions, seed: int, threads: int | None
) -> npt.NDArray[np.float64]:
    """The return of one episode with each action."""
    returns: list[float] = []
    for start in range(0, len(actions), _AT_ONCE):
        part = actions[start : start + _AT_ONCE]
        actor = ConstantActor(environment, part)
        seeds = range(seed + start, seed + start + len(part))
        episodes = rollout(actor, environment, seeds, threads=threads)
        returns += [episode.return_ for episode in episodes]
    return np.array(returns)
