"""The squeeze: try recipes, return the smallest artifact that keeps the return.

It is a planner on the job engine. Recipes are compressed and played by workers side by side, and
what was found is kept in a small store: whatever is interrupted or killed, the same squeeze goes
on.
"""

from __future__ import annotations

import dataclasses
import fcntl
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, final

from squeezerl.agents.load import Agent
from squeezerl.analysis.sequential import ERROR
from squeezerl.artifacts.artifact import read_artifact
from squeezerl.errors import (
    EvaluationError,
    ExecutionError,
    InvalidArgumentError,
    MeasurementError,
    OutputError,
)
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.evaluate import CONFIRMATION_SEED_OFFSET, calibrate, check_numbers
from squeezerl.evaluation.referee import Judgement, Referee
from squeezerl.formats.base import SizeRecord
from squeezerl.host.facts import host_facts
from squeezerl.jobs.execute import execute
from squeezerl.jobs.job import Job, Status, StoredResult
from squeezerl.jobs.location import Location
from squeezerl.jobs.open import open_store
from squeezerl.jobs.store import Store
from squeezerl.measurement.profile import profile_subjects
from squeezerl.measurement.result import Profile
from squeezerl.measurement.settings import Settings, Workload
from squeezerl.measurement.subject import Subject
from squeezerl.methods.base import SPECS
from squeezerl.methods.recipe import Recipe
from squeezerl.pipeline.evaluate import record_of
from squeezerl.pipeline.kinds import (
    COMPRESS,
    EVALUATE,
    agent_params,
    calibration_params,
    put_agent,
    registrations,
)
from squeezerl.pipeline.place import Place
from squeezerl.records import EvaluationRecord
from squeezerl.runtimes.base import RUNTIMES
from squeezerl.search.result import SqueezeResult, Trial

BASELINE = Recipe()
_RANDOM = "random"
_STUDY = "squeeze"
# A recipe that clearly loses over the first of its episodes gets no more of them.
_GLANCE_SHARE, _FEWEST_AT_A_GLANCE = 0.25, 20
_PLAYING_SHARE = 0.9  # of the progress bar; the rest is measuring
_MOST_MEASURED = 6
# The end of a traceback, where the error is one that a method raised.
_OUR_ERROR = re.compile(r"^squeezerl\.errors\.\w+: (.+)\Z", re.MULTILINE | re.DOTALL)

StageProgress = Callable[[str, float], None]
# The float policy and the recipes, and the random policy by its name.
_Player = Recipe | str
_P = TypeVar("_P")
_R = TypeVar("_R")


def default_recipes() -> tuple[Recipe, ...]:
    """What every registered method offers to try, one shot each."""
    return tuple(Recipe((spec,)) for method in SPECS for spec in method.candidates())


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
    """

    retain: float = 0.95
    episodes: int = 100
    max_episodes: int | None = None
    seed: int = 0
    recipes: tuple[Recipe, ...] = ()
    measurement: Settings | None = None
    meter_problem: str | None = None
    workers: int | None = None


class _NotYet(Exception):  # noqa: N818 - it is not an error
    """Jobs must be done before the search can go on."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        super().__init__(f"{len(jobs)} jobs are to be done")
        self.jobs = jobs


@dataclass(frozen=True)
class _Choice:
    """The recipes as they were judged in the end, and the one that was chosen."""

    trials: tuple[Trial, ...]
    chosen: Recipe
    confirmation: Judgement | None


