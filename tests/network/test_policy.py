from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from made_agents import ACTIVATIONS
from squeezerl.errors import UnsupportedPolicyError
from squeezerl.network.action_head import ActionHead
from squeezerl.network.normalizer import ObservationNormalizer
from squeezerl.network.policy import LinearLayer, Policy, make_activation


def _layers(*widths: int, activation: str = "ReLU") -> list[LinearLayer]:
    generator = torch.Generator().manual_seed(0)
    return [
        LinearLayer(
            torch.randn(outputs, inputs, generator=generator),
            torch.randn(outputs, generator=generator),
            activation if index < len(widths) - 2 else None,
        )
        for index, (inputs, outputs) in enumerate(pairwise(widths))
    ]


def _policy(layers: list[LinearLayer]) -> Policy:
    inputs, outputs = layers[0].weight.shape[1], len(layers[-1].weight)
    bounds = np.ones(outputs, dtype=np.float32)
    return Policy(
        layers,
        ActionHead.box("clip", -bounds, bounds),
        normalizer=None,
        observation_shape=(inputs,),
        action_shape=(outputs,),
    )


def test_policy_is_normalizer_network_and_head_in_this_order() -> None:
    layers = _layers(6, 5, 4, activation="Tanh")
    low, high = np.float32([-1, -2, -0.5, 0]), np.float32([1, 0.5, 3, 2])
    policy = Policy(
        layers,
        ActionHead.box("clip", low, high),
        normalizer=ObservationNormalizer(np.full(6, 2.0), np.full(6, 9.0), epsilon=0.0, clip=1.0),
        observation_shape=(3, 2),
        action_shape=(2, 2),
    )
    observations = 5 * np.random.default_rng(0).normal(size=(50, 3, 2)).astype(np.float32)

    first, second = ((x.weight.double().numpy(), x.bias.double().numpy()) for x in layers)
    features = np.clip((observations.reshape(50, 6) - 2.0) / 3.0, -1, 1)
    hidden = np.tanh(features @ first[0].T + first[1])
    expected = np.clip(hidden @ second[0].T + second[1], low, high).reshape(50, 2, 2)

    with torch.no_grad():
        actual = policy(torch.from_numpy(observations))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


def test_discrete_policy_gives_one_index_an_observation() -> None:
    layers = _layers(3, 4)
    policy = Policy(
        layers, ActionHead.argmax(), normalizer=None, observation_shape=(3,), action_shape=()
    )
    observations = torch.randn(7, 3, generator=torch.Generator().manual_seed(1))
    q_values = observations @ layers[0].weight.T + layers[0].bias
    assert policy(observations).tolist() == q_values.argmax(dim=1).tolist()


def test_layers_are_named_in_order() -> None:
    policy = _policy(_layers(3, 8, 5, 2))
    assert {name: tuple(x.weight.shape) for name, x in policy.linear_layers().items()} == {
        "layer0": (8, 3),
        "layer1": (5, 8),
        "layer2": (2, 5),
    }
    assert policy.parameter_count == (3 + 1) * 8 + (8 + 1) * 5 + (5 + 1) * 2


def test_policy_does_not_share_the_callers_weights() -> None:
    layers = _layers(3, 2)
    policy = _policy(layers)
    before = policy(torch.ones(1, 3)).tolist()
    layers[0].weight.zero_()
    layers[0].bias.fill_(9.0)
    assert policy(torch.ones(1, 3)).tolist() == before


def test_building_a_policy_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    _policy(_layers(3, 8, 2))
    assert torch.equal(torch.get_rng_state(), before)


def test_new_policy_is_in_evaluation_mode() -> None:
    assert not any(module.training for module in _policy(_layers(3, 8, 2)).modules())


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_each_activation_is_torchs_own_with_its_default_settings(name: str) -> None:
    values = torch.linspace(-30, 30, 101)
    assert torch.equal(make_activation(name)(values), getattr(torch.nn, name)()(values))


@pytest.mark.parametrize("name", ["GELU", "relu", "", "Linear", "__init__"])
def test_unknown_activation_is_refused_with_the_list_of_known_ones(name: str) -> None:
    with pytest.raises(UnsupportedPolicyError, match=r"ELU, LeakyReLU, ReLU.*Tanh"):
        make_activation(name)
