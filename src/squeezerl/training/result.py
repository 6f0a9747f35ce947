"""What a training tells while it runs and when it ends; needs no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from squeezerl.records import EvaluationRecord


@dataclass(frozen=True, kw_only=True)
class TrainingProgress:
    """How far a training is.

    `mean_return` is over the latest episodes while learning, `evaluation` over those of the latest
    evaluation.
    """

    steps: int
    total_steps: int
    mean_return: float | None
    evaluation: float | None


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What a training came to.

    `evaluation` is the last one, of the policy as it is deployed; `best_return` the mean of the
    best one. `seconds` are those of this process, which made `new_steps`. `complete` is false if
    the training was asked to stop, and `artifact` is the integer policy's, if there is one.
    """

    path: Path
    algorithm: str
    env_id: str
    seed: int
    steps: int
    new_steps: int
    seconds: float
    complete: bool
    evaluation: EvaluationRecord | None
    best_return: float | None
    artifact: Path | None


Progress = Callable[[TrainingProgress], None]
