from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from made_agents import MadeAgent
from small_policies import ACTIVATION_TEXTS, compress, make_network, random_observations, with_layer
from squeezerl import load_agent
from squeezerl.agents.sources.stable_baselines3.vecnormalize import make_normalizer
from squeezerl.errors import UnsupportedPolicyError
from squeezerl.network.arithmetic import act
from squeezerl.network.network import Network, as_float
from squeezerl.runtimes.sb3_predictor import Sb3Predictor

ALGORITHMS = {
    "clip": ("ppo", "a2c", "trpo", "ars"),
    "tanh": ("sac", "tqc", "td3", "ddpg", "ars"),
    "argmax": ("ppo", "a2c", "trpo", "dqn", "qrdqn", "ars"),
}
EVERY_PAIR = [(head, name) for head, names in ALGORITHMS.items() for name in names]
# Heads that only gSDE makes, with the reason that is given.
UNSUPPORTED = {
    "sac-gsde": "models with gSDE",
    "tqc-gsde-asymmetric": "models with gSDE",
    "ppo-gsde-squashed": "PPO turns outputs into actions by clip or argmax, this policy by tanh",
}


def _acts_alike(network: Network, algorithm: str, observations: npt.NDArray[Any]) -> None:
    values: dict[str, npt.NDArray[Any]] = {}
    expected = act(network, observations, values.__setitem__)
    actions = Sb3Predictor(network, algorithm).predict(observations)
    assert (actions.dtype, actions.shape) == (expected.dtype, expected.shape)
    if not network.head.is_discrete:
        np.testing.assert_allclose(actions, expected, rtol=0, atol=1e-5)
        return
    outputs = values[f"layer{len(network.layers) - 1}"]
    chosen = outputs[range(len(actions)), actions]
    np.testing.assert_allclose(chosen, outputs.max(axis=1), rtol=0, atol=1e-5)


def _visited(network: Network, count: int) -> npt.NDArray[np.float32]:
    """Random observations of about the size that the agent was trained on."""
    observations = random_observations(network, count)
    if (normalizer := network.normalizer) is None:
        return observations
    scale, shift = 1 / as_float(normalizer.inverse_std), as_float(normalizer.mean)
    return (observations.reshape(count, -1) * scale + shift).reshape(observations.shape)


def _pruned(network: Network) -> Network:
    return compress(network, "prune:l2:0.3")


def test_published_agents_act_alike(published_agent: Path) -> None:
    agent = load_agent(published_agent)
    observations = _visited(agent.network, 200)
    _acts_alike(agent.network, agent.source.algorithm, observations)
    _acts_alike(_pruned(agent.network), agent.source.algorithm, observations)


def test_made_agents_act_as_before_they_were_taken_apart(made_agent: MadeAgent) -> None:
    agent = load_agent(made_agent.path)
    if made_agent.path.stem in UNSUPPORTED:
        with pytest.raises(UnsupportedPolicyError, match=UNSUPPORTED[made_agent.path.stem]):
            Sb3Predictor(agent.network, agent.source.algorithm)
        return
    observations = made_agent.observations(200)
    expected = made_agent.expected_actions(observations)
    actions = Sb3Predictor(agent.network, agent.source.algorithm).predict(observations)

    assert (actions.dtype, actions.shape) == (expected.dtype, expected.shape)
    np.testing.assert_allclose(actions, expected, rtol=0, atol=1e-5)


