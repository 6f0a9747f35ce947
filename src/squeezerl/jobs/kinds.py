"""The kinds of jobs: each registers its name, its version and the function that does the work.

Other rooms register their kinds when they are imported, and plugins may, too:

    COUNT = register_kind("count", version=1, run="my_module:count")
    job = COUNT.job(params={"to": 10})

The function is imported when the first job of its kind is done, so that a worker loads only what
its jobs need.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from squeezerl.errors import ExecutionError, StudyError
from squeezerl.jobs.context import JobContext
from squeezerl.jobs.job import Job, Outcome
from squeezerl.registry import Registry, load_plugins

RunJob = Callable[[Job, JobContext], Outcome]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of job.

    Args:
        name: as jobs name it.
        version: raised when the same parameters start to give another result, so that results of
            the old and the new version are not taken for each other.
        run: "module:function"; the function takes a `Job` and a `JobContext` and returns an
            `Outcome`.
    """

    name: str
    version: int
    run: str

    def job(
        self,
        params: Mapping[str, Any],
        *,
        needs: tuple[str, ...] = (),
        exclusive: bool = False,
        estimate_s: float | None = None,
    ) -> Job:
        """A job of this kind and version; see `Job`."""
        return Job(
            kind=self.name,
            version=self.version,
            params=params,
            needs=needs,
            exclusive=exclusive,
            estimate_s=estimate_s,
        )


KINDS: Registry[Kind] = Registry("kind of job", error=StudyError)


def register_kind(name: str, *, version: int, run: str) -> Kind:
    """Make a kind of job known; see `Kind`."""
    return KINDS.register(name, Kind(name=name, version=version, run=run))


def run_job(job: Job, context: JobContext) -> Outcome:
    """Do a job.

    Raises:
        Interrupted: if the job was asked to stop before its end.
        SqueezeRLError: if the job cannot be done; trying again would not help.
    """
    kind = KINDS.get(job.kind)
    if kind.version != job.version:
        raise StudyError(
            f"the job is of kind {job.kind!r}, version {job.version}; this release does version "
            f"{kind.version}"
        )
    return _load(kind)(job, context)


def _load(kind: Kind) -> RunJob:
    load_plugins()  # the function may stand in the file of one
    module, _, function = kind.run.partition(":")
    try:
        found: RunJob = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ExecutionError(
            f"jobs of kind {kind.name!r} need {kind.run}, which cannot be imported: {error}"
        ) from error
    return found
