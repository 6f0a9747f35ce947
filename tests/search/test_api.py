from __future__ import annotations

from pathlib import Path

import pytest
from squeezed import Squeezed

import squeezerl
from squeezerl.api import load_any_actor
from squeezerl.errors import ArtifactError, CheckpointError, EnvError


def test_agent_and_environment_may_be_named(tmp_path: Path) -> None:
    with pytest.raises(EnvError, match="CartPole-v1"):
        squeezerl.squeeze("demo", "CartPole-v1", output=tmp_path / "out")
    with pytest.raises(EnvError, match="Nope-v1"):
        squeezerl.squeeze("demo", "Nope-v1", output=tmp_path / "out")
    with pytest.raises(CheckpointError, match="missing"):
        squeezerl.squeeze(tmp_path / "missing", "CartPole-v1", output=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_actor_comes_from_an_agent_or_an_artifact(squeezed: Squeezed) -> None:
    agent, artifact = load_any_actor("demo"), load_any_actor(squeezed.folder)
    assert (agent[0].observation_shape, agent[0].action_shape) == ((17,), (6,))
    assert (artifact[0].observation_shape, artifact[0].action_count) == ((4,), 2)
    assert (agent[1].env_id, artifact[1].env_id) == ("HalfCheetah-v5", "CartPole-v1")


def test_what_is_neither_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        load_any_actor(tmp_path)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(ArtifactError):
        load_any_actor(tmp_path)


def test_the_readme_s_few_lines_work(squeezed: Squeezed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(squeezed.folder)
    actor = squeezerl.load_actor(".")
    record = squeezerl.evaluate(actor, "CartPole-v1", episodes=3)
    assert len(record.returns) == 3
    assert squeezerl.read_artifact(".").manifest.source.algorithm == "ppo"
