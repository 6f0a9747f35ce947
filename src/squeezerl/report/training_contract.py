"""The JSON of `squeezerl train`."""

from __future__ import annotations

from typing import Any

from squeezerl.report.contract import evaluation_json
from squeezerl.training.result import TrainingResult


def training_json(result: TrainingResult) -> dict[str, Any]:
    """The keys of `--json`; `evaluation` is null where nothing was evaluated."""
    return {
        "path": str(result.path),
        "algorithm": result.algorithm,
        "env_id": result.env_id,
        "seed": result.seed,
        "steps": result.steps,
        "new_steps": result.new_steps,
        "seconds": result.seconds,
        "complete": result.complete,
        "best_return": result.best_return,
        "artifact": None if result.artifact is None else str(result.artifact),
        "evaluation": None if result.evaluation is None else evaluation_json(result.evaluation),
    }
