"""Which meter a measurement uses on this machine, or why there is none."""

from __future__ import annotations

from squeezerl.errors import MeasurementError
from squeezerl.measurement.energy.config import MeterConfig
from squeezerl.measurement.energy.cpu_time import CpuTimeMeter
from squeezerl.measurement.energy.nvml import NvmlMeter
from squeezerl.measurement.energy.rated_power import rated_watts_per_core
from squeezerl.measurement.energy.sensors import best_cpu_meter
from squeezerl.records import Host


def choose_meter(
    host: Host, *, watts_per_core: float | None = None
) -> tuple[MeterConfig | None, str | None]:
    """A sensor if there is one, else an estimate; else `None` and the reason.

    Args:
        host: this machine.
        watts_per_core: if given, the estimate is used in any case.

    Raises:
        InvalidArgumentError: if the watts are out of range.
    """
    if watts_per_core is not None:
        CpuTimeMeter(watts_per_core, "given")  # checks the number before anything is measured
        return MeterConfig(name="cpu-time", watts_per_core=watts_per_core, how="given"), None
    if (sensor := best_cpu_meter()) is not None:
        return MeterConfig(name=sensor.name), None
    # The rated power is that of one processor; unknown sockets are most often one.
    cores = host.physical_cores and host.physical_cores // (host.sockets or 1)
    try:
        watts, how = rated_watts_per_core(
            host.cpu, cores, virtual_machine=bool(host.virtual_machine)
        )
    except MeasurementError as error:
        return None, str(error)
    return MeterConfig(name="cpu-time", watts_per_core=watts, how=how), None


def choose_gpu_meter() -> MeterConfig | None:
    """The first GPU's counter, if there is one."""
    try:
        return MeterConfig(name=NvmlMeter().name)
    except MeasurementError:
        return None
