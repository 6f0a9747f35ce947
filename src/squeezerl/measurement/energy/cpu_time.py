"""Joules without a sensor: an estimate from CPU time."""

from __future__ import annotations

import time
from collections.abc import Callable

from squeezerl.errors import InvalidArgumentError

# No core draws nearly as much; more is a mistake in the unit.
_MOST_WATTS = 1000.0


class CpuTimeMeter:
    """CPU seconds of this process, all threads, times `watts_per_core`; `how` says where from.

    It knows nothing of clock rate, memory or idle power, and takes the two threads of one core for
    two cores: good for comparing policies on one machine, not for an electricity bill.
    """

    name = "cpu-time"
    estimated = True
    machine_wide = False
    # Windows counts CPU time in steps of 15.6 ms, 1.6 % of a second; Linux and macOS in 1 µs.
    min_window_s = 1.0

    def __init__(
        self, watts_per_core: float, how: str, clock: Callable[[], float] = time.process_time
    ) -> None:
        is_number = isinstance(watts_per_core, int | float) and not isinstance(watts_per_core, bool)
        # NaN fails every comparison.
        if not is_number or not 0 < watts_per_core <= _MOST_WATTS:
            raise InvalidArgumentError(
                f"watts_per_core is {watts_per_core!r}; it has to be a number above 0, at most "
                f"{_MOST_WATTS:g}. A processor's rated power over its cores is some 2 to 20."
            )
        self._watts = float(watts_per_core)
        self._clock = clock
        self.description = f"estimate: CPU time x {self._watts:g} W per core ({how})"

    def read_j(self) -> float:
        """Joules since the process began."""
        return self._watts * self._clock()
