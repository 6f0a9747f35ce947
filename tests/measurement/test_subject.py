from __future__ import annotations

import gzip
from pathlib import Path

import onnx
import pytest
import torch
from onnx import numpy_helper

from made_agents import MadeAgent
from small_policies import QUANTIZATIONS, SOURCE, demo_observations, demo_policy, make_policy
from squeezerl.agents.load import load_agent
from squeezerl.artifacts.write import write_artifact
from squeezerl.errors import CheckpointError
from squeezerl.measurement.result import ModelSize
from squeezerl.measurement.subject import load_subject, model_size
from squeezerl.methods.compress import compress
from squeezerl.methods.pruning import prune
from squeezerl.methods.specs import DynamicQuantization, Spec, StaticQuantization, StructuredPruning
from squeezerl.network.policy import Policy

PRUNING = StructuredPruning(ratio=0.3)


def _size(policy: Policy, *specs: Spec) -> tuple[onnx.ModelProto, ModelSize]:
    model = compress(policy, specs, observations=demo_observations()).model
    return model, model_size(model.SerializeToString())


def _linear(policy: Policy) -> list[torch.nn.Linear]:
    return [module for module in policy.modules() if isinstance(module, torch.nn.Linear)]


def _counts_what_torch_has(policy: Policy, size: ModelSize) -> None:
    layers = _linear(policy)
    assert size.parameters == sum(p.numel() for layer in layers for p in layer.parameters())
    assert size.macs == sum(layer.weight.numel() for layer in layers)


@pytest.mark.parametrize("name", ["float", "pruned", *QUANTIZATIONS])
def test_parts_add_up(name: str) -> None:
    specs = {"float": (), "pruned": (PRUNING,)}.get(name) or tuple(
        spec for key, spec in QUANTIZATIONS.items() if key == name
    )
    model, size = _size(demo_policy(), *specs)
    content = model.SerializeToString()
    assert size.file_bytes == len(content)
    assert gzip.decompress(gzip.compress(content, 9)) == content
    assert size.gzip_bytes == len(gzip.compress(content, 9, mtime=0)) < size.file_bytes
    assert sum(size.weight_bytes_by_dtype.values()) == size.weight_bytes < size.file_bytes
    assert all(count > 0 for count in size.weight_bytes_by_dtype.values())


@pytest.mark.parametrize("name", [None, *QUANTIZATIONS])
def test_a_quantized_policy_has_the_macs_and_parameters_of_its_float_one(name: str | None) -> None:
    _, size = _size(demo_policy(), *([QUANTIZATIONS[name]] if name else []))
    _counts_what_torch_has(demo_policy(), size)


def test_a_float_policy_is_all_float32() -> None:
    _, size = _size(demo_policy())
    assert size.weight_bytes_by_dtype == {"float32": 4 * size.parameters}


@pytest.mark.parametrize("name", ["ptdq", "ptsq"])
def test_int8_weights_are_a_byte_each_and_their_scales_are_counted(name: str) -> None:
    model, size = _size(demo_policy(), QUANTIZATIONS[name])
    dtypes = size.weight_bytes_by_dtype
    weights = size.macs  # one weight for each multiplication
    neurons = size.parameters - size.macs
    arrays = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    scales = sum(a.nbytes for n, a in arrays.items() if ".weight" in n and n.endswith("_scale"))
    assert weights < dtypes["int8"] <= weights + neurons  # with a zero point a neuron, at most
    assert scales == 4 * neurons
    assert dtypes["float32"] >= scales
    assert dtypes.keys() <= {"int8", "float32", "int32"}
    assert size.weight_bytes < 4 * size.parameters / 2


def test_layers_that_are_kept_in_float_show_as_such() -> None:
    _, all_int8 = _size(demo_policy(), StaticQuantization())
    _, kept = _size(demo_policy(), StaticQuantization(keep=("layer0",)))
    assert kept.weight_bytes_by_dtype["float32"] > all_int8.weight_bytes_by_dtype["float32"]
    assert kept.weight_bytes_by_dtype["int8"] < all_int8.weight_bytes_by_dtype["int8"]
    assert kept.macs == all_int8.macs


def test_pruning_takes_macs_and_parameters_away() -> None:
    pruned = prune(demo_policy(), PRUNING)
    _, size = _size(demo_policy(), PRUNING)
    _counts_what_torch_has(pruned, size)
    assert size.macs < _size(demo_policy())[1].macs


def test_more_than_ten_layers_are_told_apart() -> None:
    policy = make_policy(3, *[4] * 11, 2)
    size = model_size(compress(policy).model.SerializeToString())
    _counts_what_torch_has(policy, size)
    assert size.weight_bytes == 4 * size.parameters


def test_made_agents_are_counted_as_torch_counts_them(made_agent: MadeAgent) -> None:
    policy = load_agent(made_agent.path).policy
    size = model_size(compress(policy).model.SerializeToString())
    _counts_what_torch_has(policy, size)
    assert size.weight_bytes_by_dtype == {"float32": 4 * size.parameters}


def test_published_agents_are_counted_as_torch_counts_them(published_agent: Path) -> None:
    policy = load_agent(published_agent).policy
    size = model_size(compress(policy).model.SerializeToString())
    _counts_what_torch_has(policy, size)
    assert sum(size.weight_bytes_by_dtype.values()) == size.weight_bytes


def test_a_subject_is_an_agent_or_an_artifact(tmp_path: Path) -> None:
    for name, specs in (("float", ()), ("int8", (DynamicQuantization(),))):
        write_artifact(compress(demo_policy(), specs), SOURCE, tmp_path / name)
    agent, float_, int8 = (
        load_subject(path) for path in ("demo", tmp_path / "float", tmp_path / "int8")
    )
    assert agent.policy is not None
    assert agent.source.env_id == "HalfCheetah-v5"
    assert float_.policy is not None
    assert float_.model == (tmp_path / "float" / "policy.onnx").read_bytes()
    assert int8.policy is None
    assert "ONNX Runtime only" in str(int8.no_policy)
    with pytest.raises(CheckpointError):
        load_subject(tmp_path)
