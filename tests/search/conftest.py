"""One squeeze of an agent whose candidates have a known fate."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from squeezed import Squeezed

from balancing import RETAIN, balancing_agent, cart_pole
from shared_folder import shared_folder
from squeezerl.api import squeeze


@pytest.fixture(scope="session")
def squeezed(tmp_path_factory: pytest.TempPathFactory) -> Squeezed:
    """Half of the agent's 20 neurons are idle, so it keeps its return up to 50 %."""
    folder = shared_folder(tmp_path_factory, "squeezed", _squeeze)
    result, progress = pickle.loads((folder / "result").read_bytes())
    return Squeezed(result, folder / "out", progress)


def _squeeze(folder: Path) -> None:
    progress: list[tuple[str, float]] = []
    result = squeeze(
        balancing_agent(width=20, idle=10),
        env=cart_pole(),
        output=folder / "out",
        retain=RETAIN,
        episodes=10,
        seed=3,
        measure=False,
        budget=0,
        on_progress=lambda stage, fraction: progress.append((stage, fraction)),
    )
    (folder / "result").write_bytes(pickle.dumps((result.result, progress)))
