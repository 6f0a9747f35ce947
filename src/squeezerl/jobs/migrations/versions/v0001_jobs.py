"""Jobs, studies, hosts, results and their arrays."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "jobs",
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
        sqlite_with_rowid=False,
    )
    for name, columns, where in (
        ("jobs_running", ["worker"], "state = 'running'"),
        ("jobs_failed", ["id"], "state = 'failed'"),
    ):
        condition = sa.text(where)
        op.create_index(name, "jobs", columns, sqlite_where=condition, postgresql_where=condition)
    op.create_table(
        "needs",
        sa.Column("job_id", sa.String(32), sa.ForeignKey("jobs.id"), primary_key=True),
        sa.Column("need_id", sa.String(32), sa.ForeignKey("jobs.id"), primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_index("needs_of", "needs", ["need_id", "job_id"])
    op.create_table(
        "studies",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("created_s", sa.Double, nullable=False),
        sa.Column("updated_s", sa.Double, nullable=False),
    )
    op.create_table(
        "ready",
        sa.Column("study_id", sa.Integer, sa.ForeignKey("studies.id"), primary_key=True),
        sa.Column("exclusive", sa.Boolean, primary_key=True),
        sa.Column("rank", sa.Double, primary_key=True),
        sa.Column("job_id", sa.String(32), sa.ForeignKey("jobs.id"), primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_index("ready_of_job", "ready", ["job_id"])
    op.create_table(
        "memberships",
        sa.Column("study_id", sa.Integer, sa.ForeignKey("studies.id"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("job_id", sa.String(32), sa.ForeignKey("jobs.id"), nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("memberships_of_job", "memberships", ["job_id", "study_id"])
    op.create_table(
        "hosts",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("facts", sa.Text, nullable=False),
    )
    op.create_table(
        "results",
        sa.Column("job_id", sa.String(32), sa.ForeignKey("jobs.id"), primary_key=True),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("host_id", sa.String(64), sa.ForeignKey("hosts.id"), nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("finished_s", sa.Double, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "arrays",
        sa.Column("job_id", sa.String(32), sa.ForeignKey("results.job_id"), primary_key=True),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
