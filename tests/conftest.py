"""Shared fixtures: agents that other people published, and agents made on the fly."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # read by torch when it is first imported

import pytest
from hypothesis import settings

from made_agents import RECIPES, MadeAgent, make_agent

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

PUBLISHED_AGENTS = Path(__file__).resolve().parents[2] / "shared" / "agents"
ABSENT = "the published agents are absent: no */*_1 folder in ../shared/agents"


def _published() -> list[Any]:
    folders = sorted(PUBLISHED_AGENTS.glob("*/*_1"))
    if not folders:
        return [pytest.param(None, marks=pytest.mark.skip(reason=ABSENT))]
    return [
        pytest.param(folder, id=f"{folder.parent.name}-{folder.name}", marks=pytest.mark.agents)
        for folder in folders
    ]


@pytest.fixture(scope="session")
def published_agents() -> Path:
    """The folder of the published agents."""
    if not PUBLISHED_AGENTS.is_dir():
        pytest.skip(ABSENT)
    return PUBLISHED_AGENTS


@pytest.fixture(params=_published())
def published_agent(request: pytest.FixtureRequest) -> Path:
    """Each published agent's folder in turn."""
    return request.param


@pytest.fixture(scope="session", params=list(RECIPES))
def made_agent(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> MadeAgent:
    """Each recipe's agent in turn: random weights, saved by Stable-Baselines3."""
    return make_agent(request.param, tmp_path_factory.mktemp("made"))
