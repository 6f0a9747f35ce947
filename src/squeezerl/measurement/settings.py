"""What the user asks a profile for: how to measure, and on which observations and episodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from squeezerl.errors import InvalidArgumentError
from squeezerl.host.cores import cores_for
from squeezerl.measurement.meters.choose import MeterConfig
from squeezerl.records import ObservationsRecord
from squeezerl.runtimes.base import RUNTIMES, Observations

PRECISION = 0.05


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to measure.

    Args:
        runtimes: their names.
        processors: microcontrollers, which are emulated: names of `PROCESSORS`.
        batch: observations for each call of `act`.
        threads: of the runtime, each pinned to a core.
        seconds: for which decisions of each row are timed, 60 at most; the energy of decisions is
            measured for as long again.
        precision: the half width that the median latency's 95 % interval should have, as a share of
            the median. Rows that miss it with six processes get up to twelve.
        meter: where joules come from.
        gpu_meter: where they come from for runtimes on a GPU.
        seed: of the order of measurements.
    """

    runtimes: tuple[str, ...] = ("ort",)
    processors: tuple[str, ...] = ()
    batch: int = 1
    threads: int = 1
    seconds: float = 5.0
    precision: float = PRECISION
    meter: MeterConfig | None = None
    gpu_meter: MeterConfig | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in self.runtimes:
            RUNTIMES.get(name)
        names = (*self.runtimes, *self.processors)
        if not names or len(set(names)) < len(names):
            raise InvalidArgumentError("`runtimes` must name each runtime once, at least one")
        if not 1 <= self.batch <= 65536:
            raise InvalidArgumentError(f"`batch` must be 1 to 65,536, not {self.batch}")
        if not 0.1 <= self.seconds <= 60:
            raise InvalidArgumentError(f"`seconds` must be 0.1 to 60, not {self.seconds}")
        if not 0.001 <= self.precision <= 1:
            raise InvalidArgumentError(f"`precision` must be 0.001 to 1, not {self.precision}")
        cores_for(self.threads)


@dataclass(frozen=True, kw_only=True)
class EpisodesJob:
    """Complete episodes to play in Gymnasium.

    `seed` is that of the first episode; `path` is the folder in which `module:Id` environments are
    found.
    """

    env_id: str
    env_kwargs: dict[str, Any]
    seed: int
    path: str


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What a policy decides on: observations (n, *shape) that were recorded in its own episodes.

    `origin` is that of `ObservationsRecord`. With `episodes`, the policy also plays complete
    episodes, one decision per step.
    """

    env_id: str | None
    observations: Observations
    origin: str = "episodes"
    episodes: EpisodesJob | None = None

    def __post_init__(self) -> None:
        if len(self.observations) < 2 or not np.isfinite(self.observations).all():
            raise InvalidArgumentError("`observations` must be finite, and at least two")
        if (self.observations == self.observations[0]).all():
            raise InvalidArgumentError(
                "all `observations` are the same; timings need those that the agent really sees"
            )

    @property
    def record(self) -> ObservationsRecord:
        """Which observations these are."""
        return ObservationsRecord.of(self.observations, self.origin)
