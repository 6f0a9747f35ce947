from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch_pruning
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_pruning.pruner import BasePruner

from small_policies import (
    ACTIVATION_TEXTS,
    compress,
    demo_network,
    make_network,
    random_observations,
    with_layer,
)
from spec_contract import SpecContract
from squeezerl.errors import CompressionError, SpecError
from squeezerl.methods.base import Given
from squeezerl.methods.integers import in_float
from squeezerl.methods.pruning import StructuredPruning, kept_neurons, random_neurons
from squeezerl.network.arithmetic import act
from squeezerl.network.network import IntegerTensor, Network, as_float
from squeezerl.network.policy import Policy

PERCENTAGES = range(5, 75, 5)
NORMS = {"l1": 1, "l2": 2}


class TestStructuredPruning(SpecContract):
    spec = StructuredPruning
    required: ClassVar = {"ratio": 0.3}
    specs: ClassVar = st.builds(
        StructuredPruning, norm=st.sampled_from(list(NORMS)), ratio=st.floats(0.1, 0.9)
    )


def prune(network: Network, spec: StructuredPruning) -> Network:
    return spec.apply(network, Given())


def _weights(network: Network, index: int) -> npt.NDArray[np.float32]:
    """A copy of one layer's."""
    return as_float(network.layers[index].weight).copy()


def _parameters(network: Network) -> list[npt.NDArray[np.float32]]:
    return [as_float(x) for layer in network.layers for x in (layer.weight, layer.bias)]


def _widths(network: Network) -> list[int]:
    return [network.layers[0].in_features, *(layer.out_features for layer in network.layers)]


def _kept(network: Network, power: int, ratio: float) -> list[npt.NDArray[np.intp]]:
    """The neurons of each hidden layer whose group norm is largest, in their order."""
    weights = [as_float(layer.weight).astype(np.float64) for layer in network.layers]
    kept = []
    for incoming, outgoing in pairwise(weights):
        importance = (abs(incoming) ** power).sum(axis=1) + (abs(outgoing) ** power).sum(axis=0)
        removed = round(len(incoming) * ratio)
        kept.append(np.sort(np.argsort(importance)[removed:]))
    return kept


@pytest.mark.parametrize("ratio", [0, -0.1, 0.951, 1, 30, float("nan"), float("inf")])
def test_a_ratio_out_of_range_is_refused_with_the_range(ratio: float) -> None:
    with pytest.raises(SpecError, match=r"above 0 and at most 0\.95"):
        StructuredPruning(ratio=ratio)


def test_an_unknown_norm_is_refused() -> None:
    with pytest.raises(SpecError, match="'l1', 'l2'"):
        StructuredPruning(norm="linf", ratio=0.3)  # type: ignore[arg-type]


def test_pruning_twice_removes_twice() -> None:
    half = StructuredPruning(ratio=0.5)
    assert _widths(prune(prune(make_network(4, 16, 2), half), half)) == [4, 4, 2]


@pytest.mark.parametrize("percentage", PERCENTAGES)
@pytest.mark.parametrize("norm", NORMS)
def test_each_hidden_layer_of_the_demo_loses_its_rounded_share(norm: str, percentage: int) -> None:
    pruned = prune(demo_network(), StructuredPruning(norm=norm, ratio=percentage / 100))

    width = 128 - round(128 * percentage / 100)
    assert _widths(pruned) == [17, width, width, 6]
    shapes = [parameter.shape for parameter in _parameters(pruned)]
    assert shapes == [(width, 17), (width,), (width, width), (width,), (6, width), (6,)]


def test_the_columns_of_an_input_skip_stay_and_are_no_part_of_a_neuron() -> None:
    rng = np.random.default_rng(0)
    wide = rng.normal(size=(2, 8 + 4)).astype(np.float32)
    plain = make_network(4, 8, 2)
    skipping = with_layer(plain, 1, weight=wide, skip=True)
    without = with_layer(plain, 1, weight=wide[:, :8].copy())
    spec = StructuredPruning(ratio=0.5)
    assert np.array_equal(kept_neurons(skipping, spec)[0], kept_neurons(without, spec)[0])
    kept = kept_neurons(skipping, spec)[0]
    expected = np.concatenate([wide[:, kept], wide[:, 8:]], axis=1)
    np.testing.assert_array_equal(_weights(prune(skipping, spec), 1), expected)


