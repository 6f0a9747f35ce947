"""Which meter a measurement uses on this machine, or why there is none."""

from __future__ import annotations

import os

from squeezerl.errors import InvalidArgumentError, MeasurementError
from squeezerl.measurement.energy.config import METER_NAMES, MeterConfig
from squeezerl.measurement.energy.cpu_time import CpuTimeMeter
from squeezerl.measurement.energy.nvml import NvmlMeter
from squeezerl.measurement.energy.rated_power import rated_watts_per_core
from squeezerl.measurement.energy.sensors import best_cpu_meter, open_meter
from squeezerl.records import Host

# A GPU's counter is for runtimes on the GPU, which get it by themselves.
ENERGY_CHOICES = ("auto", "none", *(name for name in METER_NAMES if name != "nvml"))


def choose_meter(
    host: Host, *, energy: str = "auto", watts_per_core: float | None = None
) -> tuple[MeterConfig | None, str | None]:
    """The meter for code on the CPU, or `None` and the reason.

    Args:
        host: this machine.
        energy: "auto" takes a sensor if there is one (not the battery), else an estimate from the
            processor's rated power; "none"; or a meter's name.
        watts_per_core: if given, the estimate is made with it in any case.

    Raises:
        InvalidArgumentError: if the choice is unknown, or the watts are out of range.
        MeasurementError: if the meter that was asked for is not here.
    """
    if energy not in ENERGY_CHOICES:
        raise InvalidArgumentError(f"energy {energy!r} is not one of {', '.join(ENERGY_CHOICES)}")
    if watts_per_core is not None:
        if energy not in ("auto", "cpu-time"):
            raise InvalidArgumentError("--watts-per-core is for the estimate from CPU time only")
        CpuTimeMeter(watts_per_core, "given")  # checks the number before anything is measured
        return MeterConfig(name="cpu-time", watts_per_core=watts_per_core, how="given"), None
    if energy == "none":
        return None, "not asked for"
    if energy == "auto" and (sensor := best_cpu_meter()) is not None:
        return MeterConfig(name=sensor.name), None
    if energy in ("auto", "cpu-time"):
        return _estimate(host, must=energy == "cpu-time")
    open_meter(MeterConfig(name=energy))
    return MeterConfig(name=energy), None


def _estimate(host: Host, *, must: bool) -> tuple[MeterConfig | None, str | None]:
    # The rated power is that of one processor; unknown sockets are most often one.
    cores = host.physical_cores and host.physical_cores // (host.sockets or 1)
    try:
        watts, how = rated_watts_per_core(
            host.cpu, cores, virtual_machine=bool(host.virtual_machine)
        )
    except MeasurementError as error:
        if must:
            raise
        return None, str(error)
    return MeterConfig(name="cpu-time", watts_per_core=watts, how=how), None


def choose_gpu_meter() -> tuple[MeterConfig | None, str | None]:
    """The counter of the GPU that torch sees first, or `None` and the reason."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    if not first.isdecimal():
        return None, f"CUDA_VISIBLE_DEVICES names the GPU {first!r}; give its number instead"
    try:
        NvmlMeter(int(first))
    except (MeasurementError, InvalidArgumentError) as error:
        return None, str(error)
    return MeterConfig(name="nvml", gpu_index=int(first)), None
