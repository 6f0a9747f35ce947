from __future__ import annotations

import numpy as np
import pytest
from plain_actors import PlainActor, Shapes, constant, toppling
from task_envs import MIRROR

import squeezerl
from squeezerl.evaluation.behaviour import behaviour, changed_physics
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.evaluate import evaluate, play
from squeezerl.runtimes.base import Actor
from squeezerl.runtimes.onnx_runtime import load_network

OBSERVATIONS = np.random.default_rng(0).standard_normal((50, 1)).astype(np.float32)


def _pendulum() -> Environment:
    return Environment.find("Pendulum-v1", {"max_episode_steps": 30})


def _swinging(scale: float = 1.0) -> PlainActor:
    """Pushes with the velocity; 2 is the bound."""
    return PlainActor(
        lambda batch: np.clip(scale * batch[:, 2:3], -2, 2).astype(np.float32), Shapes((3,), (1,))
    )


def test_a_policy_does_not_deviate_from_itself() -> None:
    actor = _swinging()
    found = behaviour(actor, actor, _pendulum(), np.ones((2, 3), np.float32), seed=0, episodes=3)
    assert found.deviation == 0.0
    assert found.ended_early == 0.0
    assert found.mean_length == 30
    assert found.record.episodes == play(actor, _pendulum(), episodes=3, seed=0).episodes


def test_a_policy_that_draws_its_actions_is_watched_with_the_noise_of_its_episodes() -> None:
    network = squeezerl.load("demo").stochastic().network
    place = Environment.find("HalfCheetah-v5", {"max_episode_steps": 15})
    seen = np.zeros((2, 17), np.float32)  # all alike, so the sensors have no noise
    actor, teacher = load_network(network), load_network(network)
    played = play(load_network(network), place, episodes=3, seed=5)
    for _ in range(2):  # a teacher whose noise runs on would differ the second time
        found = behaviour(actor, teacher, place, seen, seed=5, episodes=3)
        assert found.deviation == 0.0
        assert (found.record.episodes, found.record.noise_seed) == (played.episodes, 5)
        assert found.disturbed["5% observation noise"].episodes == played.episodes
    assert behaviour(actor, actor, place, seen, seed=5, episodes=3).deviation == 0.0


def test_deviation_is_in_half_ranges_of_the_action() -> None:
    still, pushing = (constant(value, (3,)) for value in (0.0, 1.0))
    found = behaviour(still, pushing, _pendulum(), np.ones((2, 3), np.float32), seed=0, episodes=2)
    assert found.deviation == pytest.approx(0.5)
    assert found.jerk == 0.0


def test_jerk_is_the_second_difference_of_actions_within_an_episode() -> None:
    steps: dict[int, int] = {}

    class Alternating(Actor):
        def start(self, rows) -> None:
            steps.update(dict.fromkeys(rows.tolist(), 0))

        def act(self, observations, rows=None):
            signs = []
            for row in rows.tolist():
                steps[row] += 1
                signs.append(1.0 if steps[row] % 2 else -1.0)
            return np.array(signs, np.float32)[:, np.newaxis]

    actor = Alternating(Shapes((3,), (1,)))
    teacher = constant(0.0, (3,))
    found = behaviour(actor, teacher, _pendulum(), np.ones((2, 3), np.float32), seed=0, episodes=2)
    # From -1 over 1 to -1, in half ranges of 2: (-0.5) - 2 * 0.5 + (-0.5).
    assert found.jerk == pytest.approx(2.0)


def test_discrete_policies_deviate_where_they_choose_another_action() -> None:
    environment = Environment.find("CartPole-v1")
    observations = np.ones((2, 4), np.float32)
    toppled = behaviour(toppling(), toppling(), environment, observations, seed=0, episodes=4)
    assert (toppled.deviation, toppled.jerk, toppled.ended_early) == (0.0, None, 1.0)
    always = PlainActor(lambda batch: np.zeros(len(batch), np.int64), Shapes((4,), (), (2,)))
    other = behaviour(always, toppling(), environment, observations, seed=0, episodes=4)
    assert 0 < other.deviation < 1


def test_noise_and_delay_are_what_they_say() -> None:
    # One step, worth the action, which is the observation: 0 or 1.
    echo = PlainActor(lambda batch: batch)
    found = behaviour(echo, echo, Environment.find(MIRROR), 100 * OBSERVATIONS, seed=0, episodes=40)
    noisy = found.disturbed["5% observation noise"].returns
    expected = 0.05 * 100 * float(OBSERVATIONS.std())
    errors = np.array(noisy) - np.array(found.record.returns)
    assert errors.std() == pytest.approx(expected, rel=0.4)
    # The first action of an episode is its own, and there is no other.
    assert found.disturbed["one step of delay"].returns == found.record.returns


def test_a_delay_of_one_step_does_each_action_a_step_later() -> None:
    environment = _pendulum()
    actor = _swinging()
    found = behaviour(actor, actor, environment, np.ones((2, 3), np.float32), seed=0, episodes=3)
    assert found.disturbed["one step of delay"].returns != found.record.returns


def test_physics_change_where_there_are_bodies() -> None:
    changed = changed_physics(Environment.find("Hopper-v4"))
    assert list(changed) == ["mass +10%", "mass -10%", "friction +10%", "friction -10%"]
    assert changed_physics(_pendulum()) == {}
    plain = Environment.find("Hopper-v4", backend="gymnasium").make()
    heavy = changed["mass +10%"].make()
    smooth = changed["friction -10%"].make()
    models = [env.unwrapped.model for env in (plain, heavy, smooth)]
    np.testing.assert_allclose(models[1].body_mass, 1.1 * models[0].body_mass)
    np.testing.assert_allclose(models[1].body_inertia, 1.1 * models[0].body_inertia)
    np.testing.assert_allclose(models[2].geom_friction, 0.9 * models[0].geom_friction)
    np.testing.assert_array_equal(models[2].body_mass, models[0].body_mass)
    for env in (plain, heavy, smooth):
        env.close()


def test_a_changed_environment_plays_otherwise_from_the_same_start() -> None:
    changed = changed_physics(Environment.find("Hopper-v4", {"max_episode_steps": 50}))
    pushing = constant(0.5, (11,), (3,))
    plain = Environment.find("Hopper-v4", {"max_episode_steps": 50}, backend="gymnasium")
    one, other = (evaluate(pushing, place, episodes=2) for place in (plain, changed["mass +10%"]))
    assert one.returns != other.returns
