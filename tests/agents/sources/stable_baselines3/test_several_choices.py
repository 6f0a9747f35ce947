"""Agents whose actions are several choices, trained for a few seconds and taken to the end."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import MultiBinary, MultiDiscrete

import squeezerl
from onnx_runner import onnx_actions
from squeezerl.agents.sources.stable_baselines3.metadata import discrete_space
from squeezerl.errors import CheckpointError, EnvError, InvalidArgumentError, UnsupportedPolicyError
from squeezerl.evaluation.environment import Environment, choices_of
from squeezerl.formats.base import FORMATS
from squeezerl.methods.imitation import softmax
from squeezerl.methods.student import outputs_of
from squeezerl.network.arithmetic import act
from squeezerl.training.algorithms import ALGORITHMS, check_actions
from thrusters import SWITCHES, THRUSTERS, train_agent


class Trained:
    """A model of Stable-Baselines3, the agent that was read from its file, and observations."""

    def __init__(self, algorithm: str, env_id: str, path: Path) -> None:
        self.model, self.path, self.env_id = train_agent(algorithm, env_id, path), path, env_id
        self.agent = squeezerl.load(path)
        drawn = np.random.default_rng(0).normal(size=(1_000, 4)) * [1, 1, 0.2, 0.2]
        self.observations = drawn.astype(np.float32)


@pytest.fixture(scope="module", params=[("PPO", THRUSTERS), ("A2C", SWITCHES)], ids=lambda x: x[1])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(*request.param, tmp_path_factory.mktemp("agent") / "agent.zip")


@pytest.mark.slow
def test_they_choose_and_draw_as_stable_baselines3_does(trained: Trained) -> None:
    network, observations = trained.agent.network, trained.observations
    expected, _ = trained.model.predict(observations, deterministic=True)
    assert network.choices == {THRUSTERS: (3, 3, 2), SWITCHES: (2, 2, 2, 2)}[trained.env_id]
    assert (np.ptp(expected, axis=0) > 0).sum() >= 2
    read, _ = FORMATS.get("packed").read(FORMATS.get("packed").write(network))
    for actions in (act(network, observations), onnx_actions(network, observations),
                    act(read, observations)):  # fmt: skip
        np.testing.assert_array_equal(actions, expected)
    sampled = trained.agent.sampled
    assert sampled is not None
    with torch.no_grad():
        found = trained.model.policy.get_distribution(torch.tensor(observations)).distribution
    if trained.env_id == SWITCHES:
        wanted = np.stack([1 - found.probs, found.probs], axis=2).reshape(len(observations), -1)
    else:
        wanted = np.concatenate([one.probs for one in found], axis=1)
    drawn = softmax(sampled.head, outputs_of(sampled, observations))
    np.testing.assert_allclose(drawn, wanted, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_they_are_compressed_played_squeezed_and_exported(trained: Trained, tmp_path: Path) -> None:
    artifact = squeezerl.compress(trained.agent, "int8:static", env=trained.env_id)
    artifact.save(tmp_path / "int8")
    assert squeezerl.load_actor(tmp_path / "int8").choices == trained.agent.network.choices
    kept = squeezerl.evaluate(
        tmp_path / "int8", env=trained.env_id, episodes=20, against=trained.agent
    )
    assert kept.retention is not None
    assert kept.retention.baseline_trained
    assert kept.retention.normalized is not None
    assert kept.retention.normalized.estimate > 0.9
    squeezed = squeezerl.squeeze(
        trained.agent, env=trained.env_id, output=tmp_path / "out", budget=0, episodes=20,
        recipes=["int8:static", "l2:0.1"], measure=False, workers=1,
    )  # fmt: skip
    assert squeezed.artifact.network.choices == trained.agent.network.choices
    squeezerl.export_c(tmp_path / "out", tmp_path / "c", observations=trained.observations)
    build = tmp_path / "c" / "policy_test"
    subprocess.run(
        ["cc", "-std=c99", *(tmp_path / "c").glob("*.c"), "-o", build, "-lm"], check=True
    )
    assert subprocess.run([build]).returncode == 0


@pytest.mark.parametrize(
    ("kind", "held", "reason"),
    [
        ("MultiDiscrete", {}, "cannot be read"),
        ("MultiDiscrete", {"nvec": "[3 3 2]"}, "cannot be read"),
        ("MultiDiscrete", {"nvec": np.array([3, -1])}, "its size is"),
        ("MultiDiscrete", {"nvec": np.array([2**62, 2**62])}, "its size is"),
        ("MultiDiscrete", {"nvec": np.array([[3, 3], [2, 2]])}, "cannot be read"),
        ("MultiDiscrete", {"nvec": np.array([3, 3]), "start": np.array([0, 1])}, "start at"),
        ("MultiBinary", {"n": 10**9}, "its size is"),
        ("MultiBinary", {"n": (2, 3)}, "several dimensions"),
        ("Discrete", {"n": "1e3"}, "cannot be read"),
    ],
)
def test_spaces_that_cannot_be_are_refused(kind: str, held: dict[str, Any], reason: str) -> None:
    with pytest.raises((CheckpointError, UnsupportedPolicyError), match=reason):
        discrete_space(kind, held, "action")


def test_environments_say_their_choices_or_why_not() -> None:
    place = Environment.find(THRUSTERS)
    assert (place.action_shape, place.choices) == ((3,), (3, 3, 2))
    with pytest.raises(EnvError, match="3 and 3 and 2 discrete actions"):
        place.check_fits(Environment.find("CartPole-v1"))
    for space in (MultiBinary((2, 3)), MultiDiscrete([[2, 3]]), MultiDiscrete([2], start=[1])):
        with pytest.raises(EnvError, match="not supported"):
            choices_of(space)
    check_actions(ALGORITHMS["a2c"], place)
    with pytest.raises(InvalidArgumentError, match="several discrete actions, dqn takes single"):
        check_actions(ALGORITHMS["dqn"], place)
