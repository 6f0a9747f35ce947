"""How long a plan will take and how much it will store, before it runs."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from squeezerl.jobs.open import sqlite_path
from squeezerl.studies import estimate
from squeezerl.studies.plan import Plan

if TYPE_CHECKING:
    from squeezerl.jobs.job import StoredRow


@dataclass(frozen=True)
class KindForecast:
    """The jobs of one kind: how many there are and are done, and how long the others will take.

    `worker_s` are the seconds of one worker; `stored_bytes` are at the location and in the store.
    """

    kind: str
    jobs: int
    done: int
    worker_s: float
    stored_bytes: float


@dataclass(frozen=True)
class Forecast:
    """A plan before it runs.

    Args:
        kinds: one forecast for each kind.
        workers: how many share the work; measurements have their host to themselves.
        estimate_s: seconds until all jobs are done.
        stored_bytes: at the location and in the store, beside what is there already.
        scratch_bytes: on the hosts' own disks, while the largest trainings run.
        from_finished: how many jobs are estimated from finished jobs of the same sort.
    """

    kinds: tuple[KindForecast, ...]
    workers: int
    estimate_s: float
    stored_bytes: float
    scratch_bytes: float
    from_finished: int


def forecast(plan: Plan, finished: Iterable[StoredRow], *, workers: int) -> tuple[Plan, Forecast]:
    """The plan with better estimates, and what is left to do of it.

    Args:
        plan: the plan of a study.
        finished: jobs that are done, of any study.
        workers: how many will share the work.
    """
    rows = list(finished)
    done = {row.job.id for row in rows}
    better = estimate.refined(plan.jobs, rows)
    jobs = (replace(job, estimate_s=better.get(job.id, job.estimate_s)) for job in plan.jobs)
    plan = replace(plan, jobs=tuple(jobs))
    kinds = tuple(
        _of_kind(kind, plan, done) for kind in dict.fromkeys(job.kind for job in plan.jobs)
    )
    alone = sum(kind.worker_s for kind in kinds if kind.kind == "profile")
    shared = sum(kind.worker_s for kind in kinds) - alone
    left = [job for job in plan.jobs if job.id not in done]
    longest = max((job.estimate_s or 0.0 for job in left if not job.exclusive), default=0.0)
    training = any(job.kind == "train" for job in left)
    scratch = sorted((t.scratch_bytes for t in plan.study.trainings), reverse=True)
    return plan, Forecast(
        kinds=kinds,
        workers=workers,
        estimate_s=alone + max(shared / workers, longest),
        stored_bytes=sum(kind.stored_bytes for kind in kinds),
        scratch_bytes=sum(scratch[:workers]) if training else 0,
        from_finished=sum(job.id in better for job in left),
    )


def finished_jobs(store_url: str) -> list[StoredRow]:
    """All finished jobs of a store, each once, without arrays; none if there is no store yet.

    Raises:
        StoreError: if it cannot be read.
    """
    # Opening a store would make one.
    if (path := sqlite_path(store_url)) is not None and not path.is_file():
        return []
    from squeezerl.jobs.open import open_store

    rows: dict[str, StoredRow] = {}
    with open_store(store_url) as store:
        for name in store.study_names():
            rows |= {row.job.id: row for row in store.results(name, arrays=False)}
    return list(rows.values())


def _of_kind(kind: str, plan: Plan, done: Collection[str]) -> KindForecast:
    jobs = [job for job in plan.jobs if job.kind == kind]
    left = [job for job in jobs if job.id not in done]
    return KindForecast(
        kind=kind,
        jobs=len(jobs),
        done=len(jobs) - len(left),
        worker_s=sum(job.estimate_s or 0.0 for job in left),
        stored_bytes=sum(estimate.stored_bytes(job) for job in left),
    )
