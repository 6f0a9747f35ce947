from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeezerl.analysis.sequential import (
    SequentialTest,
    critical_values,
    doubling,
    obrien_fleming,
    pocock,
)


# The tables of five equal looks at a two-sided error of 5 % that every textbook has (Jennison &
# Turnbull 2000, and the R package gsDesign).
@pytest.mark.parametrize(
    ("spending", "table"),
    [
        (obrien_fleming, (4.877, 3.357, 2.680, 2.290, 2.031)),
        (pocock, (2.438, 2.427, 2.410, 2.397, 2.386)),
    ],
)
def test_critical_values_are_those_of_published_tables(spending, table) -> None:
    shares = [0.2, 0.4, 0.6, 0.8, 1.0]
    assert critical_values(shares, 0.025, spending) == pytest.approx(table, abs=1e-3)


@pytest.mark.parametrize("spending", [obrien_fleming, pocock])
@given(error=st.floats(0.001, 0.2))
@settings(max_examples=10)
def test_one_look_is_the_ordinary_test(spending, error: float) -> None:
    (value,) = critical_values([1.0], error, spending)
    assert 0.5 * math.erfc(value / math.sqrt(2)) == pytest.approx(error, rel=1e-4)


@pytest.mark.parametrize("spending", [obrien_fleming, pocock])
def test_the_error_over_all_looks_is_what_was_asked_for(spending) -> None:
    looks = doubling(25, 400)
    values = critical_values([look / 400 for look in looks], 0.05, spending)
    rng = np.random.default_rng(0)
    steps = rng.standard_normal((200_000, len(looks))) * np.sqrt(np.diff((0, *looks)))
    crossed = np.cumsum(steps, axis=1) / np.sqrt(looks) > values
    assert crossed.any(axis=1).mean() == pytest.approx(0.05, abs=0.002)


def test_looks_double_up_to_the_limit() -> None:
    assert doubling(25, 100) == (25, 50, 100)
    assert doubling(25, 70) == (25, 50, 70)
    assert doubling(30, 30) == (30,)


def test_a_mean_of_zero_is_rarely_called_anything() -> None:
    test, rng = SequentialTest((20, 40, 80)), np.random.default_rng(1)
    verdicts = [_verdict(test, rng.standard_normal(80)) for _ in range(4_000)]
    assert verdicts.count("above") / 4_000 == pytest.approx(0.025, abs=0.008)
    assert verdicts.count("below") / 4_000 == pytest.approx(0.025, abs=0.008)


def test_a_clear_difference_ends_early_and_on_its_side() -> None:
    test, noise = SequentialTest((25, 100, 400)), np.random.default_rng(2).standard_normal(25)
    assert test.look(noise - 3) == "below"
    # O'Brien and Fleming keep the error for later: this much is not enough at the first of them.
    assert test.look(noise + 1) is None
    assert test.look(np.tile(noise + 1, 4)) == "above"


def test_differences_that_are_all_the_same_decide_by_their_sign() -> None:
    test = SequentialTest((10,))
    assert test.look(np.full(10, 0.1)) == "above"
    assert test.look(np.zeros(10)) == "above"
    assert test.look(np.full(10, -0.1)) == "below"


def test_a_look_that_was_not_planned_is_an_error() -> None:
    with pytest.raises(ValueError, match="not in tuple"):
        SequentialTest((10, 20)).look(np.zeros(15))


@pytest.mark.parametrize("sign", [1, -1])
def test_what_is_needed_is_what_would_just_decide(sign: int) -> None:
    test = SequentialTest((50, 100))
    few = sign * (np.random.default_rng(3).standard_normal(50) + 0.1)
    needed = math.ceil(test.needed(few) / 50) * 50
    assert SequentialTest((needed,)).look(np.tile(few, needed // 50)) is not None
    assert test.needed(few - few.mean() + 1e-9 * sign) > 1e12


def _verdict(test: SequentialTest, differences) -> str | None:
    for look in test.looks:
        if (side := test.look(differences[:look])) is not None:
            return side
    return None
