from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from squeezed import Squeezed

import squeezerl
from balancing import MAX_STEPS, RETAIN, balancing_agent, cart_pole
from squeezerl import StaticQuantization, StructuredPruning
from squeezerl.errors import ArtifactError, CheckpointError, EnvError, InvalidArgumentError
from squeezerl.evaluation.evaluate import calibrate
from squeezerl.records import ObservationsRecord

pytestmark = pytest.mark.slow


def test_agent_and_environment_may_be_named(tmp_path: Path) -> None:
    with pytest.raises(EnvError, match="CartPole-v1"):
        squeezerl.squeeze("demo", env="CartPole-v1", output=tmp_path / "out")
    with pytest.raises(EnvError, match="Nope-v1"):
        squeezerl.squeeze("demo", env="Nope-v1", output=tmp_path / "out")
    with pytest.raises(CheckpointError, match="missing"):
        squeezerl.squeeze(tmp_path / "missing", env="CartPole-v1", output=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_actor_comes_from_an_agent_or_an_artifact(squeezed: Squeezed) -> None:
    agent, artifact = squeezerl.load_actor("demo"), squeezerl.load_actor(squeezed.folder)
    assert (agent.observation_shape, agent.action_shape) == ((17,), (6,))
    assert (artifact.observation_shape, artifact.choices) == ((4,), (2,))


def test_what_is_neither_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        squeezerl.load_actor(tmp_path)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(ArtifactError):
        squeezerl.load_actor(tmp_path)


def test_a_runtime_that_cannot_run_a_policy_says_why(tmp_path: Path) -> None:
    squeezerl.compress("demo", "ptdq").save(tmp_path / "int8")
    with pytest.raises(InvalidArgumentError, match=r"runtime 'torch' cannot run .* quantized"):
        squeezerl.load_actor(tmp_path / "int8", runtime="torch")
    with pytest.raises(InvalidArgumentError, match="unknown runtime 'nope'"):
        squeezerl.load_actor("demo", runtime="nope")


def test_compress_and_evaluate_take_agents_recipes_and_artifacts(tmp_path: Path) -> None:
    agent = balancing_agent(width=20, idle=10)
    small = squeezerl.compress(agent, "prune:l2:0.3 | int8:static", env=cart_pole())
    small.save(tmp_path / "out")
    found = squeezerl.evaluate(
        tmp_path / "out", env=cart_pole(), against=agent, episodes=10, retain=RETAIN
    )
    assert found.retention is not None
    assert found.retention.verdict == "keeps"
    assert found.mean_return == MAX_STEPS
    specs = (StructuredPruning(norm="l2", ratio=0.3), StaticQuantization())
    assert squeezerl.compress(agent, specs, env=cart_pole()).model == small.model
    alone = squeezerl.evaluate(small, env=cart_pole(), episodes=3)
    assert (alone.retention, len(alone.record.episodes)) == (None, 3)


def test_the_manifest_says_which_observations_a_recipe_was_given(tmp_path: Path) -> None:
    agent, seed = balancing_agent(width=20, idle=10), 3
    actor = squeezerl.load_actor(agent)
    seen, _ = calibrate(actor, cart_pole(), seed=seed)
    played = squeezerl.compress(agent, "int8:static", env=cart_pole(), seed=seed).manifest
    assert played.observations == ObservationsRecord(
        count=len(seen),
        shape=(4,),
        sha256=hashlib.sha256(seen.tobytes()).hexdigest(),
        origin="episodes",
    )
    given = squeezerl.compress(agent, "int8:static", observations=seen.astype(np.float64)).manifest
    np.save(tmp_path / "seen.npy", np.asfortranarray(seen))
    read = squeezerl.compress(agent, "int8:static", observations=tmp_path / "seen.npy")
    assert (given.calibration, read.manifest.calibration) == (None, None)
    assert given.observations == dataclasses.replace(played.observations, origin="array")
    assert read.manifest.observations == dataclasses.replace(played.observations, origin="seen.npy")
    read.save(tmp_path / "out")
    assert squeezerl.read_artifact(tmp_path / "out").manifest == read.manifest
    # A recipe that looked at none has no record of any.
    assert (
        squeezerl.compress(agent, "int8:dynamic", observations=seen).manifest.observations is None
    )


def test_a_squeeze_tells_what_it_chose(tmp_path: Path) -> None:
    found = squeezerl.squeeze(
        balancing_agent(width=20, idle=10),
        env=cart_pole(),
        output=tmp_path / "out",
        retain=RETAIN,
        recipes=["l2:0.5", "prune:l2:0.3 | int8:dynamic", "l1:0.7"],
        episodes=10,
        measure=False,
        workers=1,
    )
    assert found.recipe.text == "prune:l2:0.5"
    assert found.summary().startswith("Chosen: l2-50, ")
    assert found.artifact.recipe == found.recipe
    names = {path.name for path in (tmp_path / "out" / "candidates").iterdir()}
    assert names == {"float", "l2-50", "l2-30+ptdq", "l1-70"}
    written = json.loads((tmp_path / "out" / "results.json").read_text())
    assert found.to_json()["chosen"]["retention"] == written["chosen"]["retention"]


def test_the_readme_s_few_lines_work(squeezed: Squeezed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(squeezed.folder)
    actor = squeezerl.load_actor(".")
    assert len(squeezerl.evaluate(actor, env="CartPole-v1", episodes=3).record.returns) == 3
    assert squeezerl.read_artifact(".").manifest.source.algorithm == "ppo"


def test_a_squeeze_writes_the_opset_that_was_asked_for(tmp_path: Path) -> None:
    result = squeezerl.squeeze(
        balancing_agent(),
        env=cart_pole(),
        output=tmp_path / "out",
        recipes=["prune:l2:0.5"],
        retain=RETAIN,
        episodes=60,
        workers=1,
        measure=False,
        opset=13,
    )
    assert result.recipe.text == "prune:l2:0.5"
    opsets = [
        onnx.load(tmp_path / "out" / folder / "policy.onnx").opset_import[0].version
        for folder in ("", "candidates/l2-50")
    ]
    assert opsets[0] == 13 < opsets[1]
    played = squeezerl.evaluate(result.artifact, env=cart_pole(), episodes=5)
    assert played.mean_return > 0.9 * MAX_STEPS
