from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from random_networks import networks
from small_policies import compress, make_network, random_observations, with_layer
from squeezerl.methods.student import Adam, Student, features_of, outputs_of
from squeezerl.network.arithmetic import act
from squeezerl.network.network import IntegerTensor, Network
from squeezerl.network.policy import Policy


@given(networks(wild=False), st.integers(0, 99))
def test_gradients_of_any_float_network_are_those_of_torch(network: Network, seed: int) -> None:
    observations = random_observations(network, 7, seed)
    student, policy = Student(network), Policy(network)
    outputs = student.forward(student.features(observations))
    slope = np.random.default_rng(seed).normal(size=outputs.shape).astype(np.float32)
    found = student.backward(slope)

    expected = policy.network(torch.tensor(student.features(observations)))
    np.testing.assert_allclose(outputs, expected.detach(), rtol=1e-4, atol=1e-4)
    expected.backward(torch.tensor(slope))
    gradients = [
        parameter.grad.ravel()
        for layer in policy.linear_layers().values()
        for parameter in (layer.weight, layer.bias)
        if parameter.grad is not None
    ]
    wanted = torch.cat(gradients).numpy()
    np.testing.assert_allclose(found, wanted, rtol=0.01, atol=0.01 * abs(wanted).max() + 1e-5)


@pytest.mark.parametrize("recipe", ["float", "int8:static", "int8:static:per_channel=no"])
def test_a_student_computes_what_its_network_computes(recipe: str) -> None:
    network = compress(_skipping(), recipe) if recipe != "float" else _skipping()
    observations = random_observations(network, 50)
    student = Student(network)
    assert np.abs(student.network().layers[0].bias.shape[0]) == 16
    np.testing.assert_allclose(
        student.forward(features_of(network, observations)),
        outputs_of(network, observations),
        atol=1e-5,
    )
    np.testing.assert_allclose(
        act(student.network(), observations), act(network, observations), atol=1e-5
    )


@pytest.mark.parametrize("recipe", ["float", "int8:static", "int8:static:per_channel=no"])
def test_it_learns_in_the_arithmetic_that_it_has(recipe: str) -> None:
    network = compress(_skipping(), recipe) if recipe != "float" else _skipping()
    wanted = make_network(4, 8, 2, seed=1, activation="Tanh")
    observations = random_observations(network, 400)
    targets = outputs_of(wanted, observations)
    student = Student(network)
    features, adam = student.features(observations), Adam(student.parameters.size)
    before = np.square(outputs_of(network, observations) - targets).mean()
    for _ in range(300):
        slope = student.forward(features) - targets
        adam.step(student.parameters, student.backward(slope / np.float32(len(slope))), 0.01)
    after = np.square(outputs_of(student.network(), observations) - targets).mean()
    assert after < 0.2 * before
    assert isinstance(student.network().layers[0].weight, IntegerTensor) == (recipe != "float")


def test_the_network_that_it_was_given_stays() -> None:
    network = _skipping()
    before = network.sha256
    student = Student(network)
    student.parameters += 1
    assert network.sha256 == before != student.network().sha256


def _skipping() -> Network:
    weight = np.random.default_rng(0).normal(size=(2, 16 + 4)).astype(np.float32)
    return with_layer(make_network(4, 16, 2), 1, weight=weight, skip=True)
