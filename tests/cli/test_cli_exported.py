"""Exported policies, which have no environment, on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command import invoke

import squeezerl
from small_policies import make_network
from squeezerl.formats.onnx import to_onnx
from squeezerl.network.arithmetic import act


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.onnx"
    network = make_network(4, 8, 2, bounds=(-np.inf, np.inf))
    path.write_bytes(to_onnx(network).SerializeToString())
    return path


def test_inspect_needs_no_environment(policy: Path) -> None:
    found = json.loads(invoke("inspect", policy, "--json").stdout)
    assert (found["kind"], found["env_id"]) == ("onnx", None)
    assert "without bounds" in invoke("inspect", policy).stdout


def test_recipes_that_need_no_observations_need_no_environment(policy: Path) -> None:
    output = policy.with_name("out")
    assert (
        "the agent does not name it"
        in invoke(
            "compress", policy, "--recipe", "prune:l2:0.5 | int8:dynamic", "-o", output
        ).stdout
    )
    assert json.loads((output / "manifest.json").read_text())["source"]["env_id"] is None


def test_recipes_that_need_observations_ask_for_an_environment(policy: Path) -> None:
    result = invoke("compress", policy, "--recipe", "int8", "-o", policy.with_name("out"))
    assert result.exit_code == 2
    assert "--env" in result.stderr


def test_a_policy_without_bounds_can_clip_its_actions(tmp_path: Path) -> None:
    """As the environment of its trainer did; the hint is gone then, and artifacts keep it."""
    policy, small = tmp_path / "policy.onnx", tmp_path / "small"
    network = make_network(3, 8, 1, bounds=(-np.inf, np.inf))
    policy.write_bytes(to_onnx(network).SerializeToString())
    play = ("evaluate", policy, "--env", "Pendulum-v1", "--episodes", 3)
    hint = "--clip-actions -2:2"
    assert hint in " ".join(invoke(*play).stderr.split())
    assert "clip" not in invoke(*play, "--clip-actions", "2").stderr
    made = invoke(
        "compress",
        policy,
        "--clip-actions=-0.1:0.2",
        "--recipe",
        "bits:8",
        *("--env", "Pendulum-v1"),
        "-o",
        small,
    )
    assert "--clip-actions=-0.1:0.2" in "".join(made.stdout.split())
    rows = np.random.default_rng(0).normal(0, 10, (100, 3)).astype(np.float32)
    actions = act(squeezerl.read_artifact(small).network, rows)
    np.testing.assert_allclose([actions.min(), actions.max()], [-0.1, 0.2], atol=1e-6)
    whole = squeezerl.load_agent(policy, clip_actions="-0.1:0.2").network
    np.testing.assert_allclose(act(whole, rows), act(network, rows).clip(-0.1, 0.2), atol=1e-6)


@pytest.mark.parametrize("text", ["", "1:", "1:-1", "0", "nan", "-inf:inf", "1:2:3", "-1:1,2"])
def test_bounds_that_are_none_are_refused(policy: Path, text: str) -> None:
    result = invoke("inspect", policy, f"--clip-actions={text}")
    assert result.exit_code == 2
    assert "--clip-actions" in result.stderr


def test_a_policy_with_bounds_is_given_no_others(tmp_path: Path) -> None:
    result = invoke("inspect", "demo", "--clip-actions=-1:1")
    assert result.exit_code == 2
    assert "have bounds already" in result.stderr
