from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onnx_runner import onnx_actions, torch_actions
from small_policies import demo_observations, demo_policy, make_policy, random_observations
from squeezerl.methods.compress import compress
from squeezerl.methods.fold import fold_feature_ranges
from squeezerl.network.policy import Policy


def _seen_by_the_first_layer(policy: Policy, observations: Any) -> torch.Tensor:
    features = torch.from_numpy(observations).flatten(start_dim=1)
    return features if policy.normalizer is None else policy.normalizer(features)


def _folded(policy: Policy, observations: Any) -> Policy:
    """With the ranges of these observations."""
    seen = _seen_by_the_first_layer(policy, observations)
    low, high = torch.aminmax(seen, dim=0)
    return fold_feature_ranges(policy, (low + high) / 2, (high - low) / 2)


@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize("head", ["clip", "tanh"])
def test_within_the_ranges_actions_stay(head: Any, normalized: bool) -> None:
    policy = make_policy(6, 16, 3, head=head, normalized=normalized, observation_shape=(3, 2))
    observations = random_observations(policy, 300) * 3 + 1
    folded = _folded(policy, observations)
    expected = torch_actions(policy, observations)
    np.testing.assert_allclose(torch_actions(folded, observations), expected, atol=2e-5)
    np.testing.assert_allclose(
        onnx_actions(compress(folded).model, observations), expected, atol=2e-5
    )
    assert abs(expected).std() > 0.05


def test_an_agent_behind_a_vecnormalize_acts_as_before() -> None:
    observations = demo_observations()
    folded = _folded(demo_policy(), observations)
    np.testing.assert_allclose(
        torch_actions(folded, observations), torch_actions(demo_policy(), observations), atol=1e-4
    )


def test_the_first_layer_then_sees_values_from_minus_one_to_one() -> None:
    observations = demo_observations()
    seen = _seen_by_the_first_layer(_folded(demo_policy(), observations), observations)
    np.testing.assert_allclose(seen.amin(dim=0), -np.ones(17), atol=1e-3)
    np.testing.assert_allclose(seen.amax(dim=0), np.ones(17), atol=1e-3)


@pytest.mark.parametrize("normalized", [True, False])
def test_beyond_the_ranges_a_feature_is_held_at_its_bound(normalized: bool) -> None:
    policy = make_policy(4, 16, 2, head="tanh", normalized=normalized)
    observations = random_observations(policy, 50)
    folded = _folded(policy, observations)
    far = observations.copy()
    far[:, 1] = 1e4
    held = observations.copy()
    held[:, 1] = observations[:, 1].max()
    np.testing.assert_allclose(torch_actions(folded, far), torch_actions(policy, held), atol=1e-5)
    assert abs(torch_actions(policy, far) - torch_actions(policy, held)).max() > 0.01


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(1e-3, 5)), min_size=3, max_size=3))
def test_any_range_keeps_the_actions_within_it(ranges: list[tuple[float, float]]) -> None:
    policy = make_policy(3, 8, 2, normalized=False)
    center, half_range = (torch.tensor(column) for column in zip(*ranges, strict=True))
    folded = fold_feature_ranges(policy, center, half_range)
    rng = np.random.default_rng(0)
    inside = center.numpy() + half_range.numpy() * rng.uniform(-1, 1, (50, 3))
    np.testing.assert_allclose(
        torch_actions(folded, inside), torch_actions(policy, inside), atol=1e-4
    )


def test_the_policy_that_was_given_and_its_other_parts_stay() -> None:
    policy = make_policy(4, 16, 8, 2, head="tanh", activation="Tanh")
    observations = random_observations(policy, 20)
    before = torch_actions(policy, observations)
    folded = _folded(policy, observations)
    np.testing.assert_array_equal(torch_actions(policy, observations), before)
    assert (folded.observation_shape, folded.action_shape) == ((4,), (2,))
    for name in ("layer1", "layer2"):
        assert torch.equal(folded.linear_layers()[name].weight, policy.linear_layers()[name].weight)
    assert [dataclasses.astuple(layer)[1:] for layer in compress(folded).layers] == [
        dataclasses.astuple(layer)[1:] for layer in compress(policy).layers
    ]