@settings(max_examples=40)
@given(
    pair=st.sampled_from(EVERY_PAIR),
    hidden=st.lists(st.integers(1, 9), max_size=3),
    activation=st.sampled_from(ACTIVATION_TEXTS),
    normalized=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_widths_act_alike(
    pair: tuple[Any, str], hidden: list[int], activation: str, normalized: bool, seed: int
) -> None:
    head, algorithm = pair
    network = make_network(
        4, *hidden, 3, activation=activation, head=head, normalized=normalized, seed=seed
    )
    _acts_alike(network, algorithm, random_observations(network, 20, seed))


@pytest.mark.parametrize(("head", "algorithm"), EVERY_PAIR)
def test_pruned_policy_acts_alike(head: Any, algorithm: str) -> None:
    network = _pruned(make_network(4, 16, 10, 2, head=head))
    assert [layer.out_features for layer in network.layers] == [11, 7, 2]
    _acts_alike(network, algorithm, random_observations(network, 50))


@pytest.mark.parametrize(("head", "algorithm"), EVERY_PAIR)
def test_model_is_the_algorithms_own_and_holds_the_policys_weights(
    head: Any, algorithm: str
) -> None:
    network = make_network(4, 6, 5, 2, head=head)
    model = Sb3Predictor(network, algorithm)._model
    assert type(model).__name__ == algorithm.upper()
    held = {tensor.numpy().tobytes() for tensor in model.policy.state_dict().values()}
    for layer in network.layers:
        assert as_float(layer.weight).tobytes() in held
        assert as_float(layer.bias).tobytes() in held


def test_one_observation_gives_one_action() -> None:
    network = make_network(4, 8, 2)
    observations = random_observations(network, 3)
    predictor = Sb3Predictor(network, "ppo")
    assert predictor.predict(observations[0]).shape == (2,)
    np.testing.assert_allclose(
        predictor.predict(observations[0]), predictor.predict(observations)[0], rtol=0, atol=1e-6
    )


def test_normalised_observations_are_clipped_and_constant_features_vanish() -> None:
    network = make_network(3, 2)
    normalizer = make_normalizer(
        np.array([1.0, -200.0, 0.0]), np.array([4.0, 1e-12, 1e300]), epsilon=0.0, clip=0.5
    )
    network = network.replace(normalizer=normalizer)
    assert as_float(normalizer.inverse_std)[2] == 0
    observations = 3 * random_observations(network, 50)
    observations[:25, 1] = -200.0
    _acts_alike(network, "ppo", observations)


def test_predictions_leave_the_statistics_and_the_observations_alone() -> None:
    network = make_network(4, 8, 2)
    predictor = Sb3Predictor(network, "ppo")
    observations = random_observations(network, 20)
    before = observations.copy()
    first = predictor.predict(observations)
    predictor.predict(100 * observations)
    np.testing.assert_array_equal(observations, before)
    np.testing.assert_array_equal(predictor.predict(observations), first)


def test_global_random_states_are_left_alone() -> None:
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    Sb3Predictor(make_network(4, 8, 2), "ppo")
    assert torch.equal(torch.get_rng_state(), torch_before)
    np.testing.assert_equal(np.random.get_state(), numpy_before)  # noqa: NPY002


def _with_activations(*activations: str | None) -> Network:
    network = make_network(3, *[4] * (len(activations) - 1), 2)
    for index, activation in enumerate(activations):
        network = with_layer(network, index, activation=activation)
    return network


@pytest.mark.parametrize(
    ("network", "algorithm", "reason"),
    [
        (make_network(3, 2), "crossq", r"'crossq' is not supported; supported are ppo, a2c.*qrdqn"),
        (make_network(3, 2), "PPO", "'PPO' is not supported"),
        (make_network(3, 2), "__class__", "not supported"),
        (make_network(3, 2), "sac", "SAC turns outputs into actions by tanh, this policy by clip"),
        (make_network(3, 2), "dqn", "by argmax, this policy by clip"),
        (make_network(3, 2, head="tanh"), "trpo", "by clip or argmax, this policy by tanh"),
        (make_network(3, 2, head="argmax"), "td3", "by tanh, this policy by argmax"),
        (make_network(3, 4, 2, bounds=(-math.inf, math.inf)), "ppo", "finite action bounds"),
        (_with_activations("ReLU", "ReLU"), "ppo", "last layer.*no activation"),
        (_with_activations("ReLU", "Tanh", None), "ppo", "same activation.*has ReLU, Tanh"),
        (_with_activations("ReLU", None, None), "ppo", "same activation.*has ReLU, None"),
        (_with_activations(None, None), "ppo", "same activation.*has None"),
        (compress(make_network(3, 4, 2), "int8:dynamic"), "ppo", "floats only"),
        (
            with_layer(make_network(3, 4, 2), 1, weight=np.zeros((2, 7), np.float32), skip=True),
            "ppo",
            "input skip",
        ),
    ],
)
def test_what_the_algorithm_cannot_be_is_refused_with_the_reason(
    network: Network, algorithm: str, reason: str
) -> None:
    with pytest.raises(UnsupportedPolicyError, match=reason):
        Sb3Predictor(network, algorithm)


@pytest.mark.parametrize(
    ("library", "algorithm"), [("stable_baselines3", "ppo"), ("sb3_contrib", "trpo")]
)
def test_missing_library_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, library: str, algorithm: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)  # importing it raises now
    with pytest.raises(
        UnsupportedPolicyError, match=rf"{library}.*pip install 'squeezerl\[train\]"
    ):
        Sb3Predictor(make_network(3, 2), algorithm)


def test_what_stable_baselines3_has_itself_needs_no_sb3_contrib(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "sb3_contrib", None)
    network = make_network(3, 2)
    _acts_alike(network, "ppo", random_observations(network, 5))


def test_reading_agents_needs_no_stable_baselines3() -> None:
    program = """
import sys
import squeezerl.runtimes.sb3_predictor
from squeezerl import load_agent

load_agent("demo")
print(sorted({"stable_baselines3", "sb3_contrib"} & sys.modules.keys()))
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
