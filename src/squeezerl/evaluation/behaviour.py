"""Behaviour beyond the return: two policies of equal return can act very differently.

How far a policy's actions are from its teacher's, how smooth they are, how episodes end, and what
is left of the return where sensors are noisy, actions come late, or bodies weigh more.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

from squeezerl.errors import EnvError
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.evaluate import play
from squeezerl.records import EvaluationRecord
from squeezerl.runtimes.base import Actions, Actor, Observations, Rows

EPISODES = 20
NOISE = 0.05  # of each feature's standard deviation
CHANGE = 0.1  # of masses and friction
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """How a policy acts.

    Args:
        record: its episodes in the environment as it is.
        deviation: from its teacher's actions in the states that it visits: the root mean square in
            half ranges of the action, or the share of states in which discrete actions differ.
        jerk: root mean square of the second difference of successive actions, in half ranges;
            `None` for discrete actions.
        ended_early: the share of episodes that ended before the time limit, as falls do; `None` if
            there is no limit.
        disturbed: its episodes under each disturbance, by name.
    """

    record: EvaluationRecord
    deviation: float
    jerk: float | None
    ended_early: float | None
    disturbed: Mapping[str, EvaluationRecord]

    @property
    def mean_length(self) -> float:
        """Steps of an episode."""
        return self.record.steps / len(self.record.episodes)


def behaviour(
    actor: Actor,
    teacher: Actor,
    environment: Environment,
    observations: Observations,
    *,
    seed: int,
    episodes: int = EPISODES,
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> Behaviour:
    """Watch a policy and disturb it; the same seed gives every policy the same start states.

    Args:
        actor: the policy.
        teacher: whose actions its own are compared with; the policy itself for a baseline.
        environment: where.
        observations: that the teacher visited, (n, *observation_shape), for the size of the noise.
        seed: of the first episode, and of the noise.
        episodes: under each condition.
        on_progress: called with the share of the work that is done.
    """
    spread = observations.std(axis=0, dtype=np.float64)
    changes = changed_physics(environment)
    watched = _Watched(actor, teacher, environment)
    conditions: dict[str, tuple[Actor, Environment]] = {
        "": (watched, environment),
        f"{NOISE:.0%} observation noise": (
            _Noisy(actor, NOISE * spread, np.random.default_rng(seed)),
            environment,
        ),
        "one step of delay": (_Delayed(actor), environment),
        **{name: (actor, changed) for name, changed in changes.items()},
    }
    records = {}
    for number, (name, (player, place)) in enumerate(conditions.items()):
        records[name] = play(player, place, episodes=episodes, seed=seed)
        on_progress((number + 1) / len(conditions))
    record = records.pop("")
    limit = environment.max_episode_steps
    return Behaviour(
        record=record,
        deviation=watched.deviation,
        jerk=watched.jerk,
        ended_early=None
        if limit is None
        else float(np.mean([episode.length < limit for episode in record.episodes])),
        disturbed=records,
    )


def changed_physics(environment: Environment) -> dict[str, Environment]:
    """The environment with heavier, lighter, rougher and smoother bodies, where it is MuJoCo's.

    They run in Gymnasium, since EnvPool does not let its models be changed.
    """
    try:
        plain = Environment.find(environment.id, environment.kwargs, backend="gymnasium")
        env = plain.make()
    except EnvError:
        return {}
    has_model = _model(env) is not None
    env.close()
    if not has_model:
        return {}
    return {
        f"{word} {sign * CHANGE:+.0%}": dataclasses.replace(
            plain, change=partial(_scale, field, 1 + sign * CHANGE)
        )
        for word, field in (("mass", "body_mass"), ("friction", "geom_friction"))
        for sign in (1, -1)
    }


def _scale(field: str, factor: float, env: gymnasium.Env[Any, Any]) -> None:
    model = _model(env)
    getattr(model, field)[:] *= factor
    if field == "body_mass":
        model.body_inertia[:] *= factor  # the same body of a denser material


def _model(env: gymnasium.Env[Any, Any]) -> Any:
    model = getattr(env.unwrapped, "model", None)
    return model if hasattr(model, "geom_friction") else None


class _Around(Actor):
    """A policy to which something is done; where it draws its actions, the noise is its own."""

    def __init__(self, actor: Actor) -> None:
        super().__init__(actor)
        self._actor = actor

    @property
    def draws(self) -> bool:
        return self._actor.draws

    def seed_noise(self, rows: Rows, seeds: Sequence[int]) -> None:
        self._actor.seed_noise(rows, seeds)

    def start(self, rows: Rows) -> None:
        self._actor.start(rows)


class _Watched(_Around):
    """A policy whose actions are compared with its teacher's and with its own before.

    A teacher that draws its actions gets the same noise.
    """

    def __init__(self, actor: Actor, teacher: Actor, environment: Environment) -> None:
        super().__init__(actor)
        self._teacher = teacher
        self._half_range: Floats | float = 1.0
        if environment.action_low is not None and environment.action_high is not None:
            half = (environment.action_high.astype(np.float64) - environment.action_low) / 2
            self._half_range = np.where(np.isfinite(half), half, 1.0)
        self._before: dict[int, list[Floats]] = {}
        self._squares = {"deviation": [0.0, 0], "jerk": [0.0, 0]}

    def seed_noise(self, rows: Rows, seeds: Sequence[int]) -> None:
        super().seed_noise(rows, seeds)
        self._teacher.seed_noise(rows, seeds)

    def start(self, rows: Rows) -> None:
        self._before |= {row: [] for row in rows.tolist()}
        super().start(rows)
        self._teacher.start(rows)

    def act(self, observations: Observations, rows: Rows | None = None) -> Actions:
        actions = self._actor.act(observations, rows)
        # A policy that is its own teacher must not draw twice.
        is_own = self._teacher is self._actor
        wanted = actions if is_own else self._teacher.act(observations, rows)
        if self.choices is not None:
            differ = (actions != wanted).reshape(len(actions), -1).any(axis=1)
            self._note("deviation", differ.astype(np.float64))
            return actions
        self._note("deviation", (actions - wanted.astype(np.float64)) / self._half_range)
        for row, action in zip(_rows(observations, rows), actions, strict=True):
            past = self._before[row]
            past.append(action.astype(np.float64) / self._half_range)
            if len(past) == 3:
                self._note("jerk", past[2] - 2 * past[1] + past.pop(0))
        return actions

    @property
    def deviation(self) -> float:
        total, count = self._squares["deviation"]
        return total / count if self.choices is not None else float(np.sqrt(total / count))

    @property
    def jerk(self) -> float | None:
        total, count = self._squares["jerk"]
        return float(np.sqrt(total / count)) if count else None

    def _note(self, name: str, values: Floats) -> None:
        noted = self._squares[name]
        noted[0] += float((values**2).sum())
        noted[1] += values.size


class _Noisy(_Around):
    """A policy whose sensors are noisy."""

    def __init__(self, actor: Actor, deviation: Floats, rng: np.random.Generator) -> None:
        super().__init__(actor)
        self._deviation, self._rng = deviation, rng

    def act(self, observations: Observations, rows: Rows | None = None) -> Actions:
        noise = self._rng.standard_normal(observations.shape) * self._deviation
        return self._actor.act((observations + noise).astype(np.float32), rows)


class _Delayed(_Around):
    """A policy whose actions come one step late; the first one is done twice."""

    def __init__(self, actor: Actor) -> None:
        super().__init__(actor)
        self._before: dict[int, Any] = {}

    def start(self, rows: Rows) -> None:
        for row in rows.tolist():
            self._before.pop(row, None)
        super().start(rows)

    def act(self, observations: Observations, rows: Rows | None = None) -> Actions:
        actions = self._actor.act(observations, rows)
        late = actions.copy()
        for index, row in enumerate(_rows(observations, rows)):
            late[index] = self._before.get(row, actions[index])
            self._before[row] = actions[index].copy()
        return late


def _rows(observations: Observations, rows: Rows | None) -> list[int]:
    return list(range(len(observations))) if rows is None else rows.tolist()
