from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from plain_actors import Counting, Shapes, toppling

from squeezerl.errors import InvalidArgumentError
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.evaluate import evaluate
from squeezerl.evaluation.rollout import rollout
from squeezerl.runtimes.base import Actor

BACKENDS = ["envpool", "gymnasium"]


@pytest.fixture(params=BACKENDS)
def cheetah(request: pytest.FixtureRequest) -> Environment:
    return Environment.find("HalfCheetah-v5", {"max_episode_steps": 40}, backend=request.param)


@pytest.fixture(params=BACKENDS)
def cart_pole(request: pytest.FixtureRequest) -> Environment:
    return Environment.find("CartPole-v1", backend=request.param)


def test_a_seed_gives_the_same_returns_again(demo_actor: Actor, cheetah: Environment) -> None:
    first = evaluate(demo_actor, cheetah, episodes=40, seed=3)
    assert first.backend == cheetah.backend
    assert evaluate(demo_actor, cheetah, episodes=40, seed=3).episodes == first.episodes


def test_seeds_give_different_episodes(demo_actor: Actor, cheetah: Environment) -> None:
    assert len(set(evaluate(demo_actor, cheetah, episodes=40).returns)) == 40


def test_other_seeds_beside_it_do_not_change_an_episode(
    demo_actor: Actor, cheetah: Environment
) -> None:
    many = evaluate(demo_actor, cheetah, episodes=45, seed=5).episodes
    few = evaluate(demo_actor, cheetah, episodes=10, seed=5).episodes
    one = evaluate(demo_actor, cheetah, episodes=1, seed=30).episodes
    assert few == many[:10]
    assert one == many[25:26]


def test_more_episodes_than_run_at_once_do_not_change_an_episode(cart_pole: Environment) -> None:
    many = evaluate(toppling(), cart_pole, episodes=300).episodes
    assert [episode.seed for episode in many] == list(range(300))
    assert len({episode.length for episode in many}) > 5
    assert evaluate(toppling(), cart_pole, episodes=7, seed=290).episodes == many[290:297]


def test_episodes_come_in_the_order_of_their_seeds(cart_pole: Environment) -> None:
    seeds = [9, 2, 1000, 5, 0]
    played = rollout(toppling(), cart_pole, seeds)
    assert [episode.seed for episode in played] == seeds
    assert [rollout(toppling(), cart_pole, [seed])[0] for seed in seeds] == list(played)


def test_the_highest_seed_works(cart_pole: Environment) -> None:
    record = evaluate(toppling(), cart_pole, episodes=2, seed=500_000_000)
    assert [episode.seed for episode in record.episodes] == [500_000_000, 500_000_001]


@pytest.mark.parametrize("seed", [-1, -200_000_000, 500_000_001, 1_300_000_000, 10**22])
def test_a_seed_out_of_range_is_named(cart_pole: Environment, seed: int) -> None:
    with pytest.raises(InvalidArgumentError, match=f"`seed` .* not {seed}$"):
        evaluate(toppling(), cart_pole, episodes=1, seed=seed)


@pytest.mark.parametrize("episodes", [0, -3, 1_000_001])
def test_a_number_of_episodes_out_of_range_is_named(cart_pole: Environment, episodes: int) -> None:
    with pytest.raises(InvalidArgumentError, match=f"`episodes` .* not {episodes}$"):
        evaluate(toppling(), cart_pole, episodes=episodes)


@pytest.mark.parametrize("episodes", [1, 3, 40, 300])
def test_a_policy_with_state_starts_anew_in_each_episode(
    cart_pole: Environment, episodes: int
) -> None:
    longest: list[int] = []

    class Recorded(Counting):
        def act(self, observations: Any, rows: Any = None) -> Any:
            super().act(observations, rows)
            longest.append(max(self.counts.values()))
            return toppling().act(observations)

    actor = Recorded(Shapes((4,), (), (2,)))
    played = evaluate(actor, cart_pole, episodes=episodes).episodes
    assert played == evaluate(toppling(), cart_pole, episodes=episodes).episodes
    assert actor.starts == episodes
    assert max(longest) == max(episode.length for episode in played)


def test_progress_grows_to_all_of_it(cart_pole: Environment) -> None:
    fractions: list[float] = []
    evaluate(toppling(), cart_pole, episodes=300, on_progress=fractions.append)
    assert len(fractions) > 2
    assert fractions[-1] == pytest.approx(1)
    assert (np.diff(fractions) >= -1e-12).all()
    assert min(fractions) >= 0


def test_an_observer_sees_each_step_of_each_episode_once(cart_pole: Environment) -> None:
    seen: list[int] = []
    played = rollout(
        toppling(), cart_pole, range(50), observer=lambda batch: seen.append(len(batch))
    )
    assert sum(seen) == sum(episode.length for episode in played)


def test_threads_change_neither_returns_nor_what_is_observed(
    demo_actor: Actor, cheetah: Environment
) -> None:
    """One thread acts and steps in turn, several overlap: order and numbers stay the same."""
    seen: dict[int, list[np.ndarray]] = {1: [], 2: []}
    episodes = [
        rollout(demo_actor, cheetah, range(5), observer=seen[threads].append, threads=threads)
        for threads in (1, 2)
    ]
    assert episodes[0] == episodes[1]
    np.testing.assert_array_equal(np.concatenate(seen[1]), np.concatenate(seen[2]))
