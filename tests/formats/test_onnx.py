from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from made_agents import ACTIVATIONS
from onnx_runner import onnx_actions, torch_actions
from squeezerl.network.action_head import ActionHead
from squeezerl.network.normalizer import ObservationNormalizer
from squeezerl.network.onnx_graph import to_onnx
from squeezerl.network.policy import LinearLayer, Policy

KINDS = ("clip", "tanh", "argmax")


def _policy(
    widths: list[int],
    *,
    activation: str = "ReLU",
    kind: Any = "clip",
    normalized: bool = False,
    same_bounds: bool = False,
    clip_mean: float | None = None,
    observation_shape: tuple[int, ...] | None = None,
    seed: int = 0,
) -> Policy:
    rng = np.random.default_rng(seed)
    layers = [
        LinearLayer(
            torch.from_numpy(rng.normal(size=(outputs, inputs)) / np.sqrt(inputs)),
            torch.from_numpy(rng.normal(size=outputs)),
            activation if index < len(widths) - 2 else None,
        )
        for index, (inputs, outputs) in enumerate(pairwise(widths))
    ]
    inputs, outputs = widths[0], widths[-1]
    low, high = -rng.uniform(0.1, 2, outputs), rng.uniform(0.1, 2, outputs)
    if same_bounds:
        low[:], high[:] = -1, 1
    bounds = low.astype(np.float32), high.astype(np.float32)
    mean, variance = rng.normal(size=inputs), rng.uniform(0.5, 2, inputs)
    return Policy(
        layers,
        ActionHead.argmax()
        if kind == "argmax"
        else ActionHead.box(kind, *bounds, clip_mean=clip_mean),
        normalizer=ObservationNormalizer(mean, variance, epsilon=1e-8, clip=1.5)
        if normalized
        else None,
        observation_shape=observation_shape or (inputs,),
        action_shape=() if kind == "argmax" else (outputs,),
    )


@settings(max_examples=100)
@given(
    widths=st.lists(st.integers(1, 9), min_size=2, max_size=5),
    activation=st.sampled_from(ACTIVATIONS),
    kind=st.sampled_from(KINDS),
    normalized=st.booleans(),
    same_bounds=st.booleans(),
    clip_mean=st.sampled_from([None, 0.5]),
    seed=st.integers(0, 2**32 - 1),
    batch=st.integers(1, 20),
)
def test_graph_acts_as_the_policy_does(
    widths: list[int],
    activation: str,
    kind: str,
    normalized: bool,
    same_bounds: bool,
    clip_mean: float | None,
    seed: int,
    batch: int,
) -> None:
    policy = _policy(
        widths,
        activation=activation,
        kind=kind,
        normalized=normalized,
        same_bounds=same_bounds,
        clip_mean=clip_mean if kind == "tanh" else None,
        seed=seed,
    )
    observations = 2 * np.random.default_rng(seed).normal(size=(batch, widths[0]))
    model = to_onnx(policy)
    onnx.checker.check_model(model, full_check=True)

    expected, actual = torch_actions(policy, observations), onnx_actions(model, observations)
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
    if kind == "argmax":
        outputs = policy.network(_features(policy, observations)).detach().numpy()
        chosen = np.take_along_axis(outputs, actual[:, None], axis=1)[:, 0]
        np.testing.assert_allclose(chosen, outputs.max(axis=1), rtol=0, atol=1e-5)
    else:
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


def _features(policy: Policy, observations: Any) -> torch.Tensor:
    features = torch.from_numpy(observations.astype(np.float32))
    return features if policy.normalizer is None else policy.normalizer(features)


@pytest.mark.parametrize("kind", KINDS)
def test_each_observation_is_treated_alike_in_any_batch(kind: str) -> None:
    model = to_onnx(_policy([3, 8, 2], kind=kind, normalized=True))
    observations = np.random.default_rng(0).normal(size=(16, 3))
    singly = np.concatenate([onnx_actions(model, row[None]) for row in observations])
    np.testing.assert_allclose(onnx_actions(model, observations), singly, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 2), (1, 6), (6, 1), (1, 2, 3)])
def test_observations_of_more_dimensions_are_flattened(shape: tuple[int, ...]) -> None:
    policy = _policy([6, 4, 2], normalized=True, observation_shape=shape)
    observations = np.random.default_rng(0).normal(size=(5, *shape))
    np.testing.assert_allclose(
        onnx_actions(to_onnx(policy), observations),
        torch_actions(policy, observations),
        rtol=0,
        atol=1e-5,
    )


def test_graph_is_the_same_each_time() -> None:
    policy = _policy([3, 8, 2], kind="tanh", normalized=True)
    assert to_onnx(policy).SerializeToString() == to_onnx(policy).SerializeToString()


def test_graph_keeps_the_names_of_the_layers_and_their_weights() -> None:
    policy = _policy([3, 8, 2])
    model = to_onnx(policy)
    gemms = [node for node in model.graph.node if node.op_type == "Gemm"]
    constants = {x.name: numpy_helper.to_array(x) for x in model.graph.initializer}

    assert [node.name for node in gemms] == list(policy.linear_layers())
    for name, layer in policy.linear_layers().items():
        np.testing.assert_array_equal(constants[f"{name}.weight"], layer.weight.detach().T)
        np.testing.assert_array_equal(constants[f"{name}.bias"], layer.bias.detach())


def test_graph_takes_observations_and_gives_actions_only() -> None:
    graph = to_onnx(_policy([3, 8, 2])).graph
    assert [x.name for x in graph.input] == ["observation"]
    assert [x.name for x in graph.output] == ["action"]


def test_graph_holds_little_besides_the_weights() -> None:
    policy = _policy([3, 64, 64, 2], normalized=True)
    size = len(to_onnx(policy).SerializeToString())
    assert size < 4 * policy.parameter_count + 1500


def test_symmetric_unit_bounds_cost_no_nodes() -> None:
    stretched, unit = (
        {node.op_type for node in to_onnx(policy).graph.node}
        for policy in (
            _policy([3, 2], kind="tanh"),
            _policy([3, 2], kind="tanh", same_bounds=True),
        )
    )
    assert {"Mul", "Add"} <= stretched
    assert not {"Mul", "Add"} & unit


def test_unknown_module_in_the_network_is_an_error() -> None:
    policy = _policy([3, 8, 2])
    policy.network.add_module("strange", torch.nn.GELU())
    with pytest.raises(TypeError, match="GELU"):
        to_onnx(policy)
