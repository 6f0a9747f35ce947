"""Exported policies, which have no environment, on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command import invoke

from small_policies import make_network
from squeezerl.formats.onnx import to_onnx


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