@final
class Search:
    """Tries recipes and finds the smallest artifact that keeps the return.

    Every recipe is compressed, written, read back and judged as the artifact that would be
    deployed, on the same seeds as the baseline. From the smallest upwards, those that are undecided
    get up to `max_episodes` (see `Referee`), and the first that keeps its return must do so again
    on fresh seeds, since the best of thirty looks better than it is.

    The search is a function of the results so far: `_choose` runs it from the start, and where a
    result is missing it raises `_NotYet` with the jobs that would give it. It is called again
    whenever jobs have ended, and remembers what it judged.

    Args:
        agent: what to squeeze.
        environment: where its return counts.
        settings: what is asked for.
        work: folder for what an interrupted search goes on from.

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
        self._agent, self._environment, self._settings = agent, environment, settings
        self._place = Place(
            env_id=environment.id, env_kwargs=environment.kwargs, backend=environment.backend
        )
        self._recipes = settings.recipes or default_recipes()
        names = [recipe.name for recipe in (BASELINE, *self._recipes)]
        if twice := {name for name in names if names.count(name) > 1}:
            raise InvalidArgumentError(f"`recipes` names {sorted(twice)[0]} twice")
        environment.check_fits(agent.network)
        self._url = f"sqlite:///{work / 'jobs.db'}"
        self._location = Location(str(work / "artifacts"), cache=work / "cache")
        glance = max(_FEWEST_AT_A_GLANCE, round(_GLANCE_SHARE * settings.episodes))
        self._referee = self._new_referee(settings.seed, glance=glance)
        # The best of thirty looks better than it is: other episodes must confirm it.
        self._fresh = settings.seed + CONFIRMATION_SEED_OFFSET
        self._confirming: list[Referee[_Player]] = []
        self._results: dict[str, StoredResult] = {}
        self._problems: dict[str, str] = {}
        work.mkdir(parents=True, exist_ok=True)
        self._work = work

    def run(self, on_progress: StageProgress) -> None:
        """Do the jobs that the search needs, until it can choose.

        Args:
            on_progress: called with what is being done and the share of the work that is done.

        Raises:
            EvaluationError: if the agent is not clearly better than random.
        """
        put_agent(self._agent, self._location)
        with open_store(self._url) as store:
            if _STUDY in store.study_names():
                store.retry_failed(_STUDY)
            # Jobs of an earlier call that this one does not need are not done; results are kept.
            store.put_study(_STUDY, {}, [])

        def tell(status: Status) -> None:
            counts = status.counts
            # More will be asked for than is known by now: for undecided recipes, and to confirm.
            share = counts.done / (max(counts.total, 2 * len(self._recipes)) + 4)
            stage = status.running[0].label.get("stage", _STUDY) if status.running else _STUDY
            on_progress(str(stage), _PLAYING_SHARE * min(1.0, share))

        with _alone(self._work):
            execute(
                self._url,
                _STUDY,
                location=self._location,
                workers=self._settings.workers,
                plan_more=self._plan_more,
                on_progress=tell,
                setup=registrations((self._place,), self._recipes),
            )
        self._choose()

    def write(self, folder: Path, on_progress: StageProgress) -> SqueezeResult:
        """Write what was found, after `run`, and measure the best if that was asked for.

        Args:
            folder: empty; gets `policy.onnx`, `manifest.json` and `candidates/`.
            on_progress: as for `run`.
        """
        choice = self._choose()
        artifacts = self._place_artifacts(folder, choice.chosen)
        profile, problem = None, None
        if self._settings.measurement is not None:
            try:
                profile = _measure(
                    [(recipe, artifacts[recipe]) for recipe in _best(choice)],
                    self._environment,
                    self._settings,
                    self._work,
                    lambda stage, fraction: on_progress(
                        stage, _PLAYING_SHARE + (1 - _PLAYING_SHARE) * fraction
                    ),
                )
            except (MeasurementError, InvalidArgumentError) as error:
                problem = str(error)  # a failed measurement must not cost the squeeze
        found = self._result(choice, artifacts)
        return dataclasses.replace(found, profile=profile, measurement_problem=problem)

    def _choose(self) -> _Choice:
        """Judge all recipes and choose.

        Raises:
            _NotYet: if jobs must be done before that.
            EvaluationError: if the baseline is no better than random.
        """
        references: tuple[_Player, ...] = (BASELINE, _RANDOM)
        self._all(lambda player: self._referee.record(player, self._settings.episodes), references)
        self._check_trained()
        self._all(self._artifact, self._recipes)
        sizes = {recipe: self._size(recipe) for recipe in (BASELINE, *self._recipes)}
        treated = [recipe for recipe in self._recipes if sizes[recipe] is not None]
        judged = dict(zip(treated, self._all(self._referee.judge, treated), strict=True))
        chosen, confirmation, attempts = BASELINE, None, 0
        for recipe in sorted(treated, key=lambda recipe: _bytes(sizes[recipe])):
            if _bytes(sizes[recipe]) >= _bytes(sizes[BASELINE]):
                break
            if judged[recipe].retention.verdict == "loses":
                continue
            judged[recipe] = self._referee.decide(recipe)
            if judged[recipe].retention.verdict != "keeps":
                continue
            confirmation = self._confirm(recipe, attempts)
            attempts += 1
            if confirmation.retention.verdict == "keeps":
                chosen = recipe
                break
            confirmation = None
        trials = tuple(
            Trial(
                recipe=recipe,
                artifact=None if sizes[recipe] is None else _artifact_path(recipe),
                size=sizes[recipe],
                judgement=judged.get(recipe),
                problem=self._problems.get(self._compress_job(recipe).id),
            )
            for recipe in self._recipes
        )
        return _Choice(trials, chosen, confirmation)

    def _place_artifacts(self, folder: Path, chosen: Recipe) -> Mapping[Recipe, Path]:
        """Copy all artifacts to `folder`, the chosen one to its root; gives their folders."""
        places = {}
        for recipe in (BASELINE, *self._recipes):
            name = self._artifact(recipe)
            if name is not None:
                places[recipe] = folder / _artifact_path(recipe)
                shutil.copytree(self._location.fetch(name), places[recipe])
        for file in places[chosen].iterdir():
            shutil.copyfile(file, folder / file.name)
        return places

    def _result(self, choice: _Choice, artifacts: Mapping[Recipe, Path]) -> SqueezeResult:
        """What was found, without what is measured."""
        settings = self._settings
        baseline, random = self._referee.references(settings.episodes)
        calibrated = [r for r in artifacts if "observations" in r.needs]
        size = self._size(BASELINE)
        assert size is not None
        return SqueezeResult(
            source=self._agent.source,
            environment=self._environment,
            retain=settings.retain,
            episodes=settings.episodes,
            max_episodes=self._referee.max_episodes,
            seed=settings.seed,
            calibration=read_artifact(artifacts[calibrated[0]]).manifest.calibration
            if calibrated
            else None,
            host=host_facts(),
            baseline_size=size,
            baseline_record=baseline,
            random_record=random,
            trials=choice.trials,
            chosen=choice.chosen,
            confirmation=choice.confirmation,
            profile=None,
        )

    def _plan_more(self, store: Store) -> None:
        for row in store.results(_STUDY, arrays=True):
            if row.job.id not in self._results:
                self._results[row.job.id] = StoredResult(
                    content=row.content, arrays=row.arrays, host_id=row.host_id, seconds=row.seconds
                )
        baseline = self._compress_job(BASELINE).id
        for failure in store.failures(_STUDY):
            refused = _OUR_ERROR.search(failure.error)
            if failure.job.kind != COMPRESS.name or not refused or failure.job.id == baseline:
                last = failure.error.strip().splitlines()[-1]
                raise ExecutionError(f"{failure.label['stage']}: {last}")
            self._problems[failure.job.id] = refused[1].strip()
        try:
            self._choose()
        except _NotYet as wait:
            store.add_jobs(_STUDY, [(job, self._label(job)) for job in wait.jobs])

    def _all(self, find: Callable[[_P], _R], players: Sequence[_P]) -> list[_R]:
        """`find` for each; all jobs that are missing for them are asked for at once."""
        found: list[_R] = []
        missing: list[Job] = []
        for player in players:
            try:
                found.append(find(player))
            except _NotYet as wait:
                missing += wait.jobs
        if missing:
            raise _NotYet(missing)
        return found

    def _confirm(self, recipe: Recipe, attempt: int) -> Judgement:
        """The judgement on fresh seeds; the first attempt is number 0.

        Each attempt may err half as often as the one before, so that all of them together confirm
        what does not keep its return in at most 5 % of squeezes.
        """
        while len(self._confirming) <= attempt:
            error = ERROR / 2 ** len(self._confirming)
            self._confirming.append(self._new_referee(self._fresh, error=error))
        episodes = self._settings.episodes
        players: tuple[_Player, ...] = (recipe, BASELINE, _RANDOM)
        self._all(lambda player: self._play(player, self._fresh, episodes), players)
        return self._confirming[attempt].decide(recipe)

    def _new_referee(
        self, seed: int, *, glance: int | None = None, error: float = ERROR
    ) -> Referee[_Player]:
        return Referee(
            self._play,
            BASELINE,
            _RANDOM,
            threshold=self._settings.retain,
            seed=seed,
            episodes=self._settings.episodes,
            max_episodes=self._settings.max_episodes,
            glance=glance,
            error=error,
        )

    def _play(self, player: _Player, first: int, count: int) -> EvaluationRecord:
        """Episodes of a player, once they have been played."""
        players = [player]
        seed = self._fresh if first >= self._fresh else self._referee.seed
        if first >= seed + self._settings.episodes:
            # When a recipe gets more episodes, the others get them, too: ask for all at once.
            players += [other for other in (BASELINE, _RANDOM) if other != player]
        jobs = {each: self._evaluate_job(each, first, count) for each in players}
        makers = [self._compress_job(each) for each in players if isinstance(each, Recipe)]
        missing = [job for job in (*makers, *jobs.values()) if job.id not in self._results]
        if missing:
            raise _NotYet(missing)
        return record_of(jobs[player], self._results[jobs[player].id])

    def _check_trained(self) -> None:
        if self._referee.baseline_is_trained():
            return
        episodes = self._settings.episodes
        baseline, random = self._referee.references(episodes)
        raise EvaluationError(
            f"{self._agent.source.path} is not clearly better than random in "
            f"{self._environment.id} over {episodes} episodes ({baseline.mean_return:.1f} against "
            f"{random.mean_return:.1f}): untrained, so there is no return to keep"
        )

    def _artifact(self, recipe: Recipe) -> str | None:
        """The name of a recipe's artifact at the location; `None` if it could not be made."""
        job = self._compress_job(recipe)
        if job.id in self._problems:
            return None
        if job.id not in self._results:
            raise _NotYet([job])
        return str(self._results[job.id].content["artifact"])

    def _size(self, recipe: Recipe) -> SizeRecord | None:
        job = self._compress_job(recipe)
        if job.id in self._problems:
            return None
        return SizeRecord(**self._results[job.id].content["size"])

    def _compress_job(self, recipe: Recipe) -> Job:
        plays = recipe.needs_environment
        params = {
            "agent": agent_params(self._agent),
            "specs": recipe.to_json(),
            "calibration": calibration_params(self._place, self._settings.seed) if plays else None,
        }
        return COMPRESS.job(params)

    def _evaluate_job(self, player: _Player, first: int, count: int) -> Job:
        params = {**self._place.params, "episodes": count, "seed": first}
        if isinstance(player, str):
            return EVALUATE.job({"policy": {_RANDOM: first}, **params})
        compressed = self._compress_job(player).id
        policy = {"job": compressed, "folder": ""}
        return EVALUATE.job({"policy": policy, **params}, needs=(compressed,))

    def _label(self, job: Job) -> Mapping[str, str]:
        """What the progress bar says of a job."""
        names = {self._compress_job(r).id: r.name for r in (BASELINE, *self._recipes)}
        if job.kind == COMPRESS.name:
            return {"stage": f"compress {names[job.id]}"}
        name = names.get(job.params["policy"].get("job"), "random policy")
        fresh = job.params["seed"] >= self._fresh
        return {"stage": f"confirm {name}" if fresh else f"play {name}"}


