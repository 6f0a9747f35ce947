from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeezerl.analysis.retention import (
    best_percentage,
    fewest_to_keep,
    mean_share,
    retention,
)
from squeezerl.analysis.sequential import SequentialTest
from squeezerl.records import Interval, Retention

pytestmark = pytest.mark.slow

Floats = npt.NDArray[np.float64]


def _retention(
    policy: npt.ArrayLike,
    baseline: npt.ArrayLike,
    random: npt.ArrayLike,
    threshold: float = 0.9,
    seed: int = 0,
    test: SequentialTest | None = None,
) -> Retention:
    rng = np.random.default_rng(seed)
    return retention(policy, baseline, random, threshold=threshold, rng=rng, test=test)


def _returns(mean: float, deviation: float, seed: int, episodes: int = 50) -> Floats:
    return np.random.default_rng(seed).normal(mean, deviation, episodes)


def _bounds(interval: Interval | None) -> tuple[float, float, float]:
    assert interval is not None
    return interval.low, interval.estimate, interval.high


def _width(interval: Interval | None) -> float:
    low, _, high = _bounds(interval)
    return high - low


@settings(max_examples=50)
@given(episodes=st.integers(2, 400), seed=st.integers(0, 1000), shift=st.floats(-5e3, 5e3))
def test_the_baseline_keeps_exactly_all_of_itself(episodes: int, seed: int, shift: float) -> None:
    baseline = _returns(shift + 1000, 50.0, seed, episodes)
    random = _returns(shift - 1000, 50.0, seed + 1, episodes)
    result = _retention(baseline, baseline, random, threshold=1.0)
    assert _bounds(result.normalized) == (1.0, 1.0, 1.0)
    assert result.verdict == ("keeps" if episodes >= 300 else "undecided")
    if result.ratio is not None:
        assert _bounds(result.ratio) == (1.0, 1.0, 1.0)


def test_a_random_policy_keeps_nothing() -> None:
    random = _returns(-200.0, 30.0, 1)
    result = _retention(random, _returns(1000.0, 50.0, 0), random)
    assert _bounds(result.normalized) == (0.0, 0.0, 0.0)
    assert result.verdict == "loses"


def test_estimates_are_those_of_the_means() -> None:
    policy, baseline = _returns(800.0, 50.0, 0), _returns(1000.0, 50.0, 1)
    random = _returns(100.0, 50.0, 2)
    result = _retention(policy, baseline, random, threshold=0.8)
    assert result.ratio is not None
    assert result.normalized is not None
    assert result.ratio.estimate == pytest.approx(policy.mean() / baseline.mean())
    expected = (policy.mean() - random.mean()) / (baseline.mean() - random.mean())
    assert result.normalized.estimate == pytest.approx(expected)
    assert (result.threshold, result.episodes, result.baseline_trained) == (0.8, 50, True)


def test_the_interval_of_independent_returns_is_that_of_the_delta_method() -> None:
    policy, baseline = _returns(900.0, 100.0, 0, 400), _returns(1000.0, 100.0, 1, 400)
    zero = np.zeros(400)
    ratio = policy.mean() / baseline.mean()
    covariance = np.cov(policy, baseline)
    gradient = np.array([1, -ratio]) / baseline.mean()
    half_width = 1.96 * np.sqrt(gradient @ covariance @ gradient / 400)
    result = _retention(policy, baseline, zero)
    expected = (ratio - half_width, ratio, ratio + half_width)
    for interval in (result.ratio, result.normalized):
        np.testing.assert_allclose(_bounds(interval), expected, atol=0.1 * half_width)


def test_pairs_of_the_same_seed_narrow_the_interval() -> None:
    # Both policies have good and bad starts, and the same ones.
    baseline = _returns(1000.0, 300.0, 0)
    policy = 0.95 * baseline + _returns(0.0, 5.0, 1)
    random = np.zeros(50)
    paired = _retention(policy, baseline, random)
    shuffled = _retention(np.random.default_rng(2).permutation(policy), baseline, random)
    assert _width(paired.ratio) < 0.1 * _width(shuffled.ratio)
    assert _width(paired.normalized) < 0.1 * _width(shuffled.normalized)
    assert (paired.verdict, shuffled.verdict) == ("keeps", "undecided")


