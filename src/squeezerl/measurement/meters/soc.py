"""Joules of Apple silicon and NVIDIA Jetson, through the library Zeus (`zeus.device.soc`)."""

from __future__ import annotations

import importlib
from typing import Any

from squeezerl.errors import MeasurementError
from squeezerl.measurement.meters.meter import METERS, EnergyMeter, never_falling

# Zeus' fields are in mJ. Cores, clusters and managers are left out: Apple's cpu_total holds them.
_APPLE_PARTS = ("cpu_total_mj", "gpu_mj", "gpu_sram_mj", "dram_mj", "ane_mj")
# The total is measured at the board's input, so it contains the other two.
_JETSON_TOTAL = ("total_energy_mj",)
_JETSON_PARTS = ("cpu_energy_mj", "gpu_energy_mj")


class AppleMeter(EnergyMeter):
    """Sum of those parts of an Apple chip that report their energy; the description names them."""

    name = "zeus-apple"
    reads = "Apple silicon"
    automatic = True
    # Apple's counters move every few milliseconds.
    min_window_s = 1.0

    def __init__(self, soc: Any = None) -> None:
        self._chip = _Chip(self.name, soc, _APPLE_PARTS)
        self.description = self._chip.description

    def read_j(self) -> float:
        """Joules since Zeus began to count."""
        return self._chip.read_j()


class JetsonMeter(EnergyMeter):
    """The input of a Jetson's board or, where that is not reported, its processor and GPU."""

    name = "zeus-jetson"
    reads = "NVIDIA Jetson"
    automatic = True
    # Zeus integrates the power ten times a second and answers with the last sum: 0.1 s of a window
    # may be missing, 2 % of 5 s.
    min_window_s = 5.0

    def __init__(self, soc: Any = None) -> None:
        self._chip = _Chip(self.name, soc, _JETSON_TOTAL, _JETSON_PARTS)
        self.description = self._chip.description

    def read_j(self) -> float:
        """Joules since Zeus began to count."""
        return self._chip.read_j()


class _Chip:
    """The sum of some fields of Zeus' measurement: of the first group whose first field is known.

    Zeus polls a Jetson from a process that it spawns, so this must not be made while a main module
    without `if __name__ == "__main__"` is being imported. That process ends with this one.
    """

    def __init__(self, meter: str, soc: Any, *groups: tuple[str, ...]) -> None:
        self._soc = _zeus_soc() if soc is None else soc
        measured = self._measured()
        if (here := _meter_of(measured)) != meter:
            raise MeasurementError(f"This machine has {here}, not {meter}: ask for that.")
        for group in groups:
            self._fields = _known(measured, group)
            if group[0] in self._fields:
                break
        else:
            raise MeasurementError(
                "This chip does not report the energy of its processor (Zeus' "
                f"{groups[-1][0]} is None). Use another meter."
            )
        self.description = f"{meter}: " + " + ".join(
            field.removesuffix("_mj").removesuffix("_energy") for field in self._fields
        )
        self._last_j = self._sum_j(measured)

    def read_j(self) -> float:
        now_j = self._sum_j(self._measured())
        self._last_j = never_falling(self.description, self._last_j, now_j)
        return self._last_j

    def _measured(self) -> Any:
        try:
            return self._soc.get_total_energy_consumption()
        # Zeus and the libraries under it raise errors of many kinds, `queue.Empty` among them.
        except Exception as problem:
            raise MeasurementError(
                f"Zeus cannot read this chip's energy: {problem!r}. Check it with: "
                "python -m zeus.show_env"
            ) from problem

    def _sum_j(self, measured: Any) -> float:
        known_mj = [getattr(measured, field) for field in _known(measured, self._fields)]
        if len(known_mj) < len(self._fields):
            raise MeasurementError(
                f"{self.description}: one of these is not reported any more, so the sum is "
                "unknown. Measure again."
            )
        return float(sum(known_mj)) / 1e3


def _meter_of(measured: Any) -> str:
    """The name of the meter for the chip that Zeus measured."""
    if hasattr(measured, "cpu_total_mj"):
        return AppleMeter.name
    if hasattr(measured, "total_energy_mj"):
        return JetsonMeter.name
    raise MeasurementError(
        f"Zeus measured a {type(measured).__name__}, which is neither Apple silicon nor Jetson, so "
        "what to sum is unknown. Use another meter."
    )


def _known(measured: Any, fields: tuple[str, ...]) -> tuple[str, ...]:
    """The fields that the chip reports; `None` means unknown, not 0."""
    return tuple(field for field in fields if getattr(measured, field, None) is not None)


def _zeus_soc() -> Any:
    try:
        library = importlib.import_module("zeus.device.soc")
    # It imports the libraries of GPU makers, which may fail in any way.
    except Exception as problem:
        raise MeasurementError(
            f"Apple silicon and Jetson are read with the library Zeus, which cannot be imported "
            f"({problem!r}): pip install 'zeus[apple]' on a Mac, pip install zeus on a Jetson"
        ) from problem
    try:
        return library.get_soc()
    except Exception as problem:
        raise MeasurementError(
            f"Zeus finds no chip that it can read here ({problem}). It knows Apple silicon (pip "
            "install 'zeus[apple]', on the Mac itself) and NVIDIA Jetson; elsewhere use another "
            "meter."
        ) from problem


METERS.register(AppleMeter.name, AppleMeter)
METERS.register(JetsonMeter.name, JetsonMeter)
