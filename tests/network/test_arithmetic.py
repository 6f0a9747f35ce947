from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from onnx_runner import torch_actions
from random_networks import integer_networks, networks
from small_policies import compress, make_network, random_observations, with_layer
from squeezerl.errors import NetworkError
from squeezerl.network.activations import TORCH_CLASSES, Activation
from squeezerl.network.arithmetic import act, grouped, rounded
from squeezerl.network.network import (
    DynamicRounding,
    Head,
    IntegerTensor,
    Network,
    Normalizer,
    Rounding,
    as_float,
)
from squeezerl.network.policy import activation_text, make_activation

LOW, HIGH = np.float32([-1, 0.5, -3]), np.float32([2, 0.75, -1])
OUTPUTS = nps.arrays(np.float32, (4, 3), elements=st.floats(-100, 100, width=32))


def _head(kind: Any, clip_mean: float | None = None) -> Network:
    """A network that does nothing but its head."""
    network = make_network(3, 3, normalized=False)
    head = Head(kind="argmax") if kind == "argmax" else Head(
        kind=kind, low=LOW, high=HIGH, clip_mean=clip_mean
    )  # fmt: skip
    identity = with_layer(network, 0, weight=np.eye(3, dtype=np.float32), bias=np.zeros(3, "f4"))
    return identity.replace(head=head, action_shape=() if kind == "argmax" else (3,))


@settings(max_examples=200)
@given(networks(wild=False))
def test_any_float_network_acts_as_in_torch(network: Network) -> None:
    observations = random_observations(network, 20)
    expected, actual = torch_actions(network, observations), act(network, observations)
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
    if network.head.is_discrete:
        outputs: dict[str, Any] = {}
        act(network, observations, outputs.__setitem__)
        groups = grouped(network.head, outputs[[*outputs][-1]])
        for group, index in zip(groups, expected.reshape(20, -1).T, strict=True):
            best = np.take_along_axis(group, index[:, None], axis=1)[:, 0]
            np.testing.assert_allclose(best, group.max(axis=1), rtol=1e-5, atol=1e-5)
    else:
        size = float(np.abs([network.head.low, network.head.high]).max())
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * max(size, 1))


def test_a_network_is_normaliser_layers_and_head_in_this_order() -> None:
    bounds = np.float32([-1, -2, -0.5, 0]), np.float32([1, 0.5, 3, 2])
    network = make_network(
        6, 5, 4, activation="Tanh", bounds=bounds, observation_shape=(3, 2), action_shape=(2, 2)
    ).replace(
        normalizer=Normalizer(
            mean=np.full(6, 2, np.float32), inverse_std=np.full(6, 1 / 3, np.float32), clip=1.0
        )
    )
    observations = 5 * random_observations(network, 50)
    (a, b), (c, d) = ((as_float(x.weight), as_float(x.bias)) for x in network.layers)
    features = np.clip((observations.reshape(50, 6) - 2.0) / 3.0, -1, 1)
    expected = np.clip(np.tanh(features @ a.T + b) @ c.T + d, *bounds).reshape(50, 2, 2)
    assert (abs(features) == 1).any()
    np.testing.assert_allclose(act(network, observations), expected, rtol=0, atol=1e-5)


# Torch's own modules.
MODULES = {name: getattr(torch.nn, name)() for name in TORCH_CLASSES} | {
    "GELUTanh": torch.nn.GELU(approximate="tanh"),
    "LeakyReLU:0.1": torch.nn.LeakyReLU(0.1),
    "ELU:0.5": torch.nn.ELU(0.5),
    "Hardtanh:-0.5:2": torch.nn.Hardtanh(-0.5, 2),
}


@pytest.mark.parametrize("text", MODULES)
def test_each_activation_is_torchs_own_with_its_settings(text: str) -> None:
    values = np.linspace(-100, 100, 2001, dtype=np.float32)
    with torch.no_grad():
        expected = MODULES[text](torch.from_numpy(values)).numpy()
    activation = Activation.of(text)
    np.testing.assert_allclose(activation(values), expected, rtol=1e-5, atol=1e-6)
    assert activation_text(make_activation(text)) == activation_text(MODULES[text]) == text


