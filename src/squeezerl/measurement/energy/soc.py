"""Joules of Apple silicon and NVIDIA Jetson, through the library Zeus (`zeus.device.soc`)."""

from __future__ import annotations

import importlib
from typing import Any

from squeezerl.errors import MeasurementError
from squeezerl.measurement.energy.meter import never_falling

# Zeus' fields are in mJ. The cores, clusters and managers are parts of Apple's cpu_total.
_APPLE_PARTS = ("cpu_total_mj", "gpu_mj", "gpu_sram_mj", "dram_mj", "ane_mj")
# The total is the board's input, so it holds the other two.
_JETSON_TOTAL = ("total_energy_mj",)
_JETSON_PARTS = ("cpu_energy_mj", "gpu_energy_mj")


class SocMeter:
    """Sum of the parts of the chip that it knows; the description names them.

    Zeus polls a Jetson from a process that it spawns, so this must not be made while a main module
    without `if __name__ == "__main__"` is being imported. That process ends with this one.
    """

    estimated = False
    machine_wide = True

    def __init__(self, soc: Any = None) -> None:
        self._soc = _zeus_soc() if soc is None else soc
        measured = self._measured()
        if hasattr(measured, "cpu_total_mj"):
            self.name = "zeus-apple"
            # Apple's counters move every few milliseconds.
            self.min_window_s = 1.0
            fields, needed = _known(measured, _APPLE_PARTS), "cpu_total_mj"
        elif hasattr(measured, "total_energy_mj"):
            self.name = "zeus-jetson"
            # Zeus integrates the power ten times a second and answers with the last sum: 0.1 s of
            # a window may be missing, 2 % of 5 s.
            self.min_window_s = 5.0
            fields, needed = _known(measured, _JETSON_TOTAL), "total_energy_mj"
            if not fields:
                fields, needed = _known(measured, _JETSON_PARTS), "cpu_energy_mj"
        else:
            raise MeasurementError(
                f"Zeus measured a {type(measured).__name__}, which is neither Apple silicon nor "
                "Jetson, so what to sum is unknown. Use another meter."
            )
        if needed not in fields:
            raise MeasurementError(
                f"This chip does not tell the energy of its processor (Zeus' {needed} is None). "
                "Use another meter."
            )
        self._fields = fields
        self.description = f"{self.name}: " + " + ".join(
            field.removesuffix("_mj").removesuffix("_energy") for field in fields
        )
        self._last_j = self._sum_j(measured)

    def read_j(self) -> float:
        """Joules since Zeus began to count."""
        now_j = self._sum_j(self._measured())
        self._last_j = never_falling(self.description, self._last_j, now_j)
        return self._last_j

    def _measured(self) -> Any:
        try:
            return self._soc.get_total_energy_consumption()
        # Zeus and the libraries under it raise many kinds, an empty queue among them.
        except Exception as problem:
            raise MeasurementError(
                f"Zeus cannot read this chip's energy: {problem!r}. Check it with: "
                "python -m zeus.show_env"
            ) from problem

    def _sum_j(self, measured: Any) -> float:
        known_mj = [getattr(measured, field) for field in _known(measured, self._fields)]
        if len(known_mj) < len(self._fields):
            raise MeasurementError(
                f"{self.description}: one of these is not told any more, so the sum is unknown. "
                "Measure again."
            )
        return float(sum(known_mj)) / 1e3


def _known(measured: Any, fields: tuple[str, ...]) -> tuple[str, ...]:
    """Those that are told; `None` is unknown, not 0."""
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