@settings(max_examples=60)
@given(
    hidden=st.lists(st.integers(1, 150), min_size=1, max_size=3),
    percentage=st.integers(1, 95),
    norm=st.sampled_from(list(NORMS)),
)
def test_any_layer_loses_exactly_its_rounded_share_or_the_policy_is_refused(
    hidden: list[int], percentage: int, norm: str
) -> None:
    network = make_network(3, *hidden, 2)
    spec = StructuredPruning(norm=norm, ratio=percentage / 100)
    removed = [round(width * spec.ratio) for width in hidden]
    if all(0 < count < width for width, count in zip(hidden, removed, strict=True)):
        left = [width - count for width, count in zip(hidden, removed, strict=True)]
        assert _widths(prune(network, spec)) == [3, *left, 2]
    else:
        with pytest.raises(CompressionError, match="remove at least one neuron and leave"):
            prune(network, spec)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.7])
@pytest.mark.parametrize("model", ["demo", "random"])
def test_the_neurons_of_largest_group_norm_stay_bit_for_bit(
    model: str, ratio: float, norm: str
) -> None:
    network = demo_network() if model == "demo" else make_network(5, 40, 30, 20, 3)
    kept = _kept(network, NORMS[norm], ratio)
    rows = [*kept, np.arange(network.action_shape[0])]
    columns = [np.arange(network.observation_shape[0]), *kept]

    pruned = prune(network, StructuredPruning(norm=norm, ratio=ratio))

    for before, after, row, column in zip(
        network.layers, pruned.layers, rows, columns, strict=True
    ):
        expected = as_float(before.weight)[row][:, column]
        np.testing.assert_array_equal(as_float(after.weight), expected)
        np.testing.assert_array_equal(as_float(after.bias), as_float(before.bias)[row])


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.7])
def test_the_neurons_that_stay_are_told(ratio: float, norm: str) -> None:
    network = make_network(5, 40, 30, 20, 3)
    kept = kept_neurons(network, StructuredPruning(norm=norm, ratio=ratio))
    for told, expected in zip(kept, _kept(network, NORMS[norm], ratio), strict=True):
        np.testing.assert_array_equal(told, expected)


def test_random_neurons_are_as_many_drawn_evenly() -> None:
    network, spec = make_network(5, 40, 30, 3), StructuredPruning(ratio=0.7)
    times = [np.zeros(40), np.zeros(30)]
    for seed in range(2000):
        kept = random_neurons(network, spec, np.random.default_rng(seed))
        assert [len(neurons) for neurons in kept] == [12, 9]
        for count, neurons in zip(times, kept, strict=True):
            assert (np.diff(neurons) > 0).all()
            count[neurons] += 1
    # Each has a chance of 0.3; the deviation of its share is 0.01.
    for count in times:
        np.testing.assert_allclose(count / 2000, 0.3, atol=0.05)


@pytest.mark.parametrize("ratio", [0.01, 0.95])
def test_random_neurons_are_refused_where_pruning_is(ratio: float) -> None:
    with pytest.raises(CompressionError, match="at least one neuron"):
        random_neurons(
            make_network(3, 5, 2), StructuredPruning(ratio=ratio), np.random.default_rng(0)
        )


def test_l1_and_l2_differ_where_one_weight_is_large() -> None:
    # Neuron 0 has few large weights, neuron 1 many small ones: L2 prefers 0, L1 prefers 1.
    network = make_network(8, 2, 1)
    network = with_layer(network, 0, weight=np.float32([[2.0] + [0.0] * 7, [0.5] * 8]))
    network = with_layer(network, 1, weight=np.full((1, 2), 0.1, np.float32))
    left = {
        norm: _weights(prune(network, StructuredPruning(norm=norm, ratio=0.5)), 0) for norm in NORMS
    }
    np.testing.assert_array_equal(left["l1"], [[0.5] * 8])
    np.testing.assert_array_equal(left["l2"], [[2.0] + [0.0] * 7])


def test_the_weights_of_the_next_layer_count_too() -> None:
    network = with_layer(make_network(2, 2, 1), 0, weight=np.float32([[1.0, 1.0], [1.5, 1.5]]))
    network = with_layer(network, 1, weight=np.float32([[5.0, 1.0]]))
    pruned = prune(network, StructuredPruning(ratio=0.5))
    np.testing.assert_array_equal(_weights(pruned, 0), [[1.0, 1.0]])


def test_each_neuron_that_stays_keeps_its_slope() -> None:
    slopes = [0.5, -0.25, 0.125, 2.0]
    texts = ":".join(map(str, slopes))
    network = with_layer(make_network(3, 4, 2), 0, activation=f"PReLU:{texts}")
    spec = StructuredPruning(ratio=0.5)
    kept = kept_neurons(network, spec)[0]
    assert prune(network, spec).layers[0].slopes == tuple(slopes[index] for index in kept)


