from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from example_files import plugged, squeezerl_with

from runtime_contract import RuntimeContract
from squeezerl.measurement import doctor
from squeezerl.runtimes.base import RUNTIMES, Runtime

pytestmark = pytest.mark.slow

SHORT = ("--env-kwargs", "max_episode_steps:100")


class TestCustomRuntime(RuntimeContract):
    recipes = ("float", "prune:l2:0.3", "int8:dynamic", "int8:static")
    refused = ()
    tells_working_bytes = False

    @pytest.fixture(autouse=True, scope="class")
    def plugin(self) -> Iterator[None]:
        with plugged("custom_runtime.py"):
            yield

    @property
    def runtime(self) -> Runtime:  # type: ignore[override]
        return RUNTIMES.get("numpy")


def _squeezerl(folder: Path, *arguments: str) -> Any:
    return squeezerl_with("custom_runtime.py", folder, *arguments)


def test_it_plays_as_onnx_runtime_does(tmp_path: Path) -> None:
    few = ("evaluate", "demo", "--episodes", "3", *SHORT)
    ours = _squeezerl(tmp_path, *few, "--runtime", "numpy")
    theirs = _squeezerl(tmp_path, *few)
    assert ours["mean_return"] == pytest.approx(theirs["mean_return"], rel=0.1)


@pytest.mark.usefixtures("fewest_processes")
def test_it_is_measured_beside_onnx_runtime(tmp_path: Path) -> None:
    quick = ("--seconds", "0.1", "--precision", "1", "--energy", "none", *SHORT)
    data = _squeezerl(tmp_path, "profile", "demo", "--runtime", "ort,numpy", *quick)
    assert [row["runtime"] for row in data["rows"]] == ["ort", "numpy"]
    assert all(row["latency_s"]["median"] > 0 for row in data["rows"])


def test_doctor_lists_it(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = doctor.measure_noise
    monkeypatch.setattr(doctor, "measure_noise", lambda: quick(0.05))
    with plugged("custom_runtime.py"):
        assert "numpy" in [runtime.name for runtime in doctor.diagnose().runtimes]
