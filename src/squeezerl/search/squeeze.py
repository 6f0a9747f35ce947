"""The squeeze: try recipes, return the smallest artifact that keeps the return.

It is a planner on the job engine. Recipes are compressed and played by workers side by side, and
what was found is kept in a small store: whatever is interrupted or killed, the same squeeze goes
on. What to learn next is decided in `planner`, what keeps its return in `judging`, and what is
written in `writing`.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import final

from squeezerl.agents.load import Agent
from squeezerl.artifacts.artifact import read_artifact
from squeezerl.errors import (
    EvaluationError,
    InvalidArgumentError,
    MeasurementError,
)
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.evaluate import CONFIRMATION_SEED_OFFSET, calibrate, check_numbers
from squeezerl.host.cores import count_cores
from squeezerl.host.facts import host_facts
from squeezerl.jobs.job import Status
from squeezerl.jobs.location import Location
from squeezerl.jobs.open import open_store
from squeezerl.measurement.settings import Settings, Workload
from squeezerl.methods.recipe import Recipe
from squeezerl.pipeline.kinds import agent_params, put_agent, registrations
from squeezerl.pipeline.place import Place
from squeezerl.records import EvaluationRecord
from squeezerl.runtimes.base import RUNTIMES
from squeezerl.search.board import STUDY, Board
from squeezerl.search.candidates import (
    BASELINE,
    Candidate,
    fixed_and_learning,
    front_of,
    students,
)
from squeezerl.search.judging import REFERENCES, Choice, Judge, NotYet, gather, worth_judging
from squeezerl.search.planner import Demand, Seen, repeating, shortened, shrinking
from squeezerl.search.result import BestSoFar, SqueezeResult, Trial
from squeezerl.search.working import Best, OnBest, StageProgress, Watch, alone, work_on
from squeezerl.search.writing import artifact_path, measure, place_artifacts, watch, worth_measuring

_PLAYING_SHARE = 0.9  # of the progress bar; the rest is measuring
# Of the budget, what is kept for judging, confirming and measuring.
_JUDGING_SHARE = 0.2
# Methods estimate their seconds for an environment in which a step of the agent takes this long; in
# a faster one, what they compute themselves takes longer than the environment.
_STEP_S, _FASTEST = 60e-6, 0.7
# A student that begins late learns for this share of its time at least, and for so many seconds.
_SHORTEST_SHARE, _SHORTEST_S = 0.3, 2.0

_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smh]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


def seconds_of(budget: float | str) -> float:
    """The seconds of a number or of a text: "90", "90s", "10m", "1h".

    Raises:
        InvalidArgumentError: if it is no such text.
    """
    if isinstance(budget, str):
        found = _DURATION.fullmatch(budget.strip())
        if found is None:
            raise InvalidArgumentError(f"`budget` {budget!r} is not of the form 90s, 10m or 1h")
        budget = float(found[1]) * _SECONDS[found[2]]
    return float(budget)


@dataclass(frozen=True, kw_only=True)
class SqueezeSettings:
    """What a squeeze is asked for.

    Args:
        retain: share of the random-normalised return to keep.
        episodes: complete episodes for each recipe.
        max_episodes: limit for recipes that are undecided (see `Referee`).
        seed: of the first episode, and of all else that is random.
        recipes: what to try; each of another name.
        measurement: how to measure latency, memory and energy of the best, if at all.
        meter_problem: why there is no energy among it.
        workers: processes; unless given, one per core.
        budget_s: seconds, most of which go into students that learn; with 0, none do.
        optimize: what the chosen candidate has least of: "bytes" of the weights, "latency" of one
            decision in the native runtime, or "macs", its multiplications.
        max_bytes: most bytes of the weights that the chosen candidate may have.
        behaviour: whether the chosen candidate is disturbed and watched.
    """

    retain: float = 0.95
    episodes: int = 100
    max_episodes: int | None = None
    seed: int = 0
    recipes: tuple[Recipe, ...] = ()
    measurement: Settings | None = None
    meter_problem: str | None = None
    workers: int | None = None
    budget_s: float = 0.0
    optimize: str = "bytes"
    max_bytes: int | None = None
    behaviour: bool = True


@final
class Search:
    """Tries recipes and finds the cheapest artifact that keeps the return.

    Every candidate is compressed, written, read back and judged as the artifact that would be
    deployed, on the same seeds as the baseline (see `Judge`). With a budget, students learn first
    (see `planner`).

    Where a result is missing, `_explore` and `_choose` raise `NotYet` with the jobs that would give
    it. They are called again whenever jobs have ended; the judge remembers what it judged.

    Args:
        agent: what to squeeze.
        environment: where its return counts.
        settings: what is asked for.
        work: folder for what an interrupted search goes on from, and with the best so far.

    Raises:
        EnvError: if environment and agent do not fit.
        InvalidArgumentError: if a number is out of range, or two recipes share a name.
    """

    def __init__(
        self, agent: Agent, environment: Environment, settings: SqueezeSettings, work: Path
    ) -> None:
        check_numbers(settings.episodes, settings.seed)
        if settings.workers is not None and settings.workers < 1:
            raise InvalidArgumentError(f"`workers` must be at least 1, not {settings.workers}")
        if settings.budget_s < 0:
            raise InvalidArgumentError(f"`budget` must not be negative, not {settings.budget_s}")
        if settings.max_bytes is not None and settings.max_bytes < 1:
            raise InvalidArgumentError(f"`max_bytes` must be at least 1, not {settings.max_bytes}")
        if settings.optimize not in ("bytes", "latency", "macs"):
            raise InvalidArgumentError(
                f"`optimize` must be bytes, latency or macs, not {settings.optimize!r}"
            )
        timed = settings.optimize == "latency"
        if timed and (problem := RUNTIMES.get("native").problem()):
            raise InvalidArgumentError(f"`optimize` is latency in the native runtime: {problem}")
        self._agent, self._environment, self._settings = agent, environment, settings
        # Recipes that learn are tried at the lengths that the planner gives them.
        fixed, self._students = fixed_and_learning(
            settings.recipes, lambda: students(agent.network), has_budget=settings.budget_s > 0
        )
        self._tried = (*fixed, *self._students)
        self._fixed = tuple(map(Candidate, fixed))
        environment.check_fits(agent.network)
        self._url = f"sqlite:///{work / 'jobs.db'}"
        self._location = Location(str(work / "artifacts"), cache=work / "cache")
        self._place = Place(
            env_id=environment.id, env_kwargs=environment.kwargs, backend=environment.backend
        )
        self._board = Board(
            agent_params(agent),
            self._place,
            self._location,
            seed=settings.seed,
            fresh=settings.seed + CONFIRMATION_SEED_OFFSET,
            episodes=settings.episodes,
            timed=timed,
        )
        self._judge = Judge(
            self._board.play,
            retain=settings.retain,
            seed=settings.seed,
            episodes=settings.episodes,
            max_episodes=settings.max_episodes,
        )
        work.mkdir(parents=True, exist_ok=True)
        self._work = work
        self._watch = Watch(work / "seconds")
        self._explored: list[Candidate] = []
        self._best = Best(work / "best")

    def run(self, on_progress: StageProgress, on_best: OnBest = lambda best, left_s: None) -> None:
        """Do the jobs that the search needs, until it can choose.

        Args:
            on_progress: called with what is being done and the share of the work that is done.
            on_best: called with the best so far whenever something has been found.

        Raises:
            EvaluationError: if the agent is not clearly better than random.
        """
        put_agent(self._agent, self._location)
        with alone(self._work):
            if self._students:
                self._work_on(self._explore, on_progress, on_best, self._time_is_up)
                with open_store(self._url) as store:
                    self._board.read(store)
                self._explored = [c for c in self._explored if not self._is_open(c)]
            self._work_on(self._choose, on_progress, on_best, lambda: False)
        self._choose()

    def _work_on(
        self,
        plan: Callable[[], object],
        on_progress: StageProgress,
        on_best: OnBest,
        should_stop: Callable[[], bool],
    ) -> None:
        """Let workers do the jobs that a plan asks for, until it asks for no more."""

        def tell(status: Status) -> None:
            stage = status.running[0].label.get("stage", STUDY) if status.running else STUDY
            on_progress(str(stage), _PLAYING_SHARE * self._share_done(status))

        work_on(
            self._url,
            self._board,
            self._location,
            plan,
            tell_best=lambda: self._tell_best(on_best),
            on_status=tell,
            should_stop=should_stop,
            workers=self._settings.workers,
            setup=registrations((self._place,), self._tried),
        )

    def write(self, folder: Path, on_progress: StageProgress) -> SqueezeResult:
        """Write what was found, after `run`, and measure the best if that was asked for.

        Args:
            folder: empty; gets `policy.onnx`, `manifest.json` and `candidates/`.
            on_progress: as for `run`.
        """
        settings, choice = self._settings, self._choose()
        found = {
            candidate: artifact
            for candidate in (BASELINE, *self._candidates())
            if (artifact := self._board.artifact(candidate)) is not None
        }
        places = place_artifacts(folder, found, choice.chosen)
        trials = self._trials(choice)

        def tell(stage: str, fraction: float) -> None:
            on_progress(stage, _PLAYING_SHARE + (1 - _PLAYING_SHARE) * fraction)

        profile, problem = None, None
        if settings.measurement is not None:
            try:
                observations, _ = calibrate(
                    RUNTIMES.get("ort").load(read_artifact(places[BASELINE])),
                    self._environment,
                    seed=settings.seed,
                )
                profile = measure(
                    worth_measuring(trials, choice.chosen),
                    places,
                    Workload(env_id=self._environment.id, observations=observations),
                    settings.measurement,
                    settings.meter_problem,
                    self._work,
                    tell,
                )
            except (MeasurementError, InvalidArgumentError) as error:
                problem = str(error)  # a failed measurement must not cost the squeeze
        baseline, random = self._judge.referee.references(settings.episodes)
        calibrated = [c for c in places if "observations" in c.recipe.needs]
        size = self._board.size(BASELINE)
        assert size is not None
        return SqueezeResult(
            source=self._agent.source,
            environment=self._environment,
            retain=settings.retain,
            episodes=settings.episodes,
            max_episodes=self._judge.referee.max_episodes,
            seed=settings.seed,
            calibration=read_artifact(places[calibrated[0]]).manifest.calibration
            if calibrated
            else None,
            host=host_facts(),
            baseline_size=size,
            baseline_record=baseline,
            random_record=random,
            trials=trials,
            chosen=choice.chosen,
            confirmation=choice.confirmation,
            confirmation_baseline=self._board.play(BASELINE, self._judge.fresh, settings.episodes)
            if choice.confirmation
            else None,
            profile=profile,
            measurement_problem=problem,
            front=self._front(
                {
                    candidate: judgement.retention.normalized.estimate
                    for candidate, judgement in choice.judged.items()
                    if judgement.retention.normalized is not None
                }
            ),
            behaviour=watch(
                choice.chosen,
                places,
                self._environment,
                settings.seed,
                self._judge.fresh,
                tell,
            )
            if settings.behaviour
            else {},
            max_bytes=settings.max_bytes,
            budget_s=settings.budget_s,
        )

    def _explore(self) -> None:
        """Let students learn, one on every core, while there is time.

        Raises:
            NotYet: if jobs must be done before that.
            EvaluationError: if the baseline is no better than random.
        """
        self._check_references()
        workers = self._settings.workers or count_cores()
        known = {*self._candidates(), BASELINE}
        # What an interrupted search has made.
        self._explored += [candidate for candidate in self._board.made() if candidate not in known]
        seen = {c: found for c in self._explored if (found := self._seen(c)) is not None}
        learning = [c for c in self._explored if c not in seen and self._is_open(c)]
        free = max(0, workers - len(learning))
        for candidate in list(itertools.islice(self._planned(seen, learning, workers), free)):
            fitting = self._fitting(candidate)
            if fitting is None:
                break
            self._explored.append(fitting)
            learning.append(fitting)
        if not self._time_is_up():
            gather(self._see, learning)

    def _planned(
        self, seen: Mapping[Candidate, Seen], learning: Sequence[Candidate], workers: int
    ) -> Iterator[Candidate]:
        """What to learn next."""
        settings = self._settings
        core_s = self._exploring_s * workers / self._pace()
        if settings.recipes:
            again = repeating(self._students, core_s=core_s, workers=workers)
            return (candidate for candidate in again if candidate not in self._explored)
        most = settings.max_bytes if settings.max_bytes and self._by_bytes else math.inf
        demand = Demand(retain=settings.retain, most=most, fewer_bits=self._by_bytes)
        return shrinking(
            self._students, self._explored, learning, seen, demand, core_s=core_s, workers=workers
        )

    def _is_open(self, candidate: Candidate) -> bool:
        """Whether jobs must be done before it is known what it keeps."""
        try:
            self._see(candidate)
        except NotYet:
            return True
        return False

    def _see(self, candidate: Candidate) -> Seen | None:
        """What a candidate costs, and keeps at a glance; `None` if it cannot be made."""
        if self._board.size(candidate) is None:
            return None
        glance = self._glance(candidate)
        baseline, random = self._judge.referee.references(self._judge.referee.glance)
        gain = baseline.mean_return - random.mean_return
        return Seen(
            cost=self._cost(candidate), retention=(glance.mean_return - random.mean_return) / gain
        )

    def _glance(self, candidate: Candidate) -> EvaluationRecord:
        referee = self._judge.referee
        return referee.record(candidate, referee.glance)

    def _seen(self, candidate: Candidate) -> Seen | None:
        """What `_see` says; `None` also where it is not known yet."""
        try:
            return self._see(candidate)
        except NotYet:
            return None

    def _choose(self) -> Choice:
        """Judge all candidates and choose.

        Raises:
            NotYet: if jobs must be done before that.
            EvaluationError: if the baseline is no better than random.
        """
        self._check_references()
        gather(self._board.size, self._fixed)
        students = {c: seen for c in self._explored if (seen := self._seen(c)) is not None}
        worth_it = worth_judging(students, self._settings.retain)
        treated = [c for c in (*self._fixed, *worth_it) if self._board.size(c) is not None]
        cheaper = [c for c in treated if self._cost(c) < self._cost(BASELINE)]
        if (most := self._settings.max_bytes) is not None:
            cheaper = [c for c in cheaper if self._board.weight_bytes(c) <= most]
        choice = self._judge.choose(treated, sorted(cheaper, key=self._cost))
        others = {c: self._judge.referee.glimpse(c) for c in students if c not in worth_it}
        return dataclasses.replace(choice, judged={**choice.judged, **others})

    def _candidates(self) -> tuple[Candidate, ...]:
        return (*self._fixed, *self._explored)

    def _trials(self, choice: Choice) -> tuple[Trial, ...]:
        return tuple(
            Trial(
                recipe=candidate.recipe,
                attempt=candidate.attempt,
                artifact=None if size is None else artifact_path(candidate),
                size=size,
                judgement=choice.judged.get(candidate),
                problem=self._board.problem(candidate),
            )
            for candidate in self._candidates()
            for size in [self._board.size(candidate)]
        )

    def _front(self, kept: Mapping[Candidate, float]) -> tuple[Candidate, ...]:
        return front_of(kept, self._cost)

    def _tell_best(self, on_best: OnBest) -> None:
        """Show the front of what was seen, and keep the best of it in the folder of the work."""
        self._play_references(self._judge.referee.glance)
        kept = {
            candidate: found.retention
            for candidate in self._candidates()
            if (found := self._seen(candidate)) is not None
        }
        front = self._front(kept)
        if not front:
            return
        enough = [candidate for candidate in front if kept[candidate] >= self._settings.retain]
        self._best.keep(enough[0] if enough else front[-1], self._board)
        on_best(
            [
                BestSoFar(c.name, self._board.weight_bytes(c), self._glance(c), kept[c])
                for c in front
            ],
            max(0.0, self._settings.budget_s - self._watch.seconds()),
        )

    @property
    def _exploring_s(self) -> float:
        """The part of the budget in which students learn."""
        return (1 - _JUDGING_SHARE) * self._settings.budget_s

    def _pace(self) -> float:
        """The seconds that a second of learning, as methods estimate it, takes here and now.

        It goes by the steps that the float policy played before anything learned.
        """
        played, _ = self._judge.referee.references(self._settings.episodes)
        steps = sum(episode.length for episode in played.episodes)
        return max(_FASTEST, played.seconds / steps / _STEP_S)

    def _time_is_up(self) -> bool:
        return self._watch.seconds() >= self._exploring_s

    def _fitting(self, candidate: Candidate) -> Candidate | None:
        """The candidate, shorter if the time that is left asks for it; `None` if that is too short.

        It goes by how long the others took.
        """
        taken, expected = 0.0, 0.0
        for other in self._explored:
            with suppress(NotYet):
                if self._board.problem(other) is None:
                    taken += self._board.seconds(other)
                    expected += other.learning_s
        pace = taken / expected if expected else self._pace()
        left_s = (self._exploring_s - self._watch.seconds()) / pace
        if left_s < max(_SHORTEST_S, _SHORTEST_SHARE * candidate.learning_s):
            return None
        return shortened(candidate, left_s)

    def _share_done(self, status: Status) -> float:
        # More will be asked for than is known by now: for undecided recipes, and to confirm.
        counts = status.counts
        share = counts.done / (max(counts.total, 2 * len(self._fixed)) + 4)
        if self._settings.budget_s:
            share = max(share, self._watch.seconds() / self._settings.budget_s)
        return min(1.0, share)

    def _check_references(self) -> None:
        """Play the float and the random policy, which must differ."""
        episodes, referee = self._settings.episodes, self._judge.referee
        self._play_references(episodes)
        if referee.baseline_is_trained():
            return
        baseline, random = referee.references(episodes)
        raise EvaluationError(
            f"{self._agent.source.path} is not clearly better than random in "
            f"{self._environment.id} over {episodes} episodes ({baseline.mean_return:.1f} against "
            f"{random.mean_return:.1f}): untrained, so there is no return to keep"
        )

    def _play_references(self, episodes: int) -> None:
        """Ask for episodes of the float and of the random policy at once."""
        gather(lambda player: self._judge.referee.record(player, episodes), REFERENCES)

    @property
    def _by_bytes(self) -> bool:
        return self._settings.optimize == "bytes"

    def _cost(self, candidate: Candidate) -> float:
        """What the choice is to have least of."""
        match self._settings.optimize:
            case "bytes":
                return self._board.weight_bytes(candidate)
            case "latency":
                return self._board.decision_s(candidate)
        return self._board.macs(candidate)
