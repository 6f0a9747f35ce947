"""The 90 % rule, on means alone."""

from __future__ import annotations

import math

import pytest

from squeezerl.analysis.rule import best_percentage, mean_share


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
