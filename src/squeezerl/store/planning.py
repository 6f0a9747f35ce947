"""Putting a study in: its jobs, what they need, and where they stand in the study."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from squeezerl.errors import StoreError
from squeezerl.store import schema
from squeezerl.store.claims import lock_jobs
from squeezerl.store.clock import NOW
from squeezerl.store.encode import to_text
from squeezerl.store.job import Job
from squeezerl.store.ready import leave, make_ready, make_study_ready
from squeezerl.store.records import Label

# SQLite takes no more values than this in one statement.
_AT_ONCE = 30_000
_HINTS = ("exclusive", "estimate_s", "rank")


class PreparedStudy:
    """A study as rows, checked, before any transaction."""

    def __init__(
        self, name: str, spec: Mapping[str, Any], jobs: Sequence[tuple[Job, Label]]
    ) -> None:
        self.name = name
        self.spec = to_text(spec, "the study's specification")
        self.jobs = {job.id: job for job, _ in jobs}
        for job in self.jobs.values():
            if missing := next((need for need in job.needs if need not in self.jobs), None):
                raise StoreError(f"a {job.kind} job needs {missing}, which is not in the study")
        self.members = [(job.id, to_text(label, "a job's label")) for job, label in jobs]
        content = json.dumps([self.spec, self.members], separators=(",", ":"))
        self.digest = hashlib.sha256(content.encode()).hexdigest()


def put(connection: sa.Connection, study: PreparedStudy) -> None:
    """Insert what is new and replace the memberships; only hints if it stands there already."""
    stands = sa.select(schema.studies.c.digest).where(schema.studies.c.name == study.name)
    if connection.execute(stands).scalar() == study.digest:
        _put_hints(connection, study)
        return
    lock_jobs(connection)
    _put_jobs(connection, study)
    _put_hints(connection, study)
    studies = schema.studies
    id_ = connection.execute(sa.select(studies.c.id).where(studies.c.name == study.name)).scalar()
    values = {"spec": study.spec, "digest": study.digest, "updated_s": NOW}
    if id_ is None:
        new = sa.insert(studies).values(name=study.name, created_s=NOW, **values)
        id_ = connection.execute(new.returning(studies.c.id)).scalar_one()
    else:
        connection.execute(sa.update(studies).where(studies.c.id == id_).values(values))
    members = schema.memberships
    connection.execute(sa.delete(members).where(members.c.study_id == id_))
    if study.members:
        connection.execute(
            sa.insert(members),
            [
                {"study_id": id_, "position": position, "job_id": job_id, "label": label}
                for position, (job_id, label) in enumerate(study.members)
            ],
        )
    make_study_ready(connection, id_)


def _put_jobs(connection: sa.Connection, study: PreparedStudy) -> None:
    columns = schema.jobs.c
    found = sa.select(columns.id, columns.state)
    states = {row.id: row.state for row in _in_parts(connection, found, list(study.jobs))}
    new = [job for job in study.jobs.values() if job.id not in states]
    if new:
        connection.execute(sa.insert(schema.jobs), [_row(job, states) for job in new])
    pairs = [{"job_id": job.id, "need_id": need} for job in new for need in set(job.needs)]
    if pairs:
        connection.execute(sa.insert(schema.needs), pairs)


def _put_hints(connection: sa.Connection, study: PreparedStudy) -> None:
    """They are not part of a job's identity, and the plan may know better now."""
    columns = schema.jobs.c
    found = sa.select(columns.id, *(columns[name] for name in _HINTS)).where(
        columns.state != schema.DONE
    )
    changed = [
        row.id
        for row in _in_parts(connection, found, list(study.jobs))
        if {name: row._mapping[name] for name in _HINTS} != _hints(study.jobs[row.id])
    ]
    if changed:
        lock_jobs(connection)
        leave(connection, changed)
        connection.execute(
            sa.update(schema.jobs)
            .where(columns.id == sa.bindparam("which"))
            .values({name: sa.bindparam(name) for name in _HINTS}),
            [{"which": id_, **_hints(study.jobs[id_])} for id_ in changed],
        )
        make_ready(connection, changed)


def _in_parts(
    connection: sa.Connection, found: sa.Select[Any], ids: Sequence[str]
) -> Iterator[sa.Row[Any]]:
    """The rows of some jobs."""
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
