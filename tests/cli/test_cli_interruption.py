from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from command import COMMAND, environment, tree

PATIENCE_S = 100


def _default_signals() -> None:
    """A shell in the background ignores Ctrl-C, and its children would as well."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _interrupt(folder: Path, number: int, *arguments: str) -> tuple[int, str, str]:
    """Squeeze, and send the signal once the first candidates are there."""
    with subprocess.Popen(
        [COMMAND, "squeeze", "demo", "--episodes", "500", "-o", "out", *arguments],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_default_signals,
    ) as process:
        try:
            deadline = time.monotonic() + PATIENCE_S
            while not any(folder.glob(".out.new-*/candidates/float/manifest.json")):
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.02)
            os.kill(process.pid, number)
            stdout, stderr = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
    return process.returncode, stdout, stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_squeeze_leaves_nothing(own_folder: Path, number: int, code: int) -> None:
    returncode, stdout, stderr = _interrupt(own_folder, number, "--json")
    assert returncode == code
    assert stdout == ""
    assert "Traceback" not in stderr
    assert tree(own_folder) == {}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_squeeze_spares_what_it_was_to_replace(
    own_folder: Path, number: int
) -> None:
    (own_folder / "out").mkdir()
    (own_folder / "out" / "manifest.json").write_text("precious")
    before = tree(own_folder)
    returncode, _, _ = _interrupt(own_folder, number, "--force")
    assert returncode > 128
    assert tree(own_folder) == before
