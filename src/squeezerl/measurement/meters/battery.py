"""Joules of a whole laptop or board from its battery, where there is no finer sensor.

Linux shows it in https://docs.kernel.org/power/power_supply_class.html.
"""

from __future__ import annotations

from pathlib import Path

from squeezerl.errors import MeasurementError
from squeezerl.measurement.meters.meter import METERS, EnergyMeter
from squeezerl.measurement.meters.sysfs import folders, read_count, read_word

POWER_SUPPLY = Path("/sys/class/power_supply")
# 1 µWh is 3.6 mJ; 1 µAh is 3.6 mC, and times volts that is mJ too.
_J_PER_UWH = 3.6e-3


class BatteryMeter(EnergyMeter):
    """The energy that left the batteries, for everything that runs on them, the screen too.

    While a charger is plugged in this says nothing about what the machine draws, so the meter
    refuses to measure then.
    """

    name = "battery"
    reads = "whole machine"
    # Fuel gauges are updated every few seconds, in steps of about 10 mWh (36 J).
    min_window_s = 60.0

    def __init__(self, root: Path | None = None) -> None:
        self._root = root = root or POWER_SUPPLY
        self._batteries = [_Battery(folder) for folder in _running_on(root)]
        self.description = "fall of the battery charge: " + ", ".join(
            battery.description for battery in self._batteries
        )

    def read_j(self) -> float:
        """Joules since the meter was made."""
        if _running_on(self._root) != [battery.folder for battery in self._batteries]:
            raise MeasurementError("A battery was put in or taken out. Measure again.")
        return sum(battery.advance_j() for battery in self._batteries)


class _Battery:
    """The energy that left one battery. Its gauge may jitter upwards, so only a new low counts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if (folder / "energy_now").exists():
            self._left_file, self._voltage_file = folder / "energy_now", None
            self.description = f"{folder.name} (energy)"
        elif (folder / "charge_now").exists() and (folder / "voltage_now").exists():
            self._left_file, self._voltage_file = folder / "charge_now", folder / "voltage_now"
            self.description = f"{folder.name} (charge x voltage)"
        else:
            raise MeasurementError(
                f"{folder} has neither energy_now nor charge_now with voltage_now, so what the "
                "battery holds is unknown. Use another meter."
            )
        self._lowest = read_count(self._left_file)
        self._volts = self._read_volts()
        self._used_j = 0.0

    def advance_j(self) -> float:
        left, volts = read_count(self._left_file), self._read_volts()
        if left < self._lowest:
            mean_volts = (self._volts + volts) / 2
            self._used_j += (self._lowest - left) * _J_PER_UWH * mean_volts
            self._lowest = left
        self._volts = volts
        return self._used_j

    def _read_volts(self) -> float:
        """The battery's voltage now: charge times this voltage is the energy that leaves it.

        Not voltage_min_design: that is the lowest allowed voltage, so every figure would be too
        small. The voltage multiplies only the charge that left, never what remains in the battery:
        otherwise a voltage that sags under load would look like energy that was used.
        """
        return 1.0 if self._voltage_file is None else read_count(self._voltage_file) / 1e6


def _running_on(root: Path) -> list[Path]:
    """The machine's batteries, if it runs on them and on nothing else."""
    batteries: dict[Path, str] = {}
    for folder in folders(root):
        # Mice and headsets have batteries too: their scope is "Device".
        if _word(folder / "scope") == "Device" or _word(folder / "present") == "0":
            continue
        if _word(folder / "type") == "Battery":
            batteries[folder] = read_word(folder / "status")
        elif _word(folder / "online") not in (None, "0"):
            raise MeasurementError(_plugged(f"{folder.name} is plugged in"))
    if not batteries:
        raise MeasurementError(
            f"No battery under {root}: only Linux on a machine with a battery has one there."
        )
    for folder, status in batteries.items():
        if status == "Charging":
            raise MeasurementError(_plugged(f"{folder.name} is charging"))
    # Of two batteries, one usually rests ("Not charging") until the other is empty.
    if "Discharging" not in batteries.values():
        states = ", ".join(f"{folder.name} is {status!r}" for folder, status in batteries.items())
        raise MeasurementError(_plugged(states))
    return list(batteries)


def _plugged(what: str) -> str:
    return (
        f"The battery does not show what the machine draws: {what}. Unplug the charger, wait a "
        "minute until the status is Discharging, and leave it unplugged while measuring."
    )


def _word(path: Path) -> str | None:
    return read_word(path) if path.exists() else None


METERS.register(BatteryMeter.name, BatteryMeter)