def test_a_prelu_has_a_slope_for_each_feature() -> None:
    module = torch.nn.PReLU(3)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([0.1, -2.0, 0.0]))
    text = activation_text(module)
    assert text == "PReLU:0.1:-2:0"
    values = np.float32([[-3, -3, -3], [3, 3, 3]])
    np.testing.assert_allclose(Activation.of(text)(values), [[-0.3, 6, 0], [3, 3, 3]], rtol=1e-6)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_any_parameters_survive_their_text(slopes: list[float]) -> None:
    activation = Activation("PReLU", tuple(slopes))
    assert Activation.of(str(activation)) == activation
    assert activation.parameters == tuple(slopes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Softmax", "'Softmax' is not supported; supported are ELU"),
        ("LeakyReLU:0.1:0.2", r"1 parameters \(negative_slope\), not 2"),
        ("ReLU:1", "0 parameters"),
        ("LeakyReLU:steep", "steep"),
        ("PReLU:nan", "not finite"),
        ("Hardtanh:2:1", "ascending"),
    ],
)
def test_an_activation_that_is_none_is_refused(text: str, message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        make_network(3, 4, 2, activation=text)


@given(OUTPUTS)
def test_clip_keeps_each_action_between_its_own_bounds(outputs: Any) -> None:
    np.testing.assert_array_equal(act(_head("clip"), outputs), np.clip(outputs, LOW, HIGH))


@given(OUTPUTS)
def test_tanh_stretches_to_each_actions_own_bounds(outputs: Any) -> None:
    expected = LOW + (np.tanh(outputs.astype(np.float64)) + 1) / 2 * (HIGH - LOW)
    np.testing.assert_allclose(act(_head("tanh"), outputs), expected, rtol=0, atol=1e-6)


@given(OUTPUTS, st.floats(0.1, 5))
def test_outputs_are_bounded_before_the_tanh(outputs: Any, bound: float) -> None:
    clipped = act(_head("tanh"), outputs.clip(-np.float32(bound), np.float32(bound)))
    np.testing.assert_array_equal(act(_head("tanh", bound), outputs), clipped)


def test_saturated_tanh_reaches_both_bounds() -> None:
    outputs = np.float32([[-50] * 3, [50] * 3])
    np.testing.assert_allclose(act(_head("tanh"), outputs), [LOW, HIGH], rtol=1e-6)


@given(OUTPUTS)
def test_argmax_gives_indices_and_the_first_of_equals(outputs: Any) -> None:
    actions = act(_head("argmax"), outputs)
    assert actions.dtype == np.int64
    np.testing.assert_array_equal(actions, outputs.argmax(axis=1))


@pytest.mark.parametrize("recipe", ["float", "int8:dynamic", "int8:static"])
def test_each_observation_is_treated_alike_in_any_batch(recipe: str) -> None:
    network = compress(make_network(3, 8, 2), recipe)
    observations = random_observations(network, 16)
    singly = np.concatenate([act(network, row[None]) for row in observations])
    np.testing.assert_allclose(act(network, observations), singly, rtol=0, atol=1e-6)
    assert act(network, observations[:0]).shape == (0, 2)


@pytest.mark.parametrize("head", ["clip", "tanh"])
def test_one_observation_of_nan_gives_nan_in_its_own_row(head: Any) -> None:
    network = make_network(3, 8, 2, head=head)
    observations = random_observations(network, 4)
    observations[2, 1] = np.nan
    for actions in (act(network, observations), torch_actions(network, observations)):
        assert np.isnan(actions).any(axis=1).tolist() == [False, False, True, False]


@given(nps.arrays(np.float32, (3, 5), elements=st.floats(-1e6, 1e6, width=32)))
def test_roundings_hold_their_range_in_steps_and_zero_exactly(values: Any) -> None:
    for rounding in (DynamicRounding(), Rounding(scale=0.5, zero_point=100)):
        integers, scale = rounded(values, rounding)
        back = integers * scale.astype(np.float64)
        if isinstance(rounding, Rounding):
            assert integers.min() >= -100
            assert integers.max() <= 155
            values = values.clip(-50, 77.5)
        else:
            assert (integers.max(axis=1) - integers.min(axis=1) <= 255).all()
        # Rounding the zero point moves the whole range by up to half a step, where values are cut.
        assert (abs(back - values) <= 1.001 * scale).all()
        assert rounded(values * 0, rounding)[0].tolist() == np.zeros((3, 5)).tolist()


def test_integers_are_multiplied_exactly_and_scaled_once() -> None:
    network = compress(make_network(200, 3, normalized=False), "int8:static")
    observations = random_observations(network, 50)
    (layer,), rounding = network.layers, network.roundings["observation"]
    assert isinstance(layer.weight, IntegerTensor)
    assert isinstance(layer.bias, IntegerTensor)
    assert isinstance(rounding, Rounding)
    scale = np.float32(rounding.scale)
    stored = np.clip(np.rint(observations / scale) + rounding.zero_point, 0, 255)
    integers = (stored - rounding.zero_point).astype(int)
    sums = integers @ layer.weight.centered.T.astype(int) + layer.bias.centered
    expected = (sums.astype(np.float32) * (scale * layer.weight.scale)).clip(-1, 1)
    np.testing.assert_array_equal(act(network, observations), expected)


@given(st.one_of(networks(), integer_networks()))
def test_values_are_observed_under_their_names_before_they_are_rounded(network: Network) -> None:
    seen: dict[str, Any] = {}
    observations = random_observations(network, 5)
    act(network, observations, seen.__setitem__)
    assert set(seen) <= set(network.value_names)
    assert {network.input_of(index) for index in range(len(network.layers))} <= set(seen)
    assert ("action" in seen) == (not network.head.is_discrete)
    np.testing.assert_array_equal(seen["observation"], observations.reshape(5, -1))
