from __future__ import annotations

import numpy as np
import pytest
from plain_actors import constant, make_referee, toppling
from task_envs import ECHO, MIRROR, Mirror

from squeezerl.errors import InvalidArgumentError
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.evaluate import MAX_EPISODES, MAX_SEED, calibrate, evaluate


def test_observations_are_those_that_the_actor_visits() -> None:
    observations, calibration = calibrate(constant(0.7), Environment.find(ECHO), episodes=3, seed=5)
    assert observations.dtype == np.float32
    assert sorted(observations[:, 0]) == pytest.approx([*[0.7] * 9, 5, 6, 7])
    assert calibration.observations == 12
    assert (calibration.env_id, calibration.backend) == (ECHO, "gymnasium")
    assert calibration.episodes == 3
    assert calibration.first_seed % 1000 == 5


def test_a_sample_is_drawn_from_whole_episodes() -> None:
    cart_pole = Environment.find("CartPole-v1")
    everything, _ = calibrate(toppling(), cart_pole, count=10**6)
    sample, calibration = calibrate(toppling(), cart_pole, count=100)
    assert len(everything) > 200
    assert sample.shape == (100, 4)
    assert calibration.observations == 100
    rows = [row.tobytes() for row in everything]
    places = [rows.index(row.tobytes()) for row in sample]
    assert places == sorted(set(places))
    assert places[0] < len(rows) / 5
    assert places[-1] > 4 * len(rows) / 5


def test_the_seed_decides() -> None:
    cart_pole = Environment.find("CartPole-v1")
    first, again, other = (
        calibrate(toppling(), cart_pole, count=100, seed=seed)[0] for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("seed", [0, MAX_SEED])
def test_calibration_uses_seeds_that_no_evaluation_uses(seed: int) -> None:
    Mirror.seeds.clear()
    _, calibration = calibrate(constant(1.0), Environment.find(MIRROR), episodes=4, seed=seed)
    assert sorted(Mirror.seeds) == list(range(calibration.first_seed, calibration.first_seed + 4))
    assert min(Mirror.seeds) > 600_000_000 + MAX_SEED + MAX_EPISODES
    assert max(Mirror.seeds) < 2**31


def test_evaluation_uses_the_seeds_that_it_says() -> None:
    Mirror.seeds.clear()
    evaluate(constant(1.0), MIRROR, episodes=40, seed=11)
    mirror = Environment.find(MIRROR)
    make_referee(mirror, constant(1.0), threshold=0.9, seed=11, episodes=40).references(40)
    assert sorted(set(Mirror.seeds)) == list(range(11, 51))


@pytest.mark.parametrize(("episodes", "seed"), [(0, 0), (-1, 0), (1, -1), (1, MAX_SEED + 1)])
def test_numbers_out_of_range_are_errors(episodes: int, seed: int) -> None:
    with pytest.raises(InvalidArgumentError):
        calibrate(constant(1.0), Environment.find(MIRROR), episodes=episodes, seed=seed)
