from __future__ import annotations

import numpy as np
import pytest
from plain_actors import constant, discrete, toppling
from task_envs import ENDLESS, FATE, TEN_STEPS, fate

from squeezerl.errors import EnvError, SqueezeRLWarning
from squeezerl.evaluation import stepping
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.evaluate import evaluate
from squeezerl.evaluation.rollout import rollout
from squeezerl.records import Episode


@pytest.mark.parametrize("episodes", [1, 31, 32, 33, 200])
def test_long_episodes_count_as_much_as_short_ones(episodes: int) -> None:
    record = evaluate(constant(0.0), FATE, episodes=episodes, seed=7)
    expected = [
        Episode(seed=seed, return_=fate(seed)[1], length=fate(seed)[0])
        for seed in range(7, 7 + episodes)
    ]
    assert list(record.episodes) == expected


def test_the_mean_return_is_that_of_all_seeds() -> None:
    returns = evaluate(constant(0.0), FATE, episodes=200, seed=7).returns
    assert 0.4 < np.mean(returns) < 0.6  # of the first to end it would be near 0


def test_seeds_need_not_be_neighbours() -> None:
    seeds = list(range(3, 600, 7))
    played = rollout(constant(0.0), Environment.find(FATE), seeds)
    assert [(e.seed, e.length, e.return_) for e in played] == [(s, *fate(s)) for s in seeds]


def test_an_episode_that_the_time_limit_ends_is_complete() -> None:
    record = evaluate(constant(0.0), TEN_STEPS, episodes=70)
    assert [episode.length for episode in record.episodes] == [10] * 70
    assert record.returns == [10.0] * 70
    assert record.steps == 700


@pytest.mark.parametrize("episodes", [2, 40])
def test_an_episode_that_never_ends_is_an_error(
    monkeypatch: pytest.MonkeyPatch, episodes: int
) -> None:
    monkeypatch.setattr(stepping, "ENDLESS", 100)
    monkeypatch.setattr(stepping, "HINT_AFTER", 30)
    with (
        pytest.warns(SqueezeRLWarning, match="not ended after 30 steps; `max_episode_steps`"),
        pytest.raises(EnvError, match=r"did not end after 100 steps.*`max_episode_steps=1000`"),
    ):
        evaluate(constant(0.0), ENDLESS, episodes=episodes)
    limited = Environment.find(ENDLESS, {"max_episode_steps": 40})
    assert evaluate(constant(0.0), limited, episodes=episodes).returns == [40.0] * episodes


@pytest.mark.parametrize("backend", ["envpool", "gymnasium"])
def test_an_episode_ends_where_a_loop_of_ones_own_ends_it(backend: str) -> None:
    record = evaluate(discrete(2), Environment.find("CartPole-v1", backend=backend), episodes=20)
    assert all(8 <= episode.length <= 11 for episode in record.episodes)
    assert record.returns == [float(episode.length) for episode in record.episodes]


def test_gymnasium_episodes_equal_a_plain_loop() -> None:
    import gymnasium

    env = gymnasium.make("CartPole-v1")
    expected = []
    for seed in range(40):
        observation, _ = env.reset(seed=seed)
        total, length, ended = 0.0, 0, False
        while not ended:
            action = int(toppling().act(observation[np.newaxis])[0])
            observation, reward, terminated, truncated, _ = env.step(action)
            total, length, ended = total + float(reward), length + 1, terminated or truncated
        expected.append(Episode(seed=seed, return_=total, length=length))
    env.close()
    cart_pole = Environment.find("CartPole-v1", backend="gymnasium")
    assert list(evaluate(toppling(), cart_pole, episodes=40).episodes) == expected