@settings(max_examples=30)
@given(
    shift=st.floats(-1e5, 1e5),
    stretch=st.floats(0.01, 100),
    kept=st.floats(0, 1.2),
    seed=st.integers(0, 100),
)
def test_normalized_retention_has_no_unit_and_no_origin(
    shift: float, stretch: float, kept: float, seed: int
) -> None:
    baseline, random = _returns(1000.0, 50.0, seed), _returns(-500.0, 50.0, seed + 1)
    policy = kept * baseline + (1 - kept) * random + _returns(0.0, 30.0, seed + 2)
    result = _retention(policy, baseline, random)
    moved = _retention(*(stretch * x + shift for x in (policy, baseline, random)))
    np.testing.assert_allclose(_bounds(moved.normalized), _bounds(result.normalized), atol=1e-6)
    assert moved.baseline_trained


def test_where_returns_are_negative_there_is_no_ratio() -> None:
    baseline, random = _returns(-150.0, 30.0, 0), _returns(-1200.0, 100.0, 1)
    result = _retention(baseline - 20, baseline, random)
    assert result.ratio is None
    assert result.normalized is not None
    assert result.normalized.estimate == pytest.approx(0.98, abs=0.005)
    assert result.verdict == "keeps"


def test_where_returns_are_not_clearly_positive_there_is_no_ratio() -> None:
    baseline = _returns(10.0, 100.0, 0)
    assert baseline.mean() > 0
    result = _retention(baseline, baseline, baseline - 500)
    assert result.ratio is None
    assert result.verdict == "keeps"


@pytest.mark.parametrize("gain", [0.0, 2.0, -50.0])
def test_an_untrained_baseline_gives_no_verdict(gain: float) -> None:
    random = _returns(100.0, 30.0, 0)
    baseline = _returns(100.0 + gain, 30.0, 1)
    result = _retention(_returns(500.0, 30.0, 2), baseline, random)
    assert not result.baseline_trained
    assert result.normalized is None
    assert result.verdict is None
    assert result.ratio is not None


def test_a_baseline_that_is_better_by_chance_gives_no_verdict() -> None:
    random = _returns(100.0, 30.0, 0)
    baseline = random[::-1] + 5.0
    result = _retention(_returns(500.0, 30.0, 2), baseline, random)
    assert (result.baseline_trained, result.normalized, result.verdict) == (False, None, None)


def test_the_verdict_turns_at_the_bounds_of_the_interval() -> None:
    # For one look and many episodes, the test and the 95 % bootstrap interval are nearly the same.
    baseline, random = _returns(1000.0, 100.0, 0, 400), _returns(0.0, 50.0, 1, 400)
    policy = _returns(900.0, 100.0, 2, 400)
    low, _, high = _bounds(_retention(policy, baseline, random).normalized)
    verdicts = {
        low - 0.002: "keeps",
        low + 0.002: "undecided",
        (low + high) / 2: "undecided",
        high - 0.002: "undecided",
        high + 0.002: "loses",
    }
    for threshold, verdict in verdicts.items():
        assert _retention(policy, baseline, random, threshold).verdict == verdict


@pytest.mark.parametrize("episodes", [62, 100])
@pytest.mark.parametrize(
    ("threshold", "verdict"), [(0.94, "keeps"), (0.95, "keeps"), (0.951, "loses")]
)
def test_constant_returns_are_judged_at_once(threshold: float, verdict: str, episodes: int) -> None:
    returns = (np.full(episodes, x) for x in (475.0, 500.0, 0.0))
    result = _retention(*returns, threshold=threshold)
    assert _bounds(result.normalized) == _bounds(result.ratio) == (0.95, 0.95, 0.95)
    assert result.verdict == verdict


def test_constant_returns_equal_to_those_of_a_random_policy_give_no_verdict() -> None:
    same = np.full(20, -200.0)
    result = _retention(same, same, same)
    assert (result.ratio, result.normalized, result.verdict) == (None, None, None)
    assert not result.baseline_trained


def test_all_returns_zero_gives_no_ratio() -> None:
    zero = np.zeros(20)
    result = _retention(zero, zero, zero - 1)
    assert result.ratio is None
    assert _bounds(result.normalized) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("threshold", "fewest"), [(0.5, 6), (0.9, 30), (0.95, 60), (0.99, 300), (1.0, 300), (1.2, 300)]
)
def test_keeping_takes_as_many_episodes_as_would_show_a_failure(
    threshold: float, fewest: int
) -> None:
    assert fewest_to_keep(threshold) == fewest
    for episodes, verdict in ((fewest - 1, "undecided"), (fewest, "keeps")):
        returns = (np.full(episodes, x) for x in (1300.0, 1000.0, 0.0))
        assert _retention(*returns, threshold=threshold).verdict == verdict


