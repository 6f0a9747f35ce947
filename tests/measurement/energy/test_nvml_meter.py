from __future__ import annotations

from types import SimpleNamespace

import pytest
from fake_nvml import FakeNvml

from squeezerl.errors import InvalidArgumentError, MeasurementError
from squeezerl.measurement.energy.nvml import NvmlMeter, gpu_process_memory_bytes
from squeezerl.measurement.energy.sensors import sensor_statuses


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
def test_memory_that_the_driver_does_not_tell_is_unknown(untold: int | None) -> None:
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
    problem = sensor_statuses()[2].problem
    if problem is None:
        assert NvmlMeter().read_j() > 0
    else:
        with pytest.raises(MeasurementError, match=r"NVIDIA|nvidia-smi|Volta"):
            NvmlMeter()
