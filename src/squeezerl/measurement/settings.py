"""What a profile is asked for: how to measure, and on which observations."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from squeezerl.errors import InvalidArgumentError
from squeezerl.host.cores import cores_for
from squeezerl.measurement.energy.config import MeterConfig
from squeezerl.measurement.processes import EpisodesJob
from squeezerl.measurement.result import ObservationsRecord
from squeezerl.runtimes.actor import Observations
from squeezerl.runtimes.bare.policy import RUNTIMES

PRECISION = 0.05


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to measure.

    Args:
        runtimes: among `RUNTIMES`.
        batch: observations that one `act` gets.
        threads: of the runtime; as many cores are reserved.
        seconds: of timed decisions for each row, 60 at most, and as many again of metered ones.
        precision: half width that the median's 95 % interval should have, as a share of it. Rows
            that miss it with six processes get up to twelve.
        meter: where joules come from.
        gpu_meter: the same for runtimes on a GPU.
        seed: of the order of measurements.
    """

    runtimes: tuple[str, ...] = ("ort",)
    batch: int = 1
    threads: int = 1
    seconds: float = 5.0
    precision: float = PRECISION
    meter: MeterConfig | None = None
    gpu_meter: MeterConfig | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if unknown := [name for name in self.runtimes if name not in RUNTIMES]:
            raise InvalidArgumentError(
                f"unknown runtime {unknown[0]!r}; known are {', '.join(RUNTIMES)}"
            )
        if not self.runtimes or len(set(self.runtimes)) < len(self.runtimes):
            raise InvalidArgumentError("name each runtime once, at least one")
        if not 1 <= self.batch <= 65536:
            raise InvalidArgumentError(f"batch must be 1 to 65,536, not {self.batch}")
        if not 0.1 <= self.seconds <= 60:
            raise InvalidArgumentError(f"seconds must be 0.1 to 60, not {self.seconds}")
        if not 0.001 <= self.precision <= 1:
            raise InvalidArgumentError(f"precision must be 0.001 to 1, not {self.precision}")
        cores_for(self.threads)


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What a subject decides on: observations (n, *shape) of its own episodes, recorded.

    `episodes` are to be played as a whole, one decision a step, if wanted.
    """

    env_id: str | None
    observations: Observations
    episodes: EpisodesJob | None = None

    def __post_init__(self) -> None:
        if len(self.observations) < 2 or not np.isfinite(self.observations).all():
            raise InvalidArgumentError("observations must be finite, and at least two")
        if (self.observations == self.observations[0]).all():
            raise InvalidArgumentError(
                "all observations are the same; timings need what the agent really sees"
            )

    @property
    def record(self) -> ObservationsRecord:
        """The observations' count and hash."""
        content = np.ascontiguousarray(self.observations).tobytes()
        return ObservationsRecord(
            count=len(self.observations), sha256=hashlib.sha256(content).hexdigest()
        )
