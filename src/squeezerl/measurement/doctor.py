"""What can be measured on this machine, and what prevents the rest."""

from __future__ import annotations

from dataclasses import dataclass

from squeezerl.host.facts import host_facts
from squeezerl.measurement.meters.choose import choose_meter, open_meter, sensor_statuses
from squeezerl.measurement.meters.meter import SensorStatus
from squeezerl.measurement.noise import Noise, measure_noise
from squeezerl.records import Host
from squeezerl.runtimes.base import RUNTIMES

_BUSY_LOAD = 0.5
_QUIET_GOVERNORS = ("performance", None)


@dataclass(frozen=True, kw_only=True)
class RuntimeStatus:
    """Whether policies can be profiled in a runtime; if not, `problem` says why."""

    name: str
    version: str | None
    problem: str | None


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """This machine as a place for measurements. `energy` is the meter `profile` will choose."""

    host: Host
    noise: Noise
    runtimes: tuple[RuntimeStatus, ...]
    sensors: tuple[SensorStatus, ...]
    energy: str | None
    energy_problem: str | None

    @property
    def advice(self) -> tuple[str, ...]:
        """What would make measurements better, most important first."""
        advice = []
        if self.noise.trouble:
            advice.append(f"timings will not be stable: {self.noise.trouble}")
        if self.host.load is not None and self.host.load > _BUSY_LOAD:
            advice.append(f"the load is {self.host.load:.2f}: stop other work while measuring")
        if self.host.governor not in _QUIET_GOVERNORS:
            advice.append(
                f"the clock rate follows the load (governor {self.host.governor}): "
                "sudo cpupower frequency-set --governor performance"
            )
        if self.host.cores_available == 1:
            advice.append("there is one core only: any other work will disturb the measurement")
        if self.energy_problem:
            advice.append(f"no energy: {self.energy_problem}")
        return tuple(advice)


def diagnose() -> Diagnosis:
    """Examine this machine, which takes a few seconds.

    Raises:
        MeasurementError: if the machine's noise could not be measured.
    """
    host = host_facts()
    config, problem = choose_meter(host)
    return Diagnosis(
        host=host,
        noise=measure_noise(),
        runtimes=tuple(
            RuntimeStatus(name=runtime.name, version=runtime.version, problem=runtime.problem())
            for runtime in RUNTIMES
        ),
        sensors=sensor_statuses(host),
        energy=None if config is None else open_meter(config).description,
        energy_problem=problem,
    )