@contextmanager
def _alone(work: Path) -> Iterator[None]:
    """Hold the folder; the lock ends with the process, however that ends.

    Raises:
        OutputError: if another squeeze holds it.
    """
    with (work / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise OutputError(f"{work}: another squeeze with the same output is running") from error
        yield


def _artifact_path(recipe: Recipe) -> str:
    return f"candidates/{recipe.name}"


def _bytes(size: SizeRecord | None) -> int:
    assert size is not None
    return size.file_bytes


def _best(choice: _Choice) -> list[Recipe]:
    """What is worth measuring: the float policy, the chosen, the smallest others that may keep."""
    keeping = [
        trial
        for trial in choice.trials
        if trial.judgement is not None and trial.judgement.retention.verdict != "loses"
    ]
    keeping.sort(key=lambda trial: (trial.recipe != choice.chosen, _bytes(trial.size)))
    return [BASELINE, *(trial.recipe for trial in keeping[: _MOST_MEASURED - 1])]


def _measure(
    artifacts: Sequence[tuple[Recipe, Path]],
    environment: Environment,
    settings: SqueezeSettings,
    scratch: Path,
    on_progress: StageProgress,
) -> Profile:
    """What the artifacts cost, on observations of the first one's own episodes."""
    assert settings.measurement is not None
    subjects = [Subject(recipe.name, read_artifact(path)) for recipe, path in artifacts]
    baseline = RUNTIMES.get("ort").load(subjects[0].artifact)
    observations, _ = calibrate(baseline, environment, seed=settings.seed)
    workload = Workload(env_id=environment.id, observations=observations)
    return profile_subjects(
        subjects,
        dict.fromkeys((subject.name for subject in subjects), workload),
        settings.measurement,
        meter_problem=settings.meter_problem,
        scratch=scratch,
        on_progress=lambda stage, fraction: on_progress(f"measure {stage}", fraction),
    )
