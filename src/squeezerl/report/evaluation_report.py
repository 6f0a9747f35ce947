"""Evaluations and trainings as JSON for scripts and as documents for people.

The keys of the JSON are what `--json` promises.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from squeezerl.records import EvaluationRecord, Retention
from squeezerl.report.document import Document, Paragraph, Table
from squeezerl.report.text import (
    DASH,
    bounds,
    estimate,
    format_interval,
    format_return,
    more_needed,
    return_interval,
)

if TYPE_CHECKING:
    from squeezerl.training.result import TrainingResult

_VERDICTS = {
    "keeps": "keeps",
    "loses": "does not keep",
    "undecided": "undecided whether it keeps",
}


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
        "more_episodes": retention.more_episodes,
    }


def evaluation_json(
    record: EvaluationRecord,
    retention: Retention | None = None,
    baseline: EvaluationRecord | None = None,
    random: EvaluationRecord | None = None,
) -> dict[str, Any]:
    """The evaluation of a policy; in a comparison also its baseline and the random policy."""
    data = {
        "env_id": record.env_id,
        "env_kwargs": record.env_kwargs,
        "backend": record.backend,
        "episodes": len(record.episodes),
        "seed": record.seed,
        "noise_seed": record.noise_seed,
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
            data[key] = evaluation_summary(other)
    return data


def evaluation_summary(record: EvaluationRecord) -> dict[str, Any]:
    """The mean, its interval and the returns."""
    return {**_mean(record), "returns": record.returns}


def _mean(record: EvaluationRecord) -> dict[str, Any]:
    return {"mean_return": record.mean_return, "ci95": bounds(return_interval(record))}


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


def drawn_note(*records: EvaluationRecord) -> tuple[Paragraph, ...]:
    """A sentence where actions were drawn."""
    if all(record.noise_seed is None for record in records):
        return ()
    return (Paragraph("Actions are drawn; the noise of each episode has the episode's seed."),)


def evaluation_document(record: EvaluationRecord) -> Document:
    """The evaluation of one policy."""
    header = ("environment", "episodes", "mean return [95 %]", "steps", "steps/s", "backend")
    row = (
        record.env_id,
        str(len(record.episodes)),
        format_return(record),
        f"{record.steps:,}",
        f"{record.steps / record.seconds:,.0f}",
        record.backend,
    )
    table = Table(header=header, rows=(row,))
    return Document(title=f"Return in {record.env_id}", blocks=(table, *drawn_note(record)))


def comparison_document(
    records: Sequence[tuple[str, EvaluationRecord]], retention: Retention
) -> Document:
    """A policy against its baseline.

    Args:
        records: of the policy, its baseline and the random policy, each after its name.
        retention: of the policy.
    """
    rows = tuple(
        (name, str(len(record.episodes)), format_return(record)) for name, record in records
    )
    kept = (
        f"retention {format_interval(retention.normalized)} "
        f"(ratio of returns {format_interval(retention.ratio)})"
    )
    if retention.verdict is None:
        verdict = "The baseline is not clearly better than random: untrained, so no verdict."
    else:
        verdict = (
            f"{_VERDICTS[retention.verdict]} {retention.threshold:.0%} of the return "
            f"({retention.episodes} episodes{more_needed(retention)})"
        )
    return Document(
        title="Return against the baseline's",
        blocks=(
            Table(header=("policy", "episodes", "mean return [95 %]"), rows=rows),
            Paragraph(kept),
            Paragraph(verdict),
            *drawn_note(*(record for _, record in records)),
        ),
    )


def training_document(result: TrainingResult) -> Document:
    """A finished training."""
    rate = result.new_steps / result.seconds if result.new_steps else 0.0
    row = (
        str(result.path),
        f"{result.steps:,}",
        f"{result.seconds:,.0f}",
        f"{rate:,.0f}",
        DASH if result.evaluation is None else format_return(result.evaluation),
        DASH if result.best_return is None else f"{result.best_return:,.1f}",
    )
    header = ("agent", "steps", "seconds", "steps/s", "return [95 %]", "best")
    return Document(
        title=f"Trained: {result.algorithm.upper()} on {result.env_id}",
        blocks=(Table(header=header, rows=(row,)),),
    )
