from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from random_networks import networks
from small_policies import (
    LOW_BITS,
    compress,
    demo_network,
    demo_observations,
    make_network,
    random_observations,
    with_layer,
)
from spec_contract import KEEP, SpecContract
from squeezerl.formats.packed import packed_size
from squeezerl.methods.base import parse_spec
from squeezerl.methods.bits import Bits
from squeezerl.methods.calibration import range_of, values_seen
from squeezerl.methods.integers import affine_rounding, scale_features, weight_limits
from squeezerl.methods.reconstruction import best_scale, equalized
from squeezerl.methods.student import Student
from squeezerl.network.arithmetic import act, rounded
from squeezerl.network.network import (
    TERNARY_BITS,
    IntegerTensor,
    Network,
    as_float,
    level_count,
)


class TestBits(SpecContract):
    spec = Bits
    required: ClassVar = {"weights": "4"}
    specs: ClassVar = st.builds(
        Bits,
        weights=st.sampled_from(["8", "5", "4", "3", "2", "ternary"]),
        scales=st.sampled_from(["channel", "tensor", "shift"]),
        activations=st.sampled_from(["8", "float"]),
        inputs=st.sampled_from(["feature", "tensor"]),
        rounding=st.sampled_from(["gptq", "nearest"]),
        calibration=st.sampled_from(["minmax", "percentile", "mse", "entropy"]),
        equalize=st.booleans(),
        keep=KEEP,
    )


@pytest.mark.parametrize("recipe", LOW_BITS.values(), ids=LOW_BITS)
@settings(max_examples=20)
@given(network=networks())
def test_weights_have_the_bits_and_scales_that_were_asked_for(
    recipe: str, network: Network
) -> None:
    spec = parse_spec(recipe)
    assert isinstance(spec, Bits)
    for layer in compress(network, recipe).layers:
        assert isinstance(layer.weight, IntegerTensor)
        assert layer.weight.bits == spec.weight_bits
        assert layer.weight.values.max() < level_count(spec.weight_bits)
        scales = 1 if spec.scales == "tensor" else layer.out_features
        assert layer.weight.scale.size == layer.weight.zero_point.size == scales


@pytest.mark.parametrize(
    ("recipe", "count", "expected"),
    [("8", 10, 10), ("4", 10, 5), ("4", 9, 5), ("3", 10, 4), ("2", 10, 3), ("ternary", 10, 2),
     ("ternary", 11, 3), ("ternary", 3125, 625)],
)  # fmt: skip
def test_bytes_of_weights_are_those_of_their_bits(recipe: str, count: int, expected: int) -> None:
    weight = compress(make_network(count, 1), f"bits:{recipe}:rounding=nearest").layers[0].weight
    assert isinstance(weight, IntegerTensor)
    assert weight.nbytes == expected


def test_fewer_bits_cost_precision_step_by_step() -> None:
    network, observations = demo_network(), demo_observations()
    exact = act(network, observations)
    errors = [
        abs(act(compress(network, f"bits:{weights}", observations), observations) - exact).mean()
        for weights in ("8", "6", "5", "4", "3")
    ]
    assert errors == sorted(errors)
    assert errors[0] < 0.004


def test_an_input_of_a_small_range_is_rounded_as_finely_as_one_of_a_large_range() -> None:
    network = make_network(2, 8, 2, normalized=False)
    observations = random_observations(network, 500) * np.float32([100, 0.01])
    large = as_float(network.layers[0].weight) * np.float32([0.01, 100])
    network = with_layer(network, 0, weight=large)
    exact = act(network, observations)

    def error(recipe: str) -> float:
        return float(abs(act(compress(network, recipe, observations), observations) - exact).mean())

    assert 10 * error("bits:8") < error("bits:8:inputs=tensor")


def _demo_error(recipe: str) -> float:
    network, observations = demo_network(), demo_observations()
    quantized = compress(network, recipe, observations)
    return float(abs(act(quantized, observations) - act(network, observations)).mean())


@pytest.mark.parametrize(("bits", "times"), [("8", 1.2), ("4", 5), ("3", 5), ("ternary", 5)])
def test_rounding_for_what_a_layer_gives_beats_rounding_to_the_nearest(
    bits: str, times: float
) -> None:
    assert times * _demo_error(f"bits:{bits}") < _demo_error(f"bits:{bits}:rounding=nearest")


def test_scaling_hidden_features_changes_nothing_in_float() -> None:
    for activation in ("ReLU", "LeakyReLU:0.1", "Tanh"):
        network = make_network(5, 16, 12, 2, activation=activation)
        observations = random_observations(network, 300)
        values = values_seen(network, observations, {*network.value_names})
        changed = equalized(network, values)
        assert (changed.sha256 == network.sha256) == (activation == "Tanh")
        np.testing.assert_allclose(
            act(changed, observations), act(network, observations), atol=1e-5
        )


