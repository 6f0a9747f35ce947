"""The squeeze without an environment: the smallest artifact whose actions are near the original's.

Candidates are fitted to the first part of a log, chosen by the second and confirmed on the third.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import final

from squeezerl.agents.load import Agent
from squeezerl.analysis.sequential import ERROR
from squeezerl.artifacts.artifact import read_artifact
from squeezerl.errors import InvalidArgumentError, MeasurementError
from squeezerl.evaluation.actions import (
    ActionReferee,
    ActionRetention,
    KeepActions,
    check_length,
)
from squeezerl.evaluation.log import Log, Part
from squeezerl.host.cores import count_cores
from squeezerl.host.facts import host_facts
from squeezerl.jobs.job import Status
from squeezerl.jobs.location import Location
from squeezerl.jobs.open import open_store
from squeezerl.measurement.settings import Settings, Workload
from squeezerl.methods.recipe import Recipe
from squeezerl.network.network import Network
from squeezerl.pipeline.kinds import agent_params, put_agent, put_log, registrations
from squeezerl.runtimes.base import RUNTIMES
from squeezerl.search.board import Board
from squeezerl.search.candidates import (
    BASELINE,
    Candidate,
    fixed_and_learning,
    front_of,
    learning_s,
    lengthened,
    student_head,
    weight_count,
)
from squeezerl.search.judging import NotYet, gather
from squeezerl.search.result import BestSoFar, LogSqueezeResult, LogTrial
from squeezerl.search.working import Best, OnBest, StageProgress, Watch, alone, work_on
from squeezerl.search.writing import MOST_MEASURED, artifact_path, measure, place_artifacts

_LEARNING_SHARE = 0.9  # of the budget, and of the progress bar; the rest is measuring
# Students, from a line to what some ten kilobytes hold.
_WIDTHS = ("0", "8", "16", "16x16", "32x32", "64x64", "128x128")
_KINDS = ("relu", "hardtanh:skip")
_STUDENT = "distill:{width}:{kind}:head={head} | bits:8:tensor | recover"
# All students learn for a quarter of the time, and then the most promising ones four times as long.
_FIRST_SHARE, _FACTOR = 0.25, 4.0


@dataclass(frozen=True, kw_only=True)
class LogSettings:
    """What a squeeze from a log is asked for; see `SqueezeSettings` for what both have."""

    demand: KeepActions
    seed: int = 0
    recipes: tuple[Recipe, ...] = ()
    measurement: Settings | None = None
    meter_problem: str | None = None
    workers: int | None = None
    budget_s: float = 0.0
    max_bytes: int | None = None


@final
class ActionJudge:
    """Judges candidates by their actions on one part of a log, and confirms on another.

    Each attempt to confirm may err half as often as the one before: all of them together confirm
    what keeps too few decisions in at most 5 % of squeezes.

    Args:
        original: the float policy.
        log: all of it, in the shapes of the policy.
        demand: what is asked for.
        artifact: the folder of a candidate's artifact, `None` if it could not be made; it may raise
            `NotYet`.
    """

    def __init__(
        self,
        original: Network,
        log: Log,
        demand: KeepActions,
        artifact: Callable[[Candidate], Path | None],
    ) -> None:
        check_length(log, demand, "confirm")
        parts: tuple[Part, ...] = ("choose", "confirm")
        self._referees = {
            part: ActionReferee(
                original,
                log.part(part),
                demand,
                fitted=log.part("fit"),
                first_row=log.first_row(part),
            )
            for part in parts
        }
        self._artifact = artifact
        self._known: dict[tuple[Candidate, Part, float], ActionRetention | None] = {}

    def judge(
        self, candidate: Candidate, part: Part = "choose", error: float = ERROR
    ) -> ActionRetention | None:
        """How near its actions are; `None` if it could not be made.

        Raises:
            NotYet: if it must be made before that.
        """
        key = (candidate, part, error)
        if key not in self._known:
            folder = self._artifact(candidate)
            self._known[key] = (
                None
                if folder is None
                else self._referees[part].judge(
                    RUNTIMES.get("ort").load(read_artifact(folder)), error
                )
            )
        return self._known[key]

    def choose(self, candidates: Sequence[Candidate]) -> tuple[Candidate, ActionRetention | None]:
        """The first that keeps the actions, and keeps them again; the float policy if none does.

        Args:
            candidates: those that were made, the one that is preferred first.
        """
        attempts = 0
        for candidate in candidates:
            found = self.judge(candidate)
            if found is None or found.verdict != "keeps":
                continue
            confirmation = self.judge(candidate, "confirm", ERROR / 2**attempts)
            attempts += 1
            if confirmation is not None and confirmation.verdict == "keeps":
                return candidate, confirmation
        return BASELINE, None


def log_students(network: Network) -> tuple[Recipe, ...]:
    """Recipes of small networks that learn from a log, of fewer than half the agent's weights."""
    head = student_head(network)
    recipes = []
    for width in _WIDTHS:
        for kind in _KINDS if width != "0" else _KINDS[:1]:
            recipe = Recipe.of(_STUDENT.format(width=width, kind=kind, head=head))
            if weight_count(recipe, network) < network.parameter_count / 2:
                recipes.append(recipe)
    return tuple(recipes)


