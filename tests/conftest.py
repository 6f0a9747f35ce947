"""Shared fixtures: agents that other people published, and agents made on the fly."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ["OMP_NUM_THREADS"] = "1"  # read by torch when it is first imported

import pytest
from hypothesis import settings

from made_agents import PUBLISHED_AGENTS, RECIPES, SPECIAL_AGENTS, MadeAgent, make_agent
from postgresql_server import ABSENT as NO_POSTGRESQL
from postgresql_server import PostgreSQLServer, find_binaries, running_server
from shared_folder import shared_folder
from squeezerl.analysis.timing import FEWEST_FOR_INTERVAL

if TYPE_CHECKING:
    from finished import Finished

# Half of the default number of examples: they are the same in every run, so more of them show
# something new only once. Tests with large spaces ask for more.
settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("repeatable")

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


@pytest.fixture(scope="session")
def special_agents() -> Path:
    """The folder of published agents that each have something special."""
    if not SPECIAL_AGENTS.is_dir():
        pytest.skip("the published agents are absent: no ../shared/agents-more")
    return SPECIAL_AGENTS


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


@pytest.fixture(scope="session")
def small_agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An agent for Pendulum-v1, whose episodes take no time; its weights are random."""
    folder = shared_folder(tmp_path_factory, "agent", lambda folder: make_agent("ppo", folder))
    return folder / "ppo.zip"


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, small_agent: Path) -> Iterator[Finished]:
    """The study of `finished.STUDY`, with all jobs done."""
    from finished import finish, open_finished

    folder = shared_folder(tmp_path_factory, "finished", lambda new: finish(new, small_agent))
    done = open_finished(folder)
    yield done
    done.store.close()


@pytest.fixture
def fewest_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine gets no more measuring processes to make up for it."""
    from squeezerl.measurement import profile

    monkeypatch.setattr(profile, "MOST_PROCESSES", FEWEST_FOR_INTERVAL)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgreSQLServer]:
    """A PostgreSQL server that runs for these tests only."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip(NO_POSTGRESQL)
    with running_server(binaries) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store in SQLite, then in PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    server: PostgreSQLServer = request.getfixturevalue("postgresql_server")
    return server.create_database()
