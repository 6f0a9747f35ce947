from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from example_files import EXAMPLES, ONE_WORKER, plugged, run, squeezerl, squeezerl_with

from source_contract import SourceContract
from squeezerl import read_artifact
from squeezerl.agents.load import SOURCES, Source

pytestmark = pytest.mark.slow


def test_squeeze_example_runs_and_leaves_an_artifact(tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert run(tmp_path, sys.executable, EXAMPLES / "squeeze_an_agent.py", output, "quick")
    assert read_artifact(output).manifest.source.path == "demo"


def test_log_example_runs_and_leaves_an_artifact(tmp_path: Path) -> None:
    output = tmp_path / "out"
    said = run(tmp_path, sys.executable, EXAMPLES / "squeeze_from_a_log.py", output, "2000")
    assert "no guarantee on the return" in said
    manifest = read_artifact(output).manifest
    assert manifest.observations is None or manifest.observations.origin == "log.npz"


@cache
def _made_by_the_example() -> bytes:
    with tempfile.TemporaryDirectory() as name:
        run(Path(name), sys.executable, EXAMPLES / "custom_source.py", "my.npz")
        return (Path(name) / "my.npz").read_bytes()


class TestCustomSource(SourceContract):
    """The source works in the library and in the commands."""

    @pytest.fixture(autouse=True, scope="class")
    def plugin(self) -> Iterator[None]:
        with plugged("custom_source.py"):
            yield

    @property
    def source(self) -> Source:
        return SOURCES.get("npz")

    def make_sample(self, folder: Path) -> Path:
        (folder / "my.npz").write_bytes(_made_by_the_example())
        return folder / "my.npz"

    def _squeezerl(self, sample: Path, *arguments: str) -> Any:
        return squeezerl_with("custom_source.py", sample.parent, *arguments)

    def test_inspect_in_a_process_of_its_own(self, sample: Path) -> None:
        command = Path(sys.executable).with_name("squeezerl")
        plugin = ("--plugin", EXAMPLES / "custom_source.py")
        data = json.loads(run(sample.parent, command, *plugin, "inspect", "my.npz", "--json"))
        assert (data["kind"], data["env_id"]) == ("npz", "CartPole-v1")
        assert [layer["activation"] for layer in data["layers"]] == ["Tanh", None]

    def test_compress_and_evaluate(self, sample: Path) -> None:
        self._squeezerl(sample, "compress", "my.npz", "--method", "ptdq", "-o", "small")
        assert read_artifact(sample.parent / "small").manifest.source.kind == "npz"
        data = self._squeezerl(
            sample, "evaluate", "small", "--against", "my.npz", "--episodes", "4"
        )
        assert min(data["episode_lengths"]) > 400

    @pytest.mark.usefixtures("fewest_processes")
    def test_profile(self, sample: Path) -> None:
        quick = ("--runtime", "ort", "--seconds", "0.1", "--precision", "1", "--energy", "none")
        (row,) = self._squeezerl(sample, "profile", "my.npz", *quick)["rows"]
        assert row["latency_s"]["median"] > 0

    def test_squeeze(self, sample: Path) -> None:
        few = ("--recipe", "l2:0.5", "--episodes", "8", "--retain", "0.5", "--no-measure")
        few += ONE_WORKER
        result = self._squeezerl(sample, "squeeze", "my.npz", *few, "-o", "out")
        assert result["agent"]["kind"] == "npz"
        assert result["candidates"][0]["recipe"] == "prune:l2:0.5"

    def test_a_study_and_its_report(self, sample: Path) -> None:
        text = "name: mine\nagents: [my.npz]\nmethods: [ptdq]\nepisodes: 4\n"
        (sample.parent / "study.yaml").write_text(text, encoding="utf-8")
        done = self._squeezerl(sample, "study", "run", "study.yaml", *ONE_WORKER)
        assert done["jobs"]["failed"] == 0
        squeezerl(sample.parent, "study", "report", "mine", "-o", "report")
        assert "CartPole-v1" in (sample.parent / "report" / "report.md").read_text(encoding="utf-8")
