from __future__ import annotations

from pathlib import Path

import pytest
from designs import design, finish

from balancing import save_balancing_agent
from shared_folder import shared_folder


@pytest.fixture(scope="session")
def finished_design(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a design whose study is done; do not write into it."""

    def make(folder: Path) -> None:
        save_balancing_agent(folder / "agent.zip")
        design(folder / "design")
        finish(folder / "design")

    return shared_folder(tmp_path_factory, "research", make) / "design"
