from __future__ import annotations

import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import pytest
from meter_contract import EnergyMeterContract

from made_profiles import HOST
from squeezerl.errors import InvalidArgumentError
from squeezerl.measurement.meters.cpu_time import CpuTimeMeter
from squeezerl.records import Host

KNOWN = dataclasses.replace(
    HOST, cpu="Intel(R) Xeon(R) Gold 6148 CPU @ 2.40GHz", physical_cores=40, sockets=2
)


class TestCpuTimeMeter(EnergyMeterContract):
    meter = CpuTimeMeter

    def host_with(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
        return KNOWN

    def host_without(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
        return dataclasses.replace(KNOWN, virtual_machine=True)


def test_rated_power_is_shared_by_the_cores_of_one_socket() -> None:
    settings = CpuTimeMeter.settings_for(KNOWN)
    assert settings["watts_per_core"] == pytest.approx(150 / 20)


def test_cpu_seconds_times_watts() -> None:
    times_s = iter([10.0, 12.5])
    meter = CpuTimeMeter(4.4, "given", clock=lambda: next(times_s))
    before_j = meter.read_j()
    assert meter.read_j() - before_j == pytest.approx(2.5 * 4.4)


def test_it_says_that_it_is_an_estimate_and_how() -> None:
    meter = CpuTimeMeter(4.4, "given")
    assert meter.description == "estimate: CPU time x 4.4 W per core (given)"
    assert (meter.name, meter.estimated, meter.machine_wide) == ("cpu-time", True, False)


def test_joules_grow_with_work_and_hardly_in_sleep() -> None:
    meter = CpuTimeMeter(10, "given")
    start_j = meter.read_j()
    time.sleep(0.3)
    slept_j = meter.read_j() - start_j
    before_j, until = meter.read_j(), time.process_time() + 0.3
    while time.process_time() < until:
        math.factorial(200)
    worked_j = meter.read_j() - before_j
    assert 0 <= slept_j < 0.5
    assert 3.0 <= worked_j < 4.0


@pytest.mark.parametrize("watts", [0, -1.0, math.nan, math.inf, -math.inf, 1000.1, "4.4", True])
def test_impossible_watts_are_refused(watts: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="watts_per_core"):
        CpuTimeMeter(watts, "given")


@pytest.mark.parametrize("watts", [1e-3, 1, 1000])
def test_the_ends_of_the_range_are_allowed(watts: float) -> None:
    CpuTimeMeter(watts, "given")
