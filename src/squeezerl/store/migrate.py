"""Bringing a database to the schema of this version, by several processes at once if need be."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from squeezerl.errors import StoreError
from squeezerl.store.schema import REVISION, VERSION_TABLE

_FOLDER = Path(__file__).with_name("migrations")
_LOCK = 0x5153_7265  # any number that is ours, for PostgreSQL's advisory lock


def migrate(engine: sa.Engine, where: str) -> None:
    """Make or update the tables.

    Raises:
        StoreError: if a newer version of this library has been here, or the database holds tables
            of others.
    """
    with engine.begin() as connection:
        if _is_current(connection, where):
            return
    if engine.dialect.name == "sqlite":
        _write_ahead(engine)
    try:
        with engine.execution_options(writes=True).begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            if not _is_current(connection, where):
                _upgrade(connection)
    except sa.exc.DBAPIError as error:
        if "already exists" in str(error.orig):
            raise StoreError(f"{where}: the database holds tables of something else") from error
        raise


def _write_ahead(engine: sa.Engine) -> None:
    """Readers and the writer do not wait for each other; it stays so in the file."""
    connection = engine.raw_connection()
    try:
        cursor = connection.cursor()
        if cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            cursor.execute("PRAGMA journal_mode = WAL")
        cursor.close()
    finally:
        connection.close()


def _is_current(connection: sa.Connection, where: str) -> bool:
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return False
    version = sa.text(f"SELECT version_num FROM {VERSION_TABLE}")
    current = connection.execute(version).scalar()
    # Revisions are numbers with leading zeros.
    if current is not None and current > REVISION:
        raise StoreError(
            f"{where}: written by a newer SqueezeRL (schema {current}, this one knows up to "
            f"{REVISION}); install that version"
        )
    return bool(current == REVISION)


def _upgrade(connection: sa.Connection) -> None:
    # Workers find the schema as it shall be, and need not load this.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes.update(connection=connection, version_table=VERSION_TABLE)
    command.upgrade(config, "head")
