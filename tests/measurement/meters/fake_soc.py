"""A chip that gives Zeus' real measurements."""

from __future__ import annotations

from zeus.device.soc.common import SoCMeasurement


class FakeSoc:
    def __init__(self, *measurements: SoCMeasurement) -> None:
        self._measurements = list(measurements)

    def get_total_energy_consumption(self) -> SoCMeasurement:
        # The last one stays.
        rest = self._measurements
        return rest.pop(0) if len(rest) > 1 else rest[0]