@given(networks(wild=False), st.integers(0, 100))
def test_scaling_the_input_changes_nothing_within_its_range(network: Network, seed: int) -> None:
    observations = random_observations(network, 50, seed)
    first = network.input_of(0)
    seen = values_seen(network, observations, {first})[first]
    scaled = scale_features(network, seen.min(axis=0), seen.max(axis=0))
    values = values_seen(scaled, observations, {*scaled.value_names})
    assert abs(values["normalizer.clip"]).max() <= 1
    before = values_seen(network, observations, {"layer0"})["layer0"]
    # A feature that the old normaliser clipped is now held a last digit of float16 further out.
    np.testing.assert_allclose(values["layer0"], before, rtol=0, atol=5e-3 * abs(before).max())


@pytest.mark.parametrize("short", [True, False])
def test_a_feature_that_is_nearly_symmetric_has_the_mean_zero(short: bool) -> None:
    low, high = np.float32([-10, 0.7, -2]), np.float32([10.000002, 1.6, 1.9999998])
    network = make_network(3, 4, 1, normalized=False)
    normalizer = scale_features(network, low, high, short=short).normalizer
    assert normalizer is not None
    assert normalizer.mean[0] == normalizer.mean[2] == 0 < normalizer.mean[1]


def test_a_normaliser_of_scaled_inputs_takes_two_bytes_for_each_number() -> None:
    packed = packed_size(compress(demo_network(), "bits:8", demo_observations()))
    assert packed.of_part("normalizer") == 2 * 2 * 17


def test_the_mean_of_what_each_layer_gives_is_kept() -> None:
    network, observations = demo_network(), demo_observations()
    quantized = compress(network, "bits:3:equalize=no", observations)
    for name in ("layer0", "layer1", "layer2"):
        exact, now = (values_seen(n, observations, {name})[name] for n in (network, quantized))
        assert abs((exact - now).mean(axis=0)).max() < 0.01 * exact.std()


def test_the_best_scale_of_a_neuron_loses_less_than_any_other() -> None:
    rng = np.random.default_rng(0)
    weight, importance = rng.normal(size=(6, 30)), rng.uniform(0.1, 3, 30)
    for bits in (4, 2, TERNARY_BITS):
        low, high = weight_limits(bits)

        def loss(scale: npt.NDArray[Any]) -> npt.NDArray[Any]:
            step = scale[:, np.newaxis]
            error = np.clip(np.rint(weight / step), low, high) * step - weight  # noqa: B023
            losses: npt.NDArray[Any] = (error**2 * importance).sum(axis=1)
            return losses

        best = best_scale(
            weight, importance, scales="channel", bits=bits, least=np.zeros(len(weight))
        )
        largest = abs(weight).max(axis=1) / high
        for share in np.linspace(0.3, 1, 200):
            assert (loss(best) <= 1.05 * loss(share * largest)).all()


def test_shifts_are_powers_of_two_in_six_bits_and_stay_so_as_the_policy_learns() -> None:
    network = compress(make_network(8, 24, 24, 3), "bits:6:shift")
    student = Student(network)
    student.parameters += np.random.default_rng(0).normal(size=student.parameters.size) / 20
    learned = student.network()
    for before, after in zip(network.layers, learned.layers, strict=True):
        assert isinstance(before.weight, IntegerTensor)
        assert isinstance(after.weight, IntegerTensor)
        np.testing.assert_array_equal(before.weight.scale, after.weight.scale)
        assert (np.frexp(before.weight.scale)[0] == 0.5).all()
        assert (before.weight.values != after.weight.values).any()
    # 24, 24 and 3 numbers, and one for each of the three roundings.
    assert packed_size(network).of_part("scales") <= 18 + 18 + 3 + 3


def test_ranges_leave_out_what_is_rare_unless_all_shall_be_held() -> None:
    rng = np.random.default_rng(0)
    values = rng.laplace(size=(20_000, 4)).astype(np.float32)
    values[0, 0] = 50
    assert range_of(values, "minmax") == (values.min(), 50)
    for how in ("percentile", "mse", "entropy"):
        low, high = range_of(values, how)
        assert values.min() <= low < -2
        assert 2 < high < 50


def test_the_range_of_least_squared_error_loses_less_than_the_whole_range() -> None:
    values = np.random.default_rng(0).laplace(size=(50_000, 1)).astype(np.float32)

    def loss(bounds: tuple[float, float]) -> float:
        integers, scale = rounded(values, affine_rounding(*bounds))
        return float(((integers * scale - values) ** 2).mean())

    assert loss(range_of(values, "mse")) < 0.95 * loss(range_of(values, "minmax"))


def test_biases_need_sixteen_bits() -> None:
    for layer in compress(demo_network(), "bits:8", demo_observations()).layers:
        assert isinstance(layer.bias, IntegerTensor)
        values = layer.bias.values
        shift = int(np.bitwise_or.reduce(values))
        assert (abs(values) // (shift & -shift) < 2**15).all()
