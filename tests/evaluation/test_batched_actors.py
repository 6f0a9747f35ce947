from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from plain_actors import RowByRow

from onnx_runner import onnx_actions
from small_policies import compress, demo_network
from squeezerl.agents.load import load_agent
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.evaluate import calibrate, evaluate
from squeezerl.runtimes.base import Actor
from squeezerl.runtimes.onnx_runtime import load_network

pytestmark = pytest.mark.slow


@pytest.fixture(params=["ptdq", "ptsq", "l2:0.3", "float"])
def compressed_actor(request: pytest.FixtureRequest, demo_actor: Actor) -> Actor:
    environment = Environment.find("HalfCheetah-v5", {"max_episode_steps": 50}, backend="envpool")
    observations, _ = calibrate(demo_actor, environment, episodes=2)
    return load_network(compress(demo_network(), request.param, observations))


@pytest.mark.parametrize("backend", ["envpool", "gymnasium"])
def test_batches_earn_what_single_observations_earn(compressed_actor: Actor, backend: str) -> None:
    environment = Environment.find("HalfCheetah-v5", {"max_episode_steps": 50}, backend=backend)
    batched = evaluate(compressed_actor, environment, episodes=35)
    single = evaluate(RowByRow(compressed_actor), environment, episodes=35)
    assert batched.episodes == single.episodes


def test_batches_of_a_published_agent_earn_what_single_observations_earn(
    published_agents: Path,
) -> None:
    # Episodes of different lengths, so the batch shrinks as they end.
    network = load_agent(published_agents / "trpo" / "Hopper-v3_1").network
    actor = load_network(compress(network, "ptdq"))
    hopper = Environment.find("Hopper-v4", {"max_episode_steps": 250}, backend="envpool")
    batched = evaluate(actor, hopper, episodes=40)
    assert batched.episodes == evaluate(RowByRow(actor), hopper, episodes=40).episodes


def test_a_shortcut_over_the_batch_would_have_been_noticed(demo_actor: Actor) -> None:
    network = compress(demo_network(), "ptdq")
    environment = Environment.find("HalfCheetah-v5", {"max_episode_steps": 50}, backend="envpool")
    observations, _ = calibrate(demo_actor, environment, episodes=2)
    shortcut = onnx_actions(network, observations)
    assert not np.array_equal(shortcut, load_network(network).act(observations))


def test_a_published_agent_earns_what_its_table_says(published_agents: Path) -> None:
    actor = load_network(load_agent(published_agents / "ppo" / "Hopper-v3_1").network)
    record = evaluate(actor, "Hopper-v4", episodes=10)
    assert np.mean(record.returns) == pytest.approx(2440, rel=0.05)
