"""Watts per core from a processor's rated power (TDP), after CodeCarbon's table."""

from __future__ import annotations

import csv
import importlib.util
import math
import re
from importlib.metadata import version
from pathlib import Path

from squeezerl.errors import InvalidArgumentError, MeasurementError

_ADVICE = "Give the watts of one core with --watts-per-core, or use a machine with a sensor."
# What Linux writes around the model in /proc/cpuinfo, and the table mostly does not.
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
# The table has these too, but they name a core's design: any number of different chips.
_NO_CHIP = re.compile(r"armv\d|cortex-")


def rated_watts_per_core(
    cpu_model: str, physical_cores: int | None, *, virtual_machine: bool
) -> tuple[float, str]:
    """Rated watts of the processor over its cores, and how that was found.

    `physical_cores` are those of one processor (one socket). The model has to be in the table
    exactly. Hybrid processors (Intel since the 12th generation) have no single figure per core: a
    performance core draws several times an efficiency core, and this is the mean over both.
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
    # Some rows hold "27.29.5" or 0, and a few models stand there twice with different watts.
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
