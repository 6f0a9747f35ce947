from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from source_contract import SourceContract
from squeezerl import read_artifact
from squeezerl.agents.load import SOURCES, Source
from squeezerl.registry import load_plugin

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def _run(folder: Path, *arguments: str | Path) -> str:
    run = subprocess.run([*map(str, arguments)], cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_squeeze_example_runs_and_leaves_an_artifact(tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert _run(tmp_path, sys.executable, EXAMPLES / "squeeze_an_agent.py", output, "10")
    assert read_artifact(output).manifest.source.path == "demo"


class TestCustomSource(SourceContract):
    """The source works in the library and in the commands, each in a process of its own."""

    @pytest.fixture(autouse=True)
    def plugin(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SQUEEZERL_PLUGINS", "")  # restored afterwards
        load_plugin(EXAMPLES / "custom_source.py")

    @property
    def source(self) -> Source:
        return SOURCES.get("npz")

    def make_sample(self, folder: Path) -> Path:
        _run(folder, sys.executable, EXAMPLES / "custom_source.py", "my.npz")
        return folder / "my.npz"

    def _squeezerl(self, sample: Path, *arguments: str) -> Any:
        command = Path(sys.executable).with_name("squeezerl")
        plugin = ("--plugin", EXAMPLES / "custom_source.py")
        text = _run(sample.parent, command, *plugin, *arguments, "--json")
        return json.loads(text)

    def test_inspect(self, sample: Path) -> None:
        data = self._squeezerl(sample, "inspect", "my.npz")
        assert (data["kind"], data["env_id"]) == ("npz", "CartPole-v1")
        assert [layer["activation"] for layer in data["layers"]] == ["Tanh", None]

    def test_compress_and_evaluate(self, sample: Path) -> None:
        self._squeezerl(sample, "compress", "my.npz", "--method", "ptdq", "-o", "small")
        assert read_artifact(sample.parent / "small").manifest.source.kind == "npz"
        data = self._squeezerl(
            sample, "evaluate", "small", "--against", "my.npz", "--episodes", "4"
        )
        assert min(data["episode_lengths"]) > 400
