from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from squeezerl import read_artifact

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_example_runs_and_leaves_an_artifact(name: str, tmp_path: Path) -> None:
    output = tmp_path / "out"
    run = subprocess.run(
        [sys.executable, EXAMPLES / name, output, "10"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout
    assert read_artifact(output).manifest.source.path == "demo"
