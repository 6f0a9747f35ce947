"""The command, run in a process of its own or, where that is enough, in this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from click.testing import Result
from typer.testing import CliRunner

from squeezerl.cli import app

COMMAND = Path(sys.executable).with_name("squeezerl")


def environment() -> dict[str, str]:
    """Ours, without what makes a terminal out of a pipe."""
    forced = ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "PYTHONWARNINGS", "COLUMNS")
    return {name: value for name, value in os.environ.items() if name not in forced}


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run `squeezerl` as its users do, in the current folder."""
    return subprocess.run(
        [COMMAND, *arguments], capture_output=True, text=True, env=environment(), check=False
    )


def invoke(*arguments: str | Path) -> Result:
    """Run `squeezerl` in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def the_object(stdout: str) -> dict[str, Any]:
    """The one JSON object that is all of standard output."""
    data = json.loads(stdout)
    assert isinstance(data, dict)
    assert stdout.count("\n") == 1
    return data


def tree(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder: the bytes of files, `None` for folders."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }
