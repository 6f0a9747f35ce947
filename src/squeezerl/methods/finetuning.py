"""Fine-tuning: a compressed policy learns from the reward of the environment itself."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, Self, final

import numpy as np
import numpy.typing as npt

from squeezerl.errors import SpecError
from squeezerl.methods.base import (
    ExpectedLayer,
    Given,
    Need,
    Spec,
    Transitions,
    Visits,
    register_spec,
)
from squeezerl.methods.imitation import ActionError, lesson_of, one_hot, race
from squeezerl.methods.student import Adam, Student, head_actions, random_layers
from squeezerl.network.arithmetic import act, grouped
from squeezerl.network.network import Float, Head, Network
from squeezerl.records import MethodRecord

# What "30s" stands for, in steps of the environment.
_STEPS_PER_SECOND = 10_000
# A short training is not worth a long race.
_SNAPSHOTS, _STEPS_PER_SNAPSHOT = 7, 60_000
# Rate and deviation, from a start whose return is near the agent's and from a worse one.
_GENTLE, _BOLD = (3e-4, 0.05), (1e-3, 0.1)
# Near: within this share of the agent's return, over so many episodes.
_NEAR, _FIRST_LOOK = 0.06, 4
# PPO (Schulman et al. 2017, arXiv 1707.06347).
_HORIZON, _EPOCHS, _MINIBATCH = 64, 10, 1024
_GAMMA, _LAMBDA, _CLIP = 0.99, 0.95, 0.2
_MOST_KL, _MOST_GRADIENT = 0.03, 0.5
_VALUE_WIDTHS, _VALUE_RATE = (64, 64), 1e-3
# Shares of all rounds: in the first, only the value function learns; until the second, the agent's
# actions hold the policy back.
_WARM_UP, _HELD = 0.08, 0.5
# Evolution strategies (Salimans et al. 2017, arXiv 1703.03864).
_PAIRS, _EPISODES = 16, 2


@final
@register_spec
@dataclass(frozen=True, kw_only=True)
class FineTuning(Spec):
    """Learn from the environment's reward, in the arithmetic that the network has.

    PPO explores with normal noise of a fixed deviation around the policy's outputs, or with the
    probabilities of discrete actions. While its value function is learned the policy waits, and
    over the first half the agent's actions hold it back. What counts is the best of the snapshots
    and of the policy before, acting without noise.

    Args:
        steps: of the environment. "30s" and "3m" stand for 10,000 steps a second.
        by: "ppo", or "es" for evolution strategies, which need no gradient.
        rate: Adam's rate at first; it falls to 0 along a cosine. 0 chooses by the start: 0.0003
            where the policy returns nearly what the agent does, and else 0.001.
        deviation: of the noise, in units of half the range of an action; of "es", that of the
            parameters. 0 chooses 0.05 or 0.1 in the same way.
        hold: how much the distance from the agent's actions weighs at first.
    """

    kind = "finetune"
    positional = ("steps",)
    rates: ClassVar = {"steps": _STEPS_PER_SECOND}
    needs: ClassVar[frozenset[Need]] = frozenset({"visits"})
    takes_integers = True

    steps: int = 500_000
    by: Literal["ppo", "es"] = "ppo"
    rate: float = 0.0
    deviation: float = 0.0
    hold: float = 0.05

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise SpecError(f"steps of the environment must be at least 1, not {self.steps}")
        for name in ("rate", "deviation"):
            if not 0 <= getattr(self, name) <= 1:
                raise SpecError(f"{name} must be at least 0 and at most 1: {getattr(self, name)}")
        if not 0 <= self.hold < math.inf:
            raise SpecError(f"hold must be at least 0, not {self.hold}")

    @property
    def record(self) -> MethodRecord:
        """See `Spec`."""
        return MethodRecord(
            name="finetune" if self.by == "ppo" else "finetune-es",
            label="fine-tuning" if self.by == "ppo" else "fine-tuning by evolution",
            short="tuned" if self.by == "ppo" else "evolved",
            group="fine-tuning",
            color="#D55E00" if self.by == "ppo" else "#E69F00",
            marker="H" if self.by == "ppo" else "8",
        )

    @property
    def named_fields(self) -> tuple[str, ...]:
        """See `Spec`."""
        return ("by",)

    def apply(self, network: Network, given: Given) -> Network:
        """See `Spec`."""
        if given.visits is None or given.teacher is None:
            raise SpecError(
                "finetune learns from the reward of an environment, and observations have none; "
                "name the environment with `env`"
            )
        learn = _ppo if self.by == "ppo" else _evolve
        snapshots = learn(self._chosen(network, given.teacher, given.visits), network, given)
        return race(
            [network, *snapshots],
            given.visits,
            on_progress=lambda done: given.on_progress(0.9 + 0.1 * done),
        )[0]

    def _chosen(self, network: Network, teacher: Network, visits: Visits) -> Self:
        """The spec with a rate and a deviation."""
        acts = [partial(act, each) for each in (network, teacher)]
        policy, agent = map(float, visits.returns(acts, _FIRST_LOOK).mean(axis=1))
        rate, deviation = _GENTLE if policy >= agent - _NEAR * abs(agent) else _BOLD
        return dataclasses.replace(
            self, rate=self.rate or rate, deviation=self.deviation or deviation
        )

    def expect(self, layers: Sequence[ExpectedLayer]) -> list[ExpectedLayer]:
        """See `Spec`."""
        return list(layers)


def _ppo(spec: FineTuning, network: Network, given: Given) -> list[Network]:
    rng, visits = np.random.default_rng(given.seed), given.visits
    assert visits is not None
    learner = _Learner(spec, network, given, rng)
    rounds = max(2, -(-spec.steps // (_HORIZON * visits.rows)))
    warm_up = max(1, round(rounds * _WARM_UP))
    count = max(2, min(_SNAPSHOTS, spec.steps // _STEPS_PER_SNAPSHOT))
    marks = {warm_up + round((rounds - warm_up) * (n + 1) / count) for n in range(count)}
    snapshots = []
    for number in range(1, rounds + 1):
        samples = learner.play(visits)
        done = number / rounds
        learner.learn(
            samples,
            rate=spec.rate * 0.5 * (1 + math.cos(math.pi * done)) if number > warm_up else 0.0,
            hold=spec.hold * max(0.0, 1 - done / _HELD),
        )
        if number in marks:
            snapshots.append(learner.student.network())
        given.on_progress(0.9 * done)
    return snapshots


@dataclass(frozen=True, kw_only=True)
class _Samples:
    """Steps of episodes, one row each."""

    features: Float
    values: Float  # features of the value function
    choices: Float  # outputs with noise, or a one where the choice is
    log_likelihood: npt.NDArray[np.float64]
    advantages: Float
    targets: Float  # of the value function
    lessons: Float
    weights: Float


class _Learner:
    """A student and its value function."""

    def __init__(
        self, spec: FineTuning, network: Network, given: Given, rng: np.random.Generator
    ) -> None:
        assert given.teacher is not None
        self.student, self._teacher, self._head = Student(network), given.teacher, network.head
        self._rng, self._network = rng, network
        self._adam = Adam(self.student.parameters.size)
        self._error = ActionError(network.head, given.teacher.head)
        self._deviation = _deviation(network, spec.deviation)
        self._width = len(self._deviation)
        # The divergence of two normal distributions is their distance in units of the deviation.
        self._share = 1.0 if network.head.is_discrete else spec.deviation
        inputs = network.layers[0].in_features
        anything = np.full(1, np.inf, np.float32)
        value = Network(
            layers=random_layers([inputs, *_VALUE_WIDTHS, 1], "Tanh", rng),
            head=Head(kind="clip", low=-anything, high=anything),
            observation_shape=(inputs,),
            action_shape=(1,),
        )
        self._value = Student(value)
        self._value_adam = Adam(self._value.parameters.size)
        self._scaling: tuple[Float, Float] | None = None
        self._return_std = _RunningReturns()

    def play(self, visits: Visits) -> _Samples:
        """Explore for some steps in each environment."""
        choices: list[Float] = []

        def explore(observations: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
            outputs = self._outputs(self.student.features(observations))
            if self._head.is_discrete:
                # The largest sum with Gumbel's noise is drawn from the softmax.
                outputs = outputs + self._rng.gumbel(size=outputs.shape).astype(np.float32)
                choices.append(one_hot(self._head, outputs))
            else:
                noise = self._rng.standard_normal(outputs.shape, dtype=np.float32)
                outputs = outputs + noise * self._deviation
                choices.append(outputs)
            return head_actions(self._network, outputs)

        seen = visits.roll(explore, _HORIZON)
        features = self.student.features(
            seen.observations.reshape(-1, *seen.observations.shape[2:])
        )
        advantages, targets, values = self._advantages(seen, features)
        keep = seen.counts.ravel()
        chosen = np.concatenate(choices)[keep]
        features = features[: len(keep)][keep]
        advantages = advantages.ravel()[keep]
        lessons, weights = lesson_of(self._teacher, seen.visited)
        return _Samples(
            features=features,
            values=values[: len(keep)][keep],
            choices=chosen,
            log_likelihood=self._log_likelihood(self._outputs(features), chosen),
            advantages=(advantages - advantages.mean()) / (advantages.std() + np.float32(1e-8)),
            targets=targets.ravel()[keep],
            lessons=lessons,
            weights=weights,
        )

    def learn(self, samples: _Samples, *, rate: float, hold: float) -> None:
        """Some epochs; the policy stays if the rate is 0."""
        size = len(samples.features)
        for _ in range(_EPOCHS):
            order = self._rng.permutation(size)
            for start in range(0, size, _MINIBATCH):
                rows = order[start : start + _MINIBATCH]
                missed = self._value.forward(samples.values[rows])[:, 0] - samples.targets[rows]
                slope = missed[:, np.newaxis] / np.float32(len(rows))
                self._value_adam.step(
                    self._value.parameters, self._value.backward(slope), _VALUE_RATE
                )
                if rate > 0:
                    kl = self._step(samples, rows, rate, hold)
                    if kl > _MOST_KL:
                        rate = 0.0

    def _step(
        self, samples: _Samples, rows: npt.NDArray[np.int64], rate: float, hold: float
    ) -> float:
        """A step of the policy; gives how far it has gone from the one that played."""
        everything = self.student.forward(samples.features[rows])
        outputs = everything[:, : self._width]
        choices, advantages = samples.choices[rows], samples.advantages[rows]
        change = self._log_likelihood(outputs, choices) - samples.log_likelihood[rows]
        ratio = np.exp(np.minimum(change, 20))
        clipped = np.where(advantages > 0, ratio > 1 + _CLIP, ratio < 1 - _CLIP)
        push = np.where(clipped, 0, ratio * advantages).astype(np.float32)[:, np.newaxis]
        slope = np.zeros_like(everything)
        slope[:, : self._width] = -push * self._score(outputs, choices)
        if hold > 0:
            pull = self._error.slope(everything, samples.lessons[rows]) * samples.weights[rows]
            slope += np.float32(hold / self._share**2) * pull
        gradient = self.student.backward(slope / np.float32(len(rows)))
        length = float(np.sqrt(np.square(gradient).sum()))
        gradient *= np.float32(min(1.0, _MOST_GRADIENT / (length + 1e-12)))
        self._adam.step(self.student.parameters, gradient, rate)
        return float((np.expm1(np.minimum(change, 20)) - change).mean())

    def _outputs(self, features: Float) -> Float:
        """Those that an action is made of, without the deviations of a policy that draws."""
        return self.student.forward(features)[:, : self._width]

    def _log_likelihood(self, outputs: Float, choices: Float) -> npt.NDArray[np.float64]:
        """Of each choice, up to a constant."""
        if self._head.is_discrete:
            shifted = [
                (group - group.max(axis=1, keepdims=True)).astype(np.float64)
                for group in grouped(self._head, outputs)
            ]
            of_all = [x - np.log(np.exp(x).sum(axis=1, keepdims=True)) for x in shifted]
            chosen: npt.NDArray[np.float64] = (np.hstack(of_all) * choices).sum(axis=1)
            return chosen
        far = ((choices - outputs) / self._deviation).astype(np.float64)
        likelihood: npt.NDArray[np.float64] = -0.5 * np.square(far).sum(axis=1)
        return likelihood

    def _score(self, outputs: Float, choices: Float) -> Float:
        """The gradient of the log-likelihood with respect to the outputs."""
        if self._head.is_discrete:
            return -self._error.slope(outputs, choices)
        score: Float = (choices - outputs) / (self._deviation * self._deviation)
        return score

    def _advantages(self, seen: Transitions, features: Float) -> tuple[Float, Float, Float]:
        """Advantages (GAE, arXiv 1506.02438), targets, both (steps, rows), and value inputs."""
        if self._scaling is None:
            self._scaling = features.mean(axis=0), features.std(axis=0) + np.float32(1e-3)
        center, spread = self._scaling
        inputs = np.clip((features - center) / spread, -10, 10)
        steps, rows = seen.rewards.shape
        values = self._value.forward(inputs).reshape(steps + 1, rows)
        rewards = seen.rewards / np.float32(self._return_std.update(seen))
        advantages = np.zeros((steps, rows), np.float32)
        later = np.zeros(rows, np.float32)
        for step in reversed(range(steps)):
            goes_on = ~seen.ended[step]
            bootstrap = values[step + 1] * (goes_on | seen.truncated[step])
            missed = rewards[step] + np.float32(_GAMMA) * bootstrap - values[step]
            later = missed + np.float32(_GAMMA * _LAMBDA) * goes_on * later
            advantages[step] = later
        return advantages, advantages + values[:-1], inputs


class _RunningReturns:
    """The standard deviation of discounted returns, which rewards are divided by."""

    def __init__(self) -> None:
        self._return: npt.NDArray[np.float64] | None = None
        self._count, self._mean, self._square = 0, 0.0, 0.0

    def update(self, seen: Transitions) -> float:
        """Count what was seen; gives the deviation of all so far, at least 1e-4."""
        returns = np.zeros(seen.rewards.shape[1]) if self._return is None else self._return
        for rewards, ended, counts in zip(seen.rewards, seen.ended, seen.counts, strict=True):
            returns = _GAMMA * returns + rewards
            values = returns[counts]
            self._count += len(values)
            change = values - self._mean
            self._mean += float(change.sum()) / max(1, self._count)
            self._square += float((change * (values - self._mean)).sum())
            returns = returns * ~ended
        self._return = returns
        return max(1e-4, math.sqrt(self._square / max(1, self._count)))


def _evolve(spec: FineTuning, network: Network, given: Given) -> list[Network]:
    rng, visits = np.random.default_rng(given.seed), given.visits
    assert visits is not None
    student = Student(network)
    center, adam = student.parameters.copy(), Adam(student.parameters.size)
    played, number, next_mark = 0, 0, 1
    snapshots: list[Network] = []
    size = np.float32(spec.deviation * (np.abs(center).mean() + 1e-8))

    def counted(network: Network, observations: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        nonlocal played
        played += len(observations)
        return act(network, observations)

    while played < spec.steps:
        noise = rng.standard_normal((_PAIRS, len(center))).astype(np.float32)
        around = [student.network(center + s * size * n) for n in noise for s in (1, -1)]
        acts = [partial(counted, network) for network in around]
        returns = visits.returns(acts, _EPISODES, first=10_000 + number * _EPISODES)
        returns = returns.mean(axis=1).reshape(-1, 2)
        ranks = returns.ravel().argsort().argsort().reshape(returns.shape) / (returns.size - 1)
        gradient = (ranks[:, 1] - ranks[:, 0]).astype(np.float32) @ noise / np.float32(_PAIRS)
        done = min(1.0, played / spec.steps)
        adam.step(center, gradient, 10 * spec.rate * 0.5 * (1 + math.cos(math.pi * done)))
        number += 1
        if done >= next_mark / _SNAPSHOTS:
            snapshots.append(student.network(center))
            next_mark = math.floor(done * _SNAPSHOTS) + 1
        given.on_progress(0.9 * done)
    return snapshots


def _deviation(network: Network, share: float) -> Float:
    """Of the noise of each output."""
    head = network.head
    if head.kind != "clip":
        width = network.layers[-1].out_features if head.is_discrete else len(head.low)
        return np.full(width, share, np.float32)
    finite = np.isfinite(head.low) & np.isfinite(head.high)
    with np.errstate(invalid="ignore"):
        half = np.where(finite, (head.high - head.low) / 2, 1)
    deviation: Float = (share * half).astype(np.float32)
    return deviation
