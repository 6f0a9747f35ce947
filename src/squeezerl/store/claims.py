"""How jobs change state. Each function is one transaction's work, by compare-and-set."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa

from squeezerl.store import schema
from squeezerl.store.encode import make_job
from squeezerl.store.records import Claim

ATTEMPTS = 3

_jobs = schema.jobs
_c = schema.jobs.c
_FREE: dict[str, Any] = {
    "worker": None, "token": None, "lease_until_s": None, "progress": None, "started_s": None
}  # fmt: skip

Now = sa.ColumnElement[float]


def in_study(study: str) -> sa.ColumnElement[bool]:
    """Whether a job is in a study."""
    members = schema.memberships
    id_ = sa.select(schema.studies.c.id).where(schema.studies.c.name == study).scalar_subquery()
    return sa.exists().where(members.c.job_id == _c.id, members.c.study_id == id_)


def take(
    connection: sa.Connection,
    *,
    study: str,
    worker: str,
    token: str,
    exclusive: bool,
    lease_s: float,
    now: Now,
) -> Claim | None:
    """Let a worker have the longest job that is ready."""
    ready = (
        sa.select(_c.id)
        .where(
            _c.state == schema.PENDING,
            _c.open_needs == sa.literal_column("0"),
            _c.exclusive == exclusive,
            in_study(study),
        )
        .order_by(_c.rank)
        .limit(1)
        .with_for_update(skip_locked=True, of=_jobs)
    )
    taken = (
        sa.update(_jobs)
        .where(_c.id == ready.scalar_subquery(), _c.state == schema.PENDING)
        .values(
            state=schema.RUNNING,
            worker=worker,
            token=token,
            attempts=_c.attempts + 1,
            lease_until_s=now + lease_s,
            started_s=now,
            progress=None,
        )
        .returning(*_c)
    )
    return _claim(connection.execute(taken).one_or_none())


def find(connection: sa.Connection, worker: str, token: str) -> Claim | None:
    """A claim that was made by a transaction whose end was not heard of."""
    held = sa.select(_jobs).where(
        _c.state == schema.RUNNING, _c.worker == worker, _c.token == token
    )
    return _claim(connection.execute(held).one_or_none())


def _claim(row: Any) -> Claim | None:
    if row is None:
        return None
    return Claim(
        job=make_job(row, json.loads(row.params)),
        worker=row.worker,
        token=row.token,
        attempts=row.attempts,
        failures=row.failures,
    )


def _held(claim: Claim) -> tuple[sa.ColumnElement[bool], ...]:
    return (_c.id == claim.job.id, _c.state == schema.RUNNING, _c.token == claim.token)


def _ended(connection: sa.Connection, claim: Claim, *states: str) -> bool:
    """Whether the claim ended so already, in a transaction whose end was not heard of."""
    state = sa.select(_c.state).where(_c.id == claim.job.id, _c.token == claim.token)
    return connection.execute(state).scalar() in states


def extend(
    connection: sa.Connection, claim: Claim, lease_s: float, progress: float | None, now: Now
) -> bool:
    """Extend a lease."""
    values: dict[str, Any] = {"lease_until_s": now + lease_s}
    if progress is not None:
        values["progress"] = progress
    done = sa.update(_jobs).where(*_held(claim)).values(values)
    return connection.execute(done).rowcount == 1


def finish(
    connection: sa.Connection,
    claim: Claim,
    *,
    content: str,
    arrays: bytes | None,
    host_id: str,
    facts: str,
    seconds: float,
    now: Now,
) -> bool:
    """Result, state and what waited for it, together."""
    done = (
        sa.update(_jobs)
        .where(*_held(claim))
        .values(state=schema.DONE, seconds=seconds, lease_until_s=None, progress=None, error=None)
    )
    if connection.execute(done).rowcount == 0:
        return _ended(connection, claim, "done")
    connection.execute(
        sa.text("INSERT INTO hosts (id, facts) VALUES (:id, :facts) ON CONFLICT DO NOTHING"),
        {"id": host_id, "facts": facts},
    )
    job_id = claim.job.id
    connection.execute(
        sa.insert(schema.results).values(
            job_id=job_id, content=content, host_id=host_id, seconds=seconds, finished_s=now
        )
    )
    if arrays is not None:
        connection.execute(sa.insert(schema.arrays).values(job_id=job_id, data=arrays))
    waiting = sa.select(schema.needs.c.job_id).where(schema.needs.c.need_id == job_id)
    # In one order, so that two that finish at once do not wait for each other.
    lock = sa.select(_c.id).where(_c.id.in_(waiting)).order_by(_c.id).with_for_update()
    if connection.execute(lock).scalars().all():
        connection.execute(
            sa.update(_jobs).where(_c.id.in_(waiting)).values(open_needs=_c.open_needs - 1)
        )
    return True


def _failed(error: str, *, transient: bool) -> dict[str, Any]:
    """One more failure; with `transient`, not the last before there were enough."""
    again = sa.case((_c.failures + 1 < ATTEMPTS, schema.PENDING), else_=schema.FAILED)
    return {
        "state": again if transient else schema.FAILED,
        "failures": _c.failures + 1,
        "error": error,
        "transient": transient,
    }


def fail(connection: sa.Connection, claim: Claim, error: str, *, transient: bool) -> bool:
    """Record a failure."""
    # The token stays, to know this transaction by; the next claim replaces it.
    free = {name: None for name in _FREE if name != "token"}
    values = {**free, **_failed(error, transient=transient)}
    if connection.execute(sa.update(_jobs).where(*_held(claim)).values(values)).rowcount == 1:
        return True
    return _ended(connection, claim, "pending", "failed")


def give_back(connection: sa.Connection, claim: Claim) -> bool:
    """Undo a claim, as if it had not been."""
    values = {**_FREE, "state": schema.PENDING}
    return connection.execute(sa.update(_jobs).where(*_held(claim)).values(values)).rowcount == 1


def release(
    connection: sa.Connection, which: sa.ColumnElement[bool], error: str | None = None
) -> int:
    """Free running jobs; with an error, it counts as a failure of theirs."""
    some = sa.select(_c.id).where(_c.state == schema.RUNNING, which)
    values = {**_FREE, "state": schema.PENDING}
    if error is not None:
        values |= _failed(error, transient=True)
    free = (
        sa.update(_jobs)
        # What a transaction holds locked just now is not to be waited for.
        .where(_c.id.in_(some.with_for_update(skip_locked=True)), _c.state == schema.RUNNING)
        .values(values)
    )
    return connection.execute(free).rowcount


def retry(connection: sa.Connection, study: str, *, transient_only: bool) -> int:
    """Let failed jobs of a study be tried again."""
    which = [_c.state == schema.FAILED, in_study(study)]
    if transient_only:
        which.append(_c.transient.is_(True))
    values = {**_FREE, "state": schema.PENDING, "failures": 0}
    return connection.execute(sa.update(_jobs).where(*which).values(values)).rowcount
