"""The squeeze: try the candidates, return the smallest artifact that keeps the return."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from squeezerl.agents.load import Agent
from squeezerl.artifacts.manifest import SizeRecord
from squeezerl.artifacts.read import read_artifact
from squeezerl.artifacts.write import write_artifact
from squeezerl.errors import (
    CompressionError,
    EvaluationError,
    InvalidArgumentError,
    MeasurementError,
)
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.evaluate import CONFIRMATION_SEED_OFFSET, calibrate, check_numbers
from squeezerl.evaluation.referee import Judgement, Referee
from squeezerl.host.facts import host_facts
from squeezerl.measurement.profile import profile_subjects
from squeezerl.measurement.result import Profile
from squeezerl.measurement.settings import Settings, Workload
from squeezerl.measurement.subject import Subject
from squeezerl.methods.compress import compress
from squeezerl.methods.specs import StaticQuantization
from squeezerl.records import Calibration
from squeezerl.runtimes.actor import Observations
from squeezerl.runtimes.onnx_actor import OnnxActor
from squeezerl.search.candidates import BASELINE, Candidate, study_candidates
from squeezerl.search.result import SqueezeResult, Trial

_MEASURING_UNITS = 10
_MOST_MEASURED = 6

StageProgress = Callable[[str, float], None]


def squeeze_into(
    folder: Path,
    agent: Agent,
    environment: Environment,
    *,
    retain: float = 0.95,
    episodes: int = 100,
    max_episodes: int | None = None,
    seed: int = 0,
    measurement: Settings | None = None,
    meter_problem: str | None = None,
    on_progress: StageProgress = lambda stage, fraction: None,
) -> SqueezeResult:
    """Try the study's methods and put the smallest artifact that keeps `retain` into `folder`.

    Every candidate is written, read back and judged as the artifact that would be deployed, on
    the same seeds as the baseline. From the smallest upwards, those that are undecided get up to
    `max_episodes` (see `Referee`), and the first that keeps its return must
    do so again on fresh seeds, since the best of thirty looks better than it is.

    Args:
        folder: empty; gets `policy.onnx`, `manifest.json` and `candidates/`.
        agent: what to squeeze.
        environment: where its return counts.
        retain: share of the random-normalised return to keep.
        episodes: for each candidate.
        max_episodes: limit for candidates that are undecided.
        seed: of the first episode, and of all else that is random.
        measurement: how to measure latency, memory and energy of the best, if at all.
        meter_problem: why there is no energy among it.
        on_progress: called with what is being done and the share of the work that is done.

    Raises:
        EnvError: if environment and agent do not fit.
        EvaluationError: if the agent is not clearly better than random.
    """
    check_numbers(episodes, seed)
    candidates = study_candidates()
    # Calibration and baseline, and later the confirmation and the measurements.
    units = len(candidates) + 4 + (_MEASURING_UNITS if measurement else 0)
    workshop = _Workshop(folder, agent)

    size, baseline = workshop.build(BASELINE)
    referee = Referee(
        environment,
        baseline,
        threshold=retain,
        seed=seed,
        episodes=episodes,
        max_episodes=max_episodes,
    )
    workshop.observations, workshop.calibration = calibrate(
        baseline,
        environment,
        seed=seed,
        on_progress=lambda f: on_progress("calibration", f / units),
    )
    referee.prepare(lambda f: on_progress("baseline", (1 + 2 * f) / units))
    baseline_record, random_record = referee.records(episodes)
    if not referee.baseline_is_trained():
        raise EvaluationError(
            f"{agent.source.path} is not clearly better than random in {environment.id} over "
            f"{episodes} episodes ({baseline_record.mean_return:.1f} against "
            f"{random_record.mean_return:.1f}): untrained, so there is no return to keep"
        )

    trials = []
    for number, candidate in enumerate(candidates, start=3):
        name = candidate.name

        def progress(fraction: float, number: int = number, name: str = name) -> None:
            on_progress(name, (number + fraction) / units)

        trials.append(_try(workshop, referee, candidate, progress))
    trials, chosen, confirmation = _choose(
        workshop,
        referee,
        trials,
        size.file_bytes,
        lambda name, fraction: on_progress(name, (len(candidates) + 3 + fraction) / units),
    )
    profile, measurement_problem = None, None
    if measurement is not None:
        try:
            profile = workshop.measure(
                _best(trials, chosen),
                environment,
                measurement,
                meter_problem,
                lambda name, f: on_progress(
                    f"measure {name}", 1 - _MEASURING_UNITS * (1 - f) / units
                ),
            )
        except (MeasurementError, InvalidArgumentError) as error:
            # That must not cost the squeeze.
            measurement_problem = str(error)
    workshop.place(chosen)
    return SqueezeResult(
        source=agent.source,
        environment=environment,
        retain=retain,
        episodes=episodes,
        max_episodes=referee.max_episodes,
        seed=seed,
        calibration=workshop.calibration,
        host=host_facts(),
        baseline_size=size,
        baseline_record=baseline_record,
        random_record=random_record,
        trials=tuple(trials),
        chosen=chosen,
        confirmation=confirmation,
        profile=profile,
        measurement_problem=measurement_problem,
    )


def _best(trials: list[Trial], chosen: Candidate) -> list[Candidate]:
    """What is worth measuring: the float policy, the chosen, the smallest others that may keep."""
    keeping = [
        trial
        for trial in trials
        if trial.size and trial.judgement and trial.judgement.retention.verdict != "loses"
    ]
    keeping.sort(
        key=lambda trial: (trial.candidate != chosen, trial.size and trial.size.file_bytes)
    )
    return [BASELINE, *(trial.candidate for trial in keeping[: _MOST_MEASURED - 1])]


class _Workshop:
    """Builds candidates' artifacts in a folder and reads them back."""

    def __init__(self, folder: Path, agent: Agent) -> None:
        self._folder = folder
        self._agent = agent
        self.observations: Observations | None = None
        self.calibration: Calibration | None = None

    def build(self, candidate: Candidate) -> tuple[SizeRecord, OnnxActor]:
        """Compress, write, read back, load."""
        calibrated = any(isinstance(spec, StaticQuantization) for spec in candidate.specs)
        manifest = write_artifact(
            compress(self._agent.policy, candidate.specs, observations=self.observations),
            self._agent.source,
            self._folder / self.artifact(candidate),
            calibration=self.calibration if calibrated else None,
        )
        return manifest.size, self.load(candidate)

    def measure(
        self,
        candidates: Sequence[Candidate],
        environment: Environment,
        settings: Settings,
        meter_problem: str | None,
        on_progress: StageProgress,
    ) -> Profile:
        """What the candidates cost in ONNX Runtime, on the observations of the calibration."""
        assert self.observations is not None
        workload = Workload(env_id=environment.id, observations=self.observations)
        subjects = []
        for candidate in candidates:
            artifact = read_artifact(self._folder / self.artifact(candidate))
            subjects.append(Subject(candidate.name, self._agent.source, artifact.model, None))
        return profile_subjects(
            subjects,
            dict.fromkeys((subject.name for subject in subjects), workload),
            settings,
            meter_problem=meter_problem,
            on_progress=on_progress,
        )

    def load(self, candidate: Candidate) -> OnnxActor:
        return OnnxActor(read_artifact(self._folder / self.artifact(candidate)).model)

    def place(self, candidate: Candidate) -> None:
        """Make the squeeze's folder itself the chosen artifact."""
        for file in (self._folder / self.artifact(candidate)).iterdir():
            (self._folder / file.name).write_bytes(file.read_bytes())

    @staticmethod
    def artifact(candidate: Candidate) -> str:
        return f"candidates/{candidate.name}"


