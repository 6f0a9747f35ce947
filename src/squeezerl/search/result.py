"""What a squeeze found."""

from __future__ import annotations

from dataclasses import dataclass

from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.referee import Judgement
from squeezerl.formats.base import SizeRecord
from squeezerl.measurement.result import Profile
from squeezerl.methods.recipe import Recipe
from squeezerl.records import AgentSource, Calibration, EvaluationRecord, Host


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One recipe that was tried. `artifact` is relative to the squeeze's folder.

    `judgement` is `None` where the recipe could not treat the policy; `problem` says why.
    """

    recipe: Recipe
    artifact: str | None
    size: SizeRecord | None
    judgement: Judgement | None
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class SqueezeResult:
    """All that was tried and what was chosen.

    `confirmation` is the chosen recipe's judgement on fresh seeds; it is `None` where nothing
    smaller than the float policy was confirmed to keep the return, and the float policy is chosen.
    `profile` has what was measured of the float policy and the best recipes, each in a row of the
    recipe's name; `measurement_problem` says why nothing could be measured.
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
    chosen: Recipe
    confirmation: Judgement | None
    profile: Profile | None
    measurement_problem: str | None = None
