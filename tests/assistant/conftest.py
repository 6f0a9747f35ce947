"""An assistant that has read the paper, the documentation and a made study; without vectors."""

from __future__ import annotations

import pytest

from made_study import made_study
from squeezerl.analysis.frames import StudyData
from squeezerl.assistant.answer import Assistant
from squeezerl.assistant.results import Results, results_of


@pytest.fixture(scope="session")
def data() -> StudyData:
    """Two agents, one of them untrained; 5, 30 and 50 % pruning."""
    return made_study(
        algorithms=("ppo", "sac"),
        environments=("HalfCheetah-v4",),
        episodes=20,
        ratios=(0.05, 0.3, 0.5),
        tickets=(),
        untrained=("sac-HalfCheetah-v4",),
    )


@pytest.fixture(scope="session")
def results(data: StudyData) -> Results:
    return results_of(data, "the made study")


@pytest.fixture(scope="session")
def assistant(results: Results, tmp_path_factory: pytest.TempPathFactory) -> Assistant:
    return Assistant(results, embeddings="none", cache=tmp_path_factory.mktemp("cache"))
