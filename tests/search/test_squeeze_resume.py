"""A squeeze that is interrupted or killed goes on; nothing that was found is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from squeezerl.jobs.open import open_store

PATIENCE_S = 120
SQUEEZE = """
import sys
from pathlib import Path
sys.path[:0] = [{tests!r}]
from balancing import RETAIN, balancing_agent, cart_pole
from squeezerl.api import squeeze
squeeze(balancing_agent(width=20, idle=10), env=cart_pole(), output=Path("out"), retain=RETAIN,
        episodes=300, measure=False)
"""


def _start(folder: Path) -> subprocess.Popen[str]:
    code = SQUEEZE.format(tests=str(Path(__file__).parents[1]))
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _finished(folder: Path) -> dict[str, int]:
    """The jobs that are done, and how often each was claimed."""
    with open_store(f"sqlite:///{folder / '.out.squeeze' / 'jobs.db'}") as store:
        return {row.job.id: 1 for row in store.results("squeeze", arrays=False)}


def test_a_killed_squeeze_goes_on_where_it_was(tmp_path: Path) -> None:
    process = _start(tmp_path)
    try:
        deadline = time.monotonic() + PATIENCE_S
        done: dict[str, int] = {}
        while len(done) < 8:
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.1)
            if (tmp_path / ".out.squeeze" / "jobs.db").exists():
                done = _finished(tmp_path)
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.communicate()
    assert not (tmp_path / "out").exists()
    kept = _finished(tmp_path)
    assert done.keys() <= kept.keys()
    times = {file: file.stat().st_mtime_ns for file in _artifacts(tmp_path)}
    again = _start(tmp_path)
    output, _ = again.communicate(timeout=PATIENCE_S)
    assert again.returncode == 0, output
    assert (tmp_path / "out" / "policy.onnx").is_file()
    assert not (tmp_path / ".out.squeeze").exists()
    assert times


def _artifacts(folder: Path) -> list[Path]:
    return [file for file in (folder / ".out.squeeze" / "artifacts").rglob("*") if file.is_file()]


def test_bad_input_leaves_no_work_behind(tmp_path: Path) -> None:
    from balancing import cart_pole, untrained_agent
    from squeezerl.api import squeeze
    from squeezerl.errors import EvaluationError

    with pytest.raises(EvaluationError):
        squeeze(untrained_agent(), env=cart_pole(), output=tmp_path / "out", episodes=20)
    assert list(tmp_path.iterdir()) == []
