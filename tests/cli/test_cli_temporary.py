"""Nothing is left in the system's temporary directory.

`profile` and `doctor` are looked at in test_cli_profile.py, and `squeeze` after it was killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from command import COMMAND, environment, invoke, run

pytestmark = pytest.mark.slow

SHORT = ("--env", "CartPole-v1", "--max-episode-steps", "20", "--episodes", "2")
SQUEEZE = (
    "squeeze", "AGENT", *SHORT[:4], "--episodes", "20", "--retain", "0.5", "--budget", "0",
    *(f"--recipe=l2:{share}" for share in (0.1, 0.2, 0.3, 0.4, 0.5)),
    "--workers", "1", "--no-measure", "-o", "out",
)  # fmt: skip
COMMANDS = [
    ("inspect", "AGENT"),
    ("compress", "AGENT", "--recipe", "int8:static", *SHORT[:4], "-o", "out"),
    ("evaluate", "AGENT", *SHORT, "--against", "AGENT"),
    ("train", "ppo", "CartPole-v1", "--steps", "64", "--evaluations", "1", "-o", "trained"),
    ("export", "AGENT", "-o", "program"),
]


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary directory of the commands, empty."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_command_leaves_nothing(
    command: tuple[str, ...], balancing_zip: Path, temporary: Path
) -> None:
    result = invoke(*(str(balancing_zip) if word == "AGENT" else word for word in command))
    assert result.exit_code == 0, result.stderr
    assert list(temporary.iterdir()) == []


def test_what_a_killed_squeeze_leaves_is_in_its_own_folder(
    balancing_zip: Path, own_folder: Path, temporary: Path
) -> None:
    words = [str(balancing_zip) if word == "AGENT" else word for word in SQUEEZE]
    process = subprocess.Popen([COMMAND, *words], env=environment(), start_new_session=True)
    store, end = own_folder / ".out.squeeze" / "jobs.db", time.monotonic() + 120
    while not store.exists() and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    # The host's lock is for all processes of the user, and the next one to end takes it away.
    assert {path.name for path in temporary.iterdir()} <= {f"squeezerl-{os.getuid()}"}
    result = run(*words)
    assert result.returncode == 0, result.stderr
    assert list(temporary.iterdir()) == []
    assert [path.name for path in own_folder.iterdir()] == ["out"]
