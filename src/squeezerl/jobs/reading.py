"""Reading from the store."""

from __future__ import annotations

import gc
import itertools
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from squeezerl.errors import StoreError
from squeezerl.jobs import schema
from squeezerl.jobs.encode import JOB_COLUMNS, from_texts, job_of, make_job, unpack
from squeezerl.jobs.job import (
    Counts,
    Failure,
    Job,
    RunningJob,
    Status,
    StoredResult,
    StoredRow,
    StudyRecord,
    Workload,
)
from squeezerl.jobs.schema import NOW

_PARAMS = JOB_COLUMNS.index("params")
_j, _m, _r, _n = schema.jobs, schema.memberships, schema.results, schema.needs


def study_names(connection: sa.Connection) -> tuple[str, ...]:
    """The names of all studies."""
    names = sa.select(schema.studies.c.name).order_by(schema.studies.c.name)
    return tuple(connection.execute(names).scalars())


def find_study(connection: sa.Connection, name: str) -> StudyRecord:
    """The study of that name, as it was put in."""
    row = study_row(connection, name)
    return StudyRecord(
        name=row.name,
        spec=json.loads(row.spec),
        created_s=row.created_s,
        updated_s=row.updated_s,
    )


def study_row(connection: sa.Connection, name: str) -> Any:
    """The row of a study.

    Raises:
        StoreError: if there is none of that name.
    """
    found = sa.select(schema.studies).where(schema.studies.c.name == name)
    row = connection.execute(found).one_or_none()
    if row is None:
        known = ", ".join(study_names(connection)) or "none"
        raise StoreError(f"there is no study {name!r} in the store; it has: {known}")
    return row


def _members(study_id: int) -> sa.ScalarSelect[str]:
    return sa.select(_m.c.job_id).where(_m.c.study_id == study_id).scalar_subquery()


def status(connection: sa.Connection, study: str) -> Status:
    """How far a study is: counts, sums of estimates, running jobs."""
    study_id = study_row(connection, study).id
    members = _members(study_id)
    sums = (
        sa.select(
            _j.c.kind,
            _j.c.exclusive,
            _j.c.state,
            sa.func.count().label("jobs"),
            sa.func.count(_j.c.estimate_s).label("estimated"),
            sa.func.coalesce(sa.func.sum(_j.c.estimate_s), 0.0).label("estimate_s"),
            # Taken by the jobs that had an estimate.
            sa.func.coalesce(
                sa.func.sum(sa.case((_j.c.estimate_s.is_not(None), _j.c.seconds))), 0.0
            ).label("seconds"),
        )
        .where(_j.c.id.in_(members))
        .group_by(_j.c.kind, _j.c.exclusive, _j.c.state)
        .order_by(_j.c.kind, _j.c.exclusive, _j.c.state)
    )
    workloads = tuple(Workload(**row._mapping) for row in connection.execute(sums))
    counted = {"pending": 0, "running": 0, "done": 0, "failed": 0}
    for load in workloads:
        counted[load.state] += load.jobs
    blocked = 0
    if counted["failed"]:
        blocked = _count_blocked(connection, members)
        counted["pending"] -= blocked
    running = _running(connection, study_id) if counted["running"] else ()
    return Status(counts=Counts(**counted, blocked=blocked), running=running, workloads=workloads)


def _count_blocked(connection: sa.Connection, members: sa.ScalarSelect[str]) -> int:
    """How many jobs need, directly or indirectly, a job that failed."""
    blocked = (
        sa.select(_n.c.job_id)
        .join(_j, _j.c.id == _n.c.need_id)
        .where(_j.c.state == schema.FAILED)
        .cte("blocked", recursive=True)
    )
    blocked = blocked.union(sa.select(_n.c.job_id).join(blocked, _n.c.need_id == blocked.c.job_id))
    count = sa.select(sa.func.count()).where(blocked.c.job_id.in_(members))
    return connection.execute(count).scalar_one()


def _running(connection: sa.Connection, study_id: int) -> tuple[RunningJob, ...]:
    found = (
        sa.select(
            *(_j.c.id, _j.c.kind, _j.c.worker, _j.c.progress, _j.c.estimate_s),
            (NOW - _j.c.started_s).label("seconds"),
            sa.select(_m.c.label)
            .where(_m.c.job_id == _j.c.id, _m.c.study_id == study_id)
            .order_by(_m.c.position)
            .limit(1)
            .scalar_subquery()
            .label("label"),
        )
        .where(_j.c.state == schema.RUNNING)
        .order_by(_j.c.started_s)
    )
    return tuple(
        RunningJob(
            job=row.id,
            kind=row.kind,
            label=json.loads(row.label),
            worker=row.worker,
            seconds=max(row.seconds, 0.0),
            progress=row.progress,
            estimate_s=row.estimate_s,
        )
        for row in connection.execute(found)
        if row.label is not None  # a job of another study
    )


