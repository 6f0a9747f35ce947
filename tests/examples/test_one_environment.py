"""The comparison of trainings with one environment and with eight."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from squeezerl.studies.reading.study_file import read_study

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    spec = importlib.util.spec_from_file_location("one", ROOT / "scripts/one_environment.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def made_record(n_envs: int, returns: list[float]) -> dict[str, Any]:
    steps = [1_000 + n_envs * taken for taken in (0, 50_000, 100_000)]
    return {
        "steps": steps[-1],
        "hyperparameters": {"n_envs": n_envs, "learning_starts": 1_000},
        "evaluation": {"returns": returns, "mean_return": returns[0], "ci95": [0.0, 9_000.0]},
        "evaluations": {"steps": steps, "mean_returns": [0.0, 1.0, 10.0 * n_envs]},
    }


@pytest.mark.slow
def test_with_one_environment_a_training_has_as_many_gradient_steps(script: ModuleType) -> None:
    trainings = read_study(ROOT / "studies/one-environment.yaml").trainings
    assert sorted((each.algorithm, each.place.env_id) for each in trainings) == sorted(script.CELLS)
    for training in trainings:
        one = script.with_one(training)
        assert script.gradient_steps(one) == script.gradient_steps(training) == 101_250
        assert one.hyperparameters["n_envs"] == 1


def test_the_page_pairs_the_episodes_of_both(script: ModuleType, tmp_path: Path) -> None:
    agents, output = tmp_path / "agents", tmp_path / "output"
    kept = agents / "sac/Hopper-v4"
    kept.mkdir(parents=True)
    output.mkdir()
    (kept / "training.json").write_text(json.dumps(made_record(8, [900.0, 700.0])))
    (output / "sac-Hopper-v4.json").write_text(json.dumps(made_record(1, [800.0, 600.0])))

    found = script.pairs(agents, output)
    row = next(line for line in script.page(found).splitlines() if "SAC Hopper" in line)
    assert "100.0 [100.0, 100.0]" in row
    assert [cell.strip() for cell in row.split("|")[5:7]] == ["10", "80"]

    script.draw(found, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 10_000


def test_a_training_with_fewer_gradient_steps_is_not_compared(
    script: ModuleType, tmp_path: Path
) -> None:
    kept = tmp_path / "sac/Hopper-v4"
    kept.mkdir(parents=True)
    shorter = made_record(8, [1.0])
    shorter["evaluations"] = {"steps": [9_000], "mean_returns": [0.0]}
    (kept / "training.json").write_text(json.dumps(shorter))
    (tmp_path / "sac-Hopper-v4.json").write_text(json.dumps(made_record(1, [1.0])))
    assert script.pairs(tmp_path, tmp_path) == {}
