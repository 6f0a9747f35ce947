"""What the store gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from squeezerl.store.job import Arrays, Job

Label = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class StudyRecord:
    """A study as it was put in; times in seconds since the epoch."""

    name: str
    spec: dict[str, Any]
    created_s: float
    updated_s: float


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A worker's hold on a job; `token` is what tells it from every other claim.

    `attempts` counts the claims so far with this one, `failures` the attempts that failed.
    """

    job: Job
    worker: str
    token: str
    attempts: int
    failures: int


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Jobs of a study by state, each in one; `blocked` ones need a job that failed."""

    pending: int
    running: int
    done: int
    failed: int
    blocked: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.pending + self.running + self.done + self.failed + self.blocked

    @property
    def open(self) -> int:
        """Those that run or still can."""
        return self.pending + self.running


@dataclass(frozen=True, kw_only=True)
class StoredResult:
    """What a job found, where, and in how many seconds."""

    content: dict[str, Any]
    arrays: Arrays
    host_id: str
    seconds: float


# Not frozen: of these there are many, and a frozen class takes four times as long to make.
@dataclass(kw_only=True, slots=True)
class StoredRow:
    """A finished job of a study; `arrays` are empty where they were not asked for."""

    job: Job
    label: dict[str, Any]
    content: dict[str, Any]
    arrays: Arrays
    host_id: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A job that failed for good, with the traceback; `transient` if it may pass another time."""

    job: Job
    label: dict[str, Any]
    error: str
    attempts: int
    transient: bool


@dataclass(frozen=True, kw_only=True)
class RunningJob:
    """A job that a worker holds; `progress` is the share that is done, if the job tells."""

    job_id: str
    kind: str
    label: dict[str, Any]
    worker: str
    seconds: float
    progress: float | None
    estimate_s: float | None


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Jobs of one kind and state, for estimates: how many, seconds as estimated and as taken."""

    kind: str
    exclusive: bool
    state: str
    jobs: int
    estimated: int
    estimate_s: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Status:
    """Where a study stands."""

    counts: Counts
    running: tuple[RunningJob, ...]
    workloads: tuple[Workload, ...] = field(default=())
