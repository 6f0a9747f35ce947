from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from random_networks import networks
from small_policies import compress, make_network, random_observations, with_layer
from squeezerl.formats.packed import packed_size
from squeezerl.methods.integers import weight_limits
from squeezerl.methods.student import Adam, Student, features_of, outputs_of
from squeezerl.network.arithmetic import act
from squeezerl.network.network import IntegerTensor, Network, Rounding, as_float
from squeezerl.network.policy import Policy

RECIPES = [
    "float",
    "int8:static",
    "int8:static:per_channel=no",
    "bits:4",
    "bits:ternary:tensor",
    "bits:6:shift",
]


@given(networks(wild=False), st.integers(0, 99))
def test_gradients_of_any_float_network_are_those_of_torch(network: Network, seed: int) -> None:
    observations = random_observations(network, 7, seed)
    student, policy = Student(network), Policy(network)
    outputs = student.forward(student.features(observations))
    slope = np.random.default_rng(seed).normal(size=outputs.shape).astype(np.float32)
    found = student.backward(slope)

    least: list[float] = []
    for layer in policy.linear_layers().values():
        layer.register_forward_hook(
            lambda _, __, out: least.append(out.detach().abs().min().item())
        )
    expected = policy.network(torch.tensor(student.features(observations)))
    assume(min(least) > 2e-3)  # the student takes its slopes over small steps, also across a kink
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


@pytest.mark.parametrize("recipe", ["bits:8:tensor", "bits:4:tensor", "bits:2:tensor"])
def test_gradients_of_integers_are_those_of_torchs_fake_quantization(recipe: str) -> None:
    network = compress(_skipping(), recipe)
    student = Student(network)
    # Away from the integers that it has, so that some weights are beyond their range.
    student.parameters += np.random.default_rng(0).normal(size=student.parameters.size) / 8
    student = Student(student.network())
    observations = random_observations(network, 60)
    features = torch.tensor(student.features(observations))
    slope = np.random.default_rng(1).normal(size=(60, 2)).astype(np.float32)
    outputs, gradient = student.forward(features.numpy()), student.backward(slope)

    value, learned, layers = features, [], student.network().layers
    for index, layer in enumerate(layers):
        rounding = network.roundings[network.input_of(index)]
        assert isinstance(layer.weight, IntegerTensor)
        assert isinstance(rounding, Rounding)
        low, high = weight_limits(layer.weight.bits)
        weight = torch.tensor(as_float(layer.weight), requires_grad=True)
        bias = torch.tensor(as_float(layer.bias), requires_grad=True)
        scale = torch.tensor([float(layer.weight.scale)], requires_grad=True)
        learned.append((weight, bias, scale))
        if layer.skip:
            value = torch.cat([value, features], dim=1)
        value = torch.fake_quantize_per_tensor_affine(
            value, rounding.scale, rounding.zero_point, 0, 255
        )
        zero = torch.zeros(1)
        rounded = torch._fake_quantize_learnable_per_tensor_affine(weight, scale, zero, low, high)
        value = torch.nn.functional.linear(value, rounded, bias)
        value = torch.relu(value) if layer.activation == "ReLU" else value
    np.testing.assert_allclose(outputs, value.detach(), atol=1e-5)
    value.backward(torch.tensor(slope))
    wanted = []
    for weight, bias, scale in learned:
        assert weight.grad is not None
        assert bias.grad is not None
        assert scale.grad is not None
        wanted += [weight.grad.ravel(), bias.grad.ravel(), (scale * scale.grad).detach()]
    np.testing.assert_allclose(gradient, torch.cat(wanted), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("recipe", RECIPES)
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


@pytest.mark.parametrize("recipe", RECIPES)
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
    assert after < (0.4 if "ternary" in recipe else 0.2) * before
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


def test_the_regulariser_draws_the_neurons_most_that_weigh_least() -> None:
    network = make_network(4, 16, 8, 2)
    student = Student(network)
    slope = student.sparsity_slope(alpha=4.0)
    parameters = student.parameters

    def regulariser(parameters: npt.NDArray[np.float64], gammas: list[Any]) -> float:
        weights = [as_float(layer.weight).shape for layer in network.layers]
        parts, start = [], 0
        for rows, columns in weights:
            parts.append(parameters[start : start + rows * columns].reshape(rows, columns))
            start += rows * columns + rows
        total = 0.0
        for index in range(2):
            incoming, outgoing = parts[index], parts[index + 1]
            norms = np.square(incoming).sum(axis=1) + np.square(outgoing).sum(axis=0)
            if len(gammas) <= index:
                gammas.append(2 ** (4 * (norms.max() - norms) / (norms.max() - norms.min())))
            total += float((gammas[index] * norms).sum())
        return total

    gammas: list[Any] = []
    exact = parameters.astype(np.float64)
    regulariser(exact, gammas)  # the factors are held constant
    for place in (0, 17, 50, len(exact) - 5):
        ahead, behind = exact.copy(), exact.copy()
        ahead[place] += 1e-4
        behind[place] -= 1e-4
        difference = (regulariser(ahead, gammas) - regulariser(behind, gammas)) / 2e-4
        np.testing.assert_allclose(slope[place], difference, rtol=1e-3, atol=1e-4)
    assert max(gammas[0]) == pytest.approx(16)


@pytest.mark.parametrize(
    ("scales", "width"), [("tensor", "int8"), ("shift", "int8"), ("channel", "int16")]
)
def test_biases_of_few_bits_stay_so_as_they_learn(scales: str, width: str) -> None:
    network = compress(_skipping(), f"bits:4:{scales}")
    student = Student(network)
    student.parameters += np.random.default_rng(0).normal(size=student.parameters.size) / 10
    stored = [dtype for _, part, dtype in packed_size(student.network()).counts if part == "biases"]
    assert stored == [width, width]
