"""Policies over dicts of boxes, which take all entries behind each other."""

from __future__ import annotations

import base64
import contextlib
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from checkpoint_files import Payload
from gymnasium.spaces import Box, Dict, Discrete
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import squeezerl
from made_agents import Recipe, SpacesOnly, make_model
from onnx_runner import onnx_actions
from squeezerl.errors import CheckpointError, EnvError, SqueezeRLError, UnsupportedPolicyError
from squeezerl.evaluation.environment import make_gymnasium
from squeezerl.evaluation.wrappers import flattened
from squeezerl.network.arithmetic import act
from squeezerl.records import DICT_PARTS

SPACE = Dict(
    observation=Box(-np.inf, np.inf, (4,)),
    goal=Box(-1, 1, (3,)),
    image=Box(-np.inf, np.inf, (2, 2)),
)
ACTIONS = Box(np.float32([-1, -2]), np.float32([3, 4]))


def _made(
    folder: Path, algorithm: str, normalizes: Any, space: gym.Space = SPACE
) -> tuple[Any, Any]:
    env: Any = DummyVecEnv(
        [lambda: SpacesOnly(space, Discrete(3) if algorithm == "DQN" else ACTIONS)]
    )
    rng = np.random.default_rng(1)
    if normalizes:
        env = VecNormalize(env, norm_obs_keys=normalizes if isinstance(normalizes, list) else None)
        for name, statistics in env.obs_rms.items():
            statistics.update(rng.normal(2.0, 5.0, (50, *SPACE[name].shape)))
        env.save(folder / "vecnormalize.pkl")
    model = make_model(Recipe(algorithm), env, "MultiInputPolicy")
    model.save(folder / "agent.zip")
    return model, env


@pytest.mark.parametrize("normalizes", [True, False])
@pytest.mark.parametrize("algorithm", ["PPO", "SAC", "DQN", "TQC"])
def test_a_dict_of_boxes_acts_as_in_stable_baselines3(
    tmp_path: Path, algorithm: str, normalizes: bool
) -> None:
    model, env = _made(tmp_path, algorithm, normalizes)
    agent = squeezerl.load(tmp_path / "agent.zip")
    assert agent.source.env_kwargs[DICT_PARTS] == ["observation:4", "goal:3", "image:4"]
    rng = np.random.default_rng(0)
    entries = {
        name: rng.normal(scale=2.0, size=(300, *box.shape)).astype(np.float32)
        for name, box in SPACE.spaces.items()
    }
    seen = env.normalize_obs(entries) if normalizes else entries
    expected = model.predict(seen, deterministic=True)[0]
    assert np.ptp(expected, axis=0).all()
    flat = np.concatenate([entries[name].reshape(300, -1) for name in SPACE.spaces], axis=1)
    for actions in (act(agent.network, flat), onnx_actions(agent.network, flat)):
        np.testing.assert_allclose(actions, expected, rtol=0, atol=1e-5)


def test_an_environment_gives_the_entries_in_the_order_of_the_policy() -> None:
    env = flattened(SpacesOnly(SPACE, ACTIONS), ["observation", "goal"])
    assert env.observation_space.shape == (7,)
    assert env.reset(seed=0)[0] in env.observation_space
    assert flattened(SpacesOnly(SPACE, ACTIONS)).observation_space.shape == (11,)
    for names in (["goal", "nope"], ["choice"]):
        space = Dict(goal=Box(-1, 1, (3,)), choice=Discrete(2))
        with pytest.raises(EnvError, match=rf"'{names[-1]}'.*boxes are supported"):
            flattened(SpacesOnly(space, ACTIONS), names)
    plain = make_gymnasium("Pendulum-v1", {DICT_PARTS: ["observation:3"]})
    assert plain.observation_space.shape == (3,)


def test_what_is_no_box_or_only_partly_normalised_is_named(tmp_path: Path) -> None:
    _made(tmp_path, "PPO", False, Dict(goal=Box(-1, 1, (3,)), choice=Discrete(2)))
    with pytest.raises(UnsupportedPolicyError, match="'choice' of the kind Discrete"):
        squeezerl.load(tmp_path / "agent.zip")
    _made(tmp_path, "PPO", ["goal", "image"])
    with pytest.raises(UnsupportedPolicyError, match="without 'observation'"):
        squeezerl.load(tmp_path / "agent.zip")


def _with_space(checkpoint: Path, content: bytes) -> None:
    with zipfile.ZipFile(checkpoint) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    data = json.loads(members["data"])
    data["observation_space"][":serialized:"] = base64.b64encode(content).decode()
    with zipfile.ZipFile(checkpoint, "w") as archive:
        for name, member in (members | {"data": json.dumps(data).encode()}).items():
            archive.writestr(name, member)


def test_hostile_spaces_are_refused_and_nothing_is_executed(tmp_path: Path, marker: Path) -> None:
    _made(tmp_path, "PPO", False)
    checkpoint, sound = tmp_path / "agent.zip", pickle.dumps(SPACE)
    hostile = [
        pickle.dumps(Payload(marker)),
        pickle.dumps({"spaces": Payload(marker)}),
        pickle.dumps(Dict(goal=Box(-1, 1, (3,)))),
        b"",
        sound[: len(sound) // 2],
    ]
    for content in hostile:
        _with_space(checkpoint, content)
        with pytest.raises(CheckpointError):
            squeezerl.load(checkpoint)
    rng = np.random.default_rng(0)
    for _ in range(100):
        spoiled = bytearray(sound)
        for place in rng.integers(0, len(sound), 3):
            spoiled[place] = rng.integers(0, 256)
        _with_space(checkpoint, bytes(spoiled))
        with contextlib.suppress(SqueezeRLError):
            assert squeezerl.load(checkpoint).network.observation_shape == (11,)
    assert not marker.exists()
