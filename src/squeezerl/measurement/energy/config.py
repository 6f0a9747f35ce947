"""Which meter to open, as JSON, so that another process can open it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from squeezerl.errors import InvalidArgumentError

METER_NAMES = ("rapl", "zeus-apple", "zeus-jetson", "nvml", "battery", "cpu-time")


@dataclass(frozen=True, kw_only=True)
class MeterConfig:
    """A meter's name and what it needs: "cpu-time" its watts and where they are from.

    `gpu_index` is NVML's, which counts all GPUs whatever CUDA_VISIBLE_DEVICES says.
    """

    name: str
    watts_per_core: float | None = None
    how: str | None = None
    gpu_index: int = 0

    def __post_init__(self) -> None:
        if self.name not in METER_NAMES:
            raise InvalidArgumentError(
                f"There is no energy meter {self.name!r}; there are {', '.join(METER_NAMES)}."
            )
        needs_watts = self.name == "cpu-time"
        if any((value is not None) != needs_watts for value in (self.watts_per_core, self.how)):
            raise InvalidArgumentError(
                "watts_per_core and how (where the watts are from) go with the meter cpu-time, "
                f"both of them, and with no other: {self}"
            )
        if self.gpu_index != 0 and self.name != "nvml":
            raise InvalidArgumentError(f"gpu_index goes with the meter nvml only: {self}")

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> MeterConfig:
        """What `records.to_json` made of a config."""
        fields = {field.name for field in dataclasses.fields(cls)}
        if "name" not in data or not data.keys() <= fields:
            raise InvalidArgumentError(
                f"A meter's config needs a name and may have {', '.join(sorted(fields))}; "
                f"it has {', '.join(sorted(data))}."
            )
        return cls(**data)
