from __future__ import annotations

import dataclasses
import json
from importlib import metadata
from importlib.metadata import PackageNotFoundError
from typing import Any

import pytest
import torch

from made_profiles import HOST, make_noise
from squeezerl.measurement import doctor
from squeezerl.measurement.doctor import Diagnosis, diagnose
from squeezerl.measurement.noise import Noise
from squeezerl.records import to_json
from squeezerl.runtimes.base import RUNTIMES


def _diagnosis(
    *, noise: Noise | None = None, energy_problem: str | None = None, **host: Any
) -> Diagnosis:
    return Diagnosis(
        host=dataclasses.replace(HOST, **host),
        noise=noise or make_noise(),
        runtimes=(),
        sensors=(),
        energy=None if energy_problem else "rapl",
        energy_problem=energy_problem,
    )


def test_a_quiet_machine_with_a_sensor_needs_no_advice() -> None:
    assert _diagnosis().advice == ()


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"noise": make_noise(cpu_share=0.5)}, "not be stable: other work takes 50% of a core"),
        ({"noise": make_noise(disturbed_share=0.5)}, "slowed down 50% of the time"),
        ({"load": 1.5}, "the load is 1.50: stop other work"),
        ({"governor": "powersave"}, "governor powersave.*cpupower frequency-set"),
        ({"cores_available": 1}, "one core only"),
        ({"energy_problem": "no sensor here"}, "no energy: no sensor here"),
    ],
)
def test_each_trouble_has_one_advice(given: dict[str, Any], text: str) -> None:
    (advice,) = _diagnosis(**given).advice
    assert text.partition(".*")[0] in advice
    assert text.rpartition(".*")[2] in advice


def test_the_most_important_advice_comes_first() -> None:
    noise = make_noise(cpu_share=0.5)
    advice = _diagnosis(noise=noise, energy_problem="none", load=2.0, cores_available=1).advice
    assert [line.split()[0] for line in advice] == ["timings", "the", "there", "no"]


@pytest.mark.parametrize(
    "given",
    [
        {"load": None},
        {"governor": None},
        {"load": 0.1},
        {"cpu_flags": ("sse4_2", "avx512_vnni")},
        {"cpu_flags": ("sse4_2", "avx2")},  # int8 files act alike without VNNI
        {"cpu_flags": ("asimd",)},
        {"cpu_flags": ()},
    ],
)
def test_what_is_unknown_or_usual_is_no_trouble(given: dict[str, Any]) -> None:
    assert _diagnosis(**given).advice == ()


@pytest.fixture(scope="module")
def diagnosis() -> Diagnosis:
    with pytest.MonkeyPatch.context() as patch:
        quick = doctor.measure_noise
        patch.setattr(doctor, "measure_noise", lambda: quick(0.05))
        return diagnose()


def test_this_machine_is_looked_at(diagnosis: Diagnosis) -> None:
    assert [runtime.name for runtime in diagnosis.runtimes] == [
        "native",
        "ort",
        "sb3",
        "torch",
        "torch-cuda",
    ]
    problems = {runtime.name: runtime.problem for runtime in diagnosis.runtimes}
    assert problems["ort"] is None
    assert problems["torch"] is None
    assert (problems["torch-cuda"] is None) == torch.cuda.is_available()
    assert {"rapl", "nvml", "battery"} <= {sensor.name for sensor in diagnosis.sensors}
    assert diagnosis.noise.usual_s > 0


def test_energy_has_a_source_or_a_reason(diagnosis: Diagnosis) -> None:
    assert (diagnosis.energy is None) == (diagnosis.energy_problem is not None)
    for sensor in diagnosis.sensors:
        assert sensor.available == (sensor.problem is None)


def test_a_runtime_that_is_not_installed_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed = metadata.version

    def version(package: str) -> str:
        if package == "stable-baselines3":
            raise PackageNotFoundError(package)
        return installed(package)

    monkeypatch.setattr(metadata, "version", version)
    assert RUNTIMES.get("sb3").version is None
    assert "pip install 'squeezerl[train]'" in str(RUNTIMES.get("sb3").problem())
    assert RUNTIMES.get("torch").problem() is None


def test_it_turns_into_json(diagnosis: Diagnosis) -> None:
    data = json.loads(json.dumps(to_json(diagnosis), allow_nan=False))
    assert data["host"]["cpu"] == diagnosis.host.cpu
