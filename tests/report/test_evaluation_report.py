from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_results import (
    BASELINE_RECORD,
    RANDOM_RECORD,
    make_judgement,
    make_record,
    untrained_judgement,
)

from squeezerl.report.evaluation_report import (
    comparison_document,
    evaluation_document,
    evaluation_json,
    retention_json,
    training_document,
    training_json,
)
from squeezerl.report.renderers import render
from squeezerl.training.result import TrainingResult

RETENTION = {"ratio", "ratio_ci95", "normalized", "normalized_ci95", "threshold", "verdict"}
EVALUATION = {
    "env_id", "episodes", "seed", "returns", "episode_lengths", "mean_return", "ci95", "steps",
    "seconds", "steps_per_second",
}  # fmt: skip


def _is_strict_json(data: Any) -> bool:
    return json.loads(json.dumps(data, allow_nan=False)) == data


def test_retention_has_the_promised_keys() -> None:
    data = retention_json(make_judgement(0.9).retention)
    assert data.keys() >= RETENTION
    assert data.keys() >= {"baseline_trained", "episodes"}
    assert _is_strict_json(data)


def test_retention_gives_estimate_interval_and_verdict() -> None:
    judged = make_judgement(0.9).retention
    data = retention_json(judged)
    assert data["ratio"] == pytest.approx(0.9)
    assert data["ratio_ci95"] == pytest.approx([0.9, 0.9])
    assert judged.normalized is not None
    assert data["normalized"] == judged.normalized.estimate
    assert data["normalized_ci95"] == [judged.normalized.low, judged.normalized.high]
    assert (data["threshold"], data["verdict"]) == (0.7, "keeps")
    assert (data["baseline_trained"], data["episodes"]) == (True, 12)


def test_what_is_undefined_is_null() -> None:
    data = retention_json(untrained_judgement().retention)
    assert (data["normalized"], data["normalized_ci95"], data["verdict"]) == (None, None, None)
    assert data["baseline_trained"] is False
    assert _is_strict_json(data)


def test_an_evaluation_has_the_promised_keys() -> None:
    data = evaluation_json(make_record([1.0, 2.0, 6.0], seed=4))
    assert data.keys() >= EVALUATION
    assert _is_strict_json(data)


def test_an_evaluation_says_what_was_measured() -> None:
    data = evaluation_json(make_record([1.0, 2.0, 6.0], seed=4))
    assert (data["env_id"], data["episodes"], data["seed"]) == ("CartPole-v1", 3, 4)
    assert data["returns"] == [1.0, 2.0, 6.0]
    assert data["episode_lengths"] == [100, 100, 100]
    assert data["mean_return"] == 3.0
    low, high = data["ci95"]
    assert 1.0 <= low < 3.0 < high <= 6.0
    assert (data["steps"], data["seconds"], data["steps_per_second"]) == (300, 2.0, 150.0)


def test_one_episode_has_no_interval() -> None:
    assert evaluation_json(make_record([1.0]))["ci95"] is None


def test_a_comparison_adds_retention_and_both_it_was_held_against() -> None:
    judgement = make_judgement(0.9)
    data = evaluation_json(judgement.record, judgement.retention, BASELINE_RECORD, RANDOM_RECORD)
    assert data.keys() >= EVALUATION | {"retention", "baseline", "random"}
    assert data["retention"] == retention_json(judgement.retention)
    assert data["baseline"]["returns"] == BASELINE_RECORD.returns
    assert data["random"]["mean_return"] == np.mean(RANDOM_RECORD.returns)
    assert _is_strict_json(data)


def test_people_read_the_same_evaluation() -> None:
    shown = render(evaluation_document(make_record([1.0, 2.0, 6.0], seed=4)))
    assert "| CartPole-v1 | 3 | 3.0 [" in shown
    assert "| 300 | 150 | envpool |" in shown


def test_people_read_the_comparison_and_its_verdict() -> None:
    judgement = make_judgement(0.9)
    records = (("a|b", judgement.record), ("base", BASELINE_RECORD), ("random", RANDOM_RECORD))
    shown = render(comparison_document(records, judgement.retention))
    assert r"| a\|b | 12 |" in shown
    assert "keeps 70% of the return (12 episodes)" in shown
    untrained = untrained_judgement()
    shown = render(comparison_document(records, untrained.retention))
    assert "untrained, so no verdict" in shown


def test_a_training_is_told_to_programs_and_people() -> None:
    result = TrainingResult(
        path=Path("runs/ppo"),
        algorithm="ppo",
        env_id="CartPole-v1",
        seed=3,
        steps=5000,
        new_steps=4000,
        seconds=8.0,
        complete=True,
        best_return=110.0,
        artifact=None,
        evaluation=make_record([100.0, 120.0]),
    )
    data = training_json(result)
    assert (data["steps"], data["complete"], data["artifact"]) == (5000, True, None)
    assert data["evaluation"]["mean_return"] == 110.0
    assert _is_strict_json(data)
    shown = render(training_document(result))
    assert "# Trained: PPO on CartPole-v1" in shown
    assert "| runs/ppo | 5,000 | 8 | 500 | 110.0 [" in shown
