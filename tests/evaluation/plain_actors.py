"""Actors in a line of numpy each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from squeezerl.runtimes.actor import Actions, Actor, Observations


class PlainActor:
    """Acts as a function of the batch says, in spaces of one feature unless told otherwise."""

    def __init__(
        self,
        act: Callable[[Observations], Actions],
        observation_shape: tuple[int, ...] = (1,),
        action_shape: tuple[int, ...] = (1,),
        action_count: int | None = None,
    ) -> None:
        self._act = act
        self.observation_shape = observation_shape
        self.action_shape = action_shape
        self.action_count = action_count

    def act(self, observations: Observations) -> Actions:
        return self._act(observations)


class RowByRow:
    """Another actor, asked for one action at a time."""

    def __init__(self, actor: Actor) -> None:
        self._actor = actor
        self.observation_shape = actor.observation_shape
        self.action_shape = actor.action_shape
        self.action_count = actor.action_count

    def act(self, observations: Observations) -> Actions:
        return np.concatenate([self._actor.act(row[np.newaxis]) for row in observations])


def constant(
    value: float, observation: tuple[int, ...] = (1,), action: tuple[int, ...] = (1,)
) -> PlainActor:
    """The same continuous action everywhere."""
    return PlainActor(
        lambda batch: np.full((len(batch), *action), value, np.float32), observation, action
    )


def discrete(count: int, observation: tuple[int, ...] = (4,)) -> PlainActor:
    """Always the first of `count` actions."""
    return PlainActor(lambda batch: np.zeros(len(batch), np.int64), observation, (), count)


def toppling() -> PlainActor:
    """Pushes the cart under the pole, heedless of its speed: how long that lasts is the seed's."""
    return PlainActor(lambda batch: (batch[:, 2] > 0).astype(np.int64), (4,), (), 2)
