"""Agents that need the noise that they were trained with, from the checkpoint to the artifact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import squeezerl
from blind_corridor import CORRIDOR, LIMIT, SMOOTH, save_agent
from onnx_runner import default_session
from squeezerl.artifacts.artifact import read_artifact
from squeezerl.errors import (
    ArtifactError,
    CompressionError,
    EvaluationError,
    InvalidArgumentError,
    SqueezeRLWarning,
    UnsupportedPolicyError,
)
from squeezerl.evaluation.environment import Environment

RECIPES = ["float", "int8:dynamic", "int8:static", "prune:l2:0.25 | int8:static"]


@pytest.fixture(scope="module", params=["PPO", "SAC"])
def blind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = save_agent(request.param, tmp_path_factory.mktemp("blind") / "agent.zip")
    return path, CORRIDOR if request.param == "PPO" else SMOOTH


@pytest.mark.parametrize("recipe", RECIPES)
def test_only_with_noise_does_the_agent_get_out_and_every_recipe_keeps_it(
    blind: tuple[Path, str], recipe: str, tmp_path: Path
) -> None:
    agent, env_id = blind
    small = squeezerl.compress(agent, recipe, env=env_id, stochastic=True)
    small.save(tmp_path / "out")
    drawn = squeezerl.evaluate(tmp_path / "out", env=env_id, episodes=100)
    assert -25 < drawn.mean_return < -8
    assert drawn.record.noise_seed == 0
    again = squeezerl.evaluate(tmp_path / "out", env=env_id, episodes=10, seed=20)
    assert again.record.returns == drawn.record.returns[20:30]
    still = squeezerl.evaluate(agent, env=env_id, episodes=3)
    assert still.record.returns == [-LIMIT] * 3
    assert still.record.noise_seed is None
    with_noise = squeezerl.evaluate(agent, env=env_id, episodes=100, stochastic=True)
    # The same noise in the same episodes, so that most of them are the same, too.
    same = np.array(with_noise.record.returns) == np.array(drawn.record.returns)
    assert same.mean() > 0.5


def test_the_artifact_says_what_noise_it_takes_and_anybody_can_run_it(
    blind: tuple[Path, str], tmp_path: Path
) -> None:
    agent, env_id = blind
    squeezerl.compress(agent, stochastic=True).save(tmp_path / "out")
    squeezerl.compress(agent).save(tmp_path / "still")
    kind = "gumbel" if env_id == CORRIDOR else "normal"
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["noise"] == kind
    assert "noise" not in json.loads((tmp_path / "still" / "manifest.json").read_text())
    session = default_session((tmp_path / "out" / "policy.onnx").read_bytes())
    noise = session.get_inputs()[1]
    width = 4 if kind == "gumbel" else 1
    assert (noise.name, noise.shape) == ("noise", ["batch", width])
    observation = np.ones((1, 2), np.float32)
    still = default_session((tmp_path / "still" / "policy.onnx").read_bytes())
    (expected,) = still.run(None, {"observation": observation})
    zeros = np.zeros((1, width), np.float32)
    (action,) = session.run(None, {"observation": observation, "noise": zeros})
    np.testing.assert_allclose(action, expected, atol=1e-6)
    manifest["noise"] = None
    (tmp_path / "out" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="noise"):
        read_artifact(tmp_path / "out")


def test_an_agent_without_a_distribution_or_an_artifact_without_noise_is_refused(
    blind: tuple[Path, str], tmp_path: Path
) -> None:
    agent, env_id = blind
    squeezerl.compress(agent).save(tmp_path / "still")
    with pytest.raises(InvalidArgumentError, match="cannot be `stochastic`"):
        squeezerl.evaluate(tmp_path / "still", env=env_id, stochastic=True)
    with pytest.raises(CompressionError, match="naive use rounds the action"):
        squeezerl.compress(agent, "ptsq-naive", env=env_id, stochastic=True)
    artifact = squeezerl.compress(agent, stochastic=True)
    with pytest.raises(InvalidArgumentError, match="draws its actions"):
        squeezerl.evaluate(artifact, env=env_id, runtime="sb3")
    found = [
        squeezerl.evaluate(artifact, env=env_id, episodes=20, runtime=runtime).record.returns
        for runtime in ("ort", "torch")
    ]
    assert np.mean(np.equal(*found)) > 0.8


@pytest.mark.slow
def test_whoever_is_called_untrained_for_want_of_noise_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random actions get out, too, but need twice as long."""
    agent = save_agent("PPO", tmp_path / "agent.zip")
    environment = Environment.find(CORRIDOR)
    told = "returns -200 in .* but -1.* with drawn ones .*`stochastic=True`"
    with pytest.warns(SqueezeRLWarning, match=told) as warned:
        squeezerl.evaluate(agent, env=environment, episodes=60)
    assert warned[0].message.try_with == {"stochastic": True}  # type: ignore[union-attr]
    with pytest.warns(SqueezeRLWarning, match=told) as warned:
        squeezerl.evaluate(agent, env=environment, against=agent, episodes=60)
    assert warned[0].message.try_with == {"stochastic": True}  # type: ignore[union-attr]
    with pytest.raises(EvaluationError, match=told) as caught:
        squeezerl.squeeze(
            agent, env=environment, output=tmp_path / "out", episodes=60, workers=1, measure=False
        )
    assert caught.value.try_with == {"stochastic": True}
    assert [path.name for path in tmp_path.iterdir()] == ["agent.zip"]


@pytest.mark.slow
def test_a_squeeze_keeps_the_distribution(blind: tuple[Path, str], tmp_path: Path) -> None:
    agent, env_id = blind
    result = squeezerl.squeeze(
        agent,
        env=env_id,
        output=tmp_path / "out",
        recipes=["prune:l2:0.25"],
        retain=0.5,
        episodes=60,
        stochastic=True,
        workers=1,
        measure=False,
    )
    assert result.recipe.text == "prune:l2:0.25"
    assert result.artifact.network.head.sampling is not None
    data = result.to_json()
    assert data["noise_seed"] == 0
    assert -25 < data["baseline"]["mean_return"] < -8


def test_a_deterministic_agent_is_refused(tmp_path: Path) -> None:
    from made_agents import make_agent

    agent = make_agent("dqn", tmp_path).path
    with pytest.raises(UnsupportedPolicyError, match="DDPG agents are deterministic"):
        squeezerl.evaluate(agent, env="CartPole-v1", stochastic=True)
