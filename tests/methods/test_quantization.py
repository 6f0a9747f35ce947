from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from onnx import numpy_helper

from onnx_runner import onnx_actions
from small_policies import (
    PRECISE,
    QUANTIZATIONS,
    demo_observations,
    demo_policy,
    make_actor,
    make_policy,
    random_observations,
)
from squeezerl.errors import CompressionError
from squeezerl.methods.compress import compress
from squeezerl.methods.quantization import quantize_dynamically, quantize_statically
from squeezerl.methods.specs import DynamicQuantization, Spec, StaticQuantization
from squeezerl.network.activations import ACTIVATIONS
from squeezerl.network.onnx_graph import to_onnx
from squeezerl.network.policy import Policy

PER_TENSOR = [name for name, spec in QUANTIZATIONS.items() if not spec.per_channel]
PER_CHANNEL = [name for name in QUANTIZATIONS if name not in PER_TENSOR]
WITH_KEEP = [DynamicQuantization, StaticQuantization]


def _constants(model: onnx.ModelProto) -> dict[str, npt.NDArray[Any]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def _quantize(policy: Policy, spec: Spec) -> onnx.ModelProto:
    return compress(policy, spec, observations=random_observations(policy, 500)).model


def _assert_within_half_a_step(policy: Policy, model: onnx.ModelProto, names: list[str]) -> None:
    constants = _constants(model)
    for name in names:
        quantized, scale = constants[f"{name}.weight_quantized"], constants[f"{name}.weight_scale"]
        assert quantized.dtype == np.int8
        assert not constants[f"{name}.weight_zero_point"].any()
        exact = policy.linear_layers()[name].weight.detach().numpy().T
        error = abs(quantized * scale.astype(np.float64) - exact)
        assert (error <= 0.5001 * scale).all()


@pytest.mark.parametrize("name", QUANTIZATIONS)
def test_weights_are_int8_and_within_half_a_step_of_the_float_weights(name: str) -> None:
    policy = make_policy(7, 40, 30, 3)
    model = _quantize(policy, QUANTIZATIONS[name])
    _assert_within_half_a_step(policy, model, ["layer0", "layer1", "layer2"])
    assert not [n for n, c in _constants(model).items() if c.ndim > 1 and c.dtype != np.int8]


@pytest.mark.parametrize("name", PER_CHANNEL)
def test_per_channel_gives_each_output_neuron_the_scale_of_its_own_weights(name: str) -> None:
    policy = make_policy(7, 40, 30, 3)
    constants = _constants(_quantize(policy, QUANTIZATIONS[name]))
    for layer, linear in policy.linear_layers().items():
        largest = linear.weight.detach().abs().amax(dim=1).numpy()
        np.testing.assert_allclose(constants[f"{layer}.weight_scale"], largest / 127, rtol=0.01)


@pytest.mark.parametrize("name", PER_TENSOR)
def test_per_tensor_gives_each_layer_one_scale(name: str) -> None:
    policy = make_policy(7, 40, 30, 3)
    constants = _constants(_quantize(policy, QUANTIZATIONS[name]))
    for layer, linear in policy.linear_layers().items():
        largest = linear.weight.detach().abs().max().numpy()
        assert constants[f"{layer}.weight_scale"].size == 1
        np.testing.assert_allclose(constants[f"{layer}.weight_scale"], largest / 127, rtol=0.01)


@pytest.mark.parametrize("keep", [("layer0",), ("layer2",), ("layer0", "layer1", "layer2")])
@pytest.mark.parametrize("method", WITH_KEEP)
def test_kept_layers_stay_in_float_bit_for_bit(method: type[Any], keep: tuple[str, ...]) -> None:
    policy = make_policy(7, 40, 30, 3)
    result = compress(policy, method(keep=keep), observations=random_observations(policy, 100))
    constants = _constants(result.model)
    for name in keep:
        linear = policy.linear_layers()[name]
        np.testing.assert_array_equal(constants[f"{name}.weight"].T, linear.weight.detach())
        np.testing.assert_array_equal(constants[f"{name}.bias"], linear.bias.detach())
    others = [name for name in policy.linear_layers() if name not in keep]
    _assert_within_half_a_step(policy, result.model, others)
    dtypes = {layer.name: layer.weight_dtype for layer in result.layers}
    assert dtypes == {n: "float32" if n in keep else "int8" for n in policy.linear_layers()}


@pytest.mark.parametrize("method", WITH_KEEP)
def test_keeping_all_layers_changes_no_action(method: type[Any]) -> None:
    policy = make_policy(7, 40, 3)
    observations = random_observations(policy, 100)
    model = compress(policy, method(keep=("layer0", "layer1")), observations=observations).model
    np.testing.assert_allclose(
        onnx_actions(model, observations), onnx_actions(to_onnx(policy), observations), atol=1e-6
    )


def test_activation_scales_are_the_ranges_of_the_calibration_observations() -> None:
    policy = demo_policy()
    observations = demo_observations()
    constants = _constants(compress(policy, StaticQuantization(), observations=observations).model)
    assert policy.normalizer is not None
    features = policy.normalizer(torch.from_numpy(observations.copy()))
    ranges = {"normalizer.clip": features}
    for name, module in policy.network.named_children():
        features = module(features)
        ranges[name] = features
    for name in ("normalizer.clip", "activation0", "activation1"):
        low, high = min(ranges[name].min().item(), 0.0), max(ranges[name].max().item(), 0.0)
        scale = constants[f"{name}.out_scale"]
        np.testing.assert_allclose(scale, (high - low) / 255, rtol=1e-4)
        zero_point = constants[f"{name}.out_zero_point"]
        assert zero_point.dtype == np.uint8
        assert abs(int(zero_point) + low / float(scale)) <= 0.51


def test_the_rarest_observation_counts_for_the_range() -> None:
    policy = make_policy(4, 16, 2, normalized=False)
    observations = random_observations(policy, 1000)
    observations[500, 2] = 40.0
    constants = _constants(compress(policy, StaticQuantization(), observations=observations).model)
    expected = (40.0 - observations.min()) / 255
    np.testing.assert_allclose(constants["observation_scale"], expected, rtol=1e-4)


def test_calibration_with_a_wider_range_gives_a_coarser_scale() -> None:
    policy = make_policy(4, 16, 2, normalized=False)
    observations = random_observations(policy, 200)
    scales = [
        _constants(compress(policy, StaticQuantization(), observations=given).model)
        for given in (observations, 3 * observations)
    ]
    ratio = scales[1]["observation_scale"] / scales[0]["observation_scale"]
    np.testing.assert_allclose(ratio, 3, rtol=1e-4)


def test_observations_outside_the_calibrated_range_are_clipped_to_it() -> None:
    policy = make_policy(2, 8, 2, normalized=False)
    edges = np.float32([[-1, -1], [1, 1]])
    model = compress(policy, StaticQuantization(), observations=edges).model
    inside, outside = (onnx_actions(model, np.float32([[x, -x]])) for x in (1.0, 50.0))
    np.testing.assert_allclose(inside, outside, atol=0.02)


@pytest.mark.parametrize(
    ("observations", "message"),
    [
        (np.zeros((0, 7), np.float32), "at least 1"),
        (np.zeros((10, 6), np.float32), r"\(n, 7\) needed"),
        (np.zeros((10, 7, 1), np.float32), r"\(n, 7\) needed"),
        (np.zeros(7, np.float32), r"\(n, 7\) needed"),
        (np.full((10, 7), np.nan, np.float32), "NaN"),
        (np.full((10, 7), np.inf, np.float32), "infinite"),
    ],
)
def test_calibration_observations_that_do_not_fit_are_refused(
    observations: npt.NDArray[np.float32], message: str
) -> None:
    with pytest.raises(CompressionError, match=message):
        compress(make_policy(7, 16, 3), StaticQuantization(), observations=observations)


def test_one_nan_among_many_calibration_observations_is_refused() -> None:
    policy = make_policy(7, 16, 3)
    observations = random_observations(policy, 1000)
    observations[567, 3] = np.nan
    with pytest.raises(CompressionError, match="NaN"):
        compress(policy, StaticQuantization(), observations=observations)


def test_calibration_takes_double_precision_as_numpy_makes_it() -> None:
    policy = make_policy(7, 16, 3)
    observations = random_observations(policy, 50)
    models = [
        compress(policy, StaticQuantization(), observations=given).model
        for given in (observations, observations.astype(np.float64))
    ]
    assert models[0] == models[1]


def test_quantizing_leaves_the_float_model_as_it_is() -> None:
    policy = make_policy(7, 16, 3)
    model = to_onnx(policy)
    before = model.SerializeToString()
    quantize_dynamically(model, DynamicQuantization())
    quantize_statically(model, StaticQuantization(), random_observations(policy, 10))
    assert model.SerializeToString() == before


@pytest.mark.parametrize("name", QUANTIZATIONS)
def test_quantizing_twice_gives_the_same_bytes(name: str) -> None:
    policy = make_policy(7, 16, 12, 3)
    first, second = (
        _quantize(policy, QUANTIZATIONS[name]).SerializeToString(deterministic=True)
        for _ in range(2)
    )
    assert first == second


def _mean_demo_error(name: str) -> float:
    policy, observations = demo_policy(), demo_observations()
    exact = make_actor(to_onnx(policy)).act(observations)
    model = compress(policy, QUANTIZATIONS[name], observations=observations).model
    return float(abs(make_actor(model).act(observations) - exact).mean())


@pytest.mark.parametrize("name", PRECISE)
def test_the_demo_acts_almost_as_before_in_the_states_that_it_visits(name: str) -> None:
    assert 0 < _mean_demo_error(name) < 0.02


def test_quantizing_the_whole_graph_naively_costs_precision() -> None:
    assert _mean_demo_error("ptsq-naive") > 4 * _mean_demo_error("ptsq")


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("head", ["clip", "tanh"])
def test_every_activation_and_head_survives_every_quantization(head: Any, activation: str) -> None:
    policy = make_policy(6, 32, 24, 3, activation=activation, head=head, observation_shape=(3, 2))
    observations = random_observations(policy, 200)
    exact = make_actor(to_onnx(policy)).act(observations)
    for spec in QUANTIZATIONS.values():
        model = compress(policy, spec, observations=observations).model
        assert abs(make_actor(model).act(observations) - exact).mean() < 0.03


@pytest.mark.parametrize("name", QUANTIZATIONS)
def test_discrete_policies_choose_mostly_the_same_actions(name: str) -> None:
    policy = make_policy(6, 32, 24, 4, head="argmax")
    observations = random_observations(policy, 500)
    exact = make_actor(to_onnx(policy)).act(observations)
    actions = make_actor(_quantize(policy, QUANTIZATIONS[name])).act(observations)
    assert actions.dtype == np.int64
    assert (actions == exact).mean() > 0.9
    assert len(np.unique(exact)) > 1


@pytest.mark.parametrize("name", QUANTIZATIONS)
def test_neurons_without_weights_keep_their_bias(name: str) -> None:
    # Their scale has nothing to be taken from, and an int32 bias could overflow with a tiny one.
    policy = make_policy(5, 16, 12, 2, normalized=False, head="tanh")
    with torch.no_grad():
        for layer, bias in ((policy.network.layer0, 3.0), (policy.network.layer1, -5.0)):
            layer.weight[3] = 0.0
            layer.bias[3] = bias
        policy.network.layer2.weight[1] = 0.0
        policy.network.layer2.bias[1] = 0.7
    observations = random_observations(policy, 200)
    exact = make_actor(to_onnx(policy)).act(observations)
    actions = make_actor(_quantize(policy, QUANTIZATIONS[name])).act(observations)
    np.testing.assert_allclose(actions, exact, atol=0.15)
    np.testing.assert_allclose(actions[:, 1], np.tanh(0.7), atol=0.01)


@pytest.mark.parametrize("name", QUANTIZATIONS)
def test_an_all_zero_layer_is_no_problem(name: str) -> None:
    policy = make_policy(5, 16, 12, 2)
    with torch.no_grad():
        policy.network.layer0.weight[:] = 0.0
        policy.network.layer0.bias[:] = 0.0
    observations = random_observations(policy, 20)
    exact = make_actor(to_onnx(policy)).act(observations)
    actions = make_actor(_quantize(policy, QUANTIZATIONS[name])).act(observations)
    np.testing.assert_allclose(actions, exact, atol=0.02)
