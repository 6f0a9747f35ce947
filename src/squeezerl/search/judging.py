"""Which candidate is chosen: the cheapest that keeps the return, and keeps it again.

The best of thirty looks better than it is, so the choice is confirmed on episodes that played no
part in it. Each attempt at that may err half as often as the one before: all of them together
confirm what does not keep its return in at most 5 % of squeezes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, final

from squeezerl.analysis.sequential import ERROR
from squeezerl.evaluation.evaluate import CONFIRMATION_SEED_OFFSET
from squeezerl.evaluation.referee import Judgement, Play, Referee
from squeezerl.jobs.job import Job
from squeezerl.search.candidates import BASELINE, Candidate, front_of
from squeezerl.search.planner import Seen

RANDOM = "random"
# The float policy and the candidates, and the random policy by its name.
Player = Candidate | str
REFERENCES: tuple[Player, ...] = (BASELINE, RANDOM)
# A candidate that clearly loses over the first of its episodes gets no more of them.
_GLANCE_SHARE, _FEWEST_AT_A_GLANCE = 0.25, 20
# Of the students that learned, so many are judged at most, if they lack no more than this.
_MOST_JUDGED, _BENEFIT_OF_DOUBT = 8, 0.03
_P = TypeVar("_P")
_R = TypeVar("_R")


class NotYet(Exception):  # noqa: N818 - it is not an error
    """Jobs must be done before the search can go on."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        super().__init__(f"{len(jobs)} jobs are to be done")
        self.jobs = jobs


def gather(find: Callable[[_P], _R], players: Sequence[_P]) -> list[_R]:
    """`find` for each; all jobs that are missing for them are asked for at once.

    Raises:
        NotYet: if any are missing.
    """
    found: list[_R] = []
    missing: list[Job] = []
    for player in players:
        try:
            found.append(find(player))
        except NotYet as wait:
            missing += wait.jobs
    if missing:
        raise NotYet(missing)
    return found


def worth_judging(students: Mapping[Candidate, Seen], retain: float) -> tuple[Candidate, ...]:
    """The students that seem to keep the return at a glance, the cheapest first.

    They are those of the front, and those that only one of it excels, if they seem to keep the
    return, too: that one may have been lucky.
    """
    kept = {candidate: seen.retention for candidate, seen in students.items()}

    def front(of: Mapping[Candidate, float], enough: float) -> list[Candidate]:
        found = front_of(of, lambda candidate: students[candidate].cost)
        return [candidate for candidate in found if kept[candidate] >= enough]

    first = front(kept, retain - _BENEFIT_OF_DOUBT)[:_MOST_JUDGED]
    second = front({c: kept[c] for c in kept if c not in first}, retain)
    chosen = [*first, *second[: _MOST_JUDGED - len(first)]]
    return tuple(sorted(chosen, key=lambda candidate: students[candidate].cost))


@dataclass(frozen=True)
class Choice:
    """The candidates as they were judged in the end, and the one that was chosen."""

    judged: Mapping[Candidate, Judgement]
    chosen: Candidate
    confirmation: Judgement | None


@final
class Judge:
    """Judges candidates on some seeds, and confirms on others.

    Args:
        play: runs episodes; it may raise `NotYet`.
        retain: the retention that is asked for.
        seed: of the first episode.
        episodes: of a first full look.
        max_episodes: the limit while a candidate is undecided (see `Referee`).
    """

    def __init__(
        self,
        play: Play[Player],
        *,
        retain: float,
        seed: int,
        episodes: int,
        max_episodes: int | None,
    ) -> None:
        self._play = play
        self._retain, self.episodes, self._limit = retain, episodes, max_episodes
        glance = max(_FEWEST_AT_A_GLANCE, round(_GLANCE_SHARE * episodes))
        self.referee = self._referee(seed, glance=glance)
        self.fresh = seed + CONFIRMATION_SEED_OFFSET
        self._confirming: list[Referee[Player]] = []

    def choose(self, candidates: Sequence[Candidate], cheaper: Sequence[Candidate]) -> Choice:
        """Judge all and choose.

        Args:
            candidates: all that could be made.
            cheaper: those of them that can be chosen, the one that is preferred first.

        Raises:
            NotYet: if episodes must be played before that.
        """
        judged = dict(zip(candidates, gather(self.referee.judge, candidates), strict=True))
        attempts = 0
        for candidate in cheaper:
            if judged[candidate].retention.verdict == "loses":
                continue
            judged[candidate] = self.referee.decide(candidate)
            if judged[candidate].retention.verdict != "keeps":
                continue
            confirmation = self._confirm(candidate, attempts)
            attempts += 1
            if confirmation.retention.verdict == "keeps":
                return Choice(judged, candidate, confirmation)
        return Choice(judged, BASELINE, None)

    def _confirm(self, candidate: Candidate, attempt: int) -> Judgement:
        while len(self._confirming) <= attempt:
            error = ERROR / 2 ** len(self._confirming)
            self._confirming.append(self._referee(self.fresh, error=error))
        players = (candidate, *REFERENCES)
        gather(lambda player: self._play(player, self.fresh, self.episodes), players)
        return self._confirming[attempt].decide(candidate)

    def _referee(
        self, seed: int, *, glance: int | None = None, error: float = ERROR
    ) -> Referee[Player]:
        return Referee(
            self._play,
            BASELINE,
            RANDOM,
            threshold=self._retain,
            seed=seed,
            episodes=self.episodes,
            max_episodes=self._limit,
            glance=glance,
            error=error,
        )
