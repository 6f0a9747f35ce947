"""The table of what can be claimed."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from squeezerl.store import schema

_READY = (
    "INSERT INTO ready (study_id, exclusive, rank, job_id) "
    "SELECT DISTINCT memberships.study_id, jobs.exclusive, jobs.rank, jobs.id "
    "FROM memberships JOIN jobs ON jobs.id = memberships.job_id "
    "WHERE {which} AND jobs.state = 'pending' AND jobs.open_needs = 0 ON CONFLICT DO NOTHING"
)
_JOB = sa.text(_READY.format(which="memberships.job_id = :id"))
_STUDY = sa.text(_READY.format(which="memberships.study_id = :id"))


def make_ready(connection: sa.Connection, job_ids: Sequence[str]) -> None:
    """Enter those of some jobs that can be claimed, in all of their studies."""
    if job_ids:
        connection.execute(_JOB, [{"id": job_id} for job_id in job_ids])


def make_study_ready(connection: sa.Connection, study_id: int) -> None:
    """Enter a study anew."""
    connection.execute(sa.delete(schema.ready).where(schema.ready.c.study_id == study_id))
    connection.execute(_STUDY, {"id": study_id})


def leave(connection: sa.Connection, job_ids: Sequence[str]) -> None:
    """Take jobs out."""
    if job_ids:
        out = sa.delete(schema.ready).where(schema.ready.c.job_id == sa.bindparam("id"))
        connection.execute(out, [{"id": job_id} for job_id in job_ids])
