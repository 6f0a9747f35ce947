from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.visits import EnvironmentVisits
from squeezerl.methods.base import Transitions


def _always(action: int) -> Any:
    return lambda observations: np.full(len(observations), action)


def _roll(backend: str, seed: int = 0, threads: int = 1) -> Transitions:
    environment = Environment.find("CartPole-v1", backend=backend)
    with EnvironmentVisits(environment, seed, threads) as visits:
        first, second = visits.roll(_always(1), 20), visits.roll(_always(1), 15)
    np.testing.assert_array_equal(first.observations[-1], second.observations[0])
    return first


@pytest.mark.parametrize("backend", ["envpool", "gymnasium"])
def test_an_episode_that_ended_is_followed_by_one_step_that_does_not_count(backend: str) -> None:
    seen = _roll(backend)
    assert seen.observations.shape == (21, 32, 4)
    assert seen.ended.any()
    assert not seen.truncated.any()
    np.testing.assert_array_equal(seen.counts[1:], ~seen.ended[:-1])
    poles = np.abs(seen.observations[..., 2])
    assert (poles[1:][seen.ended] > 0.2).all()  # the state that it ended with is there
    assert (poles[1:][~seen.counts] < 0.06).all()  # and then the first one of the next episode
    assert (np.abs(seen.visited[:, 2]) < 0.21).all()
    assert (seen.rewards[seen.counts] == 1).all()


@pytest.mark.parametrize("backend", ["envpool", "gymnasium"])
def test_visits_depend_on_the_seed_and_on_nothing_else(backend: str) -> None:
    first, again, other = _roll(backend), _roll(backend, threads=2), _roll(backend, seed=1)
    np.testing.assert_array_equal(first.observations, again.observations)
    assert not np.array_equal(first.observations, other.observations)


def test_returns_are_those_of_complete_episodes_from_the_same_start_states() -> None:
    environment = Environment.find("CartPole-v1")
    with EnvironmentVisits(environment, 3) as visits:
        returns = visits.returns([_always(0)], 10)
        np.testing.assert_array_equal(visits.returns([_always(0)], 4, first=6), returns[:, 6:])
    assert ((returns >= 8) & (returns <= 11)).all()


def test_an_episode_of_full_length_is_truncated() -> None:
    environment = Environment.find("Pendulum-v1")
    with EnvironmentVisits(environment, 0) as visits:
        seen = visits.roll(lambda o: np.zeros((len(o), 1), np.float32), 201)
    assert seen.truncated[199].all()
    assert seen.ended.sum() == 32


def test_a_restart_begins_anew_with_other_start_states() -> None:
    environment = Environment.find("CartPole-v1")
    with EnvironmentVisits(environment, 0) as visits:
        first, played = visits.roll(_always(1), 3), visits.returns([_always(0)], 20)
        visits.restart(1)
        other, others = visits.roll(_always(1), 3), visits.returns([_always(0)], 20)
        visits.restart(0)
        again = visits.roll(_always(1), 3)
    np.testing.assert_array_equal(first.observations, again.observations)
    assert not np.isin(first.observations[0], other.observations[0]).any()
    assert not np.array_equal(played, others)


@pytest.mark.parametrize(
    ("backend", "episodes"), [("envpool", 10), ("gymnasium", 10), ("envpool", 150)]
)
def test_policies_that_play_side_by_side_return_what_each_does_alone(
    backend: str, episodes: int
) -> None:
    def leans(observations: Any) -> Any:
        return (observations[:, 2] > 0).astype(np.int64)

    acts = [_always(0), leans, _always(1)]
    environment = Environment.find("CartPole-v1", backend=backend)
    with EnvironmentVisits(environment, 3) as visits:
        together = visits.returns(acts, episodes)
        alone = [visits.returns([act], episodes)[0] for act in acts]
    np.testing.assert_array_equal(together, alone)
    assert together[1].mean() > 2 * together[0].mean()
