"""The JSON that scripts rely on: the keys of `--json` and of `results.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from squeezerl.evaluation.referee import Judgement
from squeezerl.records import EvaluationRecord, Retention, to_json
from squeezerl.report.intervals import bounds, estimate
from squeezerl.report.profile_contract import profile_json
from squeezerl.report.text import return_interval
from squeezerl.search.result import SqueezeResult, Trial
from squeezerl.search.squeeze import BASELINE


def retention_json(retention: Retention) -> dict[str, Any]:
    """`ratio`, `normalized` and their intervals are null where they are not defined."""
    return {
        "ratio": estimate(retention.ratio),
        "ratio_ci95": bounds(retention.ratio),
        "normalized": estimate(retention.normalized),
        "normalized_ci95": bounds(retention.normalized),
        "threshold": retention.threshold,
        "verdict": retention.verdict,
        "verdict_confidence": retention.verdict_confidence,
        "baseline_trained": retention.baseline_trained,
        "episodes": retention.episodes,
    }


def evaluation_json(
    record: EvaluationRecord,
    retention: Retention | None = None,
    baseline: EvaluationRecord | None = None,
    random: EvaluationRecord | None = None,
) -> dict[str, Any]:
    """One policy's evaluation; with a comparison, the two it was held against as well."""
    data = {
        "env_id": record.env_id,
        "env_kwargs": record.env_kwargs,
        "backend": record.backend,
        "episodes": len(record.episodes),
        "seed": record.seed,
        "returns": record.returns,
        "episode_lengths": [episode.length for episode in record.episodes],
        **_mean(record),
        "steps": record.steps,
        "seconds": record.seconds,
        "steps_per_second": record.steps / record.seconds,
    }
    if retention is not None:
        data["retention"] = retention_json(retention)
    for key, other in (("baseline", baseline), ("random", random)):
        if other is not None:
            data[key] = _evaluation_summary(other)
    return data


def squeeze_json(result: SqueezeResult, root: Path) -> dict[str, Any]:
    """A squeeze; artifacts are given as paths below `root`.

    `profile` is the row of `profile_json`, null for candidates that were not measured.
    """
    trials = {trial.recipe: trial for trial in result.trials}
    profile = None if result.profile is None else profile_json(result.profile)
    measured = {row["artifact"]: row for row in profile["rows"]} if profile else {}
    if result.chosen == BASELINE:
        chosen: dict[str, Any] = {
            "method": BASELINE.name,
            "ratio": None,
            "weight_bytes": result.baseline_size.weight_bytes,
            "file_bytes": result.baseline_size.file_bytes,
            "retention": None,
            "profile": measured.get(BASELINE.name),
        }
    else:
        # The confirmation is the honest figure: the choice was made among thirty by the other.
        assert result.confirmation is not None
        selection = _trial_json(trials[result.chosen], root, measured)
        chosen = selection | {
            "retention": retention_json(result.confirmation.retention),
            "selection_retention": selection["retention"],
            **_evaluation_summary(result.confirmation.record),
        }
    return {
        "agent": result.source.to_json(),
        "env_id": result.environment.id,
        "env_kwargs": dict(result.environment.kwargs),
        "backend": result.environment.backend,
        "calibration": to_json(result.calibration),
        "retain": result.retain,
        "episodes": result.episodes,
        "max_episodes": result.max_episodes,
        "seed": result.seed,
        "baseline": {
            "method": BASELINE.name,
            "weight_bytes": result.baseline_size.weight_bytes,
            "file_bytes": result.baseline_size.file_bytes,
            "artifact": str(root / "candidates" / BASELINE.name),
            "profile": measured.get(BASELINE.name),
            **_evaluation_summary(result.baseline_record),
        },
        "random": _evaluation_summary(result.random_record),
        "candidates": [_trial_json(trial, root, measured) for trial in result.trials],
        "chosen": chosen
        | {"artifact": str(root), "confirmation": _confirmation_json(result.confirmation)},
        "host": to_json(result.host),
        "energy_problem": profile["energy_problem"] if profile else None,
        "measurement_problem": result.measurement_problem,
    }


def _trial_json(trial: Trial, root: Path, measured: dict[str, Any]) -> dict[str, Any]:
    return {
        "method": trial.recipe.record.name,
        "ratio": trial.recipe.ratio,
        "weight_bytes": trial.size.weight_bytes if trial.size else None,
        "file_bytes": trial.size.file_bytes if trial.size else None,
        "retention": retention_json(trial.judgement.retention) if trial.judgement else None,
        "artifact": str(root / trial.artifact) if trial.artifact else None,
        "profile": measured.get(trial.recipe.name),
        "problem": trial.problem,
        **(_evaluation_summary(trial.judgement.record) if trial.judgement else {}),
    }


def _confirmation_json(judgement: Judgement | None) -> dict[str, Any] | None:
    if judgement is None:
        return None
    return {
        "seed": judgement.record.seed,
        "retention": retention_json(judgement.retention),
        **_evaluation_summary(judgement.record),
    }


def _evaluation_summary(record: EvaluationRecord) -> dict[str, Any]:
    return {**_mean(record), "returns": record.returns}


def _mean(record: EvaluationRecord) -> dict[str, Any]:
    return {"mean_return": record.mean_return, "ci95": bounds(return_interval(record))}
