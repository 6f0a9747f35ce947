"""A squeeze that is killed goes on; nothing that was found is lost or done again."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from balancing import RETAIN, balancing_agent, cart_pole
from squeezerl.errors import OutputError
from squeezerl.jobs.open import open_store
from squeezerl.search.squeeze import Search, SqueezeSettings

PATIENCE_S = 120
SETTINGS = SqueezeSettings(retain=RETAIN, episodes=60)
RUN = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_squeeze_resume import start
start(Path(sys.argv[2])).run(lambda stage, fraction: None)
"""


def start(work: Path) -> Search:
    """The search of this test, in this process and in the one that is killed."""
    return Search(balancing_agent(width=20, idle=10), cart_pole(), SETTINGS, work)


def _finished(work: Path) -> dict[str, float]:
    """The seconds that each finished job took, by its id."""
    if not (work / "jobs.db").exists():
        return {}
    with open_store(f"sqlite:///{work / 'jobs.db'}") as store:
        if not store.study_names():
            return {}
        return {row.job.id: row.seconds for row in store.results("squeeze", arrays=False)}


@pytest.mark.slow
def test_a_killed_squeeze_goes_on_where_it_was(tmp_path: Path) -> None:
    work = tmp_path / "work"
    command = [sys.executable, "-c", RUN, str(Path(__file__).parent), str(work)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(command, env=environment) as process:
        try:
            deadline = time.monotonic() + PATIENCE_S
            while len(_finished(work)) < 8:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
        finally:
            os.kill(process.pid, signal.SIGKILL)
    kept = _finished(work)
    search = start(work)
    search.run(lambda stage, fraction: None)
    after = _finished(work)
    assert len(after) > len(kept)
    assert {job: after[job] for job in kept} == kept
    (tmp_path / "out").mkdir()
    assert search.write(tmp_path / "out", lambda stage, fraction: None).chosen.recipe.ratio == 0.5


def test_one_squeeze_at_a_time_writes_to_a_folder(tmp_path: Path) -> None:
    search = start(tmp_path / "work")
    with (tmp_path / "work" / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(OutputError, match="another squeeze with the same output is running"):
            search.run(lambda stage, fraction: None)
