"""Connections: SQLite and PostgreSQL set up so that a `kill -9` and a lost server do no harm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa

from squeezerl.errors import StoreError

_SQLITE_BUSY_S = 30
_SCHEMES = "sqlite:///FILE or postgresql://USER@HOST/DATABASE"


def parse_url(url: str) -> sa.URL:
    """Read a store's URL.

    Raises:
        StoreError: if it is neither SQLite's with a file nor PostgreSQL's.
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
    raise StoreError(f"no store in {name!r}; give {_SCHEMES}")


def make_engine(url: sa.URL) -> sa.Engine:
    """An engine; writing transactions have the execution option `writes`.

    Raises:
        StoreError: if the driver is missing, or the file's folder cannot be made.
    """
    return _sqlite(url) if url.get_backend_name() == "sqlite" else _postgresql(url)


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
        connection.isolation_level = None  # transactions begin below, not as the driver guesses
        for pragma in ("foreign_keys = ON", "synchronous = NORMAL", "cache_size = -65536"):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        # A writer that began as a reader could not wait for another writer.
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
        # What a host that vanished had locked must come free.
        with connection.cursor() as cursor:
            cursor.execute("SET idle_in_transaction_session_timeout = '60s'")
        connection.commit()

    return engine
