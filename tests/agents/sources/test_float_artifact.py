from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from small_policies import random_observations
from source_contract import SourceContract
from squeezerl import compress, load_agent
from squeezerl.agents.load import SOURCES
from squeezerl.errors import CheckpointError, UnsupportedPolicyError
from squeezerl.network.arithmetic import act


class TestFloatArtifact(SourceContract):
    source = SOURCES.get("artifact")

    def make_sample(self, folder: Path) -> Path:
        compress("demo", "float").save(folder)
        return folder


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    compress("demo", "float").save(tmp_path / "kept")
    return tmp_path / "kept"


def test_it_is_the_agent_that_it_was_made_of(kept: Path) -> None:
    original, agent = load_agent("demo"), load_agent(kept)
    assert agent.key == original.key
    observations = random_observations(original.network, 100)
    np.testing.assert_array_equal(
        act(agent.network, observations), act(original.network, observations)
    )
    for fact in (
        *("algorithm", "env_id", "env_kwargs", "versions"),
        *("activation_from", "trained_to", "trained_steps"),
    ):
        assert getattr(agent.source, fact) == getattr(original.source, fact)


def test_it_is_compressed_as_the_original_is(kept: Path) -> None:
    recipe = "l2:0.5 | ptdq"
    assert compress(kept, recipe).model == compress("demo", recipe).model


@pytest.mark.parametrize("steps", ["many", True, -1, 0, 1e6, 10**400, [1]])
def test_what_is_no_number_of_steps_counts_as_unknown(kept: Path, steps: object) -> None:
    assert load_agent(kept).source.trained_steps == load_agent("demo").source.trained_steps
    manifest = json.loads((kept / "manifest.json").read_text())
    manifest["source"]["trained_steps"] = steps
    (kept / "manifest.json").write_text(json.dumps(manifest))
    assert load_agent(kept).source.trained_steps is None


@pytest.mark.parametrize("recipe", ["ptdq", "l2:0.5"])
def test_a_compressed_artifact_is_no_agent(tmp_path: Path, recipe: str) -> None:
    compress("demo", recipe).save(tmp_path / "out")
    with pytest.raises(UnsupportedPolicyError, match=r"not an agent: it was compressed.*demo"):
        load_agent(tmp_path / "out")


def test_an_artifact_that_draws_its_actions_is_no_agent(tmp_path: Path) -> None:
    compress("demo", "float", stochastic=True).save(tmp_path / "out")
    with pytest.raises(UnsupportedPolicyError, match="draws its actions"):
        load_agent(tmp_path / "out")


@pytest.mark.parametrize("manifest", ["", "{}", "[]", '{"recipe": 1}', None])
def test_a_damaged_manifest_is_refused(kept: Path, manifest: str | None) -> None:
    if manifest is None:
        data = json.loads((kept / "manifest.json").read_text())
        manifest = json.dumps(data | {"model_sha256": "0" * 64})
    (kept / "manifest.json").write_text(manifest)
    with pytest.raises(CheckpointError, match=r"manifest\.json|policy\.onnx: not the model"):
        load_agent(kept)


def test_a_missing_model_is_refused(kept: Path) -> None:
    (kept / "policy.onnx").unlink()
    with pytest.raises(CheckpointError, match=r"policy\.onnx: No such file"):
        load_agent(kept)
