from __future__ import annotations

import time
from typing import Any

import gymnasium
import numpy as np
import pytest
from task_envs import ENDLESS, FATE, MIRROR, TEN_STEPS, fate

from squeezerl.errors import EnvError
from squeezerl.evaluation import stepping
from squeezerl.evaluation.timed_episode import timed_episode


def _still(observations: Any) -> Any:
    return np.zeros((1, 1), np.float32)


@pytest.mark.parametrize("seed", range(20, 30))
def test_an_episode_is_complete_and_that_of_its_seed(seed: int) -> None:
    return_, length, _ = timed_episode(gymnasium.make(FATE), _still, seed)
    assert (length, return_) == fate(seed)


def test_a_time_limit_ends_an_episode() -> None:
    return_, length, _ = timed_episode(gymnasium.make(TEN_STEPS), _still, 0)
    assert (return_, length) == (10.0, 10)


@pytest.mark.parametrize("seed", [4, 5])
def test_the_policy_sees_a_batch_of_one_and_its_action_counts(seed: int) -> None:
    seen = []

    def act(observations: Any) -> Any:
        seen.append(observations)
        return observations

    return_, length, _ = timed_episode(gymnasium.make(MIRROR), act, seed)
    assert (return_, length) == (float(seed % 2), 1)
    assert [(batch.shape, batch.dtype) for batch in seen] == [((1, 1), np.float32)]


def test_only_decisions_count_as_such() -> None:
    def slow(observations: Any) -> Any:
        time.sleep(0.002)
        return _still(observations)

    start = time.perf_counter()
    _, length, acting_s = timed_episode(gymnasium.make(TEN_STEPS), slow, 0)
    assert 0.002 * length <= acting_s <= time.perf_counter() - start


def test_an_episode_without_an_end_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stepping, "ENDLESS", 100)
    with pytest.raises(EnvError, match="did not end after 100 steps"):
        timed_episode(gymnasium.make(ENDLESS), _still, 0)
