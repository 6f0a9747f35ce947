from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from command import COMMAND, environment, invoke, the_object, tree

pytestmark = pytest.mark.slow

PATIENCE_S = 100
WORK = ".out.squeeze"
# Enough to do that some of it is left when the signal arrives.
RECIPES = [word for share in (0.1, 0.2, 0.3, 0.4) for word in ("--recipe", f"l1:{share}")]
LENGTH = ("--episodes", "200", "--max-episode-steps", "100")
OPTIONS = (*LENGTH, "--no-measure", *RECIPES, "--workers", "1", "-o", "out", "--json")


def _default_signals() -> None:
    """A shell in the background ignores Ctrl-C, and its children would as well."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _done(folder: Path) -> int:
    """How many jobs the squeeze has done."""
    try:
        with closing(sqlite3.connect(f"file:{folder / WORK / 'jobs.db'}?mode=ro", uri=True)) as db:
            return int(db.execute("SELECT count(*) FROM results").fetchone()[0])
    except sqlite3.OperationalError:  # not there yet
        return 0


def _interrupt(
    folder: Path, number: int, arguments: Sequence[str]
) -> tuple[int, str, str, Sequence[psutil.Process]]:
    """Squeeze, and send the signal once some jobs are done; also gives its child processes."""
    with subprocess.Popen(
        [COMMAND, *arguments],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_default_signals,
    ) as process:
        try:
            deadline = time.monotonic() + PATIENCE_S
            while _done(folder) < 3:  # the baseline, and what it and a random policy do
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.02)
            children = psutil.Process(process.pid).children(recursive=True)
            os.kill(process.pid, number)
            stdout, stderr = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
    return process.returncode, stdout, stderr, children


@pytest.mark.parametrize(
    ("number", "code", "replaces"),
    [
        pytest.param(signal.SIGINT, 130, False, id="SIGINT"),
        pytest.param(signal.SIGTERM, 143, True, id="SIGTERM-force"),
    ],
)
def test_an_interrupted_squeeze_ends_in_good_order_and_goes_on(
    balancing_zip: Path, own_folder: Path, number: int, code: int, replaces: bool
) -> None:
    arguments = ("squeeze", str(balancing_zip), "--env", "CartPole-v1", *OPTIONS)
    if replaces:
        (own_folder / "out").mkdir()
        (own_folder / "out" / "manifest.json").write_text("precious")
        arguments += ("--force",)
    before = tree(own_folder)
    returncode, stdout, stderr, children = _interrupt(own_folder, number, arguments)
    assert returncode == code
    assert stdout == ""
    assert stderr == "interrupted; the same command goes on with what was found\n"
    assert children
    assert not any(child.is_running() for child in children)
    after = tree(own_folder)
    assert WORK in after
    assert {name: after[name] for name in after if not name.startswith(WORK)} == before
    interrupted_s = time.time()

    again = invoke(*arguments)
    assert again.exit_code == 0, again.stderr
    the_object(again.stdout)
    # What was compressed before the interruption was not compressed again.
    kept = own_folder / "out" / "candidates" / "float" / "policy.onnx"
    assert kept.stat().st_mtime < interrupted_s
    assert [path.name for path in own_folder.iterdir()] == ["out"]
