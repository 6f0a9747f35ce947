from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
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
from squeezerl.methods.base import parse_spec
from squeezerl.methods.bits import Bits
from squeezerl.network.arithmetic import act
from squeezerl.network.network import IntegerTensor, Network, as_float, level_count


class TestBits(SpecContract):
    spec = Bits
    required: ClassVar = {"weights": "4"}
    specs: ClassVar = st.builds(
        Bits,
        weights=st.sampled_from(["8", "5", "4", "3", "2", "ternary"]),
        scales=st.sampled_from(["channel", "tensor"]),
        activations=st.sampled_from(["8", "float"]),
        inputs=st.sampled_from(["feature", "tensor"]),
        keep=KEEP,
    )


@pytest.mark.parametrize("recipe", LOW_BITS.values(), ids=LOW_BITS)
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
        scales = layer.out_features if spec.scales == "channel" else 1
        assert layer.weight.scale.size == layer.weight.zero_point.size == scales


@pytest.mark.parametrize(
    ("recipe", "count", "expected"),
    [("8", 10, 10), ("4", 10, 5), ("4", 9, 5), ("3", 10, 4), ("2", 10, 3), ("ternary", 10, 2),
     ("ternary", 11, 3), ("ternary", 3125, 625)],
)  # fmt: skip
def test_bytes_of_weights_are_those_of_their_bits(recipe: str, count: int, expected: int) -> None:
    weight = compress(make_network(count, 1), f"bits:{recipe}").layers[0].weight
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
