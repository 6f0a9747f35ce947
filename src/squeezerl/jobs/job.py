"""The queue's records: jobs and what they found, and what the store says of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy.typing as npt

Arrays = Mapping[str, npt.NDArray[Any]]
Label = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One piece of work, known by the hash of all that determines its result.

    Args:
        kind: which work it is, for example "evaluate".
        version: of the kind; raised when the same parameters start to give another result.
        params: all that determines the result, as plain JSON. Where the results of other jobs go
            in, it names these jobs by their ids.
        needs: ids of the jobs that must be done before this one.
        exclusive: whether the job must be alone on its host, as measurements must.
        estimate_s: how many seconds it may take.
    """

    kind: str
    version: int = 1
    params: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    exclusive: bool = False
    estimate_s: float | None = None

    @cached_property
    def id(self) -> str:
        """The identity: equal work has equal ids, in every study and on every machine."""
        content = [self.kind, self.version, self.params, sorted(self.needs)]
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a job found: `content` is plain JSON, `arrays` are raw samples."""

    content: Mapping[str, Any]
    arrays: Arrays = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A worker's hold on a job. `token` distinguishes it from every other claim.

    `attempts` counts the claims of this job so far, this one included; `failures` counts the
    attempts that failed.
    """

    job: Job
    worker: str
    token: str
    attempts: int
    failures: int


@dataclass(frozen=True, kw_only=True)
class StudyRecord:
    """A study as it was put in; times are seconds since the epoch."""

    name: str
    spec: dict[str, Any]
    created_s: float
    updated_s: float


@dataclass(frozen=True, kw_only=True)
class StoredResult:
    """What a job found, on which host, and in how many seconds."""

    content: dict[str, Any]
    arrays: Arrays
    host_id: str
    seconds: float


# Not frozen: there are many of these, and a frozen class takes four times as long to make.
@dataclass(kw_only=True, slots=True)
class StoredRow:
    """A finished job of a study under one of its labels; `arrays` are empty unless asked for."""

    job: Job
    label: dict[str, Any]
    content: dict[str, Any]
    arrays: Arrays
    host_id: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A job that failed for good, with the traceback; `transient` if a retry may succeed."""

    job: Job
    label: dict[str, Any]
    error: str
    attempts: int
    transient: bool


@dataclass(frozen=True, kw_only=True)
class RunningJob:
    """A job that a worker holds: its id, and its first label in the study.

    `progress` is the share that is done, if the job reports it.
    """

    job: str
    kind: str
    label: dict[str, Any]
    worker: str
    seconds: float
    progress: float | None
    estimate_s: float | None


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How many jobs of a study are in each state; `blocked` ones need a job that failed."""

    pending: int
    running: int
    done: int
    failed: int
    blocked: int

    @property
    def total(self) -> int:
        """All jobs."""
        return self.pending + self.running + self.done + self.failed + self.blocked

    @property
    def open(self) -> int:
        """Jobs that are running or can still run."""
        return self.pending + self.running

    @property
    def ended(self) -> int:
        """Jobs that are done or failed for good."""
        return self.done + self.failed


@dataclass(frozen=True, kw_only=True)
class Workload:
    """The jobs of one kind in one state: how many, and their seconds, estimated and taken.

    `estimated` counts the jobs that have an estimate.
    """

    kind: str
    exclusive: bool
    state: str
    jobs: int
    estimated: int
    estimate_s: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Status:
    """How far a study is."""

    counts: Counts
    running: tuple[RunningJob, ...]
    workloads: tuple[Workload, ...] = field(default=())
