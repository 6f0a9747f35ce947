"""The bundled agent as an actor."""

from __future__ import annotations

from pathlib import Path

import pytest

from small_policies import demo_network
from squeezerl.runtimes.base import Actor
from squeezerl.runtimes.onnx_runtime import load_network


@pytest.fixture(scope="session")
def demo_actor() -> Actor:
    """Acts in HalfCheetah."""
    return load_network(demo_network())


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MuJoCo leaves its log in the folder it runs in."""
    monkeypatch.chdir(tmp_path)
