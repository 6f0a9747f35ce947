"""What every energy meter offers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from squeezerl.errors import MeasurementError


class EnergyMeter(Protocol):
    """A counter of joules.

    `description` says what exactly is summed. An `estimated` meter is no sensor. A `machine_wide`
    one counts other work too, so the idle power has to be subtracted. `min_window_s` is the
    shortest window that the sensor's update rate makes meaningful.
    """

    name: str
    description: str
    estimated: bool
    machine_wide: bool
    min_window_s: float

    def read_j(self) -> float:
        """Joules since an arbitrary point; never falls."""
        ...


@dataclass(frozen=True, kw_only=True)
class SensorStatus:
    """Whether this machine has a sensor; `problem` says why not, and what to do about it."""

    name: str
    available: bool
    description: str
    problem: str | None


def never_falling(source: str, before_j: float, now_j: float) -> float:
    """`now_j`; a counter without wraps that fell was reset, and the joules between are lost."""
    if now_j < before_j:
        raise MeasurementError(
            f"{source} fell from {before_j:.3f} J to {now_j:.3f} J: it was reset (a driver that "
            "was reloaded, a suspend), and what was used meanwhile is unknown. Measure again."
        )
    return now_j
