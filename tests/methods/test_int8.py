from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from random_networks import networks
from small_policies import (
    ACTIVATION_TEXTS,
    PRECISE,
    QUANTIZATIONS,
    compress,
    demo_network,
    demo_observations,
    make_network,
    random_observations,
    with_layer,
)
from spec_contract import KEEP, SpecContract
from squeezerl.errors import CompressionError
from squeezerl.methods.dynamic_int8 import DynamicQuantization
from squeezerl.methods.integers import affine_rounding, centered_outputs, symmetric_rounding
from squeezerl.methods.static_int8 import StaticQuantization
from squeezerl.methods.trained_int8 import QuantizationAwareTraining
from squeezerl.network.arithmetic import act
from squeezerl.network.network import IntegerTensor, Network, Rounding, as_float
from squeezerl.runtimes.onnx_runtime import load_network

PER_TENSOR = [name for name, text in QUANTIZATIONS.items() if "per_channel=no" in text]
PER_CHANNEL = [name for name in QUANTIZATIONS if name not in PER_TENSOR]
# The others do as ONNX Runtime's quantizer does, or were trained.
CENTERING = [QUANTIZATIONS[name] for name in ("ptdq", "ptsq", "ptsq-per-tensor")]
KINDS = ["int8:dynamic", "int8:static", "int8:trained"]
FLAGS = {"per_channel": st.booleans(), "keep": KEEP}


class TestDynamicQuantization(SpecContract):
    spec = DynamicQuantization
    specs: ClassVar = st.builds(DynamicQuantization, **FLAGS)


class TestStaticQuantization(SpecContract):
    spec = StaticQuantization
    specs: ClassVar = st.builds(StaticQuantization, layers_only=st.booleans(), **FLAGS)


class TestQuantizationAwareTraining(SpecContract):
    spec = QuantizationAwareTraining
    specs: ClassVar = st.builds(QuantizationAwareTraining, per_feature=st.booleans(), **FLAGS)


# Weights and biases.


def _weight(network: Network, index: int) -> IntegerTensor:
    weight = network.layers[index].weight
    assert isinstance(weight, IntegerTensor)
    return weight


@pytest.mark.parametrize("recipe", QUANTIZATIONS.values(), ids=QUANTIZATIONS)
@given(network=networks())
def test_weights_are_int8_and_within_half_a_step_of_the_float_weights(
    recipe: str, network: Network
) -> None:
    quantized = compress(network, recipe)
    if recipe in CENTERING:
        network = centered_outputs(network)
    for index, layer in enumerate(network.layers):
        weight = _weight(quantized, index)
        assert (weight.values.dtype, weight.bits) == (np.uint8, 8)
        assert (weight.zero_point == 128).all()
        assert weight.values.min() >= 1
        error = abs(weight.dequantized().astype(np.float64) - as_float(layer.weight))
        scale = weight.scale.reshape(-1, 1) if weight.scale.ndim else weight.scale
        assert (error <= 0.5001 * scale).all()


@pytest.mark.parametrize("name", QUANTIZATIONS)
def test_scales_are_those_of_the_neurons_or_of_the_layer(name: str) -> None:
    network = make_network(7, 40, 30, 3)
    quantized = compress(network, QUANTIZATIONS[name])
    for index, layer in enumerate(network.layers):
        largest = abs(as_float(layer.weight)).max(axis=1 if name in PER_CHANNEL else None)
        np.testing.assert_allclose(_weight(quantized, index).scale, largest / 127, rtol=1e-6)


@pytest.mark.parametrize("keep", ["layer0", "layer2", "layer0,layer1,layer2"])
@pytest.mark.parametrize("kind", KINDS)
def test_kept_layers_stay_in_float_bit_for_bit(kind: str, keep: str) -> None:
    network = make_network(7, 40, 30, 3)
    quantized = compress(network, f"{kind}:keep={keep}")
    for (name, before), after in zip(network.named_layers.items(), quantized.layers, strict=True):
        assert (after is before) == (name in keep)
        assert isinstance(after.weight, IntegerTensor) == (name not in keep)
    observations = random_observations(network, 100)
    if keep.count("layer") == 3:
        np.testing.assert_array_equal(act(quantized, observations), act(network, observations))


@pytest.mark.parametrize("kept", ["layer0", "layer1", "layer2", "layer0,layer2"])
@pytest.mark.parametrize("kind", KINDS)
def test_layers_in_float_and_in_integers_work_together_in_a_file(kind: str, kept: str) -> None:
    network = make_network(6, 32, 16, 2, head="argmax")
    observations = random_observations(network, 300)
    actor = load_network(compress(network, f"{kind}:keep={kept}", observations))
    assert actor.choices == (2,)
    assert (actor.act(observations) == act(network, observations)).mean() > 0.9


# Calibration.


