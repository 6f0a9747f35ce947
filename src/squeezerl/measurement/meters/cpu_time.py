"""Joules without a sensor: an estimate from CPU time and watts per core.

Unless the user gives them, the watts per core come from the processor's rated power (TDP) in
CodeCarbon's table.
"""

from __future__ import annotations

import csv
import importlib.util
import math
import re
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from squeezerl.errors import InvalidArgumentError, MeasurementError
from squeezerl.measurement.meters.meter import METERS, EnergyMeter

if TYPE_CHECKING:
    from squeezerl.records import Host

# No core draws nearly as much: a larger number is a mistake in the unit.
_MOST_WATTS = 1000.0
_ADVICE = (
    "Give the watts of one core as watts_per_core (--watts-per-core), or use a machine with a "
    "sensor."
)
# What /proc/cpuinfo has around the model's name and the table mostly has not.
_AROUND_THE_MODEL = re.compile(
    r"""\((r|tm)\)              # Intel(R) Core(TM)
    | \(oem\ only\)             # only in the table
    | \b\d+th\ gen\b            # 13th Gen Intel ...
    | \bcpu\b
    | (\b\w+-core\ )?\bprocessor\b  # 8-Core Processor, Eight-Core Processor
    | @.*                       # @ 2.40GHz
    | \bw(ith|/)\ (amd\ )?radeon.*  # with Radeon Graphics, w/ Radeon 780M
    """,
    re.VERBOSE,
)
# The table lists these too, but they name a core's design, which many different chips share.
_NO_CHIP = re.compile(r"armv\d|cortex-")


class CpuTimeMeter(EnergyMeter):
    """CPU seconds of this process, all threads, times `watts_per_core`.

    `how` says where the watts come from. The estimate ignores clock rate, memory and idle power,
    and counts the two threads of one core as two cores: it is good for comparing policies on one
    machine, not for an electricity bill.
    """

    name = "cpu-time"
    reads = "CPU time of the measuring process"
    estimated = True
    machine_wide = False
    automatic = True
    # Windows counts CPU time in steps of 15.6 ms, 1.6 % of a second; Linux and macOS in 1 µs.
    min_window_s = 1.0

    def __init__(
        self, watts_per_core: float, how: str, clock: Callable[[], float] = time.process_time
    ) -> None:
        is_number = isinstance(watts_per_core, int | float) and not isinstance(watts_per_core, bool)
        # NaN fails every comparison.
        if not is_number or not 0 < watts_per_core <= _MOST_WATTS:
            raise InvalidArgumentError(
                f"`watts_per_core` is {watts_per_core!r}; it has to be a number above 0, at most "
                f"{_MOST_WATTS:g}. A processor's rated power over its cores is some 2 to 20."
            )
        self._watts = float(watts_per_core)
        self._clock = clock
        self.description = f"estimate: CPU time x {self._watts:g} W per core ({how})"

    def read_j(self) -> float:
        """Joules since the process began."""
        return self._watts * self._clock()

    @classmethod
    def settings_for(cls, host: Host) -> dict[str, Any]:
        """The rated watts of the host's processor over its cores."""
        # The rated power is that of one processor. If the number of sockets is unknown, it is most
        # often one.
        cores = host.physical_cores and host.physical_cores // (host.sockets or 1)
        watts, how = rated_watts_per_core(
            host.cpu, cores, virtual_machine=bool(host.virtual_machine)
        )
        return {"watts_per_core": watts, "how": how}


def rated_watts_per_core(
    cpu_model: str, physical_cores: int | None, *, virtual_machine: bool
) -> tuple[float, str]:
    """The processor's rated power (TDP) in watts divided by its cores, and how that was found.

    `physical_cores` are those of one processor (one socket). The table has to contain exactly this
    model. Hybrid processors (Intel since the 12th generation) have no single figure per core: a
    performance core draws several times as much as an efficiency core, and this is the mean.
    """
    if virtual_machine:
        raise MeasurementError(
            f"In a virtual machine the number of cores of the processor ({cpu_model}) is unknown, "
            f"so its rated power cannot be divided. {_ADVICE}"
        )
    if physical_cores is None:
        raise MeasurementError(
            f"The number of physical cores of the processor ({cpu_model}) is unknown, so its rated "
            f"power cannot be divided. {_ADVICE}"
        )
    if physical_cores < 1:
        raise InvalidArgumentError(f"physical_cores is {physical_cores}; there is at least 1.")
    watts = _rated_watts(cpu_model)
    how = (
        f"rated {watts:g} W of the {cpu_model} over {physical_cores} cores, "
        f"CodeCarbon {version('codecarbon')}"
    )
    return watts / physical_cores, how


def _rated_watts(cpu_model: str) -> float:
    wanted = _normalized(cpu_model)
    rated = set()
    with _table().open(encoding="utf-8", newline="") as file:
        for row in csv.reader(file):
            if len(row) == 2 and _normalized(row[0]) == wanted and not _NO_CHIP.match(wanted):
                rated.add(row[1])
    # Some rows hold "27.29.5" or 0, and a few models are listed twice with different watts.
    found = {_watts(text) for text in rated}
    watts = found.pop() if len(found) == 1 else None
    if watts is None:
        how = f"unclear ({', '.join(sorted(rated))})" if rated else "not"
        raise MeasurementError(
            f"The rated power of {cpu_model!r} is {how} in CodeCarbon's table. {_ADVICE}"
        )
    return watts


def _watts(text: str) -> float | None:
    try:
        watts = float(text)
    except ValueError:
        return None
    return watts if 0 < watts < math.inf else None


def _normalized(name: str) -> str:
    words = " ".join(name.lower().split())
    # AMD FX(tm)-8350
    return " ".join(_AROUND_THE_MODEL.sub(" ", words).split()).replace(" -", "-")


def _table() -> Path:
    # Importing codecarbon takes seconds, and only its table is needed.
    spec = importlib.util.find_spec("codecarbon")
    for folder in (spec and spec.submodule_search_locations) or ():
        table = Path(folder) / "data" / "hardware" / "cpu_power.csv"
        if table.is_file():
            return table
    raise MeasurementError(
        "The table of rated powers is part of the package codecarbon, which is not installed, or "
        f"in a version without it: pip install 'codecarbon>=3'. {_ADVICE}"
    )


METERS.register(CpuTimeMeter.name, CpuTimeMeter)
