"""Agents on disk, and a folder of its own for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from balancing import save_balancing_agent
from made_agents import make_agent


@pytest.fixture(scope="session")
def balancing_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An agent that balances CartPole; half of its 20 hidden neurons are idle."""
    return save_balancing_agent(tmp_path_factory.mktemp("agents") / "balancing.zip")


@pytest.fixture(scope="session")
def untrained_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights for CartPole."""
    return make_agent("dqn", tmp_path_factory.mktemp("agents")).path


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, empty."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    return folder
