from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from plain_actors import RowByRow

from squeezerl.agents.load import load_agent
from squeezerl.api import make_actor
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.evaluate import calibrate, evaluate
from squeezerl.methods.compress import compress
from squeezerl.methods.specs import specs_for
from squeezerl.runtimes.onnx_actor import OnnxActor
from squeezerl.runtimes.ort_session import make_session


@pytest.fixture(params=["ptdq", "ptsq", "l2", "float"])
def compressed_actor(request: pytest.FixtureRequest, demo_actor: OnnxActor) -> OnnxActor:
    environment = Environment.find("HalfCheetah-v5", {"max_episode_steps": 50}, backend="envpool")
    observations, _ = calibrate(demo_actor, environment, episodes=2)
    specs = specs_for(request.param, 0.3 if request.param == "l2" else None)
    compressed = compress(load_agent("demo").policy, specs, observations=observations)
    return OnnxActor(compressed.model.SerializeToString())


@pytest.mark.parametrize("backend", ["envpool", "gymnasium"])
def test_batches_earn_what_single_observations_earn(
    compressed_actor: OnnxActor, backend: str
) -> None:
    environment = Environment.find("HalfCheetah-v5", {"max_episode_steps": 50}, backend=backend)
    batched = evaluate(compressed_actor, environment, episodes=35)
    single = evaluate(RowByRow(compressed_actor), environment, episodes=35)
    assert batched.episodes == single.episodes


def test_batches_of_a_published_agent_earn_what_single_observations_earn(
    published_agents: Path,
) -> None:
    # Episodes of different lengths, so the batch shrinks as they end.
    policy = load_agent(published_agents / "trpo" / "Hopper-v3_1").policy
    actor = OnnxActor(compress(policy, specs_for("ptdq")).model.SerializeToString())
    hopper = Environment.find("Hopper-v4", {"max_episode_steps": 250}, backend="envpool")
    batched = evaluate(actor, hopper, episodes=40)
    assert batched.episodes == evaluate(RowByRow(actor), hopper, episodes=40).episodes


def test_a_shortcut_over_the_batch_would_have_been_noticed(demo_actor: OnnxActor) -> None:
    model = compress(load_agent("demo").policy, specs_for("ptdq")).model.SerializeToString()
    session = make_session(model, threads=1)
    environment = Environment.find("HalfCheetah-v5", {"max_episode_steps": 50}, backend="envpool")
    observations, _ = calibrate(demo_actor, environment, episodes=2)
    (shortcut,) = session.run(None, {session.get_inputs()[0].name: observations})
    assert not np.array_equal(shortcut, OnnxActor(model).act(observations))


def test_a_published_agent_earns_what_its_table_says(published_agents: Path) -> None:
    actor = make_actor(load_agent(published_agents / "ppo" / "Hopper-v3_1"))
    record = evaluate(actor, "Hopper-v4", episodes=10)
    assert np.mean(record.returns) == pytest.approx(2440, rel=0.05)
