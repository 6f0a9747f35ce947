"""The referee: judges policies against one baseline, on the same seeds, until it can decide.

However often it looks, the error of its verdicts stays bounded: see `analysis/sequential.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from squeezerl.analysis.retention import fewest_to_keep, retention
from squeezerl.analysis.sequential import ERROR, SequentialTest, doubling
from squeezerl.errors import InvalidArgumentError
from squeezerl.evaluation.evaluate import check_limit
from squeezerl.records import EvaluationRecord, Retention

P = TypeVar("P")
# Plays a policy: the first seed and the number of episodes are given.
Play = Callable[[P, int, int], EvaluationRecord]


@dataclass(frozen=True)
class Judgement:
    """A policy's episodes and what they say of its retention."""

    record: EvaluationRecord
    retention: Retention


class Referee(Generic[P]):
    """Compares policies with a baseline in one environment.

    Args:
        play: runs complete episodes of a policy. It may raise, for example since the episodes are
            still to be played elsewhere; the same call then goes on where it was.
        baseline: the uncompressed policy.
        random: the random policy.
        threshold: the retention that is asked for, between 0 and 1 as a rule.
        seed: of the first episode; the bootstrap derives its own from it.
        episodes: of the first full look at a policy.
        glance: of an earlier one, after which what clearly loses gets no more; none unless given.
        max_episodes: the limit while it is undecided; unless given, four times `episodes`, or what
            the threshold needs at least.
        error: how often at most a policy below the threshold is said to keep, and one above it to
            lose.

    Raises:
        InvalidArgumentError: if a number is out of range.
    """

    def __init__(
        self,
        play: Play[P],
        baseline: P,
        random: P,
        *,
        threshold: float,
        seed: int,
        episodes: int,
        max_episodes: int | None = None,
        glance: int | None = None,
        error: float = ERROR,
    ) -> None:
        if not 0 < threshold <= 2:
            raise InvalidArgumentError(
                f"`retain` must be above 0 and at most 2 (0.95 is 95 %), not {threshold}"
            )
        self.threshold = threshold
        self.seed = seed
        self.episodes = episodes
        if max_episodes is None:
            max_episodes = max(4 * episodes, fewest_to_keep(threshold))
        self.max_episodes = max_episodes
        check_limit(episodes, self.max_episodes)
        looks = doubling(episodes, self.max_episodes)
        self.glance = episodes if glance is None else min(glance, episodes)
        self._test = SequentialTest(tuple(sorted({self.glance, *looks})), error)
        self._play = play
        self._baseline, self._random = baseline, random
        self._records: dict[P, EvaluationRecord] = {}
        self._judgements: dict[tuple[P, int], Judgement] = {}

    def baseline_is_trained(self) -> bool:
        """Whether the baseline is clearly better than random, over the first look's episodes."""
        return self._look(self._baseline, self.episodes).retention.baseline_trained

    def references(self, episodes: int) -> tuple[EvaluationRecord, EvaluationRecord]:
        """So many episodes of the baseline and of the random policy."""
        return self.record(self._baseline, episodes), self.record(self._random, episodes)

    def glimpse(self, policy: P) -> Judgement:
        """The first look alone."""
        return self._look_until(policy, self.glance)

    def judge(self, policy: P) -> Judgement:
        """The glance, if there is one, and the first full look unless that clearly loses."""
        return self._look_until(policy, self.episodes)

    def decide(self, policy: P) -> Judgement:
        """Look again, with twice the episodes, while a policy is undecided, up to the limit."""
        first = self.judge(policy)
        if first.retention.verdict is None:
            return first
        return self._look_until(policy, self.max_episodes)

    def _look_until(self, policy: P, episodes: int) -> Judgement:
        for look in self._test.looks:
            judgement = self._look(policy, look)
            if judgement.retention.verdict in ("keeps", "loses") or look >= episodes:
                break
        return judgement

    def record(self, policy: P, episodes: int) -> EvaluationRecord:
        """So many episodes of a policy, from the first; those that are missing are played."""
        record = self._records.get(policy)
        played = 0 if record is None else len(record.episodes)
        if played < episodes:
            more = self._play(policy, self.seed + played, episodes - played)
            record = more if record is None else joined(record, more)
            self._records[policy] = record
        assert record is not None
        return dataclasses.replace(record, episodes=record.episodes[:episodes])

    def _look(self, policy: P, episodes: int) -> Judgement:
        known = self._judgements.get((policy, episodes))
        if known is not None:
            return known
        record = self.record(policy, episodes)
        baseline, random = self.references(episodes)
        judgement = Judgement(
            record,
            retention(
                record.returns,
                baseline.returns,
                random.returns,
                threshold=self.threshold,
                rng=np.random.default_rng(self.seed),
                test=self._test,
            ),
        )
        self._judgements[policy, episodes] = judgement
        return judgement


def joined(record: EvaluationRecord, more: EvaluationRecord) -> EvaluationRecord:
    """One evaluation of both records' episodes; the second goes on where the first ended."""
    return dataclasses.replace(
        record,
        episodes=record.episodes + more.episodes,
        seconds=record.seconds + more.seconds,
    )
