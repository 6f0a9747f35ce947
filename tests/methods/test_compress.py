from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnx_runner import onnx_actions, torch_actions
from small_policies import (
    PRECISE,
    QUANTIZATIONS,
    demo_observations,
    demo_policy,
    make_actor,
    make_policy,
    random_observations,
)
from squeezerl.agents.load import load_agent
from squeezerl.errors import CompressionError, SpecError
from squeezerl.methods.compress import compress
from squeezerl.methods.pruning import prune
from squeezerl.methods.specs import (
    METHODS,
    DynamicQuantization,
    StaticQuantization,
    StructuredPruning,
    specs_for,
)


def test_no_spec_gives_the_policy_in_float() -> None:
    result = compress(demo_policy())
    observations = demo_observations()
    np.testing.assert_allclose(
        onnx_actions(result.model, observations),
        torch_actions(demo_policy(), observations),
        atol=1e-5,
    )
    assert result.specs == ()
    assert result.layers == result.layers_before
    assert {layer.weight_dtype for layer in result.layers} == {"float32"}


def test_one_spec_is_a_sequence_of_one() -> None:
    spec = StructuredPruning(ratio=0.5)
    alone, listed = (compress(make_policy(4, 8, 2), given) for given in (spec, [spec]))
    assert alone.specs == listed.specs == (spec,)
    assert alone.model == listed.model


def test_layers_say_what_the_model_was_and_what_it_is() -> None:
    specs = (StructuredPruning(ratio=0.5), DynamicQuantization())
    result = compress(demo_policy(), specs)
    before, after = result.layers_before, result.layers
    assert [layer.name for layer in before] == [layer.name for layer in after]
    assert [(x.in_features, x.out_features) for x in before] == [(17, 128), (128, 128), (128, 6)]
    assert [(x.in_features, x.out_features) for x in after] == [(17, 64), (64, 64), (64, 6)]
    assert [x.weight_bytes for x in before] == [4 * 17 * 128, 4 * 128 * 128, 4 * 128 * 6]
    assert [x.weight_bytes for x in after] == [17 * 64, 64 * 64, 64 * 6]
    assert [x.bias_bytes for x in after] == [4 * 64, 4 * 64, 4 * 6]
    # PTDQ, per channel: a float scale and an int8 zero point for each output neuron.
    assert [x.quantization_bytes for x in after] == [5 * 64, 5 * 64, 5 * 6]


@pytest.mark.parametrize("name", PRECISE)
def test_prune_then_quantize_is_quantizing_the_pruned_policy(name: str) -> None:
    pruning, quantization = StructuredPruning(ratio=0.3), QUANTIZATIONS[name]
    observations = demo_observations()
    both = compress(demo_policy(), (pruning, quantization), observations=observations)
    pruned = prune(demo_policy(), pruning)
    then = compress(pruned, quantization, observations=observations)
    assert both.model == then.model
    exact = make_actor(compress(pruned).model).act(observations)
    error = abs(make_actor(both.model).act(observations) - exact)
    assert 0 < error.mean() < 0.02


def test_pruning_twice_removes_twice() -> None:
    half = StructuredPruning(ratio=0.5)
    result = compress(make_policy(4, 16, 2), (half, half))
    assert [layer.out_features for layer in result.layers] == [4, 2]


def test_the_policy_that_was_given_stays_as_it_is() -> None:
    policy = make_policy(4, 16, 2)
    observations = random_observations(policy, 50)
    before = torch_actions(policy, observations)
    for spec in QUANTIZATIONS.values():
        compress(policy, (StructuredPruning(ratio=0.5), spec), observations=observations)
    np.testing.assert_array_equal(torch_actions(policy, observations), before)
    assert policy.parameter_count == 4 * 16 + 16 + 16 * 2 + 2


def test_static_quantization_without_observations_is_refused() -> None:
    with pytest.raises(SpecError, match="needs on-policy observations"):
        compress(make_policy(4, 16, 2), StaticQuantization())


@pytest.mark.parametrize("method", [DynamicQuantization, StaticQuantization])
def test_keeping_a_layer_that_does_not_exist_is_refused(method: type[Any]) -> None:
    policy = make_policy(4, 16, 2)
    observations = random_observations(policy, 5)
    with pytest.raises(SpecError, match=r"\['layer7'\].*layer0, layer1"):
        compress(policy, method(keep=("layer0", "layer7")), observations=observations)


def test_a_quantization_before_a_pruning_is_refused() -> None:
    with pytest.raises(SpecError, match="last step"):
        compress(make_policy(4, 16, 2), (DynamicQuantization(), StructuredPruning(ratio=0.5)))


def test_pruning_too_small_a_layer_is_refused() -> None:
    with pytest.raises(CompressionError, match="layer1"):
        compress(make_policy(4, 20, 2, 2), StructuredPruning(ratio=0.1))


def test_a_linear_policy_can_be_quantized() -> None:
    policy = make_policy(4, 2)
    observations = random_observations(policy, 100)
    exact = make_actor(compress(policy).model).act(observations)
    for spec in QUANTIZATIONS.values():
        result = compress(policy, spec, observations=observations)
        assert [layer.weight_dtype for layer in result.layers] == ["int8"]
        assert abs(make_actor(result.model).act(observations) - exact).mean() < 0.03


@pytest.mark.parametrize("method", METHODS)
def test_published_agents_can_be_compressed(published_agent: Path, method: str) -> None:
    policy = load_agent(published_agent).policy
    observations = random_observations(policy, 64)
    specs = specs_for(method, 0.5 if method in ("l1", "l2") else None)
    result = compress(policy, specs, observations=observations)
    actions = make_actor(result.model).act(observations)
    assert actions.shape == (64, *policy.action_shape)
    ratio = sum(x.total_bytes for x in result.layers) / sum(
        x.total_bytes for x in result.layers_before
    )
    low, high = {"float": (1, 1), "ptdq": (0.25, 0.45), "ptsq": (0.25, 0.5)}.get(method, (0.2, 0.6))
    assert low <= ratio <= high
    if not result.signature.discrete:
        assert abs(actions).max() <= 1e6
