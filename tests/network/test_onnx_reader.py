from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from onnx import TensorProto, numpy_helper
from random_policies import policies, pruned

from made_agents import MadeAgent
from onnx_runner import torch_actions
from small_policies import QUANTIZATIONS, make_policy, random_observations
from squeezerl import compress, load_agent, read_artifact, write_artifact
from squeezerl.errors import ArtifactError
from squeezerl.network.action_head import ActionHead
from squeezerl.network.onnx_graph import to_onnx
from squeezerl.network.onnx_reader import from_onnx
from squeezerl.network.policy import LinearLayer, Policy

NOT_OURS = "not a float policy that this release writes"


def _comes_back(policy: Policy) -> Policy:
    """The policy of its own graph: the same weights, and actions that differ by rounding only."""
    model = to_onnx(policy)
    before = model.SerializeToString()
    read = from_onnx(onnx.load_model_from_string(before))

    assert model.SerializeToString() == before
    assert to_onnx(read).SerializeToString() == before
    assert str(read) == str(policy)
    for name, tensor in policy.state_dict().items():
        if not name.startswith("head."):
            assert tensor.numpy().tobytes() == read.state_dict()[name].numpy().tobytes(), name
    observations = random_observations(policy, 20)
    expected, actual = torch_actions(policy, observations), torch_actions(read, observations)
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
    size = np.abs([policy.head.low.numpy(), policy.head.high.numpy()]).max(initial=0)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6 * size)
    return read


@settings(max_examples=200)
@given(policies())
def test_any_policy_comes_back(policy: Policy) -> None:
    _comes_back(policy)


def test_published_agents_come_back(published_agent: Path) -> None:
    policy = load_agent(published_agent).policy
    head = _comes_back(policy).head
    assert torch.equal(head.low, policy.head.low)
    assert torch.equal(head.high, policy.head.high)


def test_made_agents_come_back(made_agent: MadeAgent) -> None:
    _comes_back(load_agent(made_agent.path).policy)


def test_pruned_policy_comes_back() -> None:
    _comes_back(pruned("demo"))


def test_float_artifact_comes_back(tmp_path: Path) -> None:
    agent = load_agent("demo")
    write_artifact(compress(agent.policy), agent.source, tmp_path / "artifact")
    artifact = read_artifact(tmp_path / "artifact")
    policy = from_onnx(onnx.load_model_from_string(artifact.model))
    assert to_onnx(policy).SerializeToString() == artifact.model


def _tanh(low: Any, high: Any) -> Policy:
    low, high = np.float32(low), np.float32(high)
    return Policy(
        [LinearLayer(torch.eye(len(low)), torch.zeros(len(low)), None)],
        ActionHead.box("tanh", low, high),
        normalizer=None,
        observation_shape=(len(low),),
        action_shape=(len(low),),
    )


FLOATS = st.floats(-1e6, 1e6, width=32, allow_subnormal=False)


@settings(max_examples=150)
@given(nps.arrays(np.float32, (16, 2), elements=FLOATS))
def test_bounds_of_any_tanh_head_come_back_as_near_as_the_graph_knows(bounds: Any) -> None:
    low, high = bounds.min(axis=1) + 0.0, bounds.max(axis=1) + 0.0  # no negative zeros
    head = from_onnx(to_onnx(_tanh(low, high))).head
    size = np.maximum(np.abs(low), np.abs(high))
    assert (np.abs(head.low.numpy() - low) <= 3e-7 * size).all()
    assert (np.abs(head.high.numpy() - high) <= 3e-7 * size).all()


@pytest.mark.parametrize(
    ("low", "high"),
    [([-1], [1]), ([0], [1]), ([-0.4], [0.4]), ([-2, 0.5], [2, 0.75]), ([0, -1], [0, 3])],
)
def test_usual_bounds_come_back_exactly(low: list[float], high: list[float]) -> None:
    head = from_onnx(to_onnx(_tanh(low, high))).head
    np.testing.assert_array_equal(head.low, np.float32(low))
    np.testing.assert_array_equal(head.high, np.float32(high))