def _rounding(network: Network, value: str) -> Rounding:
    rounding = network.roundings[value]
    assert isinstance(rounding, Rounding)
    return rounding


def test_activation_scales_are_the_ranges_of_the_calibration_observations() -> None:
    network, observations = demo_network(), demo_observations()
    quantized = compress(network, "int8:static", observations)
    seen: dict[str, Any] = {}
    act(network, observations, seen.__setitem__)
    assert set(quantized.roundings) == {"normalizer.clip", "activation0", "activation1"}
    for name in quantized.roundings:
        low, high = min(seen[name].min(), 0), max(seen[name].max(), 0)
        rounding = _rounding(quantized, name)
        assert rounding.scale == pytest.approx((high - low) / 255, rel=1e-6)
        assert abs(rounding.zero_point + low / rounding.scale) <= 0.5001


def test_the_rarest_observation_counts_for_the_range() -> None:
    network = make_network(4, 16, 2, normalized=False)
    observations = random_observations(network, 1000)
    observations[500, 2] = 40.0
    rounding = _rounding(compress(network, "int8:static", observations), "observation")
    assert rounding.scale == pytest.approx((40.0 - observations.min()) / 255)


def test_observations_outside_the_calibrated_range_are_clipped_to_it() -> None:
    network = make_network(2, 8, 2, normalized=False)
    quantized = compress(network, "int8:static", np.float32([[-1, -1], [1, 1]]))
    inside, outside = (act(quantized, np.float32([[x, -x]])) for x in (1.0, 50.0))
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
        (np.where(np.arange(700).reshape(100, 7) == 567, np.nan, 0).astype(np.float32), "NaN"),
    ],
)
def test_calibration_observations_that_do_not_fit_are_refused(
    observations: npt.NDArray[np.float32], message: str
) -> None:
    with pytest.raises(CompressionError, match=message):
        compress(make_network(7, 16, 3), "int8:static", observations)


def test_calibration_takes_double_precision_as_numpy_makes_it() -> None:
    network = make_network(7, 16, 3)
    observations = random_observations(network, 50)
    double: Any = observations.astype(np.float64)
    first, second = (compress(network, "int8:static", given) for given in (observations, double))
    assert first.sha256 == second.sha256


BOUNDS = st.floats(-1e6, 1e6, width=32)


@given(BOUNDS, BOUNDS)
def test_an_affine_rounding_holds_its_range_and_zero_exactly(first: float, second: float) -> None:
    low, high = sorted((first, second))
    rounding = affine_rounding(low, high)
    ends = np.array([-rounding.zero_point, 255 - rounding.zero_point]) * rounding.scale
    assert 0 <= rounding.zero_point <= 255
    step = rounding.scale * (0.5 + 1e-3) + 1e-9
    assert ends[0] <= min(low, 0) + step
    assert ends[1] >= max(high, 0) - step


@given(st.floats(1e-6, 1e6))
def test_a_symmetric_rounding_holds_both_bounds_and_zero_exactly(bound: float) -> None:
    rounding = symmetric_rounding(bound)
    steps = np.rint(np.array([0.0, bound, -bound]) / rounding.scale)
    assert steps.tolist() == [0, 127, -127]
    np.testing.assert_allclose(steps * rounding.scale, [0, bound, -bound], rtol=1e-5)


# What the quantized network does.


def _mean_demo_error(name: str) -> float:
    network, observations = demo_network(), demo_observations()
    quantized = compress(network, QUANTIZATIONS[name], observations)
    return float(abs(act(quantized, observations) - act(network, observations)).mean())


@pytest.mark.parametrize("name", PRECISE)
def test_the_demo_acts_almost_as_before_in_the_states_that_it_visits(name: str) -> None:
    assert 0 < _mean_demo_error(name) < 0.02


def test_quantizing_the_whole_graph_naively_costs_precision() -> None:
    assert _mean_demo_error("ptsq-naive") > 4 * _mean_demo_error("ptsq")


@pytest.mark.parametrize("activation", ACTIVATION_TEXTS)
@pytest.mark.parametrize("head", ["clip", "tanh"])
def test_every_activation_and_head_survives_every_quantization(head: Any, activation: str) -> None:
    network = make_network(6, 32, 24, 3, activation=activation, head=head, observation_shape=(3, 2))
    observations = random_observations(network, 200)
    exact = act(network, observations)
    for recipe in QUANTIZATIONS.values():
        quantized = compress(network, recipe, observations)
        assert abs(act(quantized, observations) - exact).mean() < 0.03


@pytest.mark.parametrize("recipe", QUANTIZATIONS.values(), ids=QUANTIZATIONS)
def test_discrete_policies_choose_mostly_the_same_actions(recipe: str) -> None:
    network = make_network(6, 32, 24, 4, head="argmax")
    observations = random_observations(network, 500)
    exact = act(network, observations)
    actions = act(compress(network, recipe, observations), observations)
    assert actions.dtype == np.int64
    assert (actions == exact).mean() > 0.9
    assert len(np.unique(exact)) > 1


