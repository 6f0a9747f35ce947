from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from fake_nvml import FakeNvml

from made_profiles import HOST
from squeezerl.errors import InvalidArgumentError, MeasurementError
from squeezerl.measurement.energy import choose
from squeezerl.measurement.energy.choose import choose_gpu_meter, choose_meter
from squeezerl.measurement.energy.nvml import NvmlMeter
from squeezerl.measurement.energy.rapl import RaplMeter

KNOWN = dataclasses.replace(
    HOST, cpu="Intel(R) Xeon(R) Gold 6148 CPU @ 2.40GHz", physical_cores=40, sockets=2
)


@pytest.fixture(autouse=True)
def no_sensor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "best_cpu_meter", lambda: None)


def test_watts_that_are_given_make_an_estimate() -> None:
    config, problem = choose_meter(HOST, watts_per_core=4.5)
    assert config is not None
    assert (config.name, config.watts_per_core, config.how) == ("cpu-time", 4.5, "given")
    assert problem is None


def test_rated_power_is_shared_by_the_cores_of_one_socket() -> None:
    config, problem = choose_meter(KNOWN)
    assert config is not None
    assert config.watts_per_core == pytest.approx(150 / 20)
    assert problem is None


def test_without_sensor_and_rating_there_is_none_and_a_reason() -> None:
    guest = dataclasses.replace(KNOWN, virtual_machine=True)
    config, problem = choose_meter(guest)
    assert config is None
    assert problem is not None
    assert "--watts-per-core" in problem
    with pytest.raises(MeasurementError, match="--watts-per-core"):
        choose_meter(guest, energy="cpu-time")


def test_a_sensor_is_taken_before_any_estimate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fake_sysfs import add_zone

    add_zone(tmp_path, "intel-rapl:0", "package-0")
    monkeypatch.setattr(choose, "best_cpu_meter", lambda: RaplMeter(tmp_path))
    config, problem = choose_meter(KNOWN)
    assert config is not None
    assert config.name == "rapl"
    assert problem is None
    given, _ = choose_meter(KNOWN, watts_per_core=3.0)
    assert given is not None
    assert given.name == "cpu-time"


def test_nothing_is_measured_if_nothing_is_asked_for() -> None:
    assert choose_meter(KNOWN, energy="none") == (None, "not asked for")


def test_a_meter_that_is_asked_for_must_be_there() -> None:
    with pytest.raises(MeasurementError, match="No battery"):
        choose_meter(HOST, energy="battery")


@pytest.mark.parametrize(
    ("energy", "watts", "message"),
    [
        ("solar", None, "'solar' is not one of auto, none, rapl"),
        ("rapl", 4.0, "for the estimate from CPU time only"),
        ("none", 4.0, "for the estimate from CPU time only"),
        ("auto", 0.0, "watts_per_core"),
        ("auto", float("nan"), "watts_per_core"),
    ],
)
def test_choices_that_make_no_sense(energy: str, watts: float | None, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        choose_meter(HOST, energy=energy, watts_per_core=watts)


def test_the_gpu_is_the_one_that_torch_sees_first(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def open_gpu(index: int) -> NvmlMeter:
        opened.append(index)
        return NvmlMeter(0, FakeNvml())

    monkeypatch.setattr(choose, "NvmlMeter", open_gpu)
    for visible, expected in ((None, 0), ("2,0", 2), ("1", 1)):
        if visible is None:
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        else:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        config, problem = choose_gpu_meter()
        assert config is not None
        assert config.gpu_index == expected
        assert problem is None
    assert opened == [0, 2, 1]


def test_a_gpu_by_another_name_is_not_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-8932f937")
    config, problem = choose_gpu_meter()
    assert config is None
    assert problem is not None
    assert "GPU-8932f937" in problem