@pytest.mark.parametrize("spec", QUANTIZATIONS.values(), ids=QUANTIZATIONS)
def test_quantized_model_says_where_it_runs(spec: Any) -> None:
    policy = make_policy(3, 8, 2)
    model = compress(policy, spec, observations=random_observations(policy, 50)).model
    with pytest.raises(ArtifactError, match="int8 models run in ONNX Runtime only"):
        from_onnx(model)


def _constant(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def _replace(model: onnx.ModelProto, name: str, array: Any) -> None:
    _constant(model, name).CopyFrom(numpy_helper.from_array(np.asarray(array), name))


def _move_outside(model: onnx.ModelProto) -> None:
    tensor = _constant(model, "layer0.weight")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/hostname")


def _claim_more(model: onnx.ModelProto) -> None:
    _constant(model, "layer0.weight").dims[:] = [3000, 4000]


def _add_node(model: onnx.ModelProto) -> None:
    model.graph.node.append(onnx.helper.make_node("Relu", ["action"], ["unused"], "extra"))


def _drop(model: onnx.ModelProto, name: str) -> None:
    model.graph.initializer.remove(_constant(model, name))


SPOILED: dict[str, Callable[[onnx.ModelProto], Any]] = {
    "an empty model": lambda model: model.Clear(),
    "no nodes": lambda model: model.graph.ClearField("node"),
    "no input": lambda model: model.graph.ClearField("input"),
    "another observation": lambda model: model.graph.input[0].CopyFrom(
        onnx.helper.make_tensor_value_info("observation", TensorProto.FLOAT, ["batch", 5])
    ),
    "a layer without bias": lambda model: _drop(model, "layer1.bias"),
    "a head without bounds": lambda model: _drop(model, "head.high"),
    "layers that do not chain": lambda model: _replace(
        model, "layer1.weight", np.zeros((5, 2), np.float32)
    ),
    "weights in double precision": lambda model: _replace(model, "layer1.weight", np.zeros((4, 2))),
    "weights of another rank": lambda model: _replace(
        model, "layer1.weight", np.zeros(8, np.float32)
    ),
    "a normaliser of another size": lambda model: _replace(
        model, "normalizer.mean", np.zeros(2, np.float32)
    ),
    "an infinite normaliser": lambda model: _replace(
        model, "normalizer.mean", np.full(3, np.inf, np.float32)
    ),
    "a lopsided normaliser": lambda model: _replace(model, "normalizer.low", np.float32(-3)),
    "an unknown activation": lambda model: setattr(
        next(n for n in model.graph.node if n.name == "activation0"), "op_type", "Gelu"
    ),
    "another slope": lambda model: setattr(
        next(n for n in model.graph.node if n.name == "activation0").attribute[0], "f", 0.5
    ),
    "a name of another": lambda model: setattr(model, "producer_name", "somebody"),
    "one more node": _add_node,
    "one more constant": lambda model: model.graph.initializer.append(
        numpy_helper.from_array(np.zeros(3, np.float32), "hidden")
    ),
    "weights outside the file": _move_outside,
    "more weights claimed than held": _claim_more,
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_spoiled_model_is_refused(spoil: Callable[[onnx.ModelProto], Any]) -> None:
    model = to_onnx(make_policy(3, 4, 2, activation="LeakyReLU"))
    from_onnx(model)
    spoil(model)
    with pytest.raises(ArtifactError, match=NOT_OURS):
        from_onnx(model)


def test_reason_is_given() -> None:
    model = to_onnx(make_policy(3, 4, 2))
    _move_outside(model)
    with pytest.raises(ArtifactError, match="outside the file"):
        from_onnx(model)


def test_export_of_another_library_is_refused() -> None:
    node = onnx.helper.make_node("Gemm", ["observation", "w"], ["action"], "linear")
    model = to_onnx(make_policy(3, 4, 2))
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.append(node)
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((3, 2), np.float32), "w"))
    with pytest.raises(ArtifactError, match="has no node 'layer0'"):
        from_onnx(model)