def running_workers(connection: sa.Connection) -> tuple[str, ...]:
    """The workers that hold jobs of any study."""
    found = sa.select(_j.c.worker).where(_j.c.state == schema.RUNNING).distinct()
    return tuple(connection.execute(found).scalars())


def find_job(connection: sa.Connection, job_id: str) -> Job:
    """The job of that id."""
    row = connection.execute(sa.select(_j).where(_j.c.id == job_id)).one_or_none()
    if row is None:
        raise StoreError(f"there is no job {job_id} in the store")
    return job_of(row)


def result(connection: sa.Connection, job_id: str) -> StoredResult:
    """What a job found.

    Raises:
        StoreError: if the job is not done.
    """
    found = (
        sa.select(_r, schema.arrays.c.data)
        .outerjoin(schema.arrays, schema.arrays.c.job_id == _r.c.job_id)
        .where(_r.c.job_id == job_id)
    )
    row = connection.execute(found).one_or_none()
    if row is None:
        raise StoreError(f"the store has no result of job {job_id}")
    return StoredResult(
        content=json.loads(row.content),
        arrays=unpack(row.data),
        host_id=row.host_id,
        seconds=row.seconds,
    )


def results(
    connection: sa.Connection,
    study: str,
    kinds: Sequence[str] | None = None,
    *,
    arrays: bool = True,
) -> list[StoredRow]:
    """Finished jobs in the study's order, once for each label; `kinds` limits them."""
    found = (
        sa.select(
            *(_j.c[name] for name in JOB_COLUMNS),
            *(_m.c.label, _r.c.content, _r.c.host_id, _r.c.seconds),
            *([schema.arrays.c.data] if arrays else []),
        )
        .select_from(_m)
        .join(_j, _j.c.id == _m.c.job_id)
        .join(_r, _r.c.job_id == _m.c.job_id)
        .where(_m.c.study_id == study_row(connection, study).id)
        .order_by(_m.c.position)
    )
    if arrays:
        found = found.outerjoin(schema.arrays, schema.arrays.c.job_id == _m.c.job_id)
    if kinds is not None:
        found = found.where(_j.c.kind.in_(list(kinds)))
    with _no_collection():
        rows = connection.execute(found).all()
        if not rows:
            return []
        # Column by column: looking up names in each row would take a sixth of the time.
        columns: list[Any] = list(zip(*rows, strict=True))
        columns[_PARAMS] = from_texts(columns[_PARAMS])
        jobs = map(make_job, *columns[: len(JOB_COLUMNS)])
        labels, contents, host_ids, seconds, *blobs = columns[len(JOB_COLUMNS) :]
        return [
            StoredRow(
                job=job,
                label=label,
                content=content,
                arrays=unpack(blob),
                host_id=host_id,
                seconds=took,
            )
            for job, label, content, host_id, took, blob in zip(
                jobs,
                from_texts(labels),
                from_texts(contents),
                host_ids,
                seconds,
                blobs[0] if blobs else itertools.repeat(None, len(rows)),
                strict=True,
            )
        ]


@contextmanager
def _no_collection() -> Iterator[None]:
    """Switch garbage collection off: with many new objects it would take most of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def still_needed(connection: sa.Connection, study: str) -> dict[str, dict[str, Any]]:
    """The contents of results that unfinished jobs of a study need, by the job's id."""
    study_id = study_row(connection, study).id
    to_do = sa.or_(
        _j.c.state.in_([schema.PENDING, schema.RUNNING]),
        sa.and_(_j.c.state == schema.FAILED, _j.c.transient.is_(True)),
    )
    needed = (
        sa.select(_n.c.need_id)
        .join(_j, _j.c.id == _n.c.job_id)
        .where(to_do, _j.c.id.in_(_members(study_id)))
    )
    found = sa.select(_r.c.job_id, _r.c.content).where(_r.c.job_id.in_(needed))
    return {row.job_id: json.loads(row.content) for row in connection.execute(found)}


def failures(connection: sa.Connection, study: str) -> list[Failure]:
    """Jobs that failed for good, in the study's order, once for each label."""
    found = (
        sa.select(_j, _m.c.label)
        .join(_m, _m.c.job_id == _j.c.id)
        .where(_m.c.study_id == study_row(connection, study).id, _j.c.state == schema.FAILED)
        .order_by(_m.c.position)
    )
    return [
        Failure(
            job=job_of(row),
            label=json.loads(row.label),
            error=row.error,
            attempts=row.attempts,
            transient=row.transient,
        )
        for row in connection.execute(found)
    ]


def hosts(connection: sa.Connection) -> dict[str, dict[str, Any]]:
    """The facts of each host by its id."""
    found = connection.execute(sa.select(schema.hosts))
    return {row.id: json.loads(row.facts) for row in found}
