"""`run_job`: the one way in which jobs are done, in every executor."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from squeezerl.store.job import Job, Outcome
from squeezerl.studies.context import JobContext
from squeezerl.studies.kinds import check_version

Run = Callable[[Job, JobContext], Outcome]


def run_job(job: Job, context: JobContext) -> Outcome:
    """Do a job.

    Raises:
        Interrupted: if it was asked to stop before its end.
        SqueezeRLError: if it cannot be done; trying again would not help.
    """
    check_version(job.kind, job.version)
    # Each kind loads what it needs when it is needed.
    module = importlib.import_module(f"squeezerl.studies.jobs.{job.kind}")
    run: Run = getattr(module, job.kind)
    return run(job, context)
