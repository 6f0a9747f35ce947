"""What was measured, as records.

A process gives one `ProcessRecord`; the processes of one policy in one runtime make a `ProfileRow`;
the rows of one run make a `Profile`.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from squeezerl.records import AgentSource, Host, ObservationsRecord


@dataclass(frozen=True, kw_only=True)
class ModelSize:
    """The size of a policy, whatever runs it.

    `weight_bytes` is what the policy needs, packed (`formats/packed.py`); `weight_bytes_by_dtype`
    adds up to it, its "uint8" being the layout. `macs` are multiply-accumulates per action.
    """

    file_bytes: int
    gzip_bytes: int
    weight_bytes: int
    weight_bytes_by_dtype: dict[str, int]
    parameters: int
    macs: int


@dataclass(frozen=True, kw_only=True)
class MemoryStage:
    """Memory of a process at one moment (see `measurement.probe`); unknown is `None`."""

    rss_bytes: int
    uss_bytes: int | None
    anonymous_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class MemoryStages:
    """The memory of a process from birth to steady work, in order.

    `instrument` is after the imports of the measurement itself, `inputs` after loading the
    recorded observations: neither belongs to a deployment.
    """

    start: MemoryStage
    instrument: MemoryStage
    imported: MemoryStage
    inputs: MemoryStage
    loaded: MemoryStage
    first_action: MemoryStage
    many_actions: MemoryStage


@dataclass(frozen=True, kw_only=True)
class Startup:
    """Seconds that a process needs before it can act."""

    import_s: float
    load_s: float
    first_action_s: float


@dataclass(frozen=True, kw_only=True)
class Meter:
    """Where the joules come from: a sensor or an estimate."""

    source: str
    estimated: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class LatencySamples:
    """Times of single decisions in one process, in their order.

    `nanoseconds` (samples,) fall into chunks that end at `chunk_ends` (chunks,); `gauges`
    (chunks + 1,) are the times of the gauge around them (see `measurement.measuring`). `cpu_share`
    is the process's CPU time divided by wall-clock time.
    """

    nanoseconds: npt.NDArray[np.int64]
    chunk_ends: npt.NDArray[np.int64]
    gauges: npt.NDArray[np.int64]
    cpu_share: float


@dataclass(frozen=True, kw_only=True, eq=False)
class EnergySamples:
    """Chunks of uninterrupted decisions in one process.

    Arrays have the shape (chunks,), except `gauges`: (chunks + 1,). `joules` are `None` without a
    meter. `idle_watts` is the machine's power while it idled just before, not yet subtracted; it is
    `None` if the meter sees this process only.
    """

    seconds: npt.NDArray[np.float64]
    cpu_seconds: npt.NDArray[np.float64]
    decisions: npt.NDArray[np.int64]
    joules: npt.NDArray[np.float64] | None
    idle_watts: float | None
    gauges: npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class EpisodeWindow:
    """Complete episodes in one environment with one decision per step.

    `acting_s` is the part of `seconds` that went into decisions.
    """

    seconds: float
    cpu_seconds: float
    acting_s: float
    lengths: tuple[int, ...]
    returns: tuple[float, ...]
    joules: float | None
    idle_watts: float | None

    @property
    def net_joules(self) -> float | None:
        """Joules above those of an idle machine."""
        return None if self.joules is None else self.joules - (self.idle_watts or 0) * self.seconds


@dataclass(frozen=True, kw_only=True, eq=False)
class ProcessRecord:
    """One fresh process that loaded one policy in one runtime. `round` pairs it with others."""

    round: int
    memory: MemoryStages
    working_bytes: int | None
    gpu_memory_bytes: dict[str, int | None] | None
    startup: Startup
    latency: LatencySamples
    meter: Meter | None
    energy: EnergySamples
    episodes: EpisodeWindow | None
    episodes_problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class ProfileRow:
    """A policy in a runtime. If it has no processes, `problem` says why it was not measured."""

    name: str
    runtime: str
    source: AgentSource
    env_id: str | None
    observations: ObservationsRecord
    size: ModelSize
    processes: tuple[ProcessRecord, ...]
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class MicrocontrollerRecord:
    """What a policy needs on a processor.

    Args:
        flash_bytes: code and constants of the linked image, without the self-test.
        ram_bytes: variables, observation and action of that image, and the most stack that a
            decision used.
        instructions: of one decision, for an observation of zeros. Cycles differ: a
            multiplication, a load or a jump can take several.
        wrong: actions of the self-test that differ from the recorded ones.
        checksum: of the bits of all its actions, the same on every processor.
    """

    processor: str
    flash_bytes: int
    ram_bytes: int
    instructions: int
    wrong: int
    checksum: int


@dataclass(frozen=True, kw_only=True)
class MicrocontrollerRow:
    """A policy on an emulated processor. Without a record, `problem` says why."""

    name: str
    processor: str
    record: MicrocontrollerRecord | None
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class Profile:
    """All rows of one run on one host; the first row is the reference.

    `meter_problem` says why there are no joules. `microcontrollers` are emulated, and not timed.
    """

    host: Host
    batch: int
    threads: int
    seconds: float
    precision: float
    seed: int
    meter_problem: str | None
    rows: tuple[ProfileRow, ...]
    microcontrollers: tuple[MicrocontrollerRow, ...] = ()


def samples_npz(profile: Profile) -> bytes:
    """The times of all single decisions, as a compressed .npz file.

    The arrays of `LatencySamples` are named `row/round/field`; rows count from 0.
    """
    arrays = {
        f"{number}/{process.round}/{name}": getattr(process.latency, name)
        for number, row in enumerate(profile.rows)
        for process in row.processes
        for name in ("nanoseconds", "chunk_ends", "gauges")
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()
