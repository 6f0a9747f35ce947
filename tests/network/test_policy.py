from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given

from onnx_runner import torch_actions
from random_networks import integer_networks, networks
from small_policies import make_network, random_observations
from squeezerl.errors import NetworkError
from squeezerl.network.network import Network
from squeezerl.network.policy import Policy


@given(networks())
def test_any_float_network_comes_back_from_torch_bit_for_bit(network: Network) -> None:
    policy = Policy(network)
    assert policy.to_network().sha256 == network.sha256
    assert list(policy.linear_layers()) == list(network.named_layers)


@given(integer_networks())
def test_a_quantized_network_is_refused(network: Network) -> None:
    with pytest.raises(NetworkError, match="float32 only"):
        Policy(network)


def test_what_was_learned_comes_back_and_the_network_stays() -> None:
    network = make_network(3, 8, 2)
    policy, observations = Policy(network), random_observations(network, 5)
    before = torch_actions(network, observations)
    with torch.no_grad():
        policy.linear_layers()["layer1"].bias.fill_(0.25)
        policy.linear_layers()["layer0"].weight.zero_()
    np.testing.assert_array_equal(torch_actions(network, observations), before)
    learned = policy.to_network()
    with torch.no_grad():
        policy.linear_layers()["layer1"].bias.fill_(9.0)
    assert np.asarray(learned.layers[1].bias).tolist() == [0.25, 0.25]
    assert not np.asarray(learned.layers[0].weight).any()
    assert learned.normalizer is network.normalizer


def test_statistics_are_no_parameters_but_are_saved() -> None:
    policy = Policy(make_network(3, 2))
    names = {name for name, _ in policy.named_parameters()}
    assert names == {"network.layer0.weight", "network.layer0.bias"}
    buffers = {"normalizer.mean", "normalizer.inverse_std", "head.low", "head.high"}
    assert set(policy.state_dict()) == names | buffers


def test_making_a_policy_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    Policy(make_network(3, 8, 2))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_new_policy_is_in_evaluation_mode() -> None:
    assert not any(module.training for module in Policy(make_network(3, 8, 2)).modules())
