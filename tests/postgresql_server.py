"""A PostgreSQL server of our own, in a temporary folder, reached by its socket."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

PATIENCE_S = 60
SETTINGS = (
    # The kernel outlives a crash of the server, so what was written stays.
    "-c fsync=off -c listen_addresses='' -c shared_buffers=32MB -c max_connections=60 "
)
ABSENT = "no PostgreSQL server on this machine: apt-get install postgresql"


def find_binaries() -> Path | None:
    """The folder with initdb and pg_ctl; Debian keeps them out of the path."""
    if (found := shutil.which("initdb")) and shutil.which("pg_ctl"):
        return Path(found).parent
    versions = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: float(p.parts[-3])
    )
    return versions[-1].parent if versions else None


class PostgreSQLServer:
    def __init__(self, binaries: Path, folder: Path, user: str | None, settings: str) -> None:
        self._binaries, self._folder, self._user = binaries, folder, user
        self._options = f"{settings} -k {folder}"
        self._run("initdb", "-A", "trust", "-U", "squeezerl", "-E", "UTF8", "--no-sync")
        self.start()

    def _run(self, program: str, *arguments: str) -> None:
        # Not a pipe, which the server would inherit and hold open.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                [self._binaries / program, "-D", self._folder / "data", *arguments],
                user=self._user,
                extra_groups=[] if self._user else None,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=PATIENCE_S,
                check=False,
            )
            output.seek(0)
            assert done.returncode == 0, output.read()

    def start(self) -> None:
        self._run("pg_ctl", "start", "-w", "-l", str(self._folder / "log"), "-o", self._options)

    def crash(self) -> None:
        """As a power cut of the server: no goodbye, recovery from the write-ahead log."""
        log = str(self._folder / "log")
        self._run("pg_ctl", "restart", "-w", "-m", "immediate", "-l", log, "-o", self._options)

    def stop(self) -> None:
        self._run("pg_ctl", "stop", "-w", "-m", "immediate")

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        return psycopg.connect(
            host=str(self._folder), user="squeezerl", dbname=database, autocommit=True
        )

    def create_database(self) -> str:
        """The URL of a new one."""
        name = f"db{uuid.uuid4().hex[:12]}"
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql://squeezerl@/{name}?host={self._folder}"

    def end_connections(self, database: str) -> int:
        """End all connections to a database, and tell how many those were."""
        with self.connect() as connection:
            rows = connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = %s AND pid <> pg_backend_pid()",
                (database,),
            ).fetchall()
        return len(rows)


@contextmanager
def running_server(binaries: Path, settings: str = SETTINGS) -> Iterator[PostgreSQLServer]:
    """Run a server; as root it runs as another user, as it insists."""
    user = None
    folder = Path(tempfile.mkdtemp(prefix="squeezerl-pg-"))
    try:
        if os.getuid() == 0:
            user = next(name for name in ("postgres", "nobody") if _exists(name))
            shutil.chown(folder, user)
        server = PostgreSQLServer(binaries, folder, user, settings)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True
