from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from squeezerl.analysis.shares import (
    correlation_time,
    counts_to_show,
    fewest_to_show,
    share_interval,
)


@given(st.integers(1, 500), st.data())
def test_the_bounds_are_those_of_clopper_and_pearson(count: int, data: st.DataObject) -> None:
    kept = data.draw(st.integers(0, count))
    found = share_interval(kept, count, 0.025)
    exact = stats.binomtest(kept, count).proportion_ci(0.95, method="exact")
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=1e-9)
    assert found.low <= found.estimate <= found.high


@pytest.mark.parametrize("count", [50, 400])
@pytest.mark.parametrize("share", [0.9, 0.99])
def test_the_lower_bound_is_seldom_above_the_truth(count: int, share: float) -> None:
    """Exact: the probability of all counts whose bound is above the truth is at most the error."""
    kept = np.arange(count + 1)
    wrong = [share_interval(float(each), count, 0.025).low > share for each in kept]
    assert stats.binom.pmf(kept[wrong], count, share).sum() <= 0.025


@given(st.floats(0.5, 0.999), st.sampled_from([0.025, 0.01, 1e-4]))
def test_fewer_counts_than_that_show_nothing(share: float, error: float) -> None:
    fewest = fewest_to_show(share, error)
    assert share_interval(fewest, fewest, error).low >= share - 1e-12
    assert fewest == 1 or share_interval(fewest - 1, fewest - 1, error).low < share


def test_known_numbers_of_rows() -> None:
    assert fewest_to_show(0.99, 0.025) == 368
    assert fewest_to_show(0.9, 0.05) == 29


@given(st.floats(0.8, 0.98), st.floats(0.001, 0.02))
def test_so_many_counts_show_it_and_one_less_does_not(share: float, above: float) -> None:
    found = share + above
    count = counts_to_show(share, found, 0.025)
    assert count is not None
    assert share_interval(found * count, count, 0.025).low >= share
    assert share_interval(found * (count - 1), count - 1, 0.025).low < share


def test_what_is_not_above_needs_no_counts() -> None:
    assert counts_to_show(0.9, 0.9, 0.025) is None
    assert counts_to_show(0.9, 0.9 + 1e-7, 0.025) is None


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9])
def test_the_correlation_time_is_that_of_an_autoregressive_series(decay: float) -> None:
    noise = np.random.default_rng(0).normal(size=50_000)
    values = np.empty_like(noise)
    last = 0.0
    for index, each in enumerate(noise):
        last = values[index] = decay * last + each
    assert correlation_time(values) == pytest.approx((1 + decay) / (1 - decay), rel=0.15)


def test_what_never_changes_counts_in_full() -> None:
    assert correlation_time(np.ones(10)) == 1
