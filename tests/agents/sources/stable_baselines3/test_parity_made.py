from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from drawn_by_sb3 import drawn_by_sb3, draws

from made_agents import RECIPES, MadeAgent
from onnx_runner import onnx_actions, torch_actions
from squeezerl import load_agent
from squeezerl.errors import UnsupportedPolicyError
from squeezerl.formats.onnx import to_onnx
from squeezerl.network.arithmetic import act
from squeezerl.network.network import Network
from squeezerl.network.policy import Policy


def test_policy_acts_as_stable_baselines3_does(made_agent: MadeAgent) -> None:
    observations = made_agent.observations(300)
    expected = made_agent.expected_actions(observations)
    assert np.ptp(expected, axis=0).all(), "the test needs actions that differ"

    network = load_agent(made_agent.path).network
    for actions in (act(network, observations), torch_actions(network, observations)):
        assert actions.shape == expected.shape
        np.testing.assert_allclose(actions, expected, rtol=0, atol=1e-5)


def test_onnx_graph_acts_as_stable_baselines3_does(made_agent: MadeAgent) -> None:
    observations = made_agent.observations(300, seed=1)
    model = to_onnx(load_agent(made_agent.path).network)

    onnx.checker.check_model(model, full_check=True)
    actions = onnx_actions(model, observations)
    expected = made_agent.expected_actions(observations)

    assert actions.shape == expected.shape
    np.testing.assert_allclose(actions, expected, rtol=0, atol=1e-5)


def test_what_is_drawn_is_what_stable_baselines3_draws(made_agent: MadeAgent) -> None:
    agent = load_agent(made_agent.path)
    assert (agent.sampled is not None) == draws(made_agent.model)
    if agent.sampled is None:
        with pytest.raises(UnsupportedPolicyError, match="`stochastic`"):
            agent.stochastic()
        return
    network, observations = agent.stochastic().network, made_agent.observations(300)
    noise = _noise(network, 300)
    seen = observations
    if made_agent.normalizer is not None:
        seen = made_agent.normalizer.normalize_obs(observations)
    expected = drawn_by_sb3(made_agent.model, seen, noise)
    assert np.mean(expected != made_agent.expected_actions(observations)) > 0.1
    torch_drawn = Policy(network)(*map(torch.as_tensor, (np.float32(observations), noise)))
    for actions in (
        act(network, observations, noise=noise),
        torch_drawn.detach().numpy(),
        onnx_actions(network, observations, noise),
    ):
        if network.head.is_discrete:
            assert np.mean(actions == expected) > 0.99
        else:
            np.testing.assert_allclose(actions, expected, rtol=0, atol=2e-5)
    still = act(network, observations)
    np.testing.assert_allclose(still, act(agent.network, observations), rtol=0, atol=1e-5)


def _noise(network: Network, count: int) -> npt.NDArray[np.float32]:
    rng, size = np.random.default_rng(0), (count, network.noise_width)
    noise = rng.gumbel(size=size) if network.head.is_discrete else rng.normal(size=size)
    return noise.astype(np.float32)


def test_agent_knows_its_algorithm_and_version(made_agent: MadeAgent) -> None:
    recipe = RECIPES[made_agent.path.stem]
    source = load_agent(made_agent.path).source

    assert source.algorithm == recipe.algorithm.lower()
    assert source.versions["stable-baselines3"]
    assert source.env_id is None
    names = [made_agent.path.name] + (["vecnormalize.pkl"] if recipe.normalized else [])
    assert [file.name for file in source.files] == names


def test_policy_has_the_spaces_of_the_environment(made_agent: MadeAgent) -> None:
    network = load_agent(made_agent.path).network

    assert network.observation_shape == made_agent.model.observation_space.shape
    assert network.action_shape == made_agent.model.action_space.shape


@pytest.mark.parametrize("made_agent", ["ppo-asymmetric"], indirect=True)
def test_bounds_are_reached_on_both_sides(made_agent: MadeAgent) -> None:
    space = made_agent.model.action_space
    network = load_agent(made_agent.path).network
    actions = torch_actions(network, 10 * made_agent.observations(500))

    np.testing.assert_array_equal(actions.min(axis=0), space.low)
    np.testing.assert_array_equal(actions.max(axis=0), space.high)
