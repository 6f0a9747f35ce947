from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from squeezerl import registry
from squeezerl.agents.load import SOURCES
from squeezerl.cli import app
from squeezerl.methods.base import SPECS
from squeezerl.runtimes.base import RUNTIMES

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
# What each plugin registers itself with.
REGISTRIES: dict[str, registry.Registry[Any]] = {
    "custom_method.py": SPECS,
    "custom_runtime.py": RUNTIMES,
    "custom_source.py": SOURCES,
}
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
ONE_WORKER = ("--workers", "1")


def code_blocks(page: Path, language: str = "") -> list[str]:
    """The blocks of a page in a language, which stands behind the first fence."""
    text = page.read_text(encoding="utf-8")
    return [code for name, code in FENCED.findall(text) if name == language]


def run(folder: Path, *arguments: str | Path) -> str:
    """The output of a command that must succeed, run in a folder, on one core.

    So a squeeze or a study starts one worker, unless it is told otherwise.
    """
    ended = subprocess.run(
        [*map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        preexec_fn=_stay_on_one_core if hasattr(os, "sched_setaffinity") else None,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def _stay_on_one_core() -> None:
    cores = sorted(os.sched_getaffinity(0))
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    os.sched_setaffinity(0, {cores[number % len(cores)]})


def squeezerl(folder: Path, *arguments: str | Path) -> str:
    """What the command prints; it must succeed, in a folder and in this process."""
    with contextlib.chdir(folder):
        ended = CliRunner().invoke(app, [*map(str, arguments)])
    assert ended.exit_code == 0, ended.output
    return ended.stdout


def squeezerl_with(plugin: str, folder: Path, *arguments: str | Path) -> Any:
    """What `squeezerl --plugin` prints as JSON. Workers are processes, and load it themselves."""
    with _as_before(plugin):
        return json.loads(squeezerl(folder, "--plugin", EXAMPLES / plugin, *arguments, "--json"))


@contextmanager
def plugged(plugin: str) -> Iterator[None]:
    """Load a plugin into this process; afterwards the registry is as it was."""
    with _as_before(plugin):
        registry.load_plugin(EXAMPLES / plugin)
        yield


@contextmanager
def _as_before(plugin: str) -> Iterator[None]:
    things = REGISTRIES[plugin]
    assert things.names  # its own have registered themselves
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(things, "_things", {**things._things})
        patch.setattr(registry, "_loaded", {*registry._loaded})
        if str(EXAMPLES / plugin) not in registry._loaded:
            patch.delitem(sys.modules, plugin.removesuffix(".py"), raising=False)
        patch.setenv(registry.PLUGINS_VARIABLE, "")
        yield
