from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from small_policies import SOURCE, demo_policy, make_actor, random_observations
from squeezerl.artifacts.write import write_artifact
from squeezerl.methods.compress import compress
from squeezerl.methods.specs import DynamicQuantization

ABSENT = ("torch", "torch_pruning", "stable_baselines3", "gymnasium", "envpool")

WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None  # any import of it raises
import numpy as np
import squeezerl
folder = sys.argv[1]
actor = squeezerl.load_actor(folder + "/artifact")
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
        "squeezerl.records",
        "squeezerl.methods.specs",
        "squeezerl.artifacts.read",
        "squeezerl.analysis.retention",
        "squeezerl.analysis.timing",
        "squeezerl.runtimes.onnx_actor",
        "squeezerl.runtimes.bare.ort",
        "squeezerl.measurement.probe",
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


def test_an_artifact_acts_where_there_is_no_torch(tmp_path: Path) -> None:
    compressed = compress(demo_policy(), DynamicQuantization())
    write_artifact(compressed, SOURCE, tmp_path / "artifact")
    observations = random_observations(demo_policy(), 20)
    np.save(tmp_path / "observations.npy", observations)
    _python(WITHOUT_TORCH, str(tmp_path))
    np.testing.assert_array_equal(
        np.load(tmp_path / "actions.npy"), make_actor(compressed.model).act(observations)
    )
