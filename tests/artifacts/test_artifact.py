from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

from onnx_runner import rows_alone
from small_policies import (
    QUANTIZATIONS,
    SOURCE,
    compress,
    demo_network,
    demo_observations,
    make_artifact,
    make_network,
    random_observations,
)
from squeezerl.agents.load import load_agent
from squeezerl.artifacts.artifact import build_artifact, is_artifact, read_artifact
from squeezerl.errors import ArtifactError, AuditError, OutputError
from squeezerl.formats.packed import packed_size
from squeezerl.methods.recipe import Recipe
from squeezerl.records import Calibration
from squeezerl.runtimes.onnx_runtime import OnnxRuntime

RECIPES = ["float", "prune:l2:0.3", "prune:l1:0.5 | int8:static", *QUANTIZATIONS.values()]
CALIBRATION = Calibration(
    observations=1000,
    env_id="HalfCheetah-v5",
    env_kwargs={"ctrl_cost_weight": 0.1},
    backend="gymnasium",
    first_seed=3,
    episodes=1,
)


@pytest.mark.parametrize("recipe", RECIPES)
def test_what_is_read_is_what_was_written(recipe: str, tmp_path: Path) -> None:
    written = make_artifact(
        demo_network(), recipe, observations=demo_observations(), calibration=CALIBRATION
    )
    written.save(tmp_path / "new")
    artifact = read_artifact(tmp_path / "new")
    assert artifact.manifest == written.manifest
    assert artifact.model == written.model
    assert artifact.network.sha256 == written.network.sha256
    assert artifact.recipe == Recipe.of(recipe)
    assert artifact.algorithm == SOURCE.algorithm
    assert (artifact.manifest.source, artifact.manifest.calibration) == (SOURCE, CALIBRATION)
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["manifest.json", "policy.onnx"]
    assert [p.name for p in tmp_path.iterdir()] == ["new"]
    size = (tmp_path / "new" / "policy.onnx").stat().st_size
    assert artifact.manifest.size.file_bytes == size
    claimed = artifact.manifest.size
    assert claimed.weight_bytes == packed_size(artifact.network).total
    layers = artifact.manifest.layers
    assert claimed.matrix_bytes == sum(layer.weight_bytes for layer in layers)
    assert claimed.bias_bytes == sum(layer.bias_bytes for layer in layers)
    assert claimed.scale_bytes >= sum(layer.quantization_bytes for layer in layers)


def test_layers_say_what_the_model_was_and_what_it_is() -> None:
    manifest = make_artifact(demo_network(), "prune:l2:0.5 | int8:dynamic").manifest
    before, after = manifest.layers_before, manifest.layers
    assert [layer.name for layer in before] == [layer.name for layer in after]
    assert [(x.in_features, x.out_features) for x in before] == [(17, 128), (128, 128), (128, 6)]
    assert [(x.in_features, x.out_features) for x in after] == [(17, 64), (64, 64), (64, 6)]
    assert {x.weight_dtype for x in before} == {"float32"}
    assert {x.weight_dtype for x in after} == {"int8"}
    assert [x.weight_bytes for x in before] == [4 * 17 * 128, 4 * 128 * 128, 4 * 128 * 6]
    assert [x.weight_bytes for x in after] == [17 * 64, 64 * 64, 64 * 6]
    assert [x.bias_bytes for x in after] == [4 * 64, 4 * 64, 4 * 6]
    # PTDQ, per channel: a float scale for each output neuron.
    assert [x.quantization_bytes for x in after] == [4 * 64, 4 * 64, 4 * 6]


@pytest.mark.parametrize("quantization", [q for q in QUANTIZATIONS.values() if q != "int8:trained"])
def test_prune_then_quantize_is_quantizing_the_pruned_network(quantization: str) -> None:
    observations = demo_observations()
    both = compress(demo_network(), f"prune:l2:0.3 | {quantization}", observations)
    pruned = compress(demo_network(), "prune:l2:0.3")
    assert both.sha256 == compress(pruned, quantization, observations).sha256


