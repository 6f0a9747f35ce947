from __future__ import annotations

import numpy as np
import pytest
from task_envs import CHOICE, MIRROR

from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.evaluate import evaluate
from squeezerl.evaluation.reference_actors import ConstantActor, RandomActor, best_constant

OBSERVATIONS = np.zeros((2000, 3), np.float32)


def _environment(low: list[float], high: list[float]) -> Environment:
    return Environment(
        "Any-v0", "gymnasium", (3,), (len(low),), None, np.float32(low), np.float32(high), None
    )


@pytest.fixture
def mixed() -> Environment:
    """Bounded, shifted, bounded on one side only, and without bounds."""
    return _environment([-1, 3, 0, -np.inf, -np.inf], [1, 3.5, np.inf, 0, np.inf])


def test_actions_stay_within_bounds(mixed: Environment) -> None:
    actions = RandomActor(mixed, 0).act(OBSERVATIONS)
    assert actions.shape == (2000, 5)
    assert actions.dtype == np.float32
    assert np.isfinite(actions).all()
    assert (actions >= mixed.action_low).all()
    assert (actions <= mixed.action_high).all()


def test_actions_fill_their_bounds_evenly() -> None:
    actions = RandomActor(_environment([-1, 3], [1, 3.5]), 0).act(OBSERVATIONS)
    quarters = np.stack([np.histogram(column, 4)[0] for column in actions.T])
    assert (abs(quarters - 500) < 100).all()
    np.testing.assert_allclose(actions.min(axis=0), [-1, 3], atol=0.01)
    np.testing.assert_allclose(actions.max(axis=0), [1, 3.5], atol=0.01)


def test_unbounded_actions_are_normal() -> None:
    actions = RandomActor(_environment([-np.inf], [np.inf]), 0).act(OBSERVATIONS)
    assert actions.mean() == pytest.approx(0, abs=0.1)
    assert actions.std() == pytest.approx(1, abs=0.1)


def test_discrete_actions_are_all_chosen() -> None:
    environment = Environment("Any-v0", "gymnasium", (3,), (), (4,), None, None, None)
    actions = RandomActor(environment, 0).act(OBSERVATIONS)
    assert actions.shape == (2000,)
    assert np.issubdtype(actions.dtype, np.integer)
    counts = np.bincount(actions, minlength=4)
    assert len(counts) == 4
    assert (abs(counts - 500) < 100).all()


def test_the_seed_decides(mixed: Environment) -> None:
    first, again, other = (RandomActor(mixed, seed).act(OBSERVATIONS) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_observations_do_not_matter(mixed: Environment) -> None:
    actor = RandomActor(mixed, 0)
    first = actor.act(OBSERVATIONS)
    np.testing.assert_array_equal(first, RandomActor(mixed, 0).act(OBSERVATIONS + 1))
    assert not np.array_equal(first, actor.act(OBSERVATIONS))


@pytest.mark.parametrize("env_id", ["HalfCheetah-v5", "Pendulum-v1", "CartPole-v1", "Hopper-v3"])
def test_it_fits_every_environment(env_id: str) -> None:
    environment = Environment.find(env_id)
    environment.check_fits(RandomActor(environment, 0))


# Constant actions.


def test_a_constant_actor_takes_the_action_of_all_rows_or_of_each() -> None:
    mirror = Environment.find(MIRROR)
    one = ConstantActor(mirror, np.float32([[0.5]]))
    assert one.act(OBSERVATIONS[:3, :1]).tolist() == [[0.5]] * 3
    each = ConstantActor(mirror, np.float32([[0.1], [0.2], [0.3]]))
    actions = each.act(OBSERVATIONS[:2, :1], np.array([2, 0]))
    np.testing.assert_allclose(actions, [[0.3], [0.1]])


def test_the_best_constant_action_is_found() -> None:
    # The return is the action itself, which is at most 1.
    mirror = Environment.find(MIRROR)
    actor = best_constant(mirror, 0)
    assert evaluate(actor, mirror, episodes=3).mean_return > 0.95
    np.testing.assert_array_equal(
        actor.act(OBSERVATIONS[:1, :1]), best_constant(mirror, 0).act(OBSERVATIONS[:1, :1])
    )


def test_more_constant_actions_find_a_better_one() -> None:
    mirror = Environment.find(MIRROR)
    few, many = (best_constant(mirror, 0, count=count) for count in (2, 256))
    few_return, many_return = (evaluate(a, mirror, episodes=1).mean_return for a in (few, many))
    assert few_return < many_return
    assert many_return > 0.99


def test_the_best_discrete_constant_action_is_found() -> None:
    actor = best_constant(Environment.find(CHOICE), 0)
    assert actor.act(OBSERVATIONS[:2, :1]).tolist() == [1, 1]
