"""Imitation: a student learns the teacher's actions in the states that the student visits.

DAgger (Ross et al. 2011, arXiv 1011.0686): the states of all rounds are kept, each with what the
teacher would have done there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from squeezerl.errors import SpecError
from squeezerl.host.blas_threads import BlasThreads
from squeezerl.methods.base import Given, Spec, Visits
from squeezerl.methods.student import Adam, Student, outputs_of
from squeezerl.network.arithmetic import act, grouped
from squeezerl.network.network import LOG_DEVIATION, Float, Head, Network

# What "30s" in a spec stands for. Small networks learn faster, large ones slower.
STEPS_PER_SECOND = 1_000
# Steps of the teacher in each environment before the first step of learning.
_TEACHER_STEPS = 200
# The student visits so many steps in each environment, once in so many steps of learning.
_VISIT_STEPS, _VISIT_EVERY = 40, 200
_KEPT = 1_000_000
_STEPS_PER_SNAPSHOT = 2_500
# The share of the steps after which snapshots are taken.
_LEARNED = 0.4
# Near a bound the teacher's action counts as clipped: to go further does no harm.
_NEAR_BOUND = 0.02
# Of a tanh head: outputs that are far off must find back.
_LEAST_SLOPE = np.float32(0.05)
# A discrete choice that is far better than the second best weighs at most so much more.
_MOST_WEIGHT = np.float32(5)
# Weight of the error of a deviation's logarithm.
_OF_DEVIATION = np.float32(0.1)
# Where there are only observations, one in so many of them, the last ones, choose the snapshot.
_HELD_OUT = 5
# States beside those of a log: so much of the difference between two others is added to each.
_SPREAD = 0.1
# How fast the average of the parameters follows them.
_AVERAGED = 0.001


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """How a student imitates.

    Args:
        steps: of learning.
        rate: of the first step; it falls to 0 along a cosine.
        batch: states of one step.
        sparse: the weight of the study's regulariser, and `alpha` its exponent.
    """

    steps: int
    rate: float = 3e-3
    batch: int = 512
    sparse: float = 0.0
    alpha: float = 4.0

    @property
    def snapshots(self) -> int:
        """How many are raced at the end: a short lesson is not worth a long race."""
        return max(2, min(8, self.steps // _STEPS_PER_SNAPSHOT))


def imitate(
    network: Network, given: Given, lesson: Lesson, *, also: Sequence[Network] = ()
) -> Network:
    """The network with parameters that act as the teacher's; the best snapshot in the environment.

    Without an environment it learns on the observations that are given, but for the last ones: the
    snapshot whose actions there are nearest to the teacher's counts.

    Args:
        network: where it starts.
        given: with a teacher, and with environments or observations.
        lesson: how it learns.
        also: networks that take part in the race of the snapshots.
    """
    with BlasThreads() as threads:
        return _imitate(network, given, lesson, also, threads)


def _imitate(
    network: Network,
    given: Given,
    lesson: Lesson,
    also: Sequence[Network],
    threads: BlasThreads,
) -> Network:
    teacher = given.teacher
    assert teacher is not None
    rng = np.random.default_rng(given.seed)
    student, visits = Student(network), given.visits
    memory = _Memory(student, teacher)
    states = teacher_states(given)
    held_out = states[-max(1, len(states) // _HELD_OUT) :]
    if visits is None:
        states = states[: max(1, len(states) - len(states) // _HELD_OUT)]
        memory.add(_beside(states, rng))
    memory.add(states)
    error = ActionError(network.head, teacher.head)
    adam, average = Adam(student.parameters.size), student.parameters.copy()
    snapshots: list[Network] = []
    marks = {
        round(lesson.steps * (_LEARNED + (1 - _LEARNED) * (n + 1) / lesson.snapshots))
        for n in range(lesson.snapshots)
    }

    def sample() -> bytes:
        features, targets, _ = memory.draw(np.random.default_rng(0), lesson.batch)
        gradient = student.backward(error.slope(student.forward(features), targets))
        visited = states[: 1 if visits is None else visits.rows]
        return gradient.tobytes() + act(network, visited).tobytes()

    for step in threads.fastest(range(1, lesson.steps + 1), sample):
        if visits is not None and step % _VISIT_EVERY == 0:
            memory.add(visits.roll(partial(act, student.network()), _VISIT_STEPS).visited)
        features, targets, weights = memory.draw(rng, lesson.batch)
        slope = error.slope(student.forward(features), targets)
        gradient = student.backward(slope * (weights / np.float32(lesson.batch)))
        if lesson.sparse:
            gradient += np.float32(lesson.sparse) * student.sparsity_slope(lesson.alpha)
        rate = lesson.rate * 0.5 * (1 + math.cos(math.pi * step / lesson.steps))
        adam.step(student.parameters, gradient, rate)
        average += max(_AVERAGED, 1 / step) * (student.parameters - average)
        if step in marks:
            snapshots.append(student.network(average))
        if step % _VISIT_EVERY == 0:
            given.on_progress(0.9 * step / lesson.steps)
    if visits is None:
        wanted = act(teacher, held_out)
        return min([*also, *snapshots], key=lambda n: error.mean(act(n, held_out), wanted))
    return race(
        [*also, *snapshots],
        visits,
        on_progress=lambda done: given.on_progress(0.9 + 0.1 * done),
    )[0]


def race(
    networks: Sequence[Network],
    visits: Visits,
    *,
    episodes: int = 4,
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> tuple[Network, npt.NDArray[np.float64]]:
    """The network of the highest mean return, and its returns; all play the same start states.

    Successive halving: the better half plays twice as many episodes, until one is left.
    """
    running = list(networks)
    returns = {id(network): np.empty(0) for network in running}
    while True:
        played = len(returns[id(running[0])])
        on_progress(1 - len(running) / len(networks))
        acts = [partial(act, network) for network in running]
        more = visits.returns(acts, episodes - played, first=played)
        for network, added in zip(running, more, strict=True):
            returns[id(network)] = np.concatenate([returns[id(network)], added])
        running.sort(key=lambda network: -float(returns[id(network)].mean()))
        running = running[: -(-len(running) // 2)]
        if len(running) == 1:
            on_progress(1.0)
            return running[0], returns[id(running[0])]
        episodes *= 2


def check_given(spec: Spec, given: Given) -> None:
    """Raise a `SpecError` if there is nothing to learn from."""
    if given.teacher is None or (given.visits is None and given.observations is None):
        raise SpecError(
            f"{spec.kind} needs observations of the agent's own episodes, or better an environment "
            "to visit"
        )


def teacher_states(given: Given) -> npt.NDArray[np.float32]:
    """Raw observations (n, *shape) that the teacher visits."""
    teacher = given.teacher
    assert teacher is not None
    if given.visits is not None:
        return given.visits.roll(partial(act, teacher), _TEACHER_STEPS).visited
    assert given.observations is not None
    return given.observations


def _beside(states: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """States beside those that are given, spread as these are.

    A student strays from the states of its teacher. Where it cannot be watched doing so, it learns
    beside them what the teacher would do (compare DART, Laskey et al. 2017, arXiv 1703.09327).
    """
    one, other = (states[rng.permutation(len(states))] for _ in range(2))
    beside: npt.NDArray[np.float32] = states + np.float32(_SPREAD) * (one - other)
    return beside


class _Memory:
    """States and what the teacher does there."""

    def __init__(self, student: Student, teacher: Network) -> None:
        self._student, self._teacher = student, teacher
        self._size = self._next = 0
        self._features: Float = np.empty(0, np.float32)
        self._targets: Float = np.empty(0, np.float32)
        self._weights: Float = np.empty(0, np.float32)

    def add(self, observations: npt.NDArray[np.float32]) -> None:
        """Keep more states; the oldest give way."""
        features = self._student.features(observations)
        targets, weights = lesson_of(self._teacher, observations)
        if not len(self._features):
            self._features = np.empty((_KEPT, features.shape[1]), np.float32)
            self._targets = np.empty((_KEPT, targets.shape[1]), np.float32)
            self._weights = np.empty((_KEPT, 1), np.float32)
        places = (self._next + np.arange(len(features))) % _KEPT
        self._features[places], self._targets[places] = features, targets
        self._weights[places] = weights
        self._next = (self._next + len(features)) % _KEPT
        self._size = min(_KEPT, self._size + len(features))

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Float, Float, Float]:
        """Features (count, features), targets (count, outputs) and weights (count, 1)."""
        chosen = rng.integers(self._size, size=count)
        return self._features[chosen], self._targets[chosen], self._weights[chosen]


def lesson_of(teacher: Network, observations: npt.NDArray[np.float32]) -> tuple[Float, Float]:
    """What the student shall do, (n, outputs), and how much each state weighs, (n, 1).

    For continuous actions these are the actions, followed by the logarithms of their deviations
    where the observation decides these; for discrete ones the probabilities of a policy that draws,
    and else a one at each choice, which weighs as much as it is better than the second best. Where
    an action consists of several choices, the mean of their weights counts.
    """
    ones = np.ones((len(observations), 1), np.float32)
    head = teacher.head
    if not head.is_discrete:
        actions = act(teacher, observations).reshape(len(observations), -1)
        if not head.has_own_deviation:
            return actions, ones
        spread = np.clip(outputs_of(teacher, observations)[:, actions.shape[1] :], *LOG_DEVIATION)
        return np.concatenate([actions, spread], axis=1), ones
    outputs = outputs_of(teacher, observations)
    if head.sampling is not None:
        return softmax(head, outputs), ones
    ordered = [np.sort(group, axis=1) for group in grouped(head, outputs) if group.shape[1] > 1]
    gaps = np.stack([group[:, -1] - group[:, -2] for group in ordered] or [ones[:, 0]], axis=1)
    weights = np.minimum(gaps / (gaps.mean(axis=0) + np.float32(1e-8)), _MOST_WEIGHT)
    return one_hot(head, outputs), weights.mean(axis=1, keepdims=True)


def one_hot(head: Head, outputs: Float) -> Float:
    """An array (n, outputs) with a 1 at the largest output of each choice, and 0 elsewhere."""
    groups = grouped(head, outputs)
    ones = [np.eye(x.shape[1], dtype=np.float32)[x.argmax(axis=1)] for x in groups]
    return np.concatenate(ones, axis=1)


def softmax(head: Head, outputs: Float) -> Float:
    """The probabilities of each choice, (n, outputs)."""
    shifted = [np.exp(x - x.max(axis=1, keepdims=True)) for x in grouped(head, outputs)]
    return np.concatenate([x / x.sum(axis=1, keepdims=True) for x in shifted], axis=1)


class ActionError:
    """The loss of a student's outputs.

    For continuous actions it is half the squared error of the action, in units of half the range.
    Where the teacher's action is at a bound, an output beyond the bound is no error. For discrete
    ones it is the sum of each choice's cross-entropy.
    """

    def __init__(self, head: Head, teacher: Head) -> None:
        self._head = head
        finite = np.isfinite(teacher.low) & np.isfinite(teacher.high)
        with np.errstate(invalid="ignore"):
            half = np.where(finite, (teacher.high - teacher.low) / 2, 1).astype(np.float32)
            center = np.where(finite, (teacher.high + teacher.low) / 2, 0).astype(np.float32)
        self.half, self._center = half, center
        margin = np.float32(_NEAR_BOUND) * half
        self._low = np.where(finite, teacher.low + margin, -np.inf).astype(np.float32)
        self._high = np.where(finite, teacher.high - margin, np.inf).astype(np.float32)

    def mean(self, actions: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> float:
        """Of actions (n, *action_shape): the mean square in half ranges, or the share that differ.

        Args:
            actions: of the student.
            wanted: those of the teacher.
        """
        if self._head.is_discrete:
            return float((actions != wanted).mean())
        far = (actions - wanted).reshape(len(actions), -1)[:, : len(self.half)] / self.half
        return float(np.square(far, dtype=np.float64).mean())

    def slope(self, outputs: Float, targets: Float) -> Float:
        """The gradient (n, outputs) for outputs and for the targets of `lesson_of`."""
        if self._head.is_discrete:
            return softmax(self._head, outputs) - targets
        width = len(self.half)
        if outputs.shape[1] > width:
            means = self.slope(outputs[:, :width], targets[:, :width])
            spread = _OF_DEVIATION * (outputs[:, width:] - targets[:, width:])
            return np.concatenate([means, spread], axis=1)
        if self._head.kind == "tanh":
            squashed = np.tanh(outputs)
            error = squashed - (targets - self._center) / self.half
            slope: Float = error * np.maximum(1 - squashed * squashed, _LEAST_SLOPE)
            return slope
        error = outputs - targets
        error[(targets > self._high) & (error > 0)] = 0
        error[(targets < self._low) & (error < 0)] = 0
        scaled: Float = error / (self.half * self.half)
        return scaled
