from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
import pytest

from squeezerl.evaluation import envpool_support
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.evaluate import evaluate
from squeezerl.evaluation.reference_actors import RandomActor
from squeezerl.runtimes.base import Actor

Floats = npt.NDArray[np.float64]
TOLERANCE = 1e-3
PARITY = [  # what EnvPool runs, and Gymnasium's environment of the same physics
    *((f"{name}-v3", f"{name}-v4") for name in ("HalfCheetah", "Hopper", "Walker2d")),
    *((f"{name}-v4",) * 2 for name in ("HalfCheetah", "Hopper", "Walker2d")),
    *((f"{name}-v5",) * 2 for name in ("HalfCheetah", "Hopper", "Walker2d")),
    *((name,) * 2 for name in ("CartPole-v1", "Pendulum-v1", "MountainCarContinuous-v0")),
]


def _put(env: Any, observation: Floats, info: dict[str, Any]) -> None:
    """Put a Gymnasium environment in the state that EnvPool's has."""
    if "x_position" in info:
        split = env.model.nq - 1  # the observation leaves the position x out
        position = np.concatenate([info["x_position"], observation[:split]])
        env.set_state(position, observation[split:])
    elif env.spec.id == "Pendulum-v1":
        cosine, sine, velocity = observation
        env.state = np.array([np.arctan2(sine, cosine), velocity])
    else:
        env.state = observation.astype(np.float64)


@pytest.mark.parametrize(("pool_id", "gymnasium_id"), PARITY)
@pytest.mark.parametrize("seed", [0, 1])
def test_envpool_and_gymnasium_step_alike(pool_id: str, gymnasium_id: str, seed: int) -> None:
    pool = envpool_support.library().make(pool_id, env_type="gymnasium", num_envs=1, seed=seed)
    env = gymnasium.make(gymnasium_id)
    observations, info = pool.reset()
    env.reset(seed=0)
    _put(env.unwrapped, observations[0], info)
    env.action_space.seed(seed)
    for step in range(20):
        action = env.action_space.sample()
        batch = np.asarray(action)[np.newaxis].astype(pool.action_space.dtype)
        theirs = pool.step(batch)
        observation, reward, terminated, truncated, _ = env.step(action)
        np.testing.assert_allclose(theirs[0][0], observation, atol=TOLERANCE)
        assert theirs[1][0] == pytest.approx(reward, abs=TOLERANCE), step
        assert (theirs[2][0], theirs[3][0]) == (terminated, truncated)
        if terminated:
            break
    assert step > 2
    env.close()
    pool.close()


@pytest.mark.parametrize(
    "env_id",
    ["HalfCheetah-v4", "HalfCheetah-v5", "Hopper-v5", "Ant-v5", "CartPole-v1", "Pendulum-v1",
     "Acrobot-v1", "LunarLander-v3", "LunarLanderContinuous-v3"],
)  # fmt: skip
def test_both_backends_describe_an_environment_alike(env_id: str) -> None:
    ours, theirs = (Environment.find(env_id, backend=b) for b in ("envpool", "gymnasium"))
    assert Environment.find(env_id).backend == "envpool"
    for name in ("observation_shape", "action_shape", "choices", "max_episode_steps"):
        assert getattr(ours, name) == getattr(theirs, name)
    np.testing.assert_array_equal(ours.action_low, theirs.action_low)
    np.testing.assert_array_equal(ours.action_high, theirs.action_high)


def _agree(first: list[float], second: list[float]) -> bool:
    error = np.hypot(np.std(first), np.std(second)) / np.sqrt(len(first))
    return bool(abs(np.mean(first) - np.mean(second)) < 4 * error)


@pytest.mark.slow
def test_the_bundled_agent_earns_the_same_in_both(demo_actor: Actor) -> None:
    pool, plain = (
        evaluate(demo_actor, Environment.find("HalfCheetah-v5", backend=backend), episodes=8)
        for backend in ("envpool", "gymnasium")
    )
    assert pool.returns != plain.returns
    assert np.mean(pool.returns) > 3000
    assert _agree(pool.returns, plain.returns)


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Hopper-v5", "InvertedPendulum-v5"])
def test_random_policies_earn_the_same_in_both(env_id: str) -> None:
    records = []
    for backend in ("envpool", "gymnasium"):
        environment = Environment.find(env_id, backend=backend)
        records.append(evaluate(RandomActor(environment, 0), environment, episodes=100))
    assert _agree(records[0].returns, records[1].returns)
    assert _agree(*([float(e.length) for e in record.episodes] for record in records))
