from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch

from made_agents import make_agent
from source_contract import SourceContract
from squeezerl.agents.load import SOURCES, demo_agent_path, load_agent
from squeezerl.agents.sources.stable_baselines3.vecnormalize import make_normalizer
from squeezerl.agents.torch_file import read_state_dict
from squeezerl.network.network import as_float

SOURCE = SOURCES.get("stable-baselines3")


class TestZip(SourceContract):
    source = SOURCE

    def make_sample(self, folder: Path) -> Path:
        return make_agent("ppo", folder).path


class TestZooFolder(SourceContract):
    source = SOURCE

    def make_sample(self, folder: Path) -> Path:
        return shutil.copytree(demo_agent_path(), folder / "HalfCheetah-v5_1")


def test_agents_are_inspected_without_torch() -> None:
    program = """
import sys
from squeezerl.cli import app

app(["inspect", "demo"], standalone_mode=False)
heavy = {"torch", "onnx", "onnxruntime", "scipy", "pandas", "gymnasium", "stable_baselines3"}
print(sorted(heavy & sys.modules.keys()))
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[-1] == "[]"


def test_quantiles_are_averaged_with_less_error_than_torch_makes(tmp_path: Path) -> None:
    path = make_agent("qrdqn", tmp_path).path
    with zipfile.ZipFile(path) as archive:
        state = read_state_dict(archive.read("policy.pth"), "policy.pth")
    stacked = torch.tensor(state["quantile_net.quantile_net.4.weight"]).reshape(7, 2, 8)
    exact = stacked.double().mean(dim=0).numpy()
    ours = as_float(load_agent(path).network.layers[-1].weight)
    np.testing.assert_array_equal(ours, exact.astype(np.float32))
    theirs = stacked.mean(dim=0).numpy()
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=np.spacing(np.abs(stacked).max()))


def test_normalizer_is_computed_in_double_precision_and_rounded_once() -> None:
    rng = np.random.default_rng(0)
    mean, variance = rng.normal(size=1000), rng.exponential(size=1000) ** 4
    normalizer = make_normalizer(mean, variance, epsilon=1e-8, clip=10.0)
    np.testing.assert_array_equal(normalizer.mean, mean.astype(np.float32))
    expected = (1.0 / np.sqrt(variance + 1e-8)).astype(np.float32)
    np.testing.assert_array_equal(normalizer.inverse_std, expected)
