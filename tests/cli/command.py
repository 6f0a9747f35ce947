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
# The keys that `--json` promised in the first release; there may be more, but none may be lost.
KEYS = Path(__file__).with_name("json_keys.json")
# Objects with names of packages and arguments of environments as keys.
FREE = ("versions", "libraries", "env_kwargs", "settings")


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


def key_paths(data: Any, path: str = "") -> set[str]:
    """The path of each key, such as "layers[].name"; of a list its first element counts."""
    if isinstance(data, list):
        return key_paths(data[0], f"{path}[]") if data else set()
    if not isinstance(data, dict) or path.rpartition(".")[2] in FREE:
        return set()
    paths: set[str] = set()
    for key, value in data.items():
        inner = f"{path}.{key}" if path else key
        paths |= {inner} | key_paths(value, inner)
    return paths


def lost_keys(command: str, data: dict[str, Any]) -> set[str]:
    """The keys that a command promises and an object lacks."""
    promised: dict[str, list[str]] = json.loads(KEYS.read_text(encoding="utf-8"))
    return set(promised[command]) - key_paths(data)
