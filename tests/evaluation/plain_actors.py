"""Actors in a line of numpy each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.evaluate import play
from squeezerl.evaluation.referee import Referee
from squeezerl.evaluation.reference_actors import RandomActor
from squeezerl.records import EvaluationRecord
from squeezerl.runtimes.base import Actions, Actor, Observations, Rows


@dataclass(frozen=True)
class Shapes:
    """Of one observation and one action."""

    observation_shape: tuple[int, ...]
    action_shape: tuple[int, ...]
    choices: tuple[int, ...] | None = None


class PlainActor(Actor):
    """Acts as a function of the batch says, in spaces of one feature unless told otherwise."""

    def __init__(
        self, act: Callable[[Observations], Actions], shapes: Shapes = Shapes((1,), (1,))
    ) -> None:
        super().__init__(shapes)
        self._act = act

    def act(self, observations: Observations, rows: Rows | None = None) -> Actions:
        return self._act(observations)


class RowByRow(Actor):
    """Another actor, asked for one action at a time."""

    def __init__(self, actor: Actor) -> None:
        super().__init__(actor)
        self._actor = actor

    def act(self, observations: Observations, rows: Rows | None = None) -> Actions:
        return np.concatenate([self._actor.act(row[np.newaxis]) for row in observations])


class Counting(Actor):
    """A policy with state: each row counts its steps since it was started, and acts the count."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__(shapes)
        self.counts: dict[int, int] = {}
        self.starts = 0

    def start(self, rows: Rows) -> None:
        self.starts += len(rows)
        self.counts |= dict.fromkeys(rows.tolist(), 0)

    def act(self, observations: Observations, rows: Rows | None = None) -> Actions:
        assert rows is not None
        assert len(set(rows.tolist())) == len(rows) == len(observations)
        for row in rows.tolist():
            self.counts[row] += 1
        counts = np.array([self.counts[row] for row in rows.tolist()])
        return counts.reshape(-1, *[1] * len(self.action_shape)).astype(np.float32)


def constant(
    value: float, observation: tuple[int, ...] = (1,), action: tuple[int, ...] = (1,)
) -> PlainActor:
    """The same continuous action everywhere."""
    return PlainActor(
        lambda batch: np.full((len(batch), *action), value, np.float32), Shapes(observation, action)
    )


def discrete(count: int, observation: tuple[int, ...] = (4,)) -> PlainActor:
    """Always the first of `count` actions."""
    return PlainActor(
        lambda batch: np.zeros(len(batch), np.int64), Shapes(observation, (), (count,))
    )


def toppling() -> PlainActor:
    """Pushes the cart under the pole, heedless of its speed: how long that lasts is the seed's."""
    return PlainActor(lambda batch: (batch[:, 2] > 0).astype(np.int64), Shapes((4,), (), (2,)))


def make_referee(
    environment: Environment, baseline: Actor, *, seed: int = 0, **settings: float | None
) -> Referee[Actor]:
    """A referee that plays at once."""

    def run(actor: Actor, first: int, count: int) -> EvaluationRecord:
        return play(actor, environment, episodes=count, seed=first)

    random = RandomActor(environment, seed)
    return Referee(run, baseline, random, seed=seed, **settings)  # type: ignore[arg-type]
