from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onnx_runner import torch_actions
from small_policies import (
    Floats,
    compress,
    demo_network,
    demo_observations,
    make_network,
    random_observations,
    with_layer,
)
from squeezerl.errors import SpecError
from squeezerl.methods.base import Given
from squeezerl.methods.fake_quantization import FakeQuantizedLinear
from squeezerl.methods.integers import affine_rounding, fold_feature_ranges
from squeezerl.methods.trained_int8 import QuantizationAwareTraining
from squeezerl.network.arithmetic import act
from squeezerl.network.network import Network, Rounding
from squeezerl.network.policy import Policy
from squeezerl.runtimes.onnx_runtime import load_network

ROUNDINGS = {
    "layer0": affine_rounding(-3, 3),
    "layer1": affine_rounding(0, 2),
    "layer2": affine_rounding(0, 1),
}


def _network() -> Network:
    return make_network(5, 12, 8, 2)


@pytest.mark.parametrize("per_feature", [True, False])
@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("activation", ["ReLU", "Tanh"])
def test_it_acts_as_the_fake_quantized_layers_do(
    per_channel: bool, per_feature: bool, activation: str
) -> None:
    network = make_network(5, 32, 32, 2, activation=activation)
    observations = random_observations(network, 2000)
    policy = Policy(network)
    layers = [
        FakeQuantizedLinear(
            linear, per_channel=per_channel, per_feature=per_feature and name == "layer0"
        ).eval()
        for name, linear in policy.linear_layers().items()
    ]

    def fake(values: torch.Tensor) -> torch.Tensor:
        for layer, after in pairwise([*layers, None]):
            assert layer is not None
            values = layer(values)
            if after is not None:
                values = getattr(torch, activation.lower())(values)
        return values.clamp(-1, 1)

    assert policy.normalizer is not None
    with torch.no_grad():
        features = policy.normalizer(torch.from_numpy(observations))
        fake(features)
        for layer in layers:
            layer.end_window()
            layer.enabled = True
        expected = fake(features).numpy()
    if per_feature:
        center, half_range = (x.numpy() for x in layers[0].feature_ranges())
        network = fold_feature_ranges(network, center, half_range)
    spec = QuantizationAwareTraining(per_channel=per_channel, per_feature=per_feature)
    roundings = {f"layer{index}": layer.input_scale() for index, layer in enumerate(layers)}
    quantized = spec.apply(network, Given(roundings=roundings))
    for actions in (act(quantized, observations), load_network(quantized).act(observations)):
        errors = abs(actions - expected).max(axis=1)
        assert (errors < 1e-5).mean() > 0.99
        assert errors.max() < 0.05
    assert abs(expected).std() > 0.1


def test_the_roundings_of_the_training_are_those_of_the_network() -> None:
    quantized = QuantizationAwareTraining().apply(_network(), Given(roundings=ROUNDINGS))
    assert quantized.roundings == {
        "normalizer.clip": ROUNDINGS["layer0"],
        "activation0": ROUNDINGS["layer1"],
        "activation1": ROUNDINGS["layer2"],
    }


@pytest.mark.parametrize(
    "roundings",
    [
        None,
        {},
        {"layer0": ROUNDINGS["layer0"]},
        {**ROUNDINGS, "layer3": affine_rounding(0, 1)},
        dict(zip("abc", ROUNDINGS.values(), strict=True)),
    ],
)
def test_roundings_that_are_not_those_of_the_layers_are_refused(
    roundings: dict[str, Rounding] | None,
) -> None:
    with pytest.raises(SpecError, match="give `qat` when you train an agent"):
        QuantizationAwareTraining().apply(_network(), Given(roundings=roundings))


def test_a_rounding_for_a_layer_that_is_kept_is_refused() -> None:
    with pytest.raises(SpecError, match="give `qat`"):
        QuantizationAwareTraining(keep=("layer0",)).apply(_network(), Given(roundings=ROUNDINGS))