def learning_on_a_log(
    recipes: Sequence[Recipe],
    seen: Mapping[Candidate, tuple[float, float]],
    *,
    core_s: float,
    workers: int,
    share: float,
) -> Iterator[list[Candidate]]:
    """What to learn, one generation after the other, without end.

    First all recipes for a short time; then, for four times as long each time, those of smaller
    policies than the smallest that keeps the actions, the ones that lack least first.

    Args:
        recipes: as long as they are written, which is scaled to the time that there is.
        seen: the cost of each candidate, and the share of decisions that it keeps; when the next
            generation is asked for, it should hold the one before.
        core_s: for learning, over all cores.
        workers: how many learn side by side.
        share: of decisions that is asked for.
    """
    first_s = _FIRST_SHARE * core_s / sum(map(learning_s, recipes))
    times = dict.fromkeys(recipes, first_s)
    latest = {recipe: Candidate(lengthened(recipe, first_s)) for recipe in recipes}
    yield list(latest.values())
    while True:
        known = {r: seen[c] for r, c in latest.items() if c in seen}
        smallest = min((cost for cost, kept in seen.values() if kept >= share), default=math.inf)
        hopeful = [recipe for recipe in known if known[recipe][0] < smallest]
        if not hopeful:
            return
        hopeful.sort(key=lambda recipe: -known[recipe][1])
        generation = []
        for recipe in hopeful[:workers]:
            times[recipe] *= _FACTOR
            latest[recipe] = Candidate(lengthened(recipe, times[recipe]))
            generation.append(latest[recipe])
        yield generation


