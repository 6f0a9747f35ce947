from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from stable_baselines3.common.vec_env import DummyVecEnv

from made_agents import SpacesOnly
from squeezerl.errors import InvalidArgumentError
from squeezerl.evaluation.environment import Environment
from squeezerl.training.algorithms import ALGORITHMS, check_actions, find_algorithm

CONTINUOUS, DISCRETE = Box(-1, 1, (2,)), Discrete(3)


def _takes(name: str, space: gymnasium.Space) -> bool:
    """Whether Stable-Baselines3's own class takes such actions."""
    env = DummyVecEnv([lambda: SpacesOnly(Box(-1, 1, (3,), np.float32), space)])
    try:
        find_algorithm(name).load()("MlpPolicy", env, device="cpu")
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize("name", ALGORITHMS)
def test_each_takes_the_actions_that_stable_baselines3_says(name: str) -> None:
    algorithm = find_algorithm(name)
    assert algorithm.continuous == _takes(name, CONTINUOUS)
    assert algorithm.discrete == _takes(name, DISCRETE)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_each_is_on_or_off_policy_as_in_stable_baselines3(name: str) -> None:
    bases = {base.__name__ for base in find_algorithm(name).load().__mro__}
    expected = "OnPolicyAlgorithm" if find_algorithm(name).on_policy else "OffPolicyAlgorithm"
    assert expected in bases


def test_a_family_is_one_that_agents_have() -> None:
    assert {a.family for a in ALGORITHMS.values()} == {
        "actor-critic", "sac", "tqc", "td3", "dqn", "qrdqn",
    }  # fmt: skip


@pytest.mark.parametrize(("name", "meant"), [("pppo", "ppo"), ("SAC", "sac"), ("td33", "td3")])
def test_a_misspelt_name_is_refused_with_the_one_that_was_meant(name: str, meant: str) -> None:
    with pytest.raises(InvalidArgumentError, match=rf"known are trpo, ppo, .*mean {meant}\?"):
        find_algorithm(name)


def test_a_name_unlike_any_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match=r"unknown algorithm 'reinforce'; known are"):
        find_algorithm("reinforce")


@pytest.mark.parametrize(
    ("name", "env_id", "use"),
    [
        ("dqn", "HalfCheetah-v4", "trpo, ppo, ddpg, td3, sac, a2c, tqc$"),
        ("qrdqn", "Pendulum-v1", "trpo, ppo, ddpg, td3, sac, a2c, tqc$"),
        ("sac", "CartPole-v1", "trpo, ppo, a2c, dqn, qrdqn$"),
        ("td3", "CartPole-v1", "trpo, ppo, a2c, dqn, qrdqn$"),
    ],
)
def test_actions_that_an_algorithm_cannot_choose_are_refused(
    name: str, env_id: str, use: str
) -> None:
    with pytest.raises(
        InvalidArgumentError, match=rf"{env_id} has .* actions, {name} takes.*{use}"
    ):
        check_actions(find_algorithm(name), Environment.find(env_id))


@pytest.mark.parametrize(("name", "env_id"), [("ppo", "CartPole-v1"), ("ppo", "Pendulum-v1")])
def test_actions_that_it_can_choose_are_taken(name: str, env_id: str) -> None:
    check_actions(find_algorithm(name), Environment.find(env_id))
