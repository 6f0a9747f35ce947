"""The referee: judges policies against one baseline, on the same seeds, until it can decide."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from squeezerl.analysis.retention import retention
from squeezerl.errors import InvalidArgumentError
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.evaluate import evaluate, extend
from squeezerl.evaluation.random_actor import RandomActor
from squeezerl.evaluation.rollout import Progress
from squeezerl.records import EvaluationRecord, Retention
from squeezerl.runtimes.actor import Actor


@dataclass(frozen=True)
class Judgement:
    """A policy's episodes and what they say of its retention."""

    record: EvaluationRecord
    retention: Retention


class Referee:
    """Compares policies with a baseline in one environment.

    Args:
        environment: where.
        baseline: the uncompressed policy.
        threshold: the retention that is asked for, between 0 and 1 as a rule.
        seed: of the first episode; the random policy and the bootstrap derive theirs from it.

    Raises:
        InvalidArgumentError: if the threshold is out of range.
    """

    def __init__(
        self, environment: Environment, baseline: Actor, *, threshold: float, seed: int
    ) -> None:
        if not 0 < threshold <= 2:
            raise InvalidArgumentError(
                f"the retention to keep must be above 0 and at most 2 (0.95 is 95 %), "
                f"not {threshold}"
            )
        self.environment = environment
        self.threshold = threshold
        self.seed = seed
        self._baseline = baseline
        self._random = RandomActor(environment, seed)
        self._baseline_record: EvaluationRecord | None = None
        self._random_record: EvaluationRecord | None = None

    def prepare(self, episodes: int, on_progress: Progress = lambda fraction: None) -> None:
        """Run the baseline and the random policy for at least so many episodes."""

        def baseline_progress(fraction: float) -> None:
            on_progress(fraction / 2)

        def random_progress(fraction: float) -> None:
            on_progress(0.5 + fraction / 2)

        self._baseline_record = self._run(
            self._baseline_record, self._baseline, episodes, baseline_progress
        )
        self._random_record = self._run(
            self._random_record, self._random, episodes, random_progress
        )

    def judge(
        self,
        actor: Actor,
        *,
        episodes: int,
        earlier: Judgement | None = None,
        on_progress: Progress = lambda fraction: None,
    ) -> Judgement:
        """Judge a policy by `episodes` episodes; those of an earlier judgement count."""
        self.prepare(episodes)
        record = self._run(earlier.record if earlier else None, actor, episodes, on_progress)
        return Judgement(record, self._retention(record))

    def judge_until_decided(
        self,
        actor: Actor,
        *,
        episodes: int,
        max_episodes: int,
        earlier: Judgement | None = None,
        on_progress: Progress = lambda fraction: None,
    ) -> Judgement:
        """Judge, and double the episodes while the verdict is undecided, up to the limit."""
        judgement = self.judge(actor, episodes=episodes, earlier=earlier, on_progress=on_progress)
        while judgement.retention.verdict == "undecided" and episodes < max_episodes:
            episodes = min(2 * episodes, max_episodes)
            judgement = self.judge(
                actor, episodes=episodes, earlier=judgement, on_progress=on_progress
            )
        return judgement

    def records(self, episodes: int) -> tuple[EvaluationRecord, EvaluationRecord]:
        """The first episodes of the baseline and of the random policy, as far as they were run."""
        assert self._baseline_record is not None
        assert self._random_record is not None
        return _first(self._baseline_record, episodes), _first(self._random_record, episodes)

    def _run(
        self, record: EvaluationRecord | None, actor: Actor, episodes: int, on_progress: Progress
    ) -> EvaluationRecord:
        if record is not None:
            return extend(record, actor, self.environment, episodes, on_progress=on_progress)
        return evaluate(
            actor, self.environment, episodes=episodes, seed=self.seed, on_progress=on_progress
        )

    def _retention(self, record: EvaluationRecord) -> Retention:
        baseline, random = self.records(len(record.episodes))
        return retention(
            record.returns,
            baseline.returns,
            random.returns,
            threshold=self.threshold,
            rng=np.random.default_rng(self.seed),
        )


def _first(record: EvaluationRecord, episodes: int) -> EvaluationRecord:
    return dataclasses.replace(record, episodes=record.episodes[:episodes])