def test_the_manifest_is_plain_json_with_the_hash_of_the_model(tmp_path: Path) -> None:
    recipe = "prune:l2:0.3 | int8:static:keep=layer0"
    make_artifact(demo_network(), recipe, observations=demo_observations()).save(tmp_path)
    data = json.loads((tmp_path / "manifest.json").read_text())
    content = (tmp_path / "policy.onnx").read_bytes()
    assert data["format_version"] == 3
    assert data["model_sha256"] == hashlib.sha256(content).hexdigest()
    assert data["recipe"] == recipe
    assert data["specs"] == [
        {"kind": "prune", "version": 1, "norm": "l2", "ratio": 0.3},
        {
            "kind": "int8:static",
            "version": 1,
            "per_channel": True,
            "layers_only": True,
            "keep": ["layer0"],
        },
    ]
    assert data["calibration"] is None
    assert {"python", "squeezerl", "onnx", "onnxruntime"} <= set(data["versions"])
    assert not re.search(r"NaN|Infinity", (tmp_path / "manifest.json").read_text())


@pytest.mark.parametrize("recipe", ["float", "prune:l1:0.3", "prune:l2:0.3", "ptdq", "ptsq"])
def test_published_agents_make_sound_artifacts(
    published_agent: Path, recipe: str, tmp_path: Path
) -> None:
    agent = load_agent(published_agent)
    observations = random_observations(agent.network, 64)
    written = make_artifact(agent.network, recipe, source=agent.source, observations=observations)
    written.save(tmp_path / "new")
    artifact = read_artifact(tmp_path / "new")
    assert artifact.manifest.source == agent.source
    assert artifact.network.signature == agent.network.signature
    actions = OnnxRuntime().load(artifact).act(observations)
    np.testing.assert_array_equal(actions, rows_alone(artifact.model, observations))
    ratio = artifact.manifest.size.weight_bytes / packed_size(agent.network).total
    low, high = {"float": (1, 1), "ptdq": (0.25, 0.45), "ptsq": (0.25, 0.5)}.get(recipe, (0.4, 0.8))
    assert low <= ratio <= high


def test_a_network_that_is_not_what_the_recipe_makes_is_not_even_built() -> None:
    network = make_network(5, 12, 8, 2)
    for made, claimed in (
        ("float", "int8:dynamic"),
        ("int8:dynamic", "float"),
        ("int8:dynamic", "int8:dynamic:per_channel=no"),
        ("int8:dynamic:keep=layer0", "int8:dynamic"),
        ("int8:static:keep=layer0", "int8:static"),
        ("prune:l2:0.5", "prune:l2:0.25"),
        ("float", "int8:trained"),
    ):
        with pytest.raises(AuditError, match=r"the recipe promises .*layer0"):
            build_artifact(
                compress(network, made), Recipe.of(claimed), original=network, source=SOURCE
            )


def test_a_full_folder_is_replaced_with_force_only(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    earlier = make_artifact(make_network(4, 12, 2), "float")
    earlier.save(folder)
    (folder / "notes.txt").write_text("precious")
    other = make_artifact(make_network(4, 8, 2), "float")
    with pytest.raises(OutputError, match="force"):
        other.save(folder)
    assert read_artifact(folder).manifest == earlier.manifest
    assert (folder / "notes.txt").exists()

    other.save(folder, force=True)
    assert read_artifact(folder).manifest == other.manifest
    assert not (folder / "notes.txt").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["new"]


def test_parents_are_made(tmp_path: Path) -> None:
    make_artifact(make_network(4, 8, 2), "float").save(tmp_path / "a" / "b" / "c")
    assert is_artifact(tmp_path / "a" / "b" / "c")


@pytest.mark.parametrize("missing", ["manifest.json", "policy.onnx"])
def test_a_missing_file_is_named(int8_folder: Path, missing: str) -> None:
    (int8_folder / missing).unlink()
    with pytest.raises(ArtifactError, match=f"holds no {missing}"):
        read_artifact(int8_folder)


def test_a_folder_that_is_no_artifact_is_refused(tmp_path: Path) -> None:
    assert not is_artifact(tmp_path)
    assert not is_artifact(tmp_path / "absent")
    with pytest.raises(ArtifactError, match="not an artifact"):
        read_artifact(tmp_path / "absent")
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(ArtifactError, match="not an artifact"):
        read_artifact(tmp_path)


@pytest.mark.parametrize("name", ["manifest.json", "policy.onnx"])
def test_a_file_of_absurd_size_is_not_even_opened(int8_folder: Path, name: str) -> None:
    with (int8_folder / name).open("ab") as file:
        file.truncate(2**40)  # sparse: takes no room on the disk
    with pytest.raises(ArtifactError, match="larger than an artifact can be"):
        read_artifact(int8_folder)