def test_a_policy_of_one_layer_adds_up() -> None:
    network = make_network(3, 1, normalized=False)
    layer = type(network.layers[0])(weight=np.ones((1, 3), "f4"), bias=np.zeros(1, "f4"))
    given_ = Given(roundings={"layer0": affine_rounding(-0.1, 0.2)})
    quantized = QuantizationAwareTraining().apply(network.replace(layers=(layer,)), given_)
    assert act(quantized, np.float32([[0.1, 0.0, 0.05]]))[0, 0] == pytest.approx(0.15, abs=3e-3)


# Ranges of features, folded into the normaliser and the first layer.


def _seen_by_the_first_layer(network: Network, observations: Floats) -> Any:
    seen: dict[str, Any] = {}
    act(network, observations, seen.__setitem__)
    return seen[network.input_of(0)]


def _folded(network: Network, observations: Floats) -> Network:
    """With the ranges of these observations."""
    seen = _seen_by_the_first_layer(network, observations)
    low, high = seen.min(axis=0), seen.max(axis=0)
    return fold_feature_ranges(network, (low + high) / 2, (high - low) / 2)


@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize("head", ["clip", "tanh"])
def test_within_the_ranges_actions_stay(head: Any, normalized: bool) -> None:
    network = make_network(6, 16, 3, head=head, normalized=normalized, observation_shape=(3, 2))
    observations = random_observations(network, 300) * 3 + 1
    folded, expected = _folded(network, observations), act(network, observations)
    for actions in (act(folded, observations), torch_actions(folded, observations)):
        np.testing.assert_allclose(actions, expected, atol=2e-5)
    np.testing.assert_allclose(load_network(folded).act(observations), expected, atol=2e-5)
    assert abs(expected).std() > 0.05


def test_an_agent_behind_a_vecnormalize_acts_as_before() -> None:
    observations = demo_observations()
    folded = _folded(demo_network(), observations)
    expected = act(demo_network(), observations)
    np.testing.assert_allclose(act(folded, observations), expected, atol=1e-4)


def test_the_first_layer_then_sees_values_from_minus_one_to_one() -> None:
    observations = demo_observations()
    seen = _seen_by_the_first_layer(_folded(demo_network(), observations), observations)
    np.testing.assert_allclose(seen.min(axis=0), -np.ones(17), atol=1e-3)
    np.testing.assert_allclose(seen.max(axis=0), np.ones(17), atol=1e-3)


@pytest.mark.parametrize("normalized", [True, False])
def test_beyond_the_ranges_a_feature_is_held_at_its_bound(normalized: bool) -> None:
    network = make_network(4, 16, 2, head="tanh", normalized=normalized)
    observations = random_observations(network, 50)
    folded = _folded(network, observations)
    far, held = observations.copy(), observations.copy()
    far[:, 1] = 1e4
    held[:, 1] = observations[:, 1].max()
    np.testing.assert_allclose(act(folded, far), act(network, held), atol=1e-5)
    assert abs(act(network, far) - act(network, held)).max() > 0.01


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(1e-3, 5)), min_size=3, max_size=3))
def test_any_range_keeps_the_actions_within_it(ranges: list[tuple[float, float]]) -> None:
    network = make_network(3, 8, 2, normalized=False)
    center, half_range = np.float32(ranges).T
    folded = fold_feature_ranges(network, center, half_range)
    inside = center + half_range * np.random.default_rng(0).uniform(-1, 1, (50, 3))
    np.testing.assert_allclose(act(folded, inside), act(network, inside), atol=1e-4)


def test_an_input_skip_is_rescaled_as_well() -> None:
    weight = np.random.default_rng(0).normal(size=(2, 16 + 4)).astype(np.float32)
    network = with_layer(make_network(4, 16, 2), 1, weight=weight, skip=True)
    observations = random_observations(network, 50)
    folded = _folded(network, observations)
    np.testing.assert_allclose(act(folded, observations), act(network, observations), atol=1e-5)


def test_the_network_that_was_given_and_its_other_parts_stay() -> None:
    network = make_network(4, 16, 8, 2, head="tanh", activation="Tanh")
    before = network.sha256
    folded = _folded(network, random_observations(network, 20))
    assert network.sha256 == before
    assert folded.layers[1:] == network.layers[1:]
    assert (folded.signature, folded.head) == (network.signature, network.head)
    compress(folded, "int8:trained")
