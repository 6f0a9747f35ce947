"""The agents in `results/paper/agents`, and the script that trains and keeps them."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from balancing import balancing_agent
from squeezerl import load_agent
from squeezerl.agents.load import source_file
from squeezerl.artifacts.artifact import read_artifact
from squeezerl.evaluation.evaluate import evaluate
from squeezerl.pipeline.make import make_artifact
from squeezerl.runtimes.onnx_runtime import load_network
from squeezerl.studies.reading.study_file import read_study

ROOT = Path(__file__).resolve().parents[2]
AGENTS = ROOT / "results/paper/agents"
FOLDERS = sorted(file.parent for file in AGENTS.glob("*/*/training.json"))
STUDY = """
name: little
agents:
  - train: {algorithms: [trpo], environments: [Pendulum-v1], steps: 2048, evaluations: 2,
            eval_episodes: 1, hyperparameters: {default: {n_envs: 4, n_steps: 256}}}
"""


def record_of(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "training.json").read_text())
    return record


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("keep", ROOT / "scripts/train_and_keep.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "EPISODES", 3)
    monkeypatch.setattr(module, "CONSTANTS", 4)
    monkeypatch.setattr(module.signal, "signal", lambda number, handler: None)
    return module


@pytest.mark.slow
def test_an_agent_is_trained_once_and_kept(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, agents = tmp_path / "little.yaml", tmp_path / "agents"
    study.write_text(STUDY)
    arguments = ["keep", str(study), "--output", str(agents), "--runs", str(tmp_path / "runs")]
    monkeypatch.setattr("sys.argv", arguments)
    script.main()

    folder = agents / "trpo/Pendulum-v1"
    record, agent = record_of(folder), load_agent(folder)
    assert (agent.source.algorithm, agent.env_id) == ("trpo", "Pendulum-v1")
    again = evaluate(load_network(agent.network), "Pendulum-v1", episodes=3)
    np.testing.assert_allclose(again.returns, record["evaluation"]["returns"], atol=1e-3)
    assert record["trained"] == all(gain["low"] > 0 for gain in record["gains"].values())
    assert record["training_episodes"]["steps"][-1] <= record["steps"] == 2048
    assert record["hyperparameters"]["n_steps"] == 256
    assert "TRPO Pendulum" in (agents / "README.md").read_text()

    for name, share in (("int8", 0.2), ("int8-from-start", 1)):
        int8, record = read_artifact(folder / name), record_of(folder / name)
        assert int8.manifest.recipe == "int8:trained"
        assert record["steps"] == pytest.approx(share * 2048, abs=4 * 256)
        again = evaluate(load_network(int8.network), "Pendulum-v1", episodes=3)
        np.testing.assert_allclose(again.returns, record["evaluation"]["returns"], atol=1e-3)

    written = (folder / "training.json").stat().st_mtime_ns
    shutil.rmtree(tmp_path / "runs")
    script.main()
    assert (folder / "training.json").stat().st_mtime_ns == written


@pytest.mark.slow
def test_what_learned_too_little_or_cannot_learn_on_is_trained_again(
    script: ModuleType, tmp_path: Path
) -> None:
    study, agents = tmp_path / "little.yaml", tmp_path / "agents"
    study.write_text(STUDY)
    trainings = read_study(study).trainings
    folder, runs = agents / "trpo/Pendulum-v1", tmp_path / "runs"
    for name in ("", "int8", "int8-from-start"):
        make_artifact(balancing_agent()).save(folder / name, force=True)

    def left(steps: int) -> list[str]:
        (folder / "training.json").write_text(json.dumps({"steps": steps}))
        return [run.name for _, _, run, _ in script.left(trainings, agents, runs)]

    assert left(2048) == []
    assert left(2000) == ["Pendulum-v1"]
    shutil.rmtree(folder / "int8")
    assert left(2048) == ["Pendulum-v1", "Pendulum-v1-int8"]
    best = runs / "trpo/Pendulum-v1/best_model.zip"
    best.parent.mkdir(parents=True)
    best.touch()  # of a training that was interrupted: another policy than the one that is kept
    assert left(2048) == ["Pendulum-v1", "Pendulum-v1-int8"]
    agent = balancing_agent()
    source = dataclasses.replace(agent.source, files=(source_file("checkpoint", best),))
    artifact = make_artifact(dataclasses.replace(agent, source=source))
    for name, content in artifact.files.items():
        (folder / name).write_bytes(content)
    assert left(2048) == ["Pendulum-v1-int8"]


def test_the_two_ways_to_int8_are_compared_where_there_are_both(
    script: ModuleType, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).normal(0, 1, 100)
    for agent, start, on in (("a", 9, 5), ("b", 5, 9), ("c", 5, 8), ("d", 5, 5), ("e", 5, None)):
        for name, mean in (("int8-from-start", start), ("int8", on)):
            if mean is not None:
                folder = tmp_path / agent / name
                folder.mkdir(parents=True)
                returns = (mean + (noise if name == "int8" else noise[::-1])).tolist()
                (folder / "training.json").write_text(
                    json.dumps({"evaluation": {"returns": returns}})
                )
    text = script.two_ways(sorted(tmp_path.iterdir()))
    assert "Of 4 agents that have both, int8 from the start earns more in 1 " in text
    assert "learned on in 2, " in text


def test_the_kept_agents_are_small() -> None:
    """What is beside them, in int8, takes a quarter of it more at most."""
    floats = [(folder / "policy.onnx").stat().st_size for folder in FOLDERS]
    everything = [file.stat().st_size for file in AGENTS.rglob("*") if file.is_file()]
    assert sum(floats) < 10 * 2**20
    assert sum(everything) < 15 * 2**20


@pytest.mark.parametrize(
    "folder", FOLDERS, ids=lambda folder: f"{folder.parent.name}-{folder.name}"
)
def test_a_kept_agent_is_what_its_record_says(folder: Path) -> None:
    agent, record = load_agent(folder), record_of(folder)
    assert (folder.parent.name, folder.name) == (record["algorithm"], record["env_id"])
    assert (agent.source.algorithm, agent.env_id) == (record["algorithm"], record["env_id"])
    returns = record["evaluation"]["returns"]
    assert len(returns) == record["evaluation"]["episodes"] == 100
    assert record["evaluation"]["mean_return"] == pytest.approx(np.mean(returns), abs=1e-2)
    known = json.loads((AGENTS / "references.json").read_text())[record["env_id"]]
    for name, gain in record["gains"].items():
        assert gain["estimate"] == pytest.approx(
            np.subtract(returns, known[name]["returns"]).mean(), abs=1e-2
        )
    assert record["trained"] == all(gain["low"] > 0 for gain in record["gains"].values())


def test_a_kept_agent_plays_as_recorded() -> None:
    """On other seeds, and so within the spread of the recorded returns."""
    folder = AGENTS / "trpo/Hopper-v4"
    returns = np.array(record_of(folder)["evaluation"]["returns"])
    agent, episodes = load_agent(folder), 8
    played = evaluate(load_network(agent.network), "Hopper-v4", episodes=episodes, seed=1_000)
    error = returns.std(ddof=1) * math.sqrt(1 / episodes + 1 / len(returns))
    assert abs(played.mean_return - returns.mean()) < 4 * error + 0.01 * abs(returns.mean())
