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
import onnxruntime
import pytest
from checkpoint_files import Payload
from gymnasium.spaces import Box, Dict, Discrete
from onnx import helper
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from typer.testing import CliRunner

import squeezerl
from made_agents import Recipe, SpacesOnly, make_model
from onnx_runner import onnx_actions
from small_policies import make_network, random_observations
from squeezerl.cli import app
from squeezerl.errors import (
    AuditError,
    CheckpointError,
    EnvError,
    SqueezeRLError,
    UnsupportedPolicyError,
)
from squeezerl.evaluation.environment import make_gymnasium
from squeezerl.evaluation.log import read_log
from squeezerl.evaluation.wrappers import flattened
from squeezerl.formats.base import FORMATS
from squeezerl.formats.c.program import c_program
from squeezerl.formats.onnx import to_onnx
from squeezerl.network.arithmetic import act
from squeezerl.network.network import parts_of
from squeezerl.pipeline.make import with_opset
from squeezerl.records import DICT_PARTS
from squeezerl.report.deployment import deployment
from squeezerl.report.document import Preformatted

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


@pytest.mark.parametrize("recipe", ["float", "prune:l2:0.3 | int8:static"])
def test_whoever_deploys_the_policy_finds_names_shapes_and_places_of_the_entries(
    tmp_path: Path, recipe: str
) -> None:
    _made(tmp_path, "PPO", False)
    agent = squeezerl.load(tmp_path / "agent.zip")
    flat = np.random.default_rng(0).normal(size=(50, 11)).astype(np.float32)
    squeezerl.compress(agent, recipe, observations=flat).save(tmp_path / "out")
    artifact = squeezerl.read_artifact(tmp_path / "out")
    parts = [
        {"name": "observation", "shape": [4], "start": 0, "stop": 4},
        {"name": "goal", "shape": [3], "start": 4, "stop": 7},
        {"name": "image", "shape": [2, 2], "start": 7, "stop": 11},
    ]
    assert json.loads((tmp_path / "out/manifest.json").read_text())["observation_parts"] == parts
    for written in (artifact, with_opset(artifact, 13)):
        session = onnxruntime.InferenceSession(written.model)
        known = session.get_modelmeta().custom_metadata_map
        assert json.loads(known["squeezerl.observation_parts"]) == parts
    entries = {part["name"]: flat[:, part["start"] : part["stop"]] for part in parts}
    entries["image"] = entries["image"].reshape(-1, 2, 2)
    actor = squeezerl.load_actor(tmp_path / "out")
    np.testing.assert_array_equal(actor.act(entries), session.run(None, {"observation": flat})[0])
    squeezerl.export_c(artifact, tmp_path / "c", observations=flat)
    header = (tmp_path / "c/policy.h").read_text()
    assert "\n      observation[0:4]\n      goal[4:7]\n      image[7:11] (2x2)\n" in header
    shown = CliRunner().invoke(app, ["inspect", str(tmp_path / "agent.zip")]).stdout
    assert "observation[0:4], goal[4:7], image[7:11] (2x2)" in shown
    lines = next(b for b in deployment(artifact, has_c=True) if isinstance(b, Preformatted)).text
    one = {"numpy": np, "entries": {name: entry[0] for name, entry in entries.items()}}
    exec(lines, one)
    np.testing.assert_array_equal(one["observation"], flat[0])
    if recipe == "float":  # both are agents again, with the same entries
        for path in (tmp_path / "out", tmp_path / "out/policy.onnx"):
            again = squeezerl.load(path)
            assert again.network.observation_parts == agent.network.observation_parts
            assert again.source.metadata == {}


def test_a_log_can_hold_the_entries_one_by_one(tmp_path: Path) -> None:
    flat = np.random.default_rng(0).normal(size=(50, 11)).astype(np.float32)
    names = [f"observation.{name}" for name in SPACE.spaces]
    np.savez(tmp_path / "log.npz", **dict(zip(names, np.split(flat, [4, 7], axis=1), strict=True)))
    np.testing.assert_array_equal(read_log(tmp_path / "log.npz").observations, flat)


def test_hostile_names_of_entries_stay_text(tmp_path: Path) -> None:
    network = make_network(2, 4, 1).replace(
        observation_parts=parts_of([("*/ #error \\", (1,)), ("x" * 300, (1,))])
    )
    header = c_program(network, "p", random_observations(network, 50)).files["p.h"]
    assert "#error" not in header
    assert header.count("*/") == 2
    for names in ("\x1b[31m", "x" * 101):
        _made(tmp_path, "PPO", False, Dict({names: Box(-1, 1, (3,))}))
        with pytest.raises(CheckpointError, match="a box has the name"):
            squeezerl.load(tmp_path / "agent.zip")
    model = to_onnx(network.replace(observation_parts=()))
    for parts in ("", "[1]", '[{"name": "a", "shape": [9], "start": 0, "stop": 9}]', "[" * 99_999):
        helper.set_model_props(model, {"squeezerl.observation_parts": parts})
        (tmp_path / "p.onnx").write_bytes(model.SerializeToString())
        with pytest.raises(CheckpointError, match=r"p\.onnx"):
            squeezerl.load(tmp_path / "p.onnx")
        with pytest.raises(AuditError):
            FORMATS.get("onnx").read(model.SerializeToString())


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
