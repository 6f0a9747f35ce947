"""What a squeeze found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from squeezerl.evaluation.actions import ActionRetention, KeepActions
from squeezerl.evaluation.behaviour import Behaviour
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.referee import Judgement
from squeezerl.formats.base import SizeRecord
from squeezerl.measurement.result import Profile
from squeezerl.methods.recipe import Recipe
from squeezerl.records import (
    AgentSource,
    Calibration,
    EvaluationRecord,
    Host,
    ObservationsRecord,
)
from squeezerl.search.candidates import Candidate


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One recipe that was tried. `artifact` is relative to the squeeze's folder; `attempt` counts
    how often the recipe learned before, from other seeds.

    `judgement` is `None` where the recipe could not treat the policy; `problem` says why.
    """

    recipe: Recipe
    artifact: str | None
    size: SizeRecord | None
    judgement: Judgement | None
    problem: str | None = None
    attempt: int = 0

    @property
    def candidate(self) -> Candidate:
        """What was tried."""
        return Candidate(self.recipe, self.attempt)

    @property
    def name(self) -> str:
        """For folders and tables."""
        return self.candidate.name


@dataclass(frozen=True, kw_only=True)
class SqueezeResult:
    """All that was tried and what was chosen.

    `confirmation` is the chosen recipe's judgement on fresh seeds; it is `None` where nothing
    smaller than the float policy was confirmed to keep the return, and the float policy is chosen.
    `confirmation_baseline` has the float policy's first episodes on the same fresh seeds.
    `front` are the candidates than which none is both smaller and better, by size. `behaviour` is
    that of the float policy and of the chosen candidate, by their names. `profile` has what was
    measured of the float policy and the best candidates, each in a row of its name;
    `measurement_problem` says why nothing could be measured.
    """

    source: AgentSource
    environment: Environment
    retain: float
    episodes: int
    max_episodes: int
    seed: int
    calibration: Calibration | None
    host: Host
    baseline_size: SizeRecord
    baseline_record: EvaluationRecord
    random_record: EvaluationRecord
    trials: tuple[Trial, ...]
    chosen: Candidate
    confirmation: Judgement | None
    profile: Profile | None
    measurement_problem: str | None = None
    front: tuple[Candidate, ...] = ()
    behaviour: Mapping[str, Behaviour] = field(default_factory=dict)
    max_bytes: int | None = None
    budget_s: float = 0.0
    confirmation_baseline: EvaluationRecord | None = None


@dataclass(frozen=True, kw_only=True)
class LogTrial:
    """A candidate, and how near its actions are in the part of the log that is chosen by.

    `problem` says why there are none.
    """

    candidate: Candidate
    artifact: str | None
    size: SizeRecord | None
    kept: ActionRetention | None
    problem: str | None


@dataclass(frozen=True, kw_only=True)
class LogSqueezeResult:
    """All that was tried and what was chosen.

    `confirmation` is the chosen candidate's judgement on the last part of the log, which played no
    part in the choice; it is `None` where nothing smaller was confirmed, and the float policy is
    chosen. `original` is that of the float policy, for what the log recorded.
    """

    source: AgentSource
    log: ObservationsRecord
    demand: KeepActions
    seed: int
    host: Host
    baseline_size: SizeRecord
    original: ActionRetention
    trials: tuple[LogTrial, ...]
    chosen: Candidate
    confirmation: ActionRetention | None
    profile: Profile | None
    measurement_problem: str | None
    max_bytes: int | None
    budget_s: float


@dataclass(frozen=True)
class BestSoFar:
    """A row of what a search has found so far: bytes of the weights, the return and retention.

    Where actions are judged there is no return, and `retention` is the share of decisions kept.
    """

    name: str
    weight_bytes: int
    record: EvaluationRecord | None
    retention: float
