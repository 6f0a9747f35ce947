"""The bundled agent as an actor."""

from __future__ import annotations

from pathlib import Path

import pytest

from squeezerl.agents.load import load_agent
from squeezerl.api import make_actor
from squeezerl.runtimes.onnx_actor import OnnxActor


@pytest.fixture(scope="session")
def demo_actor() -> OnnxActor:
    """Acts in HalfCheetah."""
    return make_actor(load_agent("demo"))


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MuJoCo leaves its log in the folder it runs in."""
    monkeypatch.chdir(tmp_path)
