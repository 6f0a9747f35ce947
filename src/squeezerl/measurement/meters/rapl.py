"""Joules of the processor and its memory from RAPL, the counters of Intel and AMD processors.

Linux shows them in https://docs.kernel.org/power/powercap/powercap.html, AMD's under Intel's name.
"""

from __future__ import annotations

import re
from pathlib import Path

from squeezerl.errors import MeasurementError
from squeezerl.measurement.meters.meter import METERS, EnergyMeter
from squeezerl.measurement.meters.sysfs import folders, read_count, read_word

POWERCAP = Path("/sys/class/powercap")
# Only these: `intel-rapl-mmio:0` is the same package through another interface.
_ZONE = re.compile(r"intel-rapl:(\d+)(?::(\d+))?")


class RaplMeter(EnergyMeter):
    """Sum of the packages and their DRAM.

    Not summed: core and uncore (parts of the package) and psys (the whole platform, so the
    packages a second time). One wraparound of a counter between two reads is undone; the smallest
    counter holds 65 kJ, so on a large server it has to be read every 100 s or so.
    """

    name = "rapl"
    reads = "processor and memory (Intel, AMD)"
    automatic = True
    # The counters move every millisecond: 0.1 % of a second.
    min_window_s = 1.0

    def __init__(self, root: Path | None = None) -> None:
        root = root or POWERCAP
        self._zones = _without_mirrors(_zones(root))
        if not self._zones:
            raise MeasurementError(
                f"No RAPL package under {root}. Virtual machines, containers, ARM processors and "
                "systems other than Linux have none; on a Linux host with an Intel or AMD "
                "processor, load the driver: sudo modprobe intel_rapl_msr"
            )
        self.description = "RAPL " + ", ".join(zone.name for zone in self._zones)

    def read_j(self) -> float:
        """Joules since the meter was made."""
        return sum(zone.advance_uj() for zone in self._zones) / 1e6


class _Zone:
    """One counter in microjoules, with its wraparounds undone."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self._file = folder / "energy_uj"
        self._range_uj = read_count(folder / "max_energy_range_uj")
        self._last_uj = self.counter_uj()
        self._used_uj = 0

    def counter_uj(self) -> int:
        zones = self._file.parent.parent / "intel-rapl:*"
        counter_uj = read_count(
            self._file,
            if_forbidden=f"Linux shows it to root only; until the next start of the machine, "
            f"allow it to everybody with: sudo chmod a+r {zones}/energy_uj",
        )
        if counter_uj > self._range_uj:
            raise MeasurementError(
                f"{self._file} holds {counter_uj}, more than its max_energy_range_uj of "
                f"{self._range_uj}: its driver is broken. Use another meter."
            )
        return counter_uj

    def advance_uj(self) -> int:
        """Microjoules since the zone was opened."""
        now_uj = self.counter_uj()
        rise_uj = now_uj - self._last_uj
        self._used_uj += rise_uj if rise_uj >= 0 else rise_uj + self._range_uj
        self._last_uj = now_uj
        return self._used_uj


def _zones(root: Path) -> list[_Zone]:
    found = [(match, folder) for folder in folders(root) if (match := _ZONE.fullmatch(folder.name))]
    # A package comes before its parts, and 2 before 10.
    found.sort(key=lambda item: (int(item[0][1]), int(item[0][2] or -1)))
    packages: dict[str, str] = {}
    zones = []
    for match, folder in found:
        name = read_word(folder / "name")
        if match[2] is None and name.startswith("package"):
            packages[match[1]] = name
            zones.append(_Zone(folder, name))
        elif match[2] is not None and name == "dram" and match[1] in packages:
            zones.append(_Zone(folder, f"dram of {packages[match[1]]}"))
    return zones


def _without_mirrors(zones: list[_Zone]) -> list[_Zone]:
    """The zones without those that show the counter of another one.

    The dies of one old AMD package (package-0-die-0, package-0-die-1) all show the counter of the
    whole package, so a sum would count it once for each die. Between two reads of one counter, only
    a mirror of it shows a value between the two. See https://github.com/mlco2/codecarbon/issues/1274
    """
    kept: list[_Zone] = []
    for zone in zones:
        package, die, _ = zone.name.partition("-die-")
        siblings = [other for other in kept if die and other.name.startswith(package + die)]
        if not any(_is_mirror(zone, sibling) for sibling in siblings):
            kept.append(zone)
    return kept


def _is_mirror(zone: _Zone, other: _Zone) -> bool:
    before, here, after = other.counter_uj(), zone.counter_uj(), other.counter_uj()
    return 0 < before <= here <= after


METERS.register(RaplMeter.name, RaplMeter)
