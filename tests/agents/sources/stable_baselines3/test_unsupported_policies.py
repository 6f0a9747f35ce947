from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from checkpoint_files import change_metadata, nothing_written, read_members, write_members
from gymnasium.spaces import Box, Discrete, MultiBinary
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from made_agents import Recipe, SpacesOnly, make_model
from squeezerl import load_agent
from squeezerl.errors import UnsupportedPolicyError

VECTOR = Box(-1, 1, (3,))
IMAGE = Box(0, 255, (36, 36, 1), np.uint8)


class TwiceReLU(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return 2 * inputs.relu()


class ReLU(nn.Module):
    """Bears the name of torch's activation, but is not it."""

    def forward(self, inputs: Tensor) -> Tensor:
        return 2 * inputs.relu()


class Doubled(BaseFeaturesExtractor):
    def __init__(self, observation_space: gym.Space) -> None:
        super().__init__(observation_space, features_dim=3)

    def forward(self, observations: Tensor) -> Tensor:
        return 2 * observations


class FlattenExtractor(Doubled):
    """Bears the name of Stable-Baselines3's extractor, but is not it."""


class Doubling(ActorCriticPolicy):
    def _predict(self, observation: Tensor, deterministic: bool = False) -> Tensor:
        return 2 * super()._predict(observation, deterministic)


def _is_refused(path: Path, model: Any, reason: str) -> None:
    model.save(path / "agent.zip")
    with nothing_written(path), pytest.raises(UnsupportedPolicyError, match=reason) as caught:
        load_agent(path / "agent.zip")
    assert "agent.zip" in str(caught.value)


@pytest.mark.parametrize(
    ("algorithm", "policy", "observation", "action", "reason"),
    [
        pytest.param("PPO", "CnnPolicy", IMAGE, VECTOR, "CNN", id="cnn-actor-critic"),
        pytest.param("DQN", "CnnPolicy", IMAGE, Discrete(2), "CNN", id="cnn-dqn"),
        pytest.param(
            "RecurrentPPO", "MlpLstmPolicy", VECTOR, VECTOR, "recurrent.*RecurrentPPO", id="lstm"
        ),
        pytest.param(
            "MaskablePPO", "MlpPolicy", VECTOR, Discrete(2), "maskable.*MaskablePPO", id="maskable"
        ),
        pytest.param(
            "PPO", "MlpPolicy", Discrete(4), VECTOR, "Discrete observations", id="discrete"
        ),
        pytest.param(
            "PPO", "MlpPolicy", MultiBinary(4), VECTOR, "MultiBinary observation", id="binary"
        ),
        pytest.param("CrossQ", "MlpPolicy", VECTOR, VECTOR, "CrossQ", id="crossq"),
        pytest.param("PPO", Doubling, VECTOR, VECTOR, "test_unsupported_policies", id="custom"),
    ],
)
def test_unsupported_policy_is_named(
    tmp_path: Path,
    algorithm: str,
    policy: Any,
    observation: gym.Space,
    action: gym.Space,
    reason: str,
) -> None:
    env = SpacesOnly(observation, action)
    _is_refused(tmp_path, make_model(Recipe(algorithm), env, policy), reason)


@pytest.mark.parametrize(
    ("activation", "reason"),
    [
        pytest.param(nn.Tanhshrink, "'Tanhshrink'.*supported are ELU, GELU", id="tanhshrink"),
        pytest.param(TwiceReLU, "TwiceReLU", id="custom"),
        pytest.param(partial(nn.Softplus, 2.0), "Softplus.*2.0.*not read", id="one-setting"),
        pytest.param(partial(nn.Softplus, beta=2), "Softplus.*beta=2.*not read", id="setting"),
        pytest.param(partial(TwiceReLU), "TwiceReLU", id="custom-partial"),
        pytest.param(partial(nn.LeakyReLU, float("nan")), "cannot be read", id="nan"),
        pytest.param(lambda: nn.LeakyReLU(0.1), "functools.partial", id="lambda"),
        pytest.param(ReLU, "ReLU", id="custom-of-a-known-name"),
    ],
)
def test_unsupported_activation_is_named(tmp_path: Path, activation: Any, reason: str) -> None:
    recipe = Recipe("PPO", policy_kwargs={"activation_fn": activation})
    _is_refused(tmp_path, make_model(recipe, SpacesOnly(VECTOR, VECTOR)), reason)


@pytest.mark.parametrize("extractor", [Doubled, FlattenExtractor])
def test_custom_features_extractor_is_named(tmp_path: Path, extractor: type) -> None:
    recipe = Recipe("PPO", policy_kwargs={"features_extractor_class": extractor})
    _is_refused(tmp_path, make_model(recipe, SpacesOnly(VECTOR, VECTOR)), extractor.__name__)


def test_discrete_actions_that_do_not_start_at_zero_are_named(
    folder: Path, checkpoint: Path
) -> None:
    space = {":type:": "<class 'gymnasium.spaces.discrete.Discrete'>", "n": "3", "start": "1"}
    change_metadata(checkpoint, lambda data: data.update(action_space=space))
    with pytest.raises(UnsupportedPolicyError, match="start at 1"):
        load_agent(folder)


def test_agents_of_sbx_are_refused_with_another_way(folder: Path, checkpoint: Path) -> None:
    # As SBX saves them: the weights lie in a pickle of the policy, so there are no tensors.
    def as_in_sbx(data: dict[str, Any]) -> None:
        data["policy_class"]["__module__"] = "sbx.ppo.policies"

    change_metadata(checkpoint, as_in_sbx)
    members = read_members(checkpoint)
    del members["policy.pth"]
    write_members(checkpoint, members)
    with nothing_written(folder), pytest.raises(UnsupportedPolicyError, match=r"SBX.*safetensors"):
        load_agent(folder)
