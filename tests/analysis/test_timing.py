from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from math import comb
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from squeezerl.analysis.timing import (
    FEWEST_FOR_INTERVAL,
    gauge_floor,
    mean_t_interval,
    median_interval,
    relative_half_width,
    undisturbed,
)
from squeezerl.records import Interval

TIMES = st.floats(1e-9, 1e3)


def _coverage(rank: int, count: int) -> Fraction:
    """How sure the median of `count` values lies between the two of this rank from either end."""
    return 1 - 2 * sum(Fraction(comb(count, below), 2**count) for below in range(rank + 1))


@pytest.mark.parametrize("count", range(6, 41))
def test_the_median_s_interval_is_the_narrowest_that_is_wide_enough(count: int) -> None:
    interval = median_interval(np.random.default_rng(0).permutation(count))
    assert interval is not None
    rank = int(interval.low)
    assert interval.high == count - 1 - rank
    assert _coverage(rank, count) >= Fraction(95, 100) > _coverage(rank + 1, count)
    assert interval.estimate == (count - 1) / 2


@pytest.mark.parametrize("count", range(6))
def test_few_values_have_no_interval_of_the_median(count: int) -> None:
    assert median_interval(np.arange(count)) is None
    assert _coverage(0, count or 1) < Fraction(95, 100)  # not even from the least to the most


def test_the_fewest_processes_are_as_many_as_an_interval_needs() -> None:
    assert median_interval(np.arange(FEWEST_FOR_INTERVAL)) is not None


@pytest.mark.parametrize("count", [6, 12])
def test_the_median_s_interval_covers_the_true_median_however_skewed(count: int) -> None:
    rng = np.random.default_rng(count)
    hits, runs = 0, 1500
    for sample in rng.lognormal(0.0, 2.0, (runs, count)):
        interval = median_interval(sample)
        assert interval is not None
        hits += interval.low <= 1.0 <= interval.high
    expected = float(_coverage(int(median_interval(np.arange(count)).low), count))  # type: ignore[union-attr]
    assert hits / runs == pytest.approx(expected, abs=0.02)
    assert expected >= 0.95


@given(st.lists(TIMES, min_size=6, max_size=30))
def test_the_median_s_interval_is_made_of_measured_values(values: list[float]) -> None:
    interval = median_interval(values)
    assert interval is not None
    assert interval.low <= interval.estimate <= interval.high
    assert {interval.low, interval.high} <= set(values)
    assert median_interval(values[::-1]) == interval


@pytest.mark.parametrize("count", [2, 3, 6, 12, 100])
def test_the_mean_s_interval_is_student_s(count: int) -> None:
    values = np.random.default_rng(count).normal(3.0, 0.5, count)
    interval = mean_t_interval(values)
    assert interval is not None
    expected = stats.t.interval(0.95, count - 1, loc=values.mean(), scale=stats.sem(values))
    assert interval.estimate == pytest.approx(values.mean())
    assert (interval.low, interval.high) == pytest.approx(expected)


def test_the_mean_s_interval_by_hand() -> None:
    # t of 3 degrees of freedom at 97.5 % is 3.1824; the standard error is 1.29099 / 2.
    interval = mean_t_interval([1.0, 2.0, 3.0, 4.0])
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((0.4457, 4.5543), abs=1e-4)


@pytest.mark.parametrize("values", [[], [1.0]])
def test_one_value_has_no_interval_of_the_mean(values: list[float]) -> None:
    assert mean_t_interval(values) is None


def test_equal_values_leave_nothing_open() -> None:
    same = Interval(estimate=2.0, low=2.0, high=2.0)
    assert mean_t_interval([2.0] * 6) == median_interval([2.0] * 6) == same
    assert relative_half_width(same) == 0


@pytest.mark.parametrize(("low", "high"), [(8.0, 11.0), (9.0, 12.0)])
def test_the_longer_side_of_an_interval_counts(low: float, high: float) -> None:
    assert relative_half_width(Interval(estimate=10.0, low=low, high=high)) == pytest.approx(0.2)


GAUGES = st.lists(st.integers(1_000, 100_000), min_size=2, max_size=60)


@given(GAUGES)
def test_the_floor_is_one_of_the_quickest_and_no_single_lucky_reading(gauges: list[int]) -> None:
    floor = gauge_floor(gauges)
    assert min(gauges) <= floor <= np.median(gauges)
    # In a run of any length one reading more does not move it.
    steady = [10_000] * 1000
    assert gauge_floor([*steady, 1]) == 10_000


def test_the_floor_is_found_where_nearly_everything_is_disturbed() -> None:
    assert gauge_floor([10_000] * 5 + [20_000] * 95) == 10_000


@given(GAUGES, st.floats(1_000, 100_000), st.floats(0, 1))
def test_a_chunk_counts_if_the_gauge_was_usual_on_both_sides(
    gauges: list[int], floor: float, tolerance: float
) -> None:
    clean = undisturbed(np.array(gauges), floor, tolerance)
    limit = floor * (1 + tolerance)
    assert clean.tolist() == [
        before <= limit and after <= limit for before, after in pairwise(gauges)
    ]


@given(GAUGES, st.floats(0, 1), st.floats(0, 1))
def test_more_tolerance_never_counts_less(gauges: list[int], one: float, other: float) -> None:
    array: Any = np.array(gauges)
    floor = gauge_floor(gauges)
    strict = undisturbed(array, floor, min(one, other))
    lenient = undisturbed(array, floor, max(one, other))
    assert not (strict & ~lenient).any()


def test_one_disturbed_gauge_spoils_the_chunks_on_both_sides_and_no_other() -> None:
    gauges = np.array([10, 10, 10, 30, 10, 10])
    assert undisturbed(gauges, 10.0, 0.1).tolist() == [True, True, False, False, True]
