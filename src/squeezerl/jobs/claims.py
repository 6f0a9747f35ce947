"""How jobs change state. Each function is the work of one transaction, by compare-and-set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from squeezerl.jobs import schema
from squeezerl.jobs.encode import clean, job_of
from squeezerl.jobs.job import Claim
from squeezerl.jobs.schema import NOW

ATTEMPTS = 3

_jobs = schema.jobs
_c = schema.jobs.c
_ready = schema.ready
_FREE: dict[str, Any] = dict.fromkeys(("worker", "token", "lease_until_s", "progress", "started_s"))


_JOB_ID = sa.bindparam("job_id", type_=sa.Text)
_STUDY_ID = (
    sa.select(schema.studies.c.id)
    .where(schema.studies.c.name == sa.bindparam("study", type_=sa.Text))
    .scalar_subquery()
)

# The statements are built once: building them takes longer than running them.
_NEXT = (
    sa.select(_ready.c.job_id)
    .join(_jobs, _c.id == _ready.c.job_id)
    .where(
        _ready.c.study_id == _STUDY_ID,
        _ready.c.exclusive == sa.bindparam("alone", type_=sa.Boolean),
        _c.state == schema.PENDING,
        _c.open_needs == 0,
    )
    .order_by(_ready.c.rank, _ready.c.job_id)
    .limit(sa.literal_column("1", sa.Integer))
    # Lock the job, not its entry in `ready`, of which there is one for each study.
    .with_for_update(skip_locked=True, of=_jobs)
)
_TAKE = (
    sa.update(_jobs)
    .where(_c.id == _JOB_ID)
    .values(
        state=schema.RUNNING,
        worker=sa.bindparam("by", type_=sa.Text),
        token=sa.bindparam("new_token", type_=sa.Text),
        attempts=_c.attempts + 1,
        lease_until_s=NOW + sa.bindparam("lease_s", type_=sa.Double),
        started_s=NOW,
        progress=None,
    )
    .returning(*_c)
)
_NOT_READY = sa.delete(_ready).where(_ready.c.job_id == _JOB_ID)
_FINISH = (
    sa.update(_jobs)
    .where(
        _c.id == _JOB_ID,
        _c.state == schema.RUNNING,
        _c.token == sa.bindparam("held", type_=sa.Text),
    )
    .values(
        state=schema.DONE,
        seconds=sa.bindparam("took_s", type_=sa.Double),
        lease_until_s=None,
        progress=None,
        error=None,
    )
)
_HOST = sa.text("INSERT INTO hosts (id, facts) VALUES (:id, :facts) ON CONFLICT DO NOTHING")
_RESULT = sa.insert(schema.results).values(finished_s=NOW)
_ARRAYS = sa.insert(schema.arrays)
_WAITING = sa.select(schema.needs.c.job_id).where(schema.needs.c.need_id == _JOB_ID)
# In a fixed order, so that two jobs that finish at once do not wait for each other.
_LOCK_WAITING = sa.select(_c.id).where(_c.id.in_(_WAITING)).order_by(_c.id).with_for_update()
_COUNT_DOWN = sa.update(_jobs).where(_c.id.in_(_WAITING)).values(open_needs=_c.open_needs - 1)

# A job that is done, and all jobs that need it directly or indirectly.
_MADE = (
    sa.select(_c.id).where(_c.id == _JOB_ID, _c.state == schema.DONE).cte("made", recursive=True)
)
_MADE_OF = sa.select(
    _MADE.union(
        sa.select(schema.needs.c.job_id).join(_MADE, schema.needs.c.need_id == _MADE.c.id)
    ).c.id
)
_NO_ARRAYS = sa.delete(schema.arrays).where(schema.arrays.c.job_id == _JOB_ID)
_NO_RESULT = sa.delete(schema.results).where(schema.results.c.job_id == _JOB_ID)
_REOPEN = (
    sa.update(_jobs)
    .where(_c.id == _JOB_ID)
    .values({**_FREE, "state": schema.PENDING, "failures": 0, "seconds": None})
)
_need = sa.alias(_jobs, "need")
_COUNT_NEEDS = (
    sa.update(_jobs)
    .where(_c.id == _JOB_ID)
    .values(
        open_needs=sa.select(sa.func.count())
        .select_from(schema.needs.join(_need, _need.c.id == schema.needs.c.need_id))
        .where(schema.needs.c.job_id == _c.id, _need.c.state != schema.DONE)
        .correlate(_jobs)
        .scalar_subquery()
    )
)


def take(
    connection: sa.Connection,
    *,
    study: str,
    worker: str,
    token: str,
    exclusive: bool,
    lease_s: float,
) -> Claim | None:
    """Give a worker the longest job that is ready."""
    found = connection.execute(_NEXT, {"study": study, "alone": exclusive}).scalar()
    if found is None:
        return None
    values = {"job_id": found, "by": worker, "new_token": token, "lease_s": lease_s}
    claim = _claim(connection.execute(_TAKE, values).one_or_none())
    connection.execute(_NOT_READY, {"job_id": found})
    return claim


def find(connection: sa.Connection, worker: str, token: str) -> Claim | None:
    """The claim of an earlier transaction whose commit was not confirmed."""
    held = sa.select(_jobs).where(
        _c.state == schema.RUNNING, _c.worker == worker, _c.token == token
    )
    return _claim(connection.execute(held).one_or_none())


def _claim(row: Any) -> Claim | None:
    if row is None:
        return None
    return Claim(
        job=job_of(row),
        worker=row.worker,
        token=row.token,
        attempts=row.attempts,
        failures=row.failures,
    )


def _held(claim: Claim) -> tuple[sa.ColumnElement[bool], ...]:
    return (_c.id == claim.job.id, _c.state == schema.RUNNING, _c.token == claim.token)


def _ended(connection: sa.Connection, claim: Claim, *states: str) -> bool:
    """Whether an earlier transaction, of unconfirmed commit, put the job in one of these states."""
    state = sa.select(_c.state).where(_c.id == claim.job.id, _c.token == claim.token)
    return connection.execute(state).scalar() in states


def extend(
    connection: sa.Connection, claim: Claim, lease_s: float, progress: float | None = None
) -> bool:
    """Extend a lease; false if it was lost. `progress` is the share of the job that is done."""
    values: dict[str, Any] = {"lease_until_s": NOW + lease_s}
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
    facts: str | None,
    seconds: float,
) -> bool:
    """Store the result and the state, and release the jobs that waited, all at once.

    `facts` are `None` for a host that is known to be in the store.
    """
    job_id = claim.job.id
    done = {"job_id": job_id, "held": claim.token, "took_s": seconds}
    if connection.execute(_FINISH, done).rowcount == 0:
        return _ended(connection, claim, "done")
    if facts is not None:
        connection.execute(_HOST, {"id": host_id, "facts": facts})
    connection.execute(
        _RESULT, {"job_id": job_id, "content": content, "host_id": host_id, "seconds": seconds}
    )
    if arrays is not None:
        connection.execute(_ARRAYS, {"job_id": job_id, "data": arrays})
    if waiting := connection.execute(_LOCK_WAITING, {"job_id": job_id}).scalars().all():
        connection.execute(_COUNT_DOWN, {"job_id": job_id})
        make_ready(connection, waiting)
    return True


def _failed(error: str, *, transient: bool) -> dict[str, Any]:
    """The values after one more failure; a transient one is final only at the last attempt."""
    again = sa.case((_c.failures + 1 < ATTEMPTS, schema.PENDING), else_=schema.FAILED)
    return {
        "state": again if transient else schema.FAILED,
        "failures": _c.failures + 1,
        "error": error,
        "transient": transient,
    }


def fail(connection: sa.Connection, claim: Claim, error: str, *, retry: bool) -> bool:
    """Record a failure; with `retry` a job gets three attempts. False if the lease was lost."""
    # The token stays, so that a repeated transaction is recognised; the next claim replaces it.
    free = {name: None for name in _FREE if name != "token"}
    failed = sa.update(_jobs).where(*_held(claim))
    values = {**free, **_failed(clean(error), transient=retry)}
    if connection.execute(failed.values(values)).rowcount == 1:
        make_ready(connection, [claim.job.id])
        return True
    return _ended(connection, claim, "pending", "failed")


def give_back(connection: sa.Connection, claim: Claim) -> bool:
    """Undo a claim, so that the job is as it was before. False if the lease was lost."""
    return _set_free(connection, sa.and_(*_held(claim)), {"state": schema.PENDING}) == 1


def release(
    connection: sa.Connection, which: sa.ColumnElement[bool], error: str | None = None
) -> int:
    """Free running jobs; an error counts as a failure of each of them."""
    some = sa.select(_c.id).where(_c.state == schema.RUNNING, which)
    values = {"state": schema.PENDING} if error is None else _failed(error, transient=True)
    # Rows that another transaction has locked are skipped rather than waited for.
    unlocked = _c.id.in_(some.with_for_update(skip_locked=True))
    return _set_free(connection, sa.and_(unlocked, _c.state == schema.RUNNING), values)


def retry(connection: sa.Connection, study: str, *, transient_only: bool = False) -> int:
    """Make failed jobs pending again, all of them or only those with a transient failure."""
    members = schema.memberships
    in_study = sa.select(members.c.job_id).where(members.c.study_id == _STUDY_ID)
    which = [_c.state == schema.FAILED, _c.id.in_(in_study)]
    if transient_only:
        which.append(_c.transient.is_(True))
    values = {"state": schema.PENDING, "failures": 0}
    return _set_free(connection, sa.and_(*which), values, {"study": study})


def reopen(connection: sa.Connection, job_ids: Sequence[str]) -> None:
    """Make finished jobs and all that need them pending again; their results are removed.

    A job that is repeated may leave something slightly different, and results made from the first
    and from the second time must not stand in one study.
    """
    lock_jobs(connection)
    again: set[str] = set()
    for job_id in job_ids:
        again |= set(connection.execute(_MADE_OF, {"job_id": job_id}).scalars())
    if not again:
        return
    ids = sorted(again)
    each = [{"job_id": job_id} for job_id in ids]
    leave(connection, ids)
    for statement in (_NO_ARRAYS, _NO_RESULT, _REOPEN, _COUNT_NEEDS):
        connection.execute(statement, each)
    make_ready(connection, ids)


def lock_jobs(connection: sa.Connection) -> None:
    """Keep other transactions from changing jobs until this one ends; they can still read."""
    if connection.dialect.name == "postgresql":  # SQLite has one writer anyway
        connection.execute(sa.text("LOCK TABLE jobs IN EXCLUSIVE MODE"))


def _set_free(
    connection: sa.Connection,
    which: sa.ColumnElement[bool],
    values: dict[str, Any],
    parameters: dict[str, Any] | None = None,
) -> int:
    freed = sa.update(_jobs).where(which).values({**_FREE, **values}).returning(_c.id)
    ids = connection.execute(freed, parameters or {}).scalars().all()
    make_ready(connection, ids)
    return len(ids)


_READY = (
    "INSERT INTO ready (study_id, exclusive, rank, job_id) "
    "SELECT DISTINCT memberships.study_id, jobs.exclusive, jobs.rank, jobs.id "
    "FROM memberships JOIN jobs ON jobs.id = memberships.job_id "
    "WHERE {which} AND jobs.state = 'pending' AND jobs.open_needs = 0 ON CONFLICT DO NOTHING"
)
_JOB = sa.text(_READY.format(which="memberships.job_id = :id"))
_STUDY = sa.text(_READY.format(which="memberships.study_id = :id"))


def make_ready(connection: sa.Connection, job_ids: Sequence[str]) -> None:
    """Enter those of the given jobs that can be claimed, for all of their studies."""
    if job_ids:
        connection.execute(_JOB, [{"id": job_id} for job_id in job_ids])


def make_study_ready(connection: sa.Connection, study_id: int) -> None:
    """Enter all jobs of a study that can be claimed, in place of its entries so far."""
    connection.execute(sa.delete(schema.ready).where(schema.ready.c.study_id == study_id))
    connection.execute(_STUDY, {"id": study_id})


def leave(connection: sa.Connection, job_ids: Sequence[str]) -> None:
    """Take jobs out of the table of what can be claimed."""
    if job_ids:
        out = sa.delete(schema.ready).where(schema.ready.c.job_id == sa.bindparam("id"))
        connection.execute(out, [{"id": job_id} for job_id in job_ids])
