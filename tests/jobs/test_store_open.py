from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from postgresql_server import PostgreSQLServer
from squeezerl.errors import StoreError, StoreUnreachableError
from squeezerl.jobs.database import make_engine, parse_url
from squeezerl.jobs.schema import revisions
from squeezerl.jobs.store import Store


def test_a_newer_schema_is_refused(store_url: str) -> None:
    Store.open(store_url).close()
    engine = make_engine(parse_url(store_url))
    with engine.execution_options(writes=True).begin() as connection:
        connection.execute(sa.text(f"UPDATE {revisions.name} SET version_num = '9999'"))
    with pytest.raises(StoreError, match=r"newer SqueezeRL.*9999"):
        Store.open(store_url)
    engine.dispose()


def test_a_database_with_tables_of_something_else_is_left_alone(store_url: str) -> None:
    engine = make_engine(parse_url(store_url))
    with engine.execution_options(writes=True).begin() as connection:
        connection.execute(sa.text("CREATE TABLE jobs (theirs INTEGER)"))
    with pytest.raises(StoreError, match="tables of something else"):
        Store.open(store_url)
    with engine.connect() as connection:
        assert sa.inspect(connection).get_table_names() == ["jobs"]
    engine.dispose()


def test_folders_of_a_file_are_made(tmp_path: Path) -> None:
    Store.open(f"sqlite:///{tmp_path}/a/b 100%/store.db").close()
    assert (tmp_path / "a/b 100%/store.db").is_file()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("study.db", "not the URL of a store"),
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        ("mysql://a@b/c", "stores in 'mysql' are not supported"),
    ],
)
def test_other_urls_are_refused(url: str, says: str) -> None:
    with pytest.raises(StoreError, match=says):
        Store.open(url)


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"something else" * 100)
    with pytest.raises(StoreError, match="not a database"):
        Store.open(f"sqlite:///{path}")
    with pytest.raises(StoreError, match="cannot be made"):
        Store.open(f"sqlite:///{path}/store.db")


def test_an_unreachable_server_is_named_without_its_password_after_a_while() -> None:
    with pytest.raises(StoreUnreachableError, match="refused") as caught:
        Store.open("postgresql://user:secret@127.0.0.1:1/none", patience_s=0.3)
    assert "secret" not in str(caught.value)


def test_a_missing_database_is_an_error_at_once(
    postgresql_server: PostgreSQLServer,
) -> None:
    url = postgresql_server.create_database()
    with pytest.raises(StoreError, match="does not exist") as caught:
        Store.open(url.replace("/db", "/other"))
    assert not isinstance(caught.value, StoreUnreachableError)


def test_connections_that_are_lost_are_made_anew(postgresql_server: PostgreSQLServer) -> None:
    url = postgresql_server.create_database()
    with Store.open(url) as store:
        store.put_study("s", {}, [])
        assert postgresql_server.end_connections(url.partition("@/")[2].partition("?")[0]) > 0
        assert store.study_names() == ("s",)
        postgresql_server.crash()
        assert store.study_names() == ("s",)


def test_a_locked_file_is_waited_for(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    with Store.open(url) as store:
        holder = subprocess.Popen(
            [
                *(sys.executable, "-c"),
                "import sqlite3, sys, time\n"
                f"c = sqlite3.connect({str(tmp_path / 'store.db')!r}, isolation_level=None)\n"
                "c.execute('BEGIN IMMEDIATE'); print('held', flush=True); time.sleep(0.5)",
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert store.study_names() == ()  # readers do not wait
        store.put_study("s", {}, [])
        holder.communicate()
        assert store.study_names() == ("s",)


def test_the_store_loads_no_torch() -> None:
    code = (
        "import sys, squeezerl; assert not {'torch', 'sqlalchemy', 'pandas'} & sys.modules.keys()\n"
        "import squeezerl.jobs.store, squeezerl.jobs.execute; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("error", "shown"), [(KeyboardInterrupt(), []), (OSError("gone"), ["Exception during reset"])]
)
def test_ctrl_c_while_a_connection_is_given_back_ends_the_command_and_shows_nothing_else(
    error: BaseException, shown: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = make_engine(parse_url(f"sqlite:///{tmp_path}/store.db"))

    @sa.event.listens_for(engine, "reset")
    def stop(*_: object) -> None:
        raise error

    raised = isinstance(error, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt) if raised else contextlib.nullcontext():
        engine.connect().close()
    assert [record.message[: len("Exception during reset")] for record in caplog.records] == shown
