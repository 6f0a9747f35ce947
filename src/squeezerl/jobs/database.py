"""The database: connections, its schema, and patience with lost servers and locks."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from squeezerl.errors import StoreError, StoreUnreachableError
from squeezerl.jobs.schema import REVISION, metadata, revisions

PATIENCE_S = 60.0
T = TypeVar("T")
_LONGEST_WAIT_S = 2.0
_SQLITE_PASSING = {5, 6, 15}  # busy, locked, protocol (a race for the write-ahead log)
# Deadlock, serialization failure, too many connections, lock; the server stops, starts or is gone.
_SQLSTATES = ("40P01", "40001", "53300", "55P03", "57P", "08", "25P03")
# When the server refuses a connection, the error has no state.
_REFUSALS = ("authentication failed", "does not exist", "no password", "not known", "pg_hba.conf")
_SQLITE_BUSY_S = 30
_SCHEMES = "sqlite:///FILE or postgresql://USER@HOST/DATABASE"
_LOCK = 0x5153_7265  # an arbitrary number of our own, for PostgreSQL's advisory lock


def parse_url(url: str) -> sa.URL:
    """Read a store's URL.

    Raises:
        StoreError: if it is neither SQLite with a file nor PostgreSQL.
    """
    try:
        parsed = sa.make_url(url)
        name = parsed.get_backend_name()
    except sa.exc.ArgumentError as error:
        raise StoreError(f"not the URL of a store; give {_SCHEMES}") from error
    if name == "sqlite":
        if parsed.database in (None, "", ":memory:"):
            raise StoreError(f"a store in SQLite needs a file: {_SCHEMES}")
        return parsed.set(drivername="sqlite+pysqlite")
    if name in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    raise StoreError(f"stores in {name!r} are not supported; give {_SCHEMES}")


def make_engine(url: sa.URL) -> sa.Engine:
    """Make an engine; transactions that write must set the execution option `writes`.

    Raises:
        StoreError: if the driver is missing, or the file's folder cannot be made.
    """
    engine = _sqlite(url) if url.get_backend_name() == "sqlite" else _postgresql(url)
    pool = type(engine.pool)
    logging.getLogger(f"{pool.__module__}.{pool.__name__}").addFilter(_is_no_interruption)
    return engine


def _is_no_interruption(record: logging.LogRecord) -> bool:
    """Leave out what the pool logs of a Ctrl-C, since the pool also raises it again."""
    return not (record.exc_info and isinstance(record.exc_info[1], KeyboardInterrupt))


def _sqlite(url: sa.URL) -> sa.Engine:
    try:
        Path(url.database or "").absolute().parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{url.database}: cannot be made ({error.strerror})") from error
    engine = sa.create_engine(
        url, connect_args={"timeout": _SQLITE_BUSY_S}, pool_size=1, max_overflow=4
    )

    @sa.event.listens_for(engine, "connect")
    def connect(connection: Any, _: object) -> None:
        connection.isolation_level = None  # transactions begin below, not where the driver guesses
        for pragma in ("foreign_keys = ON", "synchronous = NORMAL", "cache_size = -65536"):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        # A transaction that began as a reader could not wait for another writer.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgresql(url: sa.URL) -> sa.Engine:
    try:
        engine = sa.create_engine(
            url,
            pool_size=1,
            max_overflow=4,
            pool_pre_ping=True,
            connect_args={
                "connect_timeout": 10,
                "application_name": "squeezerl",
                # Prepared statements would not survive a pooler between here and the server.
                "prepare_threshold": None,
                "keepalives_idle": 30,
                "keepalives_interval": 10,
                "keepalives_count": 3,
            },
        )
    except ModuleNotFoundError as error:
        raise StoreError(
            'a store in PostgreSQL needs psycopg: pip install "squeezerl[postgresql]"'
        ) from error

    @sa.event.listens_for(engine, "connect")
    def connect(connection: Any, _: object) -> None:
        # The locks of a host that vanished must become free again.
        with connection.cursor() as cursor:
            cursor.execute("SET idle_in_transaction_session_timeout = '60s'")
        connection.commit()

    return engine


def make_tables(engine: sa.Engine, where: str) -> None:
    """Make the tables where there are none; several processes may do so at once.

    Raises:
        StoreError: if another version of this library made the tables, or if the database holds
            tables of something else.
    """
    with engine.begin() as connection:
        if _has_tables(connection, where):
            return
    if engine.dialect.name == "sqlite":
        _write_ahead(engine)
    try:
        with engine.execution_options(writes=True).begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            if not _has_tables(connection, where):
                metadata.create_all(connection, checkfirst=False)
                connection.execute(sa.insert(revisions).values(version_num=REVISION))
    except sa.exc.DBAPIError as error:
        if "already exists" in str(error.orig):
            raise StoreError(f"{where}: the database holds tables of something else") from error
        raise


def _write_ahead(engine: sa.Engine) -> None:
    """Let readers and the writer not wait for each other; the file remembers the mode."""
    connection = engine.raw_connection()
    try:
        cursor = connection.cursor()
        if cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            cursor.execute("PRAGMA journal_mode = WAL")
        cursor.close()
    finally:
        connection.close()


def _has_tables(connection: sa.Connection, where: str) -> bool:
    if not sa.inspect(connection).has_table(revisions.name):
        return False
    current = connection.execute(sa.select(revisions.c.version_num)).scalar()
    if current != REVISION:  # there is no older one
        raise StoreError(
            f"{where}: written by a newer SqueezeRL (schema {current}, this one knows up to "
            f"{REVISION}); install that version"
        )
    return True


def patiently(action: Callable[[], T], patience_s: float, where: str) -> T:
    """Run an action, and repeat it while the database is away or locked.

    The action must be safe to repeat: when the connection is lost during a commit, nobody knows
    whether the commit took place.

    Raises:
        StoreUnreachableError: if the database is still away after `patience_s`.
        StoreError: if the database refuses the action.
    """
    deadline = time.monotonic() + patience_s
    wait = 0.02
    while True:
        try:
            return action()
        except sa.exc.DBAPIError as error:
            reason = str(error.orig).strip().splitlines()
            message = f"{where}: {reason[0] if reason else type(error.orig).__name__}"
            if not _passes(error):
                raise StoreError(message) from error
            if time.monotonic() > deadline:
                raise StoreUnreachableError(f"{message} (for {patience_s:.0f} s)") from error
        time.sleep(wait * random.uniform(0.5, 1.0))
        wait = min(2 * wait, _LONGEST_WAIT_S)


def _passes(error: sa.exc.DBAPIError) -> bool:
    """Whether the same action may succeed in a moment."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        return (code & 0xFF) in _SQLITE_PASSING
    if state := getattr(error.orig, "sqlstate", None):
        return str(state).startswith(_SQLSTATES)
    if error.connection_invalidated:
        return True
    lost = isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError)
    return lost and not any(words in str(error.orig) for words in _REFUSALS)
