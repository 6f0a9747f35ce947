"""Which energy meter a measurement uses on this machine, or why there is none."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from squeezerl.errors import InvalidArgumentError, SqueezeRLError
from squeezerl.measurement.meters.cpu_time import CpuTimeMeter
from squeezerl.measurement.meters.meter import METERS, EnergyMeter, SensorStatus
from squeezerl.records import Host


@dataclass(frozen=True, kw_only=True)
class MeterConfig:
    """A meter's name and the arguments of its constructor, as JSON for another process."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)


def energy_choices() -> tuple[str, ...]:
    """What `energy` may be. Runtimes on a GPU get its meter without being asked."""
    return ("auto", "none", *(meter.name for meter in _meters() if not meter.on_gpu))


def choose_meter(
    host: Host, *, energy: str = "auto", watts_per_core: float | None = None
) -> tuple[MeterConfig | None, str | None]:
    """The meter for code on the CPU, or `None` and the reason.

    Args:
        host: this machine.
        energy: "auto" takes a sensor if there is one (not the battery, which needs minutes for each
            policy), else an estimate from the processor's rated power; "none"; or a meter's name.
        watts_per_core: if given, energy is estimated from CPU time with it, sensor or not.

    Raises:
        InvalidArgumentError: if the choice is unknown, or the watts are out of range.
        MeasurementError: if the meter that was asked for is not available here.
    """
    if energy not in energy_choices():
        raise InvalidArgumentError(
            f"`energy` {energy!r} is not one of {', '.join(energy_choices())}"
        )
    if watts_per_core is not None:
        if energy not in ("auto", CpuTimeMeter.name):
            raise InvalidArgumentError(
                "`watts_per_core` is for the estimate from CPU time only, "
                f"not for `energy` {energy!r}"
            )
        settings: dict[str, Any] = {"watts_per_core": watts_per_core, "how": "given"}
        CpuTimeMeter(**settings)  # checks the number before anything is measured
        return MeterConfig(name=CpuTimeMeter.name, settings=settings), None
    if energy == "none":
        return None, "not asked for"
    if energy != "auto":
        return _config(METERS.get(energy), host), None
    return _first_available([meter for meter in _meters() if meter.automatic], host)


def choose_gpu_meter(host: Host) -> tuple[MeterConfig | None, str | None]:
    """The meter of the GPU that torch sees first, or `None` and the reason."""
    return _first_available([meter for meter in _meters() if meter.on_gpu], host)


def open_meter(config: MeterConfig) -> EnergyMeter:
    """The meter of a configuration, opened.

    Raises:
        InvalidArgumentError: if there is no such meter.
        MeasurementError: if it is not available here.
    """
    return METERS.get(config.name)(**config.settings)


def sensor_statuses(host: Host) -> tuple[SensorStatus, ...]:
    """Each sensor and whether it is available here. Estimates are not listed."""
    return tuple(meter.status(host) for meter in _meters() if not meter.estimated)


def _meters() -> list[type[EnergyMeter]]:
    """All meters, the best first: sensors before estimates, short windows before long ones."""
    return sorted(METERS, key=lambda meter: (meter.estimated, meter.min_window_s, meter.name))


def _config(meter: type[EnergyMeter], host: Host) -> MeterConfig:
    return MeterConfig(name=meter.name, settings=meter.settings_for(host))


def _first_available(
    meters: Iterable[type[EnergyMeter]], host: Host
) -> tuple[MeterConfig | None, str | None]:
    problem = None
    for meter in meters:
        try:
            return _config(meter, host), None
        except SqueezeRLError as error:
            problem = str(error)
    return None, problem