def test_losing_takes_ten_episodes() -> None:
    for episodes, verdict in ((2, "undecided"), (9, "undecided"), (10, "loses")):
        returns = (np.full(episodes, x) for x in (500.0, 1000.0, 0.0))
        assert _retention(*returns).verdict == verdict


def test_one_episode_says_nothing_at_all() -> None:
    # One return shows no spread, so a bootstrap of it has no width and means nothing.
    result = _retention([500.0], [1000.0], [0.0])
    assert (result.ratio, result.normalized, result.verdict) == (None, None, None)
    assert (result.baseline_trained, result.episodes) == (False, 1)


def test_an_early_look_asks_for_more_than_the_only_one() -> None:
    baseline, random = _returns(1000.0, 100.0, 0, 100), _returns(0.0, 50.0, 1, 100)
    policy = _returns(900.0, 100.0, 2, 100)
    low = _bounds(_retention(policy, baseline, random).normalized)[0] - 0.01
    once, early = (
        _retention(policy, baseline, random, low, test=test)
        for test in (None, SequentialTest((100, 200, 400)))
    )
    assert (once.verdict, early.verdict) == ("keeps", "undecided")
    assert once.verdict_confidence == early.verdict_confidence == 0.95
    assert once.normalized == early.normalized


def test_the_undecided_are_told_how_many_more_episodes_would_decide() -> None:
    baseline, random = _returns(1000.0, 100.0, 0, 100), _returns(0.0, 50.0, 1, 100)
    policy = _returns(915.0, 100.0, 2, 100)
    first = _retention(policy, baseline, random)
    assert first.verdict == "undecided"
    assert first.more_episodes is not None
    times = 1 + first.more_episodes // 100 + 1
    again = _retention(*(np.tile(x, times) for x in (policy, baseline, random)))
    assert (again.verdict, again.more_episodes) == ("keeps", None)
    fewer = _retention(*(np.tile(x, max(1, times - 2)) for x in (policy, baseline, random)))
    assert fewer.verdict == "undecided"


def test_too_few_episodes_lack_those_of_the_rule_of_three() -> None:
    result = _retention(np.full(20, 1300.0), np.full(20, 1000.0), np.zeros(20), threshold=0.95)
    assert (result.verdict, result.more_episodes) == ("undecided", 40)


@pytest.mark.parametrize("broken", range(3))
def test_returns_that_are_not_numbers_decide_nothing(broken: int) -> None:
    returns = [_returns(mean, 10.0, 0) for mean in (1000.0, 1000.0, 0.0)]
    returns[broken][3] = np.nan
    try:
        verdict = _retention(*returns).verdict
    except ValueError:
        return
    assert verdict not in ("keeps", "loses")


def test_returns_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="match"):
        _retention(np.ones(10), np.ones(11), np.zeros(10))


def test_the_generator_decides_everything_and_the_returns_stay_as_they_are() -> None:
    returns = [_returns(mean, 100.0, 0) for mean in (900.0, 1000.0, 0.0)]
    returns[1] = returns[1][::-1].copy()
    copies = [x.copy() for x in returns]
    assert _retention(*returns, seed=1) == _retention(*returns, seed=1)
    assert _retention(*returns, seed=1) != _retention(*returns, seed=2)
    np.testing.assert_array_equal(returns, copies)


@pytest.mark.parametrize(
    ("baseline", "random", "returns", "best"),
    [
        # The highest that will do, also where a lower one will not.
        (100.0, 0.0, [(0.1, 95.0), (0.2, 80.0), (0.3, 91.0), (0.4, 10.0)], 0.3),
        (100.0, 80.0, [(0.1, 95.0), (0.2, 90.0)], 0.2),
        # Not positive: of what it is better than random.
        (-10.0, -110.0, [(0.1, -19.0), (0.2, -21.0)], 0.1),
        # None will do: the smallest.
        (100.0, 0.0, [(0.5, 3.0), (0.1, 2.0)], 0.1),
        (-10.0, -5.0, [(0.5, -3.0), (0.1, -2.0)], 0.1),
    ],
)
def test_the_best_percentage(
    baseline: float, random: float, returns: list[tuple[float, float]], best: float
) -> None:
    assert best_percentage(baseline, random, returns) == best


def test_nothing_is_kept_of_nothing() -> None:
    assert mean_share(5.0, 10.0, 0.0) == 0.5
    assert math.isnan(mean_share(5.0, 1.0, 1.0))