def _try(
    workshop: _Workshop,
    referee: Referee,
    candidate: Candidate,
    on_progress: Callable[[float], None],
) -> Trial:
    try:
        size, actor = workshop.build(candidate)
    except CompressionError as error:
        return Trial(
            candidate=candidate, artifact=None, size=None, judgement=None, problem=str(error)
        )
    judgement = referee.judge(actor, on_progress=on_progress)
    return Trial(
        candidate=candidate,
        artifact=workshop.artifact(candidate),
        size=size,
        judgement=judgement,
    )


def _choose(
    workshop: _Workshop,
    referee: Referee,
    trials: list[Trial],
    float_bytes: int,
    on_progress: StageProgress,
) -> tuple[list[Trial], Candidate, Judgement | None]:
    """The smallest trial that keeps its return, twice; the trials as they then stand."""
    confirming = Referee(
        referee.environment,
        workshop.load(BASELINE),
        threshold=referee.threshold,
        # The best of thirty looks better than it is: other episodes must confirm it.
        seed=referee.seed + CONFIRMATION_SEED_OFFSET,
        episodes=referee.episodes,
        max_episodes=referee.max_episodes,
    )
    updated = {trial.candidate: trial for trial in trials}
    smaller = [trial for trial in trials if trial.size and trial.size.file_bytes < float_bytes]
    for trial in sorted(smaller, key=lambda t: t.size.file_bytes if t.size else 0):
        assert trial.judgement is not None
        if trial.judgement.retention.verdict == "loses":
            continue
        name = trial.candidate.name
        actor = workshop.load(trial.candidate)
        judgement = referee.decide(
            actor,
            first=trial.judgement,
            on_progress=lambda f, name=name: on_progress(f"more of {name}", 0.0),  # type: ignore[misc]
        )
        updated[trial.candidate] = dataclasses.replace(trial, judgement=judgement)
        if judgement.retention.verdict != "keeps":
            continue
        confirmation = confirming.decide(
            actor,
            on_progress=lambda f, name=name: on_progress(f"confirm {name}", f),  # type: ignore[misc]
        )
        if confirmation.retention.verdict == "keeps":
            return list(updated.values()), trial.candidate, confirmation
    return list(updated.values()), BASELINE, None
