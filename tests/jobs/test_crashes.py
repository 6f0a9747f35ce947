"""`kill -9` of workers, of the coordinator, of connections and of the server, at random moments."""

from __future__ import annotations

import time
from pathlib import Path
from random import Random

import pytest
from crash_study import Command, check, make_study

from postgresql_server import PostgreSQLServer
from squeezerl.jobs.store import Store

pytestmark = pytest.mark.slow

KILLS = {
    "sqlite": ["worker"] * 4 + ["coordinator"] * 2,
    "postgresql": ["worker"] * 2 + ["coordinator"] * 2 + ["connections"] + ["server"],
}
PATIENCE_S = 240


@pytest.mark.parametrize("database", KILLS)
def test_a_study_that_is_killed_again_and_again_comes_to_its_end(
    database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    server: PostgreSQLServer | None = None
    if database == "postgresql":
        server = request.getfixturevalue("postgresql_server")
    rng = Random(0)
    kills = rng.sample(KILLS[database], len(KILLS[database]))
    rounds = cut_off = 0
    deadline = time.monotonic() + PATIENCE_S
    while kills:
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
                if kills:
                    # Most of them in the midst of jobs, the others also while workers start.
                    if rng.random() < 0.8:
                        command.wait_until_busy()
                    time.sleep(rng.uniform(0.0, 0.3))
                    if _kill(kills[-1], command, server, name, rng):
                        kills.pop()
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
    assert cut_off >= 1


def _kill(
    what: str, command: Command, server: PostgreSQLServer | None, database: str, rng: Random
) -> bool:
    """Whether there was something to kill."""
    if what == "worker":
        return command.kill_worker(rng)
    if what == "coordinator":
        return command.kill_coordinator()
    assert server is not None
    if what == "connections":
        return server.end_connections(database) > 0
    server.crash()
    return True