@pytest.mark.parametrize("recipe", QUANTIZATIONS.values(), ids=QUANTIZATIONS)
def test_a_linear_policy_can_be_quantized(recipe: str) -> None:
    network = make_network(4, 2)
    observations = random_observations(network, 100)
    actions = act(compress(network, recipe, observations), observations)
    assert abs(actions - act(network, observations)).mean() < 0.03


@pytest.mark.parametrize("recipe", QUANTIZATIONS.values(), ids=QUANTIZATIONS)
def test_neurons_without_weights_keep_their_bias(recipe: str) -> None:
    # Their scale has nothing to be taken from, and an int32 bias could overflow with a tiny one.
    network = make_network(5, 16, 12, 2, normalized=False, head="tanh")
    for index, neuron, value in ((0, 3, 3.0), (1, 3, -5.0), (2, 1, 0.7)):
        layer = network.layers[index]
        weight, bias = as_float(layer.weight).copy(), as_float(layer.bias).copy()
        weight[neuron], bias[neuron] = 0.0, value
        network = with_layer(network, index, weight=weight, bias=bias)
    observations = random_observations(network, 200)
    actions = act(compress(network, recipe, observations), observations)
    np.testing.assert_allclose(actions, act(network, observations), atol=0.15)
    np.testing.assert_allclose(actions[:, 1], np.tanh(0.7), atol=0.01)


@pytest.mark.parametrize("recipe", ["ptsq", "bits:8", "bits:4"])
def test_a_neuron_with_tiny_weights_keeps_its_bias_and_costs_the_others_nothing(
    recipe: str,
) -> None:
    network = make_network(5, 16, 12, 3)
    observations = random_observations(network, 500)
    last = network.layers[-1]
    weight, bias = as_float(last.weight).copy(), as_float(last.bias).copy()

    def off(size: float) -> npt.NDArray[Any]:
        weight[0] = size * as_float(last.weight)[0]
        bias[0] = 0.7
        changed = with_layer(network, 2, weight=weight.copy(), bias=bias.copy())
        made = compress(changed, recipe, observations)
        return np.abs(act(made, observations) - act(changed, observations)).max(axis=0)

    normal, tiny = off(1.0), off(1e-8)
    assert tiny[0] < 0.01
    assert tiny[1:].max() < 2 * normal[1:].max() + 1e-3


@pytest.mark.parametrize("recipe", QUANTIZATIONS.values(), ids=QUANTIZATIONS)
def test_an_all_zero_layer_is_no_problem(recipe: str) -> None:
    zeros = {"weight": np.zeros((16, 5), np.float32), "bias": np.zeros(16, np.float32)}
    network = with_layer(make_network(5, 16, 12, 2), 0, **zeros)
    observations = random_observations(network, 20)
    actions = act(compress(network, recipe, observations), observations)
    np.testing.assert_allclose(actions, act(network, observations), atol=0.02)


@pytest.mark.parametrize("recipe", QUANTIZATIONS.values(), ids=QUANTIZATIONS)
def test_products_of_large_integers_do_not_saturate(recipe: str) -> None:
    # 255 * 127 + 255 * 127 does not fit the 16 bits that some instructions sum pairs in.
    layer = {"weight": np.full((2, 64), 0.9 / 64, np.float32), "bias": np.zeros(2, np.float32)}
    network = with_layer(make_network(64, 2, normalized=False), 0, **layer)
    observations = np.linspace(0, 1, 11, dtype=np.float32)[:, np.newaxis].repeat(64, axis=1)
    quantized = compress(network, recipe, observations)
    for actions in (act(quantized, observations), load_network(quantized).act(observations)):
        np.testing.assert_allclose(actions, 0.9 * observations[:, :2], atol=0.01)


# Discrete actions.


def _nearly_equal_values() -> Network:
    """A Q-network as they are learned: its values have much more in common than they differ by."""
    network = make_network(4, 64, 64, 2, head="argmax", normalized=False)
    last, common = network.layers[-1], np.linspace(0, 5, 64, dtype=np.float32)
    weight = common + as_float(last.weight) / 20
    return with_layer(network, 2, weight=weight, bias=np.zeros(2, np.float32))


@pytest.mark.parametrize("recipe", ["ptsq", "ptdq", "bits:8"])
def test_what_all_actions_have_in_common_costs_no_precision(recipe: str) -> None:
    network = _nearly_equal_values()
    observations = random_observations(network, 500)
    wanted = act(network, observations)
    assert (act(centered_outputs(network), observations) == wanted).mean() > 0.99
    found = act(compress(network, recipe, observations), observations)
    assert (found == wanted).mean() > 0.9
    naive = act(compress(network, "ptdq-naive", observations), observations)
    assert (naive == wanted).mean() < 0.8
