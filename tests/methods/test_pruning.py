from __future__ import annotations

import inspect
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_pruning.pruner import BasePruner

from onnx_runner import torch_actions
from small_policies import demo_policy, make_policy, random_observations
from squeezerl.errors import CompressionError
from squeezerl.methods.pruning import kept_neurons, prune, random_neurons
from squeezerl.methods.specs import StructuredPruning
from squeezerl.network.activations import ACTIVATIONS
from squeezerl.network.policy import Policy

PERCENTAGES = range(5, 75, 5)
NORMS = {"l1": 1, "l2": 2}


def _parameters(policy: Policy) -> list[npt.NDArray[np.float32]]:
    return [parameter.detach().numpy().copy() for parameter in policy.network.parameters()]


def _widths(policy: Policy) -> list[int]:
    layers = list(policy.linear_layers().values())
    return [layers[0].in_features, *(layer.out_features for layer in layers)]


def _kept(policy: Policy, power: int, ratio: float) -> list[npt.NDArray[np.intp]]:
    """The neurons of each hidden layer whose group norm is largest, in their order."""
    weights = [layer.weight.detach().double().numpy() for layer in policy.linear_layers().values()]
    kept = []
    for incoming, outgoing in pairwise(weights):
        importance = (abs(incoming) ** power).sum(axis=1) + (abs(outgoing) ** power).sum(axis=0)
        removed = round(len(incoming) * ratio)
        kept.append(np.sort(np.argsort(importance)[removed:]))
    return kept


@pytest.mark.parametrize("percentage", PERCENTAGES)
@pytest.mark.parametrize("norm", NORMS)
def test_each_hidden_layer_of_the_demo_loses_its_rounded_share(norm: str, percentage: int) -> None:
    pruned = prune(demo_policy(), StructuredPruning(norm=norm, ratio=percentage / 100))

    width = 128 - round(128 * percentage / 100)
    assert _widths(pruned) == [17, width, width, 6]
    shapes = [parameter.shape for parameter in _parameters(pruned)]
    assert shapes == [(width, 17), (width,), (width, width), (width,), (6, width), (6,)]


@settings(max_examples=60)
@given(
    hidden=st.lists(st.integers(1, 150), min_size=1, max_size=3),
    percentage=st.integers(1, 95),
    norm=st.sampled_from(list(NORMS)),
)
def test_any_layer_loses_exactly_its_rounded_share_or_the_policy_is_refused(
    hidden: list[int], percentage: int, norm: str
) -> None:
    policy = make_policy(3, *hidden, 2)
    spec = StructuredPruning(norm=norm, ratio=percentage / 100)
    removed = [round(width * spec.ratio) for width in hidden]
    if all(0 < count < width for width, count in zip(hidden, removed, strict=True)):
        left = [width - count for width, count in zip(hidden, removed, strict=True)]
        assert _widths(prune(policy, spec)) == [3, *left, 2]
    else:
        with pytest.raises(CompressionError, match="remove at least one neuron and leave"):
            prune(policy, spec)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.7])
@pytest.mark.parametrize("model", ["demo", "random"])
def test_the_neurons_of_largest_group_norm_stay_bit_for_bit(
    model: str, ratio: float, norm: str
) -> None:
    policy = demo_policy() if model == "demo" else make_policy(5, 40, 30, 20, 3)
    kept = _kept(policy, NORMS[norm], ratio)
    rows = [*kept, np.arange(policy.action_shape[0])]
    columns = [np.arange(policy.observation_shape[0]), *kept]

    pruned = prune(policy, StructuredPruning(norm=norm, ratio=ratio))

    layers = zip(policy.linear_layers().values(), pruned.linear_layers().values(), strict=True)
    for (before, after), row, column in zip(layers, rows, columns, strict=True):
        np.testing.assert_array_equal(after.weight.detach(), before.weight.detach()[row][:, column])
        np.testing.assert_array_equal(after.bias.detach(), before.bias.detach()[row])


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.7])
def test_the_neurons_that_stay_are_told(ratio: float, norm: str) -> None:
    policy = make_policy(5, 40, 30, 20, 3)
    kept = kept_neurons(policy, StructuredPruning(norm=norm, ratio=ratio))
    for told, expected in zip(kept, _kept(policy, NORMS[norm], ratio), strict=True):
        np.testing.assert_array_equal(told, expected)


def test_random_neurons_are_as_many_drawn_evenly() -> None:
    policy, spec = make_policy(5, 40, 30, 3), StructuredPruning(ratio=0.7)
    times = [np.zeros(40), np.zeros(30)]
    for seed in range(2000):
        kept = random_neurons(policy, spec, np.random.default_rng(seed))
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
            make_policy(3, 5, 2), StructuredPruning(ratio=ratio), np.random.default_rng(0)
        )


def test_l1_and_l2_differ_where_one_weight_is_large() -> None:
    # Neuron 0 has few large weights, neuron 1 many small ones: L2 prefers 0, L1 prefers 1.
    policy = make_policy(8, 2, 1)
    with torch.no_grad():
        policy.network.layer0.weight[:] = torch.tensor([[2.0] + [0.0] * 7, [0.5] * 8])
        policy.network.layer1.weight[:] = 0.1
    left = {
        norm: prune(policy, StructuredPruning(norm=norm, ratio=0.5)).network.layer0.weight
        for norm in NORMS
    }
    np.testing.assert_array_equal(left["l1"].detach(), [[0.5] * 8])
    np.testing.assert_array_equal(left["l2"].detach(), [[2.0] + [0.0] * 7])


