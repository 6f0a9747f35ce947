"""Which sensors this machine has, and opening one by name."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from squeezerl.errors import MeasurementError
from squeezerl.measurement.energy.battery import BatteryMeter
from squeezerl.measurement.energy.config import MeterConfig
from squeezerl.measurement.energy.cpu_time import CpuTimeMeter
from squeezerl.measurement.energy.meter import EnergyMeter, SensorStatus
from squeezerl.measurement.energy.nvml import NvmlMeter
from squeezerl.measurement.energy.rapl import RaplMeter
from squeezerl.measurement.energy.soc import SocMeter


@dataclass(frozen=True, kw_only=True)
class SensorSources:
    """Where sensors are looked for: this machine's, unless a test gives its own."""

    powercap: Path = Path("/sys/class/powercap")
    power_supply: Path = Path("/sys/class/power_supply")
    nvml: Any = None
    soc: Any = None


_THIS_MACHINE = SensorSources()


def sensor_statuses(sources: SensorSources = _THIS_MACHINE) -> tuple[SensorStatus, ...]:
    """Every sensor, tried: RAPL, Zeus (Apple silicon or Jetson), NVML (GPU 0), battery."""
    zeus = "zeus-apple" if sys.platform == "darwin" else "zeus-jetson"
    return (
        _status("rapl", "processor and memory (Intel, AMD)", lambda: RaplMeter(sources.powercap)),
        _status(zeus, "Apple silicon or NVIDIA Jetson", lambda: SocMeter(sources.soc)),
        _status("nvml", "NVIDIA GPU", lambda: NvmlMeter(nvml=sources.nvml)),
        _status("battery", "whole machine", lambda: BatteryMeter(sources.power_supply)),
    )


def open_meter(config: MeterConfig, sources: SensorSources = _THIS_MACHINE) -> EnergyMeter:
    """The meter of that name; `MeasurementError` where this machine does not have it."""
    if config.watts_per_core is not None and config.how is not None:
        return CpuTimeMeter(config.watts_per_core, config.how)
    match config.name:
        case "rapl":
            return RaplMeter(sources.powercap)
        case "nvml":
            return NvmlMeter(config.gpu_index, sources.nvml)
        case "battery":
            return BatteryMeter(sources.power_supply)
    meter = SocMeter(sources.soc)
    if meter.name != config.name:
        raise MeasurementError(f"This machine has {meter.name}, not {config.name}: ask for that.")
    return meter


def best_cpu_meter(sources: SensorSources = _THIS_MACHINE) -> EnergyMeter | None:
    """The sensor for code that runs on the CPU: the one nearest to it, or `None`.

    Never the battery, which takes minutes for each policy: it is for those who ask for it.
    """
    openers: tuple[Callable[[], EnergyMeter], ...] = (
        lambda: RaplMeter(sources.powercap),
        lambda: SocMeter(sources.soc),
    )
    for opener in openers:
        try:
            return opener()
        except MeasurementError:
            continue
    return None


def _status(name: str, description: str, opener: Callable[[], EnergyMeter]) -> SensorStatus:
    try:
        meter = opener()
    except MeasurementError as problem:
        return SensorStatus(
            name=name, available=False, description=description, problem=str(problem)
        )
    return SensorStatus(
        name=meter.name, available=True, description=meter.description, problem=None
    )