@final
class LogSearch:
    """Tries recipes on a log and finds the smallest artifact that keeps the actions.

    Every candidate is compressed, written, read back and judged as the artifact that would be
    deployed. Like `Search` it is a function of the results so far, on the job engine.

    Args:
        agent: what to squeeze.
        log: in the shapes of its policy.
        settings: what is asked for.
        work: folder for what an interrupted search goes on from, and with the best so far.

    Raises:
        InvalidArgumentError: if a number is out of range, the log is too short, or two recipes
            share a name.
    """

    def __init__(self, agent: Agent, log: Log, settings: LogSettings, work: Path) -> None:
        if (log.observations == log.observations[0]).all():
            raise InvalidArgumentError("all `observations` of the log are the same")
        fixed, self._students = fixed_and_learning(
            settings.recipes,
            lambda: log_students(agent.network),
            has_budget=settings.budget_s > 0,
        )
        self._fixed = tuple(map(Candidate, fixed))
        self._agent, self._log, self._settings = agent, log, settings
        self._url = f"sqlite:///{work / 'jobs.db'}"
        self._location = Location(str(work / "artifacts"), cache=work / "cache")
        self._board = Board(
            agent_params(agent),
            None,
            self._location,
            seed=settings.seed,
            log=log.part("fit").record.sha256,
        )
        self._judge = ActionJudge(agent.network, log, settings.demand, self._board.artifact)
        work.mkdir(parents=True, exist_ok=True)
        self._work, self._watch = work, Watch(work / "seconds")
        self._explored: list[Candidate] = []
        self._best = Best(work / "best")

    def run(self, on_progress: StageProgress, on_best: OnBest = lambda best, left_s: None) -> None:
        """Do the jobs that the search needs, until it can choose; arguments as for `Search`."""
        put_agent(self._agent, self._location)
        put_log(self._log.part("fit"), self._location)
        with alone(self._work):
            if self._students:
                self._work_on(self._explore, on_progress, on_best, self._time_is_up)
                with open_store(self._url) as store:
                    self._board.read(store)
                with suppress(NotYet):  # there was no time for anything
                    self._explore()
            self._work_on(self._judge_all, on_progress, on_best, lambda: False)

    def write(self, folder: Path, on_progress: StageProgress) -> LogSqueezeResult:
        """Write what was found, after `run`, and measure the best if that was asked for.

        Args:
            folder: empty; gets `policy.onnx`, `manifest.json` and `candidates/`.
            on_progress: as for `run`.
        """
        settings = self._settings
        self._judge_all()
        made = [c for c in self._candidates() if self._board.size(c) is not None]
        most = settings.max_bytes or math.inf
        smaller = [c for c in made if self._bytes(c) < min(self._bytes(BASELINE), most + 1)]
        chosen, confirmation = self._judge.choose(sorted(smaller, key=self._bytes))
        found = {c: path for c in (BASELINE, *made) if (path := self._board.artifact(c))}
        places = place_artifacts(folder, found, chosen)
        profile = problem = None
        if settings.measurement is not None:
            try:
                profile = measure(
                    self._worth_measuring(made, chosen),
                    places,
                    Workload(
                        env_id=self._agent.source.env_id,
                        observations=self._log.part("confirm").observations,
                        origin=self._log.origin,
                    ),
                    settings.measurement,
                    settings.meter_problem,
                    self._work,
                    lambda stage, fraction: on_progress(
                        stage, _LEARNING_SHARE + (1 - _LEARNING_SHARE) * fraction
                    ),
                )
            except (MeasurementError, InvalidArgumentError) as error:
                problem = str(error)  # a failed measurement must not cost the squeeze
        size, original = self._board.size(BASELINE), self._judge.judge(BASELINE, "confirm")
        assert size is not None and original is not None  # noqa: PT018
        return LogSqueezeResult(
            source=self._agent.source,
            log=self._log.record,
            demand=settings.demand,
            seed=settings.seed,
            host=host_facts(),
            baseline_size=size,
            original=original,
            trials=tuple(map(self._trial, self._candidates())),
            chosen=chosen,
            confirmation=confirmation,
            profile=profile,
            measurement_problem=problem,
            max_bytes=settings.max_bytes,
            budget_s=settings.budget_s,
        )

    def _work_on(
        self,
        plan: Callable[[], object],
        on_progress: StageProgress,
        on_best: OnBest,
        should_stop: Callable[[], bool],
    ) -> None:
        def on_status(status: Status) -> None:
            stage = status.running[0].label.get("stage", "") if status.running else "squeeze"
            share = status.counts.done / (status.counts.total + 1)
            if self._settings.budget_s:
                share = max(share, self._watch.seconds() / self._settings.budget_s)
            on_progress(str(stage), _LEARNING_SHARE * min(1.0, share))

        work_on(
            self._url,
            self._board,
            self._location,
            plan,
            tell_best=lambda: self._tell_best(on_best),
            on_status=on_status,
            should_stop=should_stop,
            workers=self._settings.workers,
            setup=registrations((), (*(c.recipe for c in self._fixed), *self._students)),
        )

    def _explore(self) -> None:
        """Let students learn, generation after generation, while there is time."""
        workers = self._settings.workers or count_cores()
        seen: dict[Candidate, tuple[float, float]] = {}
        self._explored = []
        for generation in learning_on_a_log(
            self._students,
            seen,
            core_s=_LEARNING_SHARE * self._settings.budget_s * workers,
            workers=workers,
            share=self._settings.demand.share,
        ):
            if not self._time_is_up():
                gather(self._judge.judge, generation)
            for candidate in generation:
                with suppress(NotYet):
                    kept = self._judge.judge(candidate)
                    self._explored.append(candidate)
                    if kept is not None:
                        seen[candidate] = (self._bytes(candidate), kept.share.estimate)
            if not set(generation) <= set(self._explored):
                return

    def _judge_all(self) -> None:
        gather(self._judge.judge, (BASELINE, *self._candidates()))

    def _candidates(self) -> tuple[Candidate, ...]:
        return (*self._fixed, *self._explored)

    def _bytes(self, candidate: Candidate) -> int:
        return self._board.weight_bytes(candidate)

    def _trial(self, candidate: Candidate) -> LogTrial:
        size = self._board.size(candidate)
        return LogTrial(
            candidate=candidate,
            artifact=None if size is None else artifact_path(candidate),
            size=size,
            kept=self._judge.judge(candidate),
            problem=self._board.problem(candidate),
        )

    def _worth_measuring(self, made: Sequence[Candidate], chosen: Candidate) -> list[Candidate]:
        """The float policy, the chosen candidate, and the smallest others that may keep enough."""
        keeping = [c for c in made if (kept := self._judge.judge(c)) and kept.verdict != "loses"]
        keeping.sort(key=lambda candidate: (candidate != chosen, self._bytes(candidate)))
        return [BASELINE, *keeping[: MOST_MEASURED - 1]]

    def _tell_best(self, on_best: OnBest) -> None:
        """Show the front of what was seen, and keep the best of it in the folder of the work."""
        kept: dict[Candidate, float] = {}
        for candidate in self._candidates():
            with suppress(NotYet):
                if (found := self._judge.judge(candidate)) is not None:
                    kept[candidate] = found.share.estimate
        front = front_of(kept, self._bytes)
        if not front:
            return
        enough = [c for c in front if kept[c] >= self._settings.demand.share]
        self._best.keep(enough[0] if enough else front[-1], self._board)
        rows = [BestSoFar(c.name, self._bytes(c), None, kept[c]) for c in front]
        on_best(rows, max(0.0, self._settings.budget_s - self._watch.seconds()))

    def _time_is_up(self) -> bool:
        return self._watch.seconds() >= _LEARNING_SHARE * self._settings.budget_s
