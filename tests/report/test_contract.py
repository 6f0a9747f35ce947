from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_results import (
    BASELINE_RECORD,
    PROBLEM,
    RANDOM_RECORD,
    make_float_result,
    make_judgement,
    make_record,
    make_result,
    untrained_judgement,
)

from squeezerl.report.contract import evaluation_json, retention_json, squeeze_json

RETENTION = {"ratio", "ratio_ci95", "normalized", "normalized_ci95", "threshold", "verdict"}
EVALUATION = {
    "env_id", "episodes", "seed", "returns", "episode_lengths", "mean_return", "ci95", "steps",
    "seconds", "steps_per_second",
}  # fmt: skip
CANDIDATE = {"method", "ratio", "weight_bytes", "file_bytes", "retention", "artifact"}


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


def test_a_squeeze_has_the_promised_keys() -> None:
    data = squeeze_json(make_result(), Path("out"))
    assert data.keys() >= {"baseline", "candidates", "chosen", "host"}
    for candidate in [*data["candidates"], data["chosen"]]:
        assert candidate.keys() >= CANDIDATE
    assert "confirmation" in data["chosen"]
    assert _is_strict_json(data)


def test_a_squeeze_lists_its_candidates_in_order() -> None:
    result = make_result()
    data = squeeze_json(result, Path("out"))
    tried = [(candidate["method"], candidate["ratio"]) for candidate in data["candidates"]]
    assert tried == [("ptdq", None), ("l1", 0.05), ("l2", 0.3), ("l2", 0.7)]
    first = data["candidates"][0]
    assert (first["file_bytes"], first["weight_bytes"]) == (2000, 1850)
    assert first["artifact"] == str(Path("out/candidates/ptdq"))
    assert first["retention"]["ratio"] == pytest.approx(0.99)
    assert first["problem"] is None


def test_a_failed_candidate_says_why_and_nothing_else() -> None:
    failed = squeeze_json(make_result(), Path("out"))["candidates"][1]
    assert failed["problem"] == PROBLEM
    for key in ("weight_bytes", "file_bytes", "retention", "artifact"):
        assert failed[key] is None


def test_the_chosen_is_the_folder_itself_with_its_confirmation() -> None:
    data = squeeze_json(make_result(), Path("out"))
    chosen = data["chosen"]
    assert (chosen["method"], chosen["ratio"], chosen["artifact"]) == ("ptdq", None, "out")
    assert chosen["file_bytes"] == 2000
    assert chosen["retention"] == chosen["confirmation"]["retention"]
    assert chosen["selection_retention"]["ratio"] == pytest.approx(0.99)
    assert chosen["confirmation"]["seed"] == 600_000_000
    assert chosen["confirmation"]["retention"]["ratio"] == pytest.approx(0.98)
    assert data["baseline"]["artifact"] == str(Path("out/candidates/float"))
    assert data["baseline"]["mean_return"] == np.mean(BASELINE_RECORD.returns)


def test_the_float_policy_may_be_chosen() -> None:
    data = squeeze_json(make_float_result(), Path())
    chosen = data["chosen"]
    assert chosen.keys() >= CANDIDATE
    assert (chosen["method"], chosen["ratio"], chosen["artifact"]) == ("float", None, ".")
    assert chosen["file_bytes"] == data["baseline"]["file_bytes"] == 8000
    assert (chosen["retention"], chosen["confirmation"]) == (None, None)
    assert _is_strict_json(data)