def test_the_weights_of_the_next_layer_count_too() -> None:
    policy = make_policy(2, 2, 1)
    with torch.no_grad():
        policy.network.layer0.weight[:] = torch.tensor([[1.0, 1.0], [1.5, 1.5]])
        policy.network.layer1.weight[:] = torch.tensor([[5.0, 1.0]])
    pruned = prune(policy, StructuredPruning(ratio=0.5))
    np.testing.assert_array_equal(pruned.network.layer0.weight.detach(), [[1.0, 1.0]])


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_removing_neurons_is_zeroing_the_weights_that_the_next_layer_applies_to_them(
    activation: str,
) -> None:
    policy = make_policy(6, 24, 18, 3, activation=activation, head="tanh")
    masked = make_policy(6, 24, 18, 3, activation=activation, head="tanh")
    kept = _kept(policy, 2, 0.4)
    with torch.no_grad():
        for layer, stays in zip(list(masked.linear_layers().values())[1:], kept, strict=True):
            layer.weight[:, np.setdiff1d(np.arange(layer.in_features), stays)] = 0.0
    pruned = prune(policy, StructuredPruning(ratio=0.4))

    observations = random_observations(policy, 100)
    expected = torch_actions(masked, observations)
    np.testing.assert_allclose(torch_actions(pruned, observations), expected, atol=1e-6)
    assert abs(torch_actions(policy, observations) - expected).max() > 0.05


def test_the_policy_that_was_given_stays_as_it_is() -> None:
    policy = make_policy(5, 16, 12, 2)
    before, observations = _parameters(policy), random_observations(policy, 10)
    actions = torch_actions(policy, observations)

    pruned = prune(policy, StructuredPruning(ratio=0.5))
    with torch.no_grad():
        for tensor in (*pruned.parameters(), *pruned.buffers()):
            tensor.fill_(7.0)

    for old, new in zip(before, _parameters(policy), strict=True):
        np.testing.assert_array_equal(new, old)
    np.testing.assert_array_equal(torch_actions(policy, observations), actions)
    assert _widths(policy) == [5, 16, 12, 2]


def test_earlier_calls_leave_no_trace_in_later_ones() -> None:
    # Some default arguments of torch-pruning are dicts that all calls share.
    defaults = inspect.signature(BasePruner.__init__).parameters
    shared = {n: p.default for n, p in defaults.items() if isinstance(p.default, dict)}
    spec = StructuredPruning(ratio=0.3)
    first = _parameters(prune(make_policy(5, 16, 12, 2), spec))
    prune(make_policy(5, 16, 12, 2), StructuredPruning(norm="l1", ratio=0.9))
    prune(make_policy(3, 40, 2, seed=1), StructuredPruning(ratio=0.6))
    again = _parameters(prune(make_policy(5, 16, 12, 2), spec))
    assert set(map(len, shared.values())) <= {0}
    for old, new in zip(first, again, strict=True):
        np.testing.assert_array_equal(new, old)


def test_pruning_draws_no_random_numbers() -> None:
    torch_state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    prune(make_policy(5, 16, 2), StructuredPruning(ratio=0.5))
    assert torch.equal(torch.random.get_rng_state(), torch_state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


def test_normalizer_head_and_shapes_are_kept() -> None:
    policy = make_policy(6, 16, 2, head="tanh", observation_shape=(3, 2))
    pruned = prune(policy, StructuredPruning(ratio=0.5))
    assert (pruned.observation_shape, pruned.action_shape) == ((3, 2), (2,))
    assert (pruned.head.kind, pruned.training) == ("tanh", False)
    for old, new in zip(policy.buffers(), pruned.buffers(), strict=True):
        np.testing.assert_array_equal(new, old)


def test_neurons_without_any_weight_go_first() -> None:
    policy = make_policy(4, 10, 10, 2)
    with torch.no_grad():
        for layer in (policy.network.layer0, policy.network.layer1):
            layer.weight[::2] = 0.0
            layer.bias[::2] = 0.0
        policy.network.layer1.weight[:, ::2] = 0.0
        policy.network.layer2.weight[:, ::2] = 0.0
    observations = random_observations(policy, 50)
    pruned = prune(policy, StructuredPruning(ratio=0.5))
    np.testing.assert_allclose(
        torch_actions(pruned, observations), torch_actions(policy, observations), atol=1e-6
    )


def test_a_layer_that_is_too_small_is_named() -> None:
    with pytest.raises(CompressionError, match="layer1 has 3 neurons, of which 10% is 0"):
        prune(make_policy(4, 20, 3, 2), StructuredPruning(ratio=0.1))


def test_a_policy_without_hidden_layers_is_refused() -> None:
    with pytest.raises(CompressionError, match="no hidden layer"):
        prune(make_policy(4, 2), StructuredPruning(ratio=0.5))
