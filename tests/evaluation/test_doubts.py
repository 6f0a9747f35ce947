"""Published agents that lack their normaliser are noticed, and whole ones are not."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

import pytest

import squeezerl
from squeezerl.agents.load import Agent
from squeezerl.errors import SqueezeRLWarning

pytestmark = pytest.mark.agents
HOPPERS = ["ppo/Hopper-v3_1", "trpo/Hopper-v3_1"]
PLACES = {
    **dict.fromkeys(HOPPERS, "Hopper-v4"),
    "dqn/CartPole-v1_1": "CartPole-v1",
    "ddpg/Pendulum-v1_1": "Pendulum-v1",
    "ppo/LunarLanderContinuous-v2_1": "LunarLanderContinuous-v3",
}


def _is_doubted(agent: Agent, env_id: str) -> bool:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        squeezerl.evaluate(agent, env=env_id, episodes=5)
    ours = [str(w.message) for w in said if issubclass(w.category, SqueezeRLWarning)]
    return any("Was there a VecNormalize" in text for text in ours)


@pytest.mark.slow
@pytest.mark.parametrize("returns_known", [True, False])
@pytest.mark.parametrize(
    ("name", "lost"), [*((name, False) for name in PLACES), *((name, True) for name in HOPPERS)]
)
def test_who_lacks_a_normaliser_is_noticed(
    published_agents: Path, name: str, lost: bool, returns_known: bool
) -> None:
    agent = squeezerl.load_agent(published_agents / name, vecnormalize="none" if lost else None)
    source = dataclasses.replace(
        agent.source,
        may_lack_normalizer=agent.network.normalizer is None,
        trained_to=agent.source.trained_to if returns_known else None,
    )
    assert _is_doubted(dataclasses.replace(agent, source=source), PLACES[name]) == lost
