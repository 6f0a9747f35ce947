from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

from small_policies import (
    QUANTIZATIONS,
    SOURCE,
    demo_observations,
    demo_policy,
    make_actor,
    make_policy,
    random_observations,
)
from squeezerl.agents.load import load_agent
from squeezerl.artifacts.read import is_artifact, read_artifact
from squeezerl.artifacts.write import write_artifact
from squeezerl.errors import ArtifactError, OutputError
from squeezerl.methods.compress import compress
from squeezerl.methods.specs import METHODS, StaticQuantization, StructuredPruning, specs_for
from squeezerl.records import Calibration

SPECS = {"float": (), "pruned": (StructuredPruning(ratio=0.3),)} | {
    name: (spec,) for name, spec in QUANTIZATIONS.items()
}
CALIBRATION = Calibration(
    observations=1000,
    env_id="HalfCheetah-v5",
    env_kwargs={"ctrl_cost_weight": 0.1},
    backend="gymnasium",
    first_seed=3,
    episodes=1,
)


@pytest.mark.parametrize("name", SPECS)
def test_what_is_read_is_what_was_written(name: str, tmp_path: Path) -> None:
    compressed = compress(demo_policy(), SPECS[name], observations=demo_observations())
    manifest = write_artifact(compressed, SOURCE, tmp_path / "new", calibration=CALIBRATION)

    artifact = read_artifact(tmp_path / "new")
    assert artifact.manifest == manifest
    assert artifact.model == compressed.model.SerializeToString()
    assert (artifact.manifest.source, artifact.manifest.calibration) == (SOURCE, CALIBRATION)
    assert artifact.manifest.layers == compressed.layers
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["manifest.json", "policy.onnx"]
    assert [p.name for p in tmp_path.iterdir()] == ["new"]


@pytest.mark.parametrize("name", SPECS)
def test_the_parts_of_the_size_add_up_to_the_file_on_disk(name: str, tmp_path: Path) -> None:
    compressed = compress(demo_policy(), SPECS[name], observations=demo_observations())
    size = write_artifact(compressed, SOURCE, tmp_path / "new").size

    parts = size.weight_bytes, size.activation_bytes, size.other_bytes, size.graph_bytes
    assert sum(parts) == size.file_bytes == (tmp_path / "new" / "policy.onnx").stat().st_size
    assert min(parts) >= 0
    assert size.graph_bytes > 0
    assert size.weight_bytes == sum(layer.total_bytes for layer in compressed.layers)


def test_each_part_of_the_size_is_what_it_says(tmp_path: Path) -> None:
    observations = demo_observations()
    sizes = {
        name: write_artifact(
            compress(demo_policy(), SPECS[name], observations=observations), SOURCE, tmp_path / name
        ).size
        for name in ("float", "ptdq", "ptsq")
    }
    weights, biases = 17 * 128 + 128 * 128 + 128 * 6, 128 + 128 + 6
    assert sizes["float"].weight_bytes == 4 * (weights + biases)
    # A float scale and an int8 zero point for each output neuron.
    assert sizes["ptdq"].weight_bytes == weights + 4 * biases + 5 * biases
    # The bias is int32 then, with a float scale and an int32 zero point of its own.
    assert sizes["ptsq"].weight_bytes == weights + 4 * biases + 5 * biases + 8 * biases
    # Mean and inverse deviation of 17 features, two pairs of bounds.
    assert {size.other_bytes for size in sizes.values()} == {4 * (17 + 17 + 2 + 2)}
    # A float scale and an uint8 zero point for the input of each layer.
    assert [size.activation_bytes for size in sizes.values()] == [0, 0, 3 * 5]


def test_layers_whose_names_begin_alike_are_counted_once(tmp_path: Path) -> None:
    widths = [4] * 12 + [2]  # layer1 and layer10, layer11
    size = write_artifact(compress(make_policy(*widths)), SOURCE, tmp_path / "new").size
    assert size.weight_bytes == 4 * (11 * (4 * 4 + 4) + (4 * 2 + 2))


def test_the_manifest_is_plain_json_with_the_hash_of_the_model(tmp_path: Path) -> None:
    specs = (StructuredPruning(ratio=0.3), StaticQuantization(keep=("layer0",)))
    compressed = compress(demo_policy(), specs, observations=demo_observations())
    write_artifact(compressed, SOURCE, tmp_path)
    data = json.loads((tmp_path / "manifest.json").read_text())
    content = (tmp_path / "policy.onnx").read_bytes()
    assert data["format_version"] == 1
    assert data["model_sha256"] == hashlib.sha256(content).hexdigest()
    assert data["specs"] == [
        {"kind": "structured_pruning", "version": 1, "norm": "l2", "ratio": 0.3},
        {
            "kind": "static_quantization",
            "version": 1,
            "per_channel": True,
            "layers_only": True,
            "keep": ["layer0"],
        },
    ]
    assert data["calibration"] is None
    assert {"python", "squeezerl", "onnx", "onnxruntime", "torch"} <= set(data["versions"])
    assert not re.search(r"NaN|Infinity", (tmp_path / "manifest.json").read_text())


@pytest.mark.parametrize("method", METHODS)
def test_published_agents_make_sound_artifacts(
    published_agent: Path, method: str, tmp_path: Path
) -> None:
    agent = load_agent(published_agent)
    observations = random_observations(agent.policy, 64)
    specs = specs_for(method, 0.3 if method in ("l1", "l2") else None)
    compressed = compress(agent.policy, specs, observations=observations)
    manifest = write_artifact(compressed, agent.source, tmp_path / "new")

    artifact = read_artifact(tmp_path / "new")
    assert artifact.manifest.source == agent.source
    assert artifact.manifest.observation_shape == agent.policy.observation_shape
    assert artifact.manifest.action_shape == agent.policy.action_shape
    assert manifest.size.file_bytes == len(artifact.model)
    np.testing.assert_array_equal(
        make_actor(compressed.model).act(observations),
        make_actor(compress(agent.policy, specs, observations=observations).model).act(
            observations
        ),
    )


def test_a_full_folder_is_replaced_with_force_only(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    earlier = write_artifact(compress(make_policy(4, 12, 2)), SOURCE, folder)
    (folder / "notes.txt").write_text("precious")
    compressed = compress(make_policy(4, 8, 2))
    with pytest.raises(OutputError, match="--force"):
        write_artifact(compressed, SOURCE, folder)
    assert read_artifact(folder).manifest == earlier
    assert (folder / "notes.txt").exists()

    write_artifact(compressed, SOURCE, folder, force=True)
    assert read_artifact(folder).manifest.layers == compressed.layers
    assert not (folder / "notes.txt").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["new"]


def test_parents_are_made(tmp_path: Path) -> None:
    write_artifact(compress(make_policy(4, 8, 2)), SOURCE, tmp_path / "a" / "b" / "c")
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
