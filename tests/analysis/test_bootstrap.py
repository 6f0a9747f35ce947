from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from squeezerl.analysis.bootstrap import mean_interval, percentile_interval, resampled_means

Floats = npt.NDArray[np.float64]
SAMPLERS: dict[str, Callable[[np.random.Generator, int], Floats]] = {
    "normal": lambda rng, n: rng.normal(3.0, 2.0, n),
    "exponential": lambda rng, n: rng.exponential(3.0, n),
    "returns-that-end-early": lambda rng, n: np.where(rng.random(n) < 0.2, 100.0, 3000.0),
}


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("episodes", [10, 100])
def test_the_interval_of_a_mean_is_that_of_scipy(sampler: str, episodes: int) -> None:
    returns = SAMPLERS[sampler](_rng(1), episodes)
    interval = mean_interval(returns, _rng(2))
    theirs = stats.bootstrap(
        (returns,), np.mean, n_resamples=10_000, method="percentile", rng=_rng(3)
    ).confidence_interval

    assert interval.estimate == returns.mean()
    tolerance = 0.03 * (theirs.high - theirs.low)  # what two sets of resamples differ by
    assert abs(interval.low - theirs.low) <= tolerance
    assert abs(interval.high - theirs.high) <= tolerance


def test_the_interval_of_many_normal_returns_is_the_normal_one() -> None:
    returns = _rng().normal(50.0, 10.0, 1000)
    interval = mean_interval(returns, _rng(1))
    half_width = 1.96 * returns.std() / np.sqrt(1000)
    assert interval.low == pytest.approx(returns.mean() - half_width, abs=0.05 * half_width)
    assert interval.high == pytest.approx(returns.mean() + half_width, abs=0.05 * half_width)


@pytest.mark.parametrize(
    ("sampler", "mean"), [("normal", 3.0), ("exponential", 3.0), ("returns-that-end-early", 2420.0)]
)
def test_the_interval_covers_the_true_mean_as_often_as_it_says(sampler: str, mean: float) -> None:
    rng = _rng(4)
    covered = 0
    for _ in range(300):
        returns = SAMPLERS[sampler](rng, 60)
        resampled = resampled_means(returns[:, np.newaxis], rng, resamples=1000)[:, 0]
        interval = percentile_interval(float(returns.mean()), resampled)
        covered += interval.low <= mean <= interval.high
    assert 0.90 <= covered / 300 <= 0.98


def test_two_returns_have_three_possible_means() -> None:
    means = resampled_means(np.array([[0.0], [1.0]]), _rng())
    values, counts = np.unique(means, return_counts=True)
    np.testing.assert_array_equal(values, [0.0, 0.5, 1.0])
    np.testing.assert_allclose(counts / 10_000, [0.25, 0.5, 0.25], atol=0.02)


def test_resamples_take_whole_episodes() -> None:
    first = _rng().normal(size=50)
    means = resampled_means(np.column_stack([first, -2 * first, np.arange(50.0)]), _rng(1))
    assert means.shape == (10_000, 3)
    np.testing.assert_allclose(means[:, 1], -2 * means[:, 0], atol=1e-12)
    assert abs(np.corrcoef(means[:, 0], means[:, 2])[0, 1]) < 0.5


def test_many_episodes_are_resampled_in_parts() -> None:
    returns = np.column_stack([np.arange(3001.0), np.ones(3001)])
    means = resampled_means(returns, _rng(), resamples=1000)
    assert len(np.unique(means[:, 0])) > 990
    np.testing.assert_array_equal(means[:, 1], 1.0)
    assert means[:, 0].mean() == pytest.approx(1500.0, abs=3.0)
    assert means[:, 0].std() == pytest.approx(3001 / 12**0.5 / 3001**0.5, rel=0.1)


def test_the_generator_decides_everything() -> None:
    returns = _rng().normal(size=30)
    assert mean_interval(returns, _rng(1)) == mean_interval(returns, _rng(1))
    assert mean_interval(returns, _rng(1)) != mean_interval(returns, _rng(2))


@settings(max_examples=20)
@given(
    st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=40),
    st.floats(0.1, 10),
    st.floats(-1e4, 1e4),
)
def test_intervals_stretch_and_shift_with_the_returns(
    returns: list[float], stretch: float, shift: float
) -> None:
    interval = mean_interval(returns, _rng())
    moved = mean_interval(stretch * np.array(returns) + shift, _rng())
    expected = [stretch * x + shift for x in (interval.estimate, interval.low, interval.high)]
    np.testing.assert_allclose([moved.estimate, moved.low, moved.high], expected, atol=1e-6)


def test_equal_returns_have_an_interval_without_width() -> None:
    interval = mean_interval([500.0] * 17, _rng())
    assert (interval.low, interval.estimate, interval.high) == (500.0, 500.0, 500.0)


def test_more_episodes_narrow_the_interval_by_their_square_root() -> None:
    few, many = (mean_interval(_rng().normal(size=n), _rng(1)) for n in (100, 1600))
    ratio = (few.high - few.low) / (many.high - many.low)
    assert ratio == pytest.approx(4.0, rel=0.15)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.floats(0.5, 0.999))
def test_a_percentile_interval_has_the_quantiles_of_numpy(
    values: list[float], confidence: float
) -> None:
    interval = percentile_interval(0.0, np.array(values), confidence)
    tail = (1 - confidence) / 2
    expected = np.quantile(values, [tail, 1 - tail])
    assert [interval.low, interval.high] == pytest.approx(list(expected), rel=1e-12, abs=1e-6)


def test_a_statistic_that_is_missing_in_a_resample_has_no_interval() -> None:
    interval = percentile_interval(0.0, np.array([1.0, np.nan, 2.0]))
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)
