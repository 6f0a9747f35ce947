from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from squeezerl import registry

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


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


def squeezerl_with(plugin: str, folder: Path, *arguments: str | Path) -> Any:
    """What `squeezerl --plugin` prints as JSON."""
    command = Path(sys.executable).with_name("squeezerl")
    return json.loads(run(folder, command, "--plugin", EXAMPLES / plugin, *arguments, "--json"))


@contextmanager
def plugged(name: str, things: registry.Registry[Any]) -> Iterator[None]:
    """Load a plugin into this process; afterwards the registry is as it was."""
    assert things.names  # its own have registered themselves
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(things, "_things", {**things._things})
        patch.setattr(registry, "_loaded", {*registry._loaded})
        patch.setenv(registry.PLUGINS_VARIABLE, "")
        patch.delitem(sys.modules, name.removesuffix(".py"), raising=False)
        registry.load_plugin(EXAMPLES / name)
        yield
