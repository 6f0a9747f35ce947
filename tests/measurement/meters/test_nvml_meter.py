from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_nvml import FakeNvml
from meter_contract import EnergyMeterContract

from made_profiles import HOST
from squeezerl.errors import InvalidArgumentError, MeasurementError
from squeezerl.measurement.meters.nvml import NvmlMeter, first_gpu, gpu_process_memory_bytes
from squeezerl.records import Host


class TestNvmlMeter(EnergyMeterContract):
    meter = NvmlMeter

    def host_with(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
        monkeypatch.setitem(sys.modules, "pynvml", FakeNvml())
        return HOST

    def host_without(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
        nvml = FakeNvml()
        nvml.driver = False
        monkeypatch.setitem(sys.modules, "pynvml", nvml)
        return HOST

    def test_its_status_leaves_the_library_closed(self, equipped: Host) -> None:
        self.meter.status(equipped)
        assert sys.modules["pynvml"].opened == 0


@pytest.fixture(autouse=True)
def all_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_the_gpu_is_the_one_that_torch_sees_first(monkeypatch: pytest.MonkeyPatch) -> None:
    assert first_gpu() == 0
    for visible, expected in (("2,0", 2), ("1", 1)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert first_gpu() == expected
        assert f"GPU {expected}" in NvmlMeter(nvml=FakeNvml(gpus=3)).description


def test_a_gpu_by_another_name_is_not_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-8932f937")
    with pytest.raises(MeasurementError, match="GPU-8932f937"):
        NvmlMeter(nvml=FakeNvml())


def test_millijoules_become_joules() -> None:
    meter = NvmlMeter(nvml=FakeNvml([5_000, 5_000, 7_500]))
    assert meter.read_j() == 5.0
    assert meter.read_j() == 7.5
    assert meter.description == "NVML GPU 0, whole board: NVIDIA Fake 0"
    assert (meter.name, meter.estimated, meter.machine_wide) == ("nvml", False, True)


def test_another_gpu_is_named() -> None:
    assert "GPU 1, whole board: NVIDIA Fake 1" in NvmlMeter(1, FakeNvml(gpus=2)).description


def test_the_library_stays_open_as_long_as_the_meter_lives() -> None:
    nvml = FakeNvml()
    meter, other = NvmlMeter(nvml=nvml), NvmlMeter(nvml=nvml)
    assert nvml.opened == 2
    meter.close()
    meter.close()
    assert nvml.opened == 1
    assert other.read_j() == 1.0
    del other
    assert nvml.opened == 0
    with pytest.raises(MeasurementError, match="cannot be read"):
        meter.read_j()


def test_a_gpu_without_the_counter_is_refused_and_the_library_closed() -> None:
    nvml = FakeNvml()
    nvml.counts_energy = False
    with pytest.raises(MeasurementError, match=r"older than Volta.*Not Supported"):
        NvmlMeter(nvml=nvml)
    assert nvml.opened == 0


@pytest.mark.parametrize("index", [-1, 1])
def test_a_gpu_that_is_not_there_is_refused_and_the_library_closed(index: int) -> None:
    nvml = FakeNvml()
    with pytest.raises(InvalidArgumentError, match=f"no GPU {index}: NVML counts 1"):
        NvmlMeter(index, nvml)
    assert nvml.opened == 0


def test_no_driver_and_no_gpu_are_told_apart() -> None:
    nvml = FakeNvml(gpus=0)
    with pytest.raises(MeasurementError, match="sees no GPU"):
        NvmlMeter(nvml=nvml)
    nvml.driver = False
    with pytest.raises(MeasurementError, match="No NVIDIA driver answers"):
        NvmlMeter(nvml=nvml)


def test_a_counter_that_was_reset_is_refused() -> None:
    meter = NvmlMeter(nvml=FakeNvml([5_000, 3_000]))
    with pytest.raises(MeasurementError, match=r"fell from 5.000 J to 3.000 J: it was reset"):
        meter.read_j()


def _process(pid: int, memory_bytes: int | None) -> SimpleNamespace:
    return SimpleNamespace(pid=pid, usedGpuMemory=memory_bytes)


def test_the_memory_of_a_process_is_that_of_all_its_parts() -> None:
    nvml = FakeNvml()
    nvml.processes = [_process(1, 100), _process(2, 1_000), _process(1, 30)]
    assert gpu_process_memory_bytes(1, nvml=nvml) == 130
    assert gpu_process_memory_bytes(2, nvml=nvml) == 1_000
    assert nvml.opened == 0


@pytest.mark.parametrize("untold", [None, 2**64 - 1])
def test_memory_that_the_driver_hides_is_unknown(untold: int | None) -> None:
    nvml = FakeNvml()
    nvml.processes = [_process(1, 100), _process(1, untold)]
    assert gpu_process_memory_bytes(1, nvml=nvml) is None
    assert gpu_process_memory_bytes(3, nvml=nvml) is None
    nvml.tells_processes = False
    assert gpu_process_memory_bytes(1, nvml=nvml) is None
    assert nvml.opened == 0


def test_memory_of_a_gpu_that_is_not_there_is_an_error() -> None:
    nvml = FakeNvml()
    with pytest.raises(InvalidArgumentError, match="no GPU 3"):
        gpu_process_memory_bytes(1, 3, nvml)
    assert nvml.opened == 0


def test_the_real_library_measures_or_teaches() -> None:
    problem = NvmlMeter.status(HOST).problem
    if problem is None:
        assert NvmlMeter().read_j() > 0
    else:
        with pytest.raises(MeasurementError, match=r"NVIDIA|nvidia-smi|Volta"):
            NvmlMeter()
