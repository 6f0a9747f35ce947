from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import pytest
import torch
from drawn_by_sb3 import drawn_by_sb3, draws

from onnx_runner import onnx_actions, torch_actions
from squeezerl import load_agent
from squeezerl.network.arithmetic import act

STEPS = 1_000
# v3 and v4 observe the same in HalfCheetah and Hopper.
CURRENT_ENVS = {
    "HalfCheetah-v3": "HalfCheetah-v4",
    "Hopper-v3": "Hopper-v4",
    "LunarLanderContinuous-v2": "LunarLanderContinuous-v3",
}


@dataclass(frozen=True)
class Rollout:
    observations: npt.NDArray[Any]
    actions: npt.NDArray[Any]
    q_values: npt.NDArray[Any] | None
    noise: npt.NDArray[np.float32]
    drawn: npt.NDArray[Any] | None


@pytest.fixture
def rollout(
    published_agent: Path, gym_stand_in: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Rollout:
    """What Stable-Baselines3 itself sees and does with the agent in its environment."""
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its log into the current folder
    return _roll_out(published_agent)


def _roll_out(folder: Path) -> Rollout:
    import sb3_contrib
    import stable_baselines3
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    env_id = folder.name.removesuffix("_1")
    env = gym.make(CURRENT_ENVS.get(env_id, env_id))
    algorithm = folder.parent.name.upper()
    library = stable_baselines3 if hasattr(stable_baselines3, algorithm) else sb3_contrib
    unreadable = ("action_noise", "clip_range", "exploration_schedule", "lr_schedule")
    model = getattr(library, algorithm).load(
        folder / f"{env_id}.zip",
        device="cpu",
        custom_objects=dict.fromkeys(unreadable, lambda _: 0.0)
        | {
            "action_space": env.action_space,
            "buffer_size": 1,
            "learning_rate": 0.0,
            "observation_space": env.observation_space,
        },
    )
    normalizer = None
    if (saved := folder / env_id / "vecnormalize.pkl").is_file():
        normalizer = VecNormalize.load(str(saved), DummyVecEnv([lambda: env]))

    observations, actions, q_values, all_seen = [], [], [], []
    observation, _ = env.reset(seed=0)
    for _ in range(STEPS):
        seen = observation if normalizer is None else normalizer.normalize_obs(observation)
        action, _ = model.predict(seen, deterministic=True)
        observations.append(observation)
        all_seen.append(seen)
        actions.append(action)
        if algorithm == "DQN":
            with torch.no_grad():
                q_values.append(model.q_net(torch.as_tensor(seen[None])).numpy()[0])
        observation, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            observation, _ = env.reset()
    env.close()
    rng = np.random.default_rng(0)
    noise = rng.normal(size=np.array(actions).shape).astype(np.float32)
    return Rollout(
        np.array(observations),
        np.array(actions),
        np.array(q_values) if q_values else None,
        noise,
        drawn_by_sb3(model, np.array(all_seen), noise) if draws(model) else None,
    )


@pytest.mark.slow
def test_published_agent_acts_as_in_stable_baselines3(
    published_agent: Path, rollout: Rollout
) -> None:
    network = load_agent(published_agent).network
    assert len(rollout.actions) == STEPS
    assert np.ptp(rollout.actions, axis=0).all()

    for actions in (
        act(network, rollout.observations),
        torch_actions(network, rollout.observations),
        onnx_actions(network, rollout.observations),
    ):
        assert actions.shape == rollout.actions.shape
        if rollout.q_values is None:
            np.testing.assert_allclose(actions, rollout.actions, rtol=0, atol=1e-5)
        else:
            second, first = np.sort(rollout.q_values, axis=1)[:, -2:].T
            clear = first - second > 1e-5
            assert clear.mean() > 0.9
            np.testing.assert_array_equal(actions[clear], rollout.actions[clear])
    sampled = load_agent(published_agent).sampled
    assert (sampled is None) == (rollout.drawn is None)
    if sampled is not None:
        for actions in (
            act(sampled, rollout.observations, noise=rollout.noise),
            onnx_actions(sampled, rollout.observations, rollout.noise),
        ):
            np.testing.assert_allclose(actions, rollout.drawn, rtol=0, atol=2e-5)


def test_published_agent_knows_where_it_came_from(published_agent: Path) -> None:
    source = load_agent(published_agent).source
    env_id = published_agent.name.removesuffix("_1")

    assert source.algorithm == published_agent.parent.name
    assert source.env_id == env_id
    has_normalizer = (published_agent / env_id / "vecnormalize.pkl").is_file()
    assert (source.file("normalizer") is not None) == has_normalizer


def test_loading_needs_no_gym_package(
    published_agents: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gym", None)  # importing it raises now
    assert load_agent(published_agents / "ppo" / "Hopper-v3_1").network.normalizer is not None


def test_widths_and_bounds_are_read_from_a_checkpoint_of_2021(published_agents: Path) -> None:
    network = load_agent(published_agents / "ddpg" / "Pendulum-v1_1").network

    shapes = [layer.weight.shape for layer in network.layers]
    assert shapes == [(400, 3), (300, 400), (1, 300)]
    assert network.head.kind == "tanh"
    assert (network.head.low.tolist(), network.head.high.tolist()) == ([-2.0], [2.0])
