"""What a squeeze leaves behind: the artifacts, what they cost, and how the chosen one behaves."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from squeezerl.artifacts.artifact import read_artifact
from squeezerl.evaluation.behaviour import Behaviour, behaviour
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.evaluate import calibrate
from squeezerl.measurement.profile import profile_subjects
from squeezerl.measurement.result import Profile
from squeezerl.measurement.settings import Settings, Workload
from squeezerl.measurement.subject import Subject
from squeezerl.runtimes.base import RUNTIMES
from squeezerl.search.candidates import BASELINE, Candidate
from squeezerl.search.result import Trial

MOST_MEASURED = 4
Places = Mapping[Candidate, Path]


def artifact_path(candidate: Candidate) -> str:
    """Where a candidate's artifact lies in the folder of a squeeze."""
    return f"candidates/{candidate.name}"


def place_artifacts(folder: Path, found: Mapping[Candidate, Path], chosen: Candidate) -> Places:
    """Copy all artifacts to `folder`, the chosen one to its root as well; gives their folders."""
    places = {}
    for candidate, source in found.items():
        places[candidate] = folder / artifact_path(candidate)
        shutil.copytree(source, places[candidate])
    for file in places[chosen].iterdir():
        shutil.copyfile(file, folder / file.name)
    return places


def worth_measuring(trials: Sequence[Trial], chosen: Candidate) -> list[Candidate]:
    """The float policy, the chosen candidate, and the smallest others that may keep the return."""
    keeping = [
        (trial.candidate != chosen, trial.size.weight_bytes, trial.candidate)
        for trial in trials
        if trial.size is not None
        and trial.judgement is not None
        and trial.judgement.retention.verdict != "loses"
    ]
    keeping.sort(key=lambda each: each[:2])
    return [BASELINE, *(candidate for _, _, candidate in keeping[: MOST_MEASURED - 1])]


def measure(
    candidates: Sequence[Candidate],
    places: Places,
    workload: Workload,
    settings: Settings,
    meter_problem: str | None,
    scratch: Path,
    on_progress: Callable[[str, float], None],
) -> Profile:
    """What the artifacts cost, all on the same workload."""
    subjects = [
        Subject(candidate.name, read_artifact(places[candidate])) for candidate in candidates
    ]
    return profile_subjects(
        subjects,
        dict.fromkeys((subject.name for subject in subjects), workload),
        settings,
        meter_problem=meter_problem,
        scratch=scratch,
        on_progress=lambda stage, fraction: on_progress(f"measure {stage}", fraction),
    )


def watch(
    chosen: Candidate,
    places: Places,
    environment: Environment,
    seed: int,
    fresh: int,
    on_progress: Callable[[str, float], None],
) -> dict[str, Behaviour]:
    """How the float policy and the chosen candidate behave on fresh seeds, by their names."""
    load = RUNTIMES.get("ort").load
    teacher = load(read_artifact(places[BASELINE]))
    observations, _ = calibrate(teacher, environment, seed=seed)
    return {
        candidate.name: behaviour(
            load(read_artifact(places[candidate])),
            teacher,
            environment,
            observations,
            seed=fresh,
            on_progress=lambda fraction, name=candidate.name: on_progress(  # type: ignore[misc]
                f"disturb {name}", fraction
            ),
        )
        for candidate in dict.fromkeys((BASELINE, chosen))
    }
