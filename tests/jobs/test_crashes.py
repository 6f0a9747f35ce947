"""`kill -9` of workers, of the coordinator, of connections and of the server, at random moments."""

from __future__ import annotations

import time
from pathlib import Path
from random import Random

import pytest
from crash_study import Command, check, make_study

from postgresql_server import PostgreSQLServer
from squeezerl.jobs.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.thorough]

KILLS = 16
PATIENCE_S = 240


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_study_that_is_killed_dozens_of_times_comes_to_its_end(
    database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    server: PostgreSQLServer | None = None
    if database == "postgresql":
        server = request.getfixturevalue("postgresql_server")
    rng = Random(0)
    kills = crashes = rounds = cut_off = 0
    deadline = time.monotonic() + PATIENCE_S
    while kills < KILLS:
        folder = tmp_path / f"round-{rounds}"
        folder.mkdir()
        url = f"sqlite:///{folder}/store.db" if server is None else server.create_database()
        name = url.partition("@/")[2].partition("?")[0]
        jobs = make_study(folder, 1000 * rounds, rng)
        with Store.open(url) as store:
            store.put_study("s", {}, [(job, {"n": job.params["number"]}) for job in jobs])
        command = Command(url, "s", folder)
        try:
            while True:
                assert time.monotonic() < deadline, command.output()
                if kills < KILLS:
                    # Most of them in the midst of jobs, the others also while workers start.
                    if rng.random() < 0.8:
                        command.wait_until_busy()
                    time.sleep(rng.uniform(0.0, 0.3))
                    what = rng.random()
                    if what < (0.8 if server is None else 0.65):
                        kills += command.kill_worker(rng)
                    elif what < 0.8 or server is None:
                        kills += command.kill_coordinator()
                    elif what < 0.95 or crashes >= 4:
                        kills += server.end_connections(name) > 0
                    else:
                        crashes += 1
                        kills += 1
                        server.crash()
                else:
                    time.sleep(0.05)
                code = command.process.poll()
                if code == 0:
                    break
                if code is not None:
                    command.again()
        finally:
            command.process.kill()
            command.process.wait()
        cut_off += check(url, "s", folder, jobs, command)
        rounds += 1
    assert kills >= KILLS
    assert cut_off >= KILLS // 8
