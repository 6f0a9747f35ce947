from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from example_files import EXAMPLES, plugged, run, squeezerl_with

from source_contract import SourceContract
from squeezerl import read_artifact
from squeezerl.agents.load import SOURCES, Source

pytestmark = pytest.mark.slow


@pytest.mark.slow
def test_squeeze_example_runs_and_leaves_an_artifact(tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert run(tmp_path, sys.executable, EXAMPLES / "squeeze_an_agent.py", output, "quick")
    assert read_artifact(output).manifest.source.path == "demo"


@pytest.mark.slow
def test_log_example_runs_and_leaves_an_artifact(tmp_path: Path) -> None:
    output = tmp_path / "out"
    said = run(tmp_path, sys.executable, EXAMPLES / "squeeze_from_a_log.py", output, "2000")
    assert "no guarantee on the return" in said
    manifest = read_artifact(output).manifest
    assert manifest.observations is None or manifest.observations.origin == "log.npz"


class TestCustomSource(SourceContract):
    """The source works in the library and in the commands, each in a process of its own."""

    @pytest.fixture(autouse=True, scope="class")
    def plugin(self) -> Iterator[None]:
        with plugged("custom_source.py", SOURCES):
            yield

    @property
    def source(self) -> Source:
        return SOURCES.get("npz")

    def make_sample(self, folder: Path) -> Path:
        run(folder, sys.executable, EXAMPLES / "custom_source.py", "my.npz")
        return folder / "my.npz"

    def _squeezerl(self, sample: Path, *arguments: str) -> Any:
        return squeezerl_with("custom_source.py", sample.parent, *arguments)

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

    @pytest.mark.slow
    def test_profile(self, sample: Path) -> None:
        quick = ("--runtime", "ort", "--seconds", "0.1", "--precision", "1", "--energy", "none")
        (row,) = self._squeezerl(sample, "profile", "my.npz", *quick)["rows"]
        assert row["latency_s"]["median"] > 0

    @pytest.mark.slow
    def test_squeeze(self, sample: Path) -> None:
        few = ("--recipe", "l2:0.5", "--episodes", "8", "--retain", "0.5", "--no-measure")
        result = self._squeezerl(sample, "squeeze", "my.npz", *few, "-o", "out")
        assert result["agent"]["kind"] == "npz"
        assert result["candidates"][0]["recipe"] == "prune:l2:0.5"

    @pytest.mark.slow
    def test_a_study_and_its_report(self, sample: Path) -> None:
        text = "name: mine\nagents: [my.npz]\nmethods: [ptdq]\nepisodes: 4\n"
        (sample.parent / "study.yaml").write_text(text, encoding="utf-8")
        assert self._squeezerl(sample, "study", "run", "study.yaml")["jobs"]["failed"] == 0
        command = Path(sys.executable).with_name("squeezerl")
        run(sample.parent, command, "study", "report", "mine", "-o", "report")
        assert "CartPole-v1" in (sample.parent / "report" / "report.md").read_text(encoding="utf-8")
