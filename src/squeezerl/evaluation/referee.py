"""The referee: judges policies against one baseline, on the same seeds, until it can decide."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from squeezerl.analysis.retention import fewest_to_keep, retention
from squeezerl.errors import InvalidArgumentError
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.evaluate import check_limit, extend, play
from squeezerl.evaluation.random_actor import RandomActor
from squeezerl.evaluation.rollout import Progress
from squeezerl.records import EvaluationRecord, Retention
from squeezerl.runtimes.base import Actor


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
        episodes: of the first look at a policy.
        max_episodes: the limit while it is undecided; unless given, four times `episodes`, or what
            the threshold needs at least.

    Raises:
        InvalidArgumentError: if a number is out of range.
    """

    def __init__(
        self,
        environment: Environment,
        baseline: Actor,
        *,
        threshold: float,
        seed: int,
        episodes: int,
        max_episodes: int | None = None,
    ) -> None:
        if not 0 < threshold <= 2:
            raise InvalidArgumentError(
                f"the retention to keep must be above 0 and at most 2 (0.95 is 95 %), "
                f"not {threshold}"
            )
        self.environment = environment
        self.threshold = threshold
        self.seed = seed
        self.episodes = episodes
        if max_episodes is None:
            max_episodes = max(4 * episodes, fewest_to_keep(threshold))
        self.max_episodes = max_episodes
        check_limit(episodes, self.max_episodes)
        # The interval that decides is widened for as many looks as there may be.
        self._looks = 1 + math.ceil(math.log2(self.max_episodes / episodes))
        self._baseline = baseline
        self._random = RandomActor(environment, seed)
        self._baseline_record: EvaluationRecord | None = None
        self._random_record: EvaluationRecord | None = None

    def prepare(self, on_progress: Progress = lambda fraction: None) -> None:
        """Run the baseline and the random policy for the first look."""
        self._extend_references(self.episodes, on_progress)

    def baseline_is_trained(self) -> bool:
        """Whether the baseline is clearly better than random, over the first look's episodes."""
        baseline, random = self.records(self.episodes)
        return self._retention(baseline, baseline, random).baseline_trained

    def judge(self, actor: Actor, *, on_progress: Progress = lambda fraction: None) -> Judgement:
        """A first look at a policy."""
        return self._judge(actor, self.episodes, None, on_progress)

    def decide(
        self,
        actor: Actor,
        *,
        first: Judgement | None = None,
        on_progress: Progress = lambda fraction: None,
    ) -> Judgement:
        """Look again, with twice the episodes, while a policy is undecided, up to the limit.

        Args:
            actor: the policy.
            first: what `judge` said of it, if it was asked.
            on_progress: called with the share of each look that is done.
        """
        judgement = first or self.judge(actor, on_progress=on_progress)
        while True:
            episodes = len(judgement.record.episodes)
            if judgement.retention.verdict != "undecided" or episodes >= self.max_episodes:
                return judgement
            more = min(2 * episodes, self.max_episodes)
            judgement = self._judge(actor, more, judgement.record, on_progress)

    def records(self, episodes: int) -> tuple[EvaluationRecord, EvaluationRecord]:
        """The first episodes of the baseline and of the random policy, as far as they were run."""
        assert self._baseline_record is not None
        assert self._random_record is not None
        return _first(self._baseline_record, episodes), _first(self._random_record, episodes)

    def _judge(
        self,
        actor: Actor,
        episodes: int,
        record: EvaluationRecord | None,
        on_progress: Progress,
    ) -> Judgement:
        self._extend_references(episodes, lambda fraction: None)
        record = self._run(record, actor, episodes, on_progress)
        baseline, random = self.records(episodes)
        return Judgement(record, self._retention(record, baseline, random))

    def _retention(
        self, policy: EvaluationRecord, baseline: EvaluationRecord, random: EvaluationRecord
    ) -> Retention:
        return retention(
            policy.returns,
            baseline.returns,
            random.returns,
            threshold=self.threshold,
            rng=np.random.default_rng(self.seed),
            looks=self._looks,
        )

    def _extend_references(self, episodes: int, on_progress: Progress) -> None:
        self._baseline_record = self._run(
            self._baseline_record, self._baseline, episodes, lambda f: on_progress(f / 2)
        )
        self._random_record = self._run(
            self._random_record, self._random, episodes, lambda f: on_progress(0.5 + f / 2)
        )

    def _run(
        self, record: EvaluationRecord | None, actor: Actor, episodes: int, on_progress: Progress
    ) -> EvaluationRecord:
        if record is not None:
            return extend(record, actor, self.environment, episodes, on_progress=on_progress)
        return play(
            actor, self.environment, episodes=episodes, seed=self.seed, on_progress=on_progress
        )


def _first(record: EvaluationRecord, episodes: int) -> EvaluationRecord:
    return dataclasses.replace(record, episodes=record.episodes[:episodes])
