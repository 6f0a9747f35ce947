"""The contract of an energy meter, and the registry in which each meter registers itself.

To add a meter, write a module that defines a subclass of `EnergyMeter` and registers it:

    METERS.register(WallPlugMeter.name, WallPlugMeter)

From outside the package, load that module as a plugin (`squeezerl.registry`); then
`squeezerl profile --energy NAME` uses it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from squeezerl.errors import MeasurementError, SqueezeRLError
from squeezerl.registry import Registry

if TYPE_CHECKING:
    from squeezerl.records import Host


@dataclass(frozen=True, kw_only=True)
class SensorStatus:
    """Whether this machine has a sensor; if not, `problem` says why and what to do about it."""

    name: str
    available: bool
    description: str
    problem: str | None


class EnergyMeter(ABC):
    """A counter of joules. The constructor opens the sensor, or raises a `MeasurementError`.

    The attributes of the class describe every meter of its kind:
        name: what `energy` (`--energy`) calls it.
        reads: what it measures, in a few words.
        estimated: whether its joules are an estimate instead of a sensor's reading.
        machine_wide: whether it counts other work too, so that idle power has to be subtracted.
        min_window_s: the shortest window over which the sensor's update rate gives a usable figure.
        automatic: whether `energy="auto"` may choose it.
        on_gpu: whether it measures a GPU; such a meter serves the runtimes on GPUs, and only them.
    """

    name: ClassVar[str]
    reads: ClassVar[str]
    estimated: ClassVar[bool] = False
    machine_wide: ClassVar[bool] = True
    min_window_s: ClassVar[float]
    automatic: ClassVar[bool] = False
    on_gpu: ClassVar[bool] = False

    description: str
    """What exactly this meter adds up on this machine."""

    @abstractmethod
    def read_j(self) -> float:
        """Joules since an arbitrary point in time; never falls.

        Raises:
            MeasurementError: if the sensor cannot be read any more.
        """

    @classmethod
    def settings_for(cls, host: Host) -> dict[str, Any]:
        """The constructor's arguments on this machine, as JSON; another process opens it with them.

        Raises:
            SqueezeRLError: if the meter cannot be used here; the message says why.
        """
        cls()
        return {}

    @classmethod
    def status(cls, host: Host) -> SensorStatus:
        """Whether the meter works here, found by opening it."""
        try:
            description, problem = cls(**cls.settings_for(host)).description, None
        except SqueezeRLError as error:
            description, problem = cls.reads, str(error)
        return SensorStatus(
            name=cls.name, available=problem is None, description=description, problem=problem
        )


def _import_built_in() -> None:
    from squeezerl.measurement.meters import battery, cpu_time, nvml, rapl, soc  # noqa: F401


METERS: Registry[type[EnergyMeter]] = Registry("energy meter", built_in=_import_built_in)


def never_falling(source: str, before_j: float, now_j: float) -> float:
    """Return `now_j`, unless it is less than `before_j`.

    A counter that never wraps and yet fell was reset, and the joules in between are lost.
    """
    if now_j < before_j:
        raise MeasurementError(
            f"{source} fell from {before_j:.3f} J to {now_j:.3f} J: it was reset (a driver that "
            "was reloaded, a suspend), and what was used meanwhile is unknown. Measure again."
        )
    return now_j
