"""Published agents that each have something the others do not have."""

from __future__ import annotations

import importlib.util
import io
import zipfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import pytest
import sb3_contrib
import stable_baselines3
import torch
from sb3_contrib.common.wrappers import TimeFeatureWrapper
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import squeezerl
from made_agents import SpacesOnly
from onnx_runner import onnx_actions
from squeezerl.network.arithmetic import act
from squeezerl.records import DICT_PARTS, ENV_WRAPPERS

pytestmark = pytest.mark.agents

COUNT = 1_000


def _weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    with zipfile.ZipFile(checkpoint) as archive:
        content = io.BytesIO(archive.read("policy.pth"))
    return torch.load(content, map_location="cpu", weights_only=True)


def _saved_normalizer(folder: Path, env: gym.Env) -> VecNormalize:
    return VecNormalize.load(
        str(next(folder.rglob("vecnormalize.pkl"))), DummyVecEnv([lambda: env])
    )


def _as_seen_in_training(known: Any) -> npt.NDArray[np.float32]:
    rng = np.random.default_rng(0)
    drawn = rng.normal(known.mean, 2 * np.sqrt(known.var), (COUNT, *known.mean.shape))
    return drawn.astype(np.float32)


@pytest.mark.slow
def test_linear_policy_of_ars(special_agents: Path, gym_stand_in: None) -> None:
    folder = special_agents / "ars" / "Hopper-v3_1"
    agent = squeezerl.load(folder)
    assert (agent.source.algorithm, agent.env_id) == ("ars", "Hopper-v3")
    assert [layer.weight.shape for layer in agent.network.layers] == [(3, 11)]
    assert agent.network.head.kind == "clip"

    env = SpacesOnly(gym.spaces.Box(-np.inf, np.inf, (11,)), gym.spaces.Box(-1, 1, (3,)))
    normalizer = _saved_normalizer(folder, env)
    model: Any = sb3_contrib.ARS("LinearPolicy", env, device="cpu")
    weights = _weights(folder / "Hopper-v3.zip")
    model.policy.load_state_dict({"action_net.0.weight": weights["action_net.weight"]})
    observations = _as_seen_in_training(normalizer.obs_rms)
    expected, _ = model.predict(normalizer.normalize_obs(observations), deterministic=True)
    assert np.ptp(expected, axis=0).min() > 1
    for actions in (act(agent.network, observations), onnx_actions(agent.network, observations)):
        np.testing.assert_allclose(actions, expected, rtol=0, atol=1e-5)
    played = squeezerl.evaluate(agent, env="Hopper-v4", episodes=10)
    assert played.mean_return > 3_000  # published: 3,344


def test_agent_behind_a_time_feature(special_agents: Path, gym_stand_in: None) -> None:
    folder = special_agents / "ppo" / "Walker2d-v3_1"
    agent = squeezerl.load(folder)
    assert agent.network.observation_shape == (18,)
    assert agent.source.env_kwargs[ENV_WRAPPERS] == ["TimeFeatureWrapper"]

    env = TimeFeatureWrapper(gym.make("Walker2d-v4"))
    normalizer = _saved_normalizer(folder, env)
    model = stable_baselines3.PPO("MlpPolicy", env, device="cpu")
    model.policy.load_state_dict(_weights(folder / "Walker2d-v3.zip"))
    seen, actions, earned, ended = [env.reset(seed=0)[0]], [], 0.0, False
    while not ended:
        normalized = normalizer.normalize_obs(seen[-1])
        actions.append(model.predict(normalized, deterministic=True)[0])
        observation, reward, terminated, truncated, _ = env.step(actions[-1])
        earned, ended = earned + float(reward), terminated or truncated
        seen.append(observation)
    observations, expected = np.array(seen[:-1], np.float32), np.array(actions)
    assert observations[:2, -1].tolist() == [1, np.float32(0.999)]
    for found in (act(agent.network, observations), onnx_actions(agent.network, observations)):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    played = squeezerl.evaluate(agent, env="Walker2d-v4", episodes=1)
    assert played.record.episodes[0].length == len(expected)
    assert played.mean_return == pytest.approx(earned, rel=1e-2)


@pytest.mark.parametrize(
    ("name", "entries"),
    [
        ("tqc", {"achieved_goal": 3, "desired_goal": 3, "observation": 11}),
        ("her", {"observation": 10, "desired_goal": 3}),  # by the class HER, before 1.1
    ],
)
def test_agents_with_goals(
    special_agents: Path, gym_stand_in: None, name: str, entries: dict[str, int]
) -> None:
    folder = special_agents / name / "FetchReach-v1_1"
    agent = squeezerl.load(folder)
    assert agent.source.env_kwargs[DICT_PARTS] == [f"{k}:{size}" for k, size in entries.items()]

    actions = gym.spaces.Box(-1, 1, (4,))
    sizes = entries if name == "tqc" else {"achieved_goal": 3, **entries}
    boxes = {k: gym.spaces.Box(-np.inf, np.inf, (size,)) for k, size in sizes.items()}
    normalizer = _saved_normalizer(folder, SpacesOnly(gym.spaces.Dict(boxes), actions))
    drawn = {k: _as_seen_in_training(known) for k, known in normalizer.obs_rms.items()}
    seen: Any = normalizer.normalize_obs(drawn)
    if name == "tqc":
        model: Any = sb3_contrib.TQC(
            "MultiInputPolicy",
            SpacesOnly(gym.spaces.Dict(boxes), actions),
            device="cpu",
            buffer_size=1,
            policy_kwargs={"net_arch": [64, 64], "n_critics": 1},
        )
    else:
        flat = SpacesOnly(gym.spaces.Box(-np.inf, np.inf, (13,)), actions)
        model = stable_baselines3.SAC("MlpPolicy", flat, device="cpu", buffer_size=1)
        seen = np.concatenate([seen[k] for k in entries], axis=1)
    model.policy.load_state_dict(_weights(folder / "FetchReach-v1.zip"))
    expected = model.predict(seen, deterministic=True)[0]
    observations = np.concatenate([drawn[k] for k in entries], axis=1)
    for found in (act(agent.network, observations), onnx_actions(agent.network, observations)):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tqc", "her"])
def test_agents_with_goals_reach_them(special_agents: Path, name: str) -> None:
    if importlib.util.find_spec("gymnasium_robotics") is None:
        pytest.skip("gymnasium-robotics is not installed")
    folder = special_agents / name / "FetchReach-v1_1"
    played = squeezerl.evaluate(folder, env="gymnasium_robotics:FetchReach-v4", episodes=10)
    assert played.mean_return > -3  # published: -1.66; -50 where a goal is never reached
