"""Putting jobs into a study: the jobs, what they need, and their labels and order there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from squeezerl.errors import StoreError
from squeezerl.jobs import schema
from squeezerl.jobs.claims import leave, lock_jobs, make_ready, make_study_ready
from squeezerl.jobs.encode import to_text
from squeezerl.jobs.job import Job, Label
from squeezerl.jobs.schema import NOW

# SQLite takes no more values than this in one statement.
_AT_ONCE = 30_000
_HINTS = ("exclusive", "estimate_s", "rank")


class PreparedJobs:
    """Jobs and their labels as rows, encoded before the transaction begins."""

    def __init__(self, jobs: Sequence[tuple[Job, Label]]) -> None:
        self.jobs = {job.id: job for job, _ in jobs}
        self.members = [(job.id, to_text(label, "a job's label")) for job, label in jobs]

    def check_needs(self, known: Collection[str] = ()) -> None:
        """Raise a `StoreError` if a job needs one that is neither among these nor known."""
        for job in self.jobs.values():
            for need in job.needs:
                if need not in self.jobs and need not in known:
                    raise StoreError(f"a {job.kind} job needs {need}, which is not in the study")


def put(connection: sa.Connection, name: str, spec: str, prepared: PreparedJobs) -> None:
    """Make a study, or replace its labels and order; jobs that are known keep their state."""
    studies = schema.studies
    content = json.dumps([spec, prepared.members], separators=(",", ":"))
    digest = hashlib.sha256(content.encode()).hexdigest()
    present = sa.select(studies.c.digest).where(studies.c.name == name)
    if connection.execute(present).scalar() == digest:
        _put_hints(connection, prepared)
        return
    lock_jobs(connection)
    id_ = connection.execute(sa.select(studies.c.id).where(studies.c.name == name)).scalar()
    values = {"spec": spec, "digest": digest, "updated_s": NOW}
    if id_ is None:
        new = sa.insert(studies).values(name=name, created_s=NOW, **values)
        id_ = connection.execute(new.returning(studies.c.id)).scalar_one()
    else:
        connection.execute(sa.update(studies).where(studies.c.id == id_).values(values))
    connection.execute(sa.delete(schema.memberships).where(schema.memberships.c.study_id == id_))
    _put_members(connection, id_, prepared, prepared.members, 0)


def add(connection: sa.Connection, study_id: int, prepared: PreparedJobs) -> None:
    """Append jobs to a study; what is there already under the same label stays where it is."""
    lock_jobs(connection)
    members = schema.memberships.c
    found = sa.select(members.position, members.job_id, members.label).where(
        members.study_id == study_id
    )
    rows = connection.execute(found).all()
    prepared.check_needs({row.job_id for row in rows})
    present = {(row.job_id, row.label) for row in rows}
    new = [member for member in dict.fromkeys(prepared.members) if member not in present]
    if not new:
        return
    # The digest is that of a whole plan, which this study no longer is.
    changed = sa.update(schema.studies).where(schema.studies.c.id == study_id)
    connection.execute(changed.values(digest="", updated_s=NOW))
    first = 1 + max((row.position for row in rows), default=-1)
    _put_members(connection, study_id, prepared, new, first)


def _put_members(
    connection: sa.Connection,
    study_id: int,
    prepared: PreparedJobs,
    members: Sequence[tuple[str, str]],
    first: int,
) -> None:
    _put_jobs(connection, prepared)
    _put_hints(connection, prepared)
    if members:
        connection.execute(
            sa.insert(schema.memberships),
            [
                {"study_id": study_id, "position": position, "job_id": job_id, "label": label}
                for position, (job_id, label) in enumerate(members, first)
            ],
        )
    make_study_ready(connection, study_id)


def _put_jobs(connection: sa.Connection, prepared: PreparedJobs) -> None:
    columns = schema.jobs.c
    needs = {need for job in prepared.jobs.values() for need in job.needs}
    found = sa.select(columns.id, columns.state)
    ids = list(prepared.jobs.keys() | needs)
    states = {row.id: row.state for row in _in_parts(connection, found, ids)}
    new = [job for job in prepared.jobs.values() if job.id not in states]
    if new:
        connection.execute(sa.insert(schema.jobs), [_row(job, states) for job in new])
    pairs = [{"job_id": job.id, "need_id": need} for job in new for need in set(job.needs)]
    if pairs:
        connection.execute(sa.insert(schema.needs), pairs)


def _put_hints(connection: sa.Connection, prepared: PreparedJobs) -> None:
    """Update estimates and order, which do not identify a job: a later plan knows better."""
    columns = schema.jobs.c
    found = sa.select(columns.id, *(columns[name] for name in _HINTS)).where(
        columns.state != schema.DONE
    )
    changed = [
        row.id
        for row in _in_parts(connection, found, list(prepared.jobs))
        if {name: row._mapping[name] for name in _HINTS} != _hints(prepared.jobs[row.id])
    ]
    if changed:
        lock_jobs(connection)
        leave(connection, changed)
        connection.execute(
            sa.update(schema.jobs)
            .where(columns.id == sa.bindparam("which"))
            .values({name: sa.bindparam(name) for name in _HINTS}),
            [{"which": id_, **_hints(prepared.jobs[id_])} for id_ in changed],
        )
        make_ready(connection, changed)


def _in_parts(
    connection: sa.Connection, found: sa.Select[Any], ids: Sequence[str]
) -> Iterator[sa.Row[Any]]:
    """The rows of the given jobs."""
    for first in range(0, len(ids), _AT_ONCE):
        some = ids[first : first + _AT_ONCE]
        yield from connection.execute(found.where(schema.jobs.c.id.in_(some)))


def _hints(job: Job) -> dict[str, Any]:
    return {
        "exclusive": job.exclusive,
        "estimate_s": job.estimate_s,
        "rank": -(job.estimate_s or 0.0),
    }


def _row(job: Job, states: Mapping[str, str]) -> dict[str, Any]:
    return {
        "id": job.id,
        "kind": job.kind,
        "version": job.version,
        "params": to_text(job.params, "a job's parameters"),
        "needs": " ".join(job.needs),
        "state": "pending",
        "open_needs": sum(states.get(need) != "done" for need in set(job.needs)),
        "attempts": 0,
        "failures": 0,
        **_hints(job),
    }
