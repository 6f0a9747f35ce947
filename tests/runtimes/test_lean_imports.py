from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from onnx_runner import rows_alone
from small_policies import demo_network, make_artifact, random_observations

ABSENT = ("torch", "torch_pruning", "stable_baselines3", "gymnasium", "envpool")

WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None  # any import of it raises
import numpy as np
from squeezerl.artifacts.artifact import read_artifact
from squeezerl.runtimes.base import RUNTIMES
folder = sys.argv[1]
actor = RUNTIMES.get("ort").load(read_artifact(folder + "/artifact"))
np.save(folder + "/actions.npy", actor.act(np.load(folder + "/observations.npy")))
"""


def _python(*arguments: str) -> str:
    run = subprocess.run([sys.executable, "-c", *arguments], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.parametrize(
    "module",
    [
        "squeezerl",
        "squeezerl.errors",
        "squeezerl.records",
        "squeezerl.registry",
        "squeezerl.analysis.retention",
        "squeezerl.analysis.timing",
        "squeezerl.network.arithmetic",
        "squeezerl.formats.onnx",
        "squeezerl.methods.recipe",
        "squeezerl.artifacts.artifact",
        "squeezerl.runtimes.native",
        "squeezerl.runtimes.onnx_runtime",
        "squeezerl.measurement.measuring",
    ],
)
def test_importing_what_a_deployed_artifact_needs_imports_little_else(module: str) -> None:
    loaded = _python(f"import sys, {module}; print(*sys.modules)").split()
    assert module in loaded
    assert not set(ABSENT) & set(loaded)


def test_importing_the_report_imports_no_torch() -> None:
    loaded = _python("import sys, squeezerl.report.squeeze_report; print(*sys.modules)").split()
    assert "torch" not in loaded


def test_an_environment_is_found_without_the_families_that_take_long_to_import() -> None:
    pytest.importorskip("envpool")
    code = (
        "import sys, squeezerl; print(squeezerl.Environment.find('HalfCheetah-v5').backend);"
        "print(*sys.modules);"
        "import envpool; assert 'Knapsack-v1' not in envpool.list_all_envs();"
        "print(squeezerl.Environment.find('MetaWorld/Reach-v3').backend)"
    )
    first, loaded, last = _python(code).splitlines()
    assert first == last == "envpool"
    assert not {"matplotlib", "torch"} & {*loaded.split()}


def test_an_artifact_acts_where_there_is_no_torch(tmp_path: Path) -> None:
    artifact = make_artifact(demo_network(), "int8:dynamic")
    artifact.save(tmp_path / "artifact")
    observations = random_observations(demo_network(), 20)
    np.save(tmp_path / "observations.npy", observations)
    _python(WITHOUT_TORCH, str(tmp_path))
    np.testing.assert_array_equal(
        np.load(tmp_path / "actions.npy"), rows_alone(artifact.model, observations)
    )
