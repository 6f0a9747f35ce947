"""The tables.

A change here needs another `REVISION`, and in `make_tables` what turns the tables of the one before
into these.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

metadata = sa.MetaData()

# A database names its own.
REVISION = "0001"
revisions = sa.Table(
    "squeezerl_schema", metadata, sa.Column("version_num", sa.String(32), primary_key=True)
)

# As literals in the query's text, so that the databases see which partial index fits.
PENDING = sa.literal_column("'pending'", sa.String)
RUNNING = sa.literal_column("'running'", sa.String)
DONE = sa.literal_column("'done'", sa.String)
FAILED = sa.literal_column("'failed'", sa.String)
_RUNNING = sa.text("state = 'running'")
_FAILED = sa.text("state = 'failed'")

# Times are seconds since the epoch by the database's clock. `needs` repeats the ids of the table
# `needs` in one string, so that many jobs are read fast. `open_needs` counts the needed jobs that
# are not done. Each claim gets a new `token`, so that a worker that lost its lease cannot write.
# `rank` orders the jobs that are ready: the longest first, so that no long one is left for the end.
jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("params", sa.Text, nullable=False),
    sa.Column("needs", sa.Text, nullable=False),
    sa.Column("exclusive", sa.Boolean, nullable=False),
    sa.Column("estimate_s", sa.Double),
    sa.Column("rank", sa.Double, nullable=False),
    sa.Column("state", sa.String(8), nullable=False),
    sa.Column("open_needs", sa.Integer, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("worker", sa.Text),
    sa.Column("token", sa.String(32)),
    sa.Column("lease_until_s", sa.Double),
    sa.Column("started_s", sa.Double),
    sa.Column("progress", sa.Double),
    sa.Column("seconds", sa.Double),
    sa.Column("error", sa.Text),
    sa.Column("transient", sa.Boolean),
    sa.Index("jobs_running", "worker", sqlite_where=_RUNNING, postgresql_where=_RUNNING),
    sa.Index("jobs_failed", "id", sqlite_where=_FAILED, postgresql_where=_FAILED),
    sqlite_with_rowid=False,
)

needs = sa.Table(
    "needs",
    metadata,
    sa.Column("job_id", sa.String(32), sa.ForeignKey("jobs.id"), primary_key=True),
    sa.Column("need_id", sa.String(32), sa.ForeignKey("jobs.id"), primary_key=True),
    sa.Index("needs_of", "need_id", "job_id"),
    sqlite_with_rowid=False,
)

studies = sa.Table(
    "studies",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("spec", sa.Text, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("created_s", sa.Double, nullable=False),
    sa.Column("updated_s", sa.Double, nullable=False),
)

# The jobs of each study that can be claimed: pending ones without open needs. The transactions
# that change a job's state keep this table up to date, so that a claim need not search, however
# many jobs of other studies are waiting.
ready = sa.Table(
    "ready",
    metadata,
    sa.Column("study_id", sa.Integer, sa.ForeignKey("studies.id"), primary_key=True),
    sa.Column("exclusive", sa.Boolean, primary_key=True),
    sa.Column("rank", sa.Double, primary_key=True),
    sa.Column("job_id", sa.String(32), sa.ForeignKey("jobs.id"), primary_key=True),
    sa.Index("ready_of_job", "job_id"),
    sqlite_with_rowid=False,
)

# A job can be in a study several times, under different labels: it is done once, and its result
# appears under each of them.
memberships = sa.Table(
    "memberships",
    metadata,
    sa.Column("study_id", sa.Integer, sa.ForeignKey("studies.id"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("job_id", sa.String(32), sa.ForeignKey("jobs.id"), nullable=False),
    sa.Column("label", sa.Text, nullable=False),
    sa.Index("memberships_of_job", "job_id", "study_id"),
    sqlite_with_rowid=False,
)

hosts = sa.Table(
    "hosts",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("facts", sa.Text, nullable=False),
)

results = sa.Table(
    "results",
    metadata,
    sa.Column("job_id", sa.String(32), sa.ForeignKey("jobs.id"), primary_key=True),
    sa.Column("content", sa.Text, nullable=False),
    sa.Column("host_id", sa.String(64), sa.ForeignKey("hosts.id"), nullable=False),
    sa.Column("seconds", sa.Double, nullable=False),
    sa.Column("finished_s", sa.Double, nullable=False),
    sqlite_with_rowid=False,
)

# In a table of their own, so that reading results does not page through raw samples.
arrays = sa.Table(
    "arrays",
    metadata,
    sa.Column("job_id", sa.String(32), sa.ForeignKey("results.job_id"), primary_key=True),
    sa.Column("data", sa.LargeBinary, nullable=False),
)


class Now(FunctionElement[float]):
    """Seconds since the epoch by the database's clock.

    Leases are granted and expire by this one clock, whatever the clocks of the hosts say.
    """

    inherit_cache = True
    name = "now_s"
    type = sa.Double()


@compiles(Now, "sqlite")
def _sqlite(element: Now, compiler: Any, **keywords: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(Now, "postgresql")
def _postgresql(element: Now, compiler: Any, **keywords: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) AS float8)"


NOW = Now()
