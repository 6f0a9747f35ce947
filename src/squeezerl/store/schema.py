"""The tables. What changes here needs a revision in `migrations/versions`; a test compares them."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

# The latest revision in `migrations/versions`, and where a database says which it is of.
REVISION = "0001"
VERSION_TABLE = "squeezerl_schema"

# Literals in the text of a query, so that the databases see that the partial indices serve it.
PENDING = sa.literal_column("'pending'", sa.String)
RUNNING = sa.literal_column("'running'", sa.String)
DONE = sa.literal_column("'done'", sa.String)
FAILED = sa.literal_column("'failed'", sa.String)
_RUNNING = sa.text("state = 'running'")
_FAILED = sa.text("state = 'failed'")

# Times are seconds since the epoch by the database's clock. `needs` are the ids that the job's
# table `needs` holds, once more in one string, for reading many jobs fast. `open_needs` counts
# those that are not done. `token` is new at every claim: it is what fences a worker that lost its
# lease. `rank` orders what is ready: the longest first, so that nothing long is left for the end.
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

# What can be claimed, study by study: pending jobs without open needs. Kept in the transactions
# that change those, so that a claim does not search, however much other studies have waiting.
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

# A job may stand in a study more than once, under other labels.
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

# Apart from the results, so that reading those does not page through raw samples.
arrays = sa.Table(
    "arrays",
    metadata,
    sa.Column("job_id", sa.String(32), sa.ForeignKey("results.job_id"), primary_key=True),
    sa.Column("data", sa.LargeBinary, nullable=False),
)