@pytest.mark.parametrize("activation", ACTIVATION_TEXTS)
def test_removing_neurons_is_zeroing_the_weights_that_the_next_layer_applies_to_them(
    activation: str,
) -> None:
    network = make_network(6, 24, 18, 3, activation=activation, head="tanh")
    masked = network
    for index, stays in enumerate(_kept(network, 2, 0.4), start=1):
        weight = _weights(network, index)
        weight[:, np.setdiff1d(np.arange(weight.shape[1]), stays)] = 0.0
        masked = with_layer(masked, index, weight=weight)
    pruned = prune(network, StructuredPruning(ratio=0.4))

    observations = random_observations(network, 100)
    expected = act(masked, observations)
    np.testing.assert_allclose(act(pruned, observations), expected, atol=1e-6)
    assert abs(act(network, observations) - expected).max() > 0.05


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("widths", [(5, 16, 2), (3, 40, 25, 4), (17, 64, 64, 32, 6)])
def test_torch_pruning_finds_the_same_neurons(norm: Literal["l1", "l2"], widths: Any) -> None:
    for seed, ratio in enumerate((0.1, 0.3, 0.5, 0.8)):
        network = make_network(*widths, seed=seed)
        spec = StructuredPruning(norm=norm, ratio=ratio)
        policy = Policy(network)
        *hidden, last = policy.linear_layers().values()
        pruner = BasePruner(
            policy.network,
            torch.zeros(1, widths[0]),
            importance=torch_pruning.importance.GroupMagnitudeImportance(
                p=NORMS[norm], target_types=[torch.nn.Linear]
            ),
            # It keeps int(width * (1 - ratio)); the margin guards that product against rounding.
            pruning_ratio_dict={
                layer: spec.removed(layer.out_features) / layer.out_features - 1e-9
                for layer in hidden
            },
            ignored_layers=[last],
        )
        lost: dict[Any, list[int]] = {}
        for group in pruner.step(interactive=True):
            lost[group[0].dep.target.module] = group[0].idxs
            group.prune()
        for kept, layer, width in zip(
            kept_neurons(network, spec), hidden, widths[1:], strict=False
        ):
            np.testing.assert_array_equal(kept, np.setdiff1d(np.arange(width), lost[layer]))
        theirs, ours = policy.to_network(), prune(network, spec)
        assert theirs.sha256 == ours.sha256


def test_normalizer_head_and_shapes_are_kept() -> None:
    network = make_network(6, 16, 2, head="tanh", observation_shape=(3, 2))
    pruned = prune(network, StructuredPruning(ratio=0.5))
    assert pruned.signature == network.signature
    assert (pruned.head, pruned.normalizer) == (network.head, network.normalizer)


def test_neurons_without_any_weight_go_first() -> None:
    network = make_network(4, 10, 10, 2)
    for index in range(3):
        weight, bias = _weights(network, index), as_float(network.layers[index].bias).copy()
        if index < 2:
            weight[::2] = bias[::2] = 0.0
        if index > 0:
            weight[:, ::2] = 0.0
        network = with_layer(network, index, weight=weight, bias=bias)
    observations = random_observations(network, 50)
    pruned = prune(network, StructuredPruning(ratio=0.5))
    np.testing.assert_allclose(act(pruned, observations), act(network, observations), atol=1e-6)


def test_a_layer_that_is_too_small_is_named() -> None:
    with pytest.raises(CompressionError, match="layer1 has 3 neurons, of which 10% is 0"):
        prune(make_network(4, 20, 3, 2), StructuredPruning(ratio=0.1))


def test_a_policy_without_hidden_layers_is_refused() -> None:
    with pytest.raises(CompressionError, match="no hidden layer"):
        prune(make_network(4, 2), StructuredPruning(ratio=0.5))


@pytest.mark.parametrize("recipe", ["int8:dynamic", "int8:static", "bits:4", "bits:4:tensor"])
def test_integers_are_pruned_like_the_numbers_that_they_stand_for(recipe: str) -> None:
    integers = compress(make_network(5, 12, 8, 2), recipe)
    pruned = compress(integers, "prune:l2:0.5")
    assert [layer.weight.shape for layer in pruned.layers] == [(6, 5), (4, 6), (2, 4)]
    expected = compress(in_float(integers), "prune:l2:0.5")
    for layer, floats in zip(pruned.layers, expected.layers, strict=True):
        assert isinstance(layer.weight, IntegerTensor)
        np.testing.assert_array_equal(as_float(layer.weight), floats.weight)
        np.testing.assert_array_equal(as_float(layer.bias), floats.bias)
    assert pruned.roundings == integers.roundings
