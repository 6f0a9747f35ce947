import math

import numpy as np
import pytest

from squeezerl.analysis.effects import (
    CellEffect,
    Rule,
    Variation,
    mean_effect,
    power,
    variation_of,
)
from squeezerl.analysis.timing import mean_t_interval
from squeezerl.records import Interval

BETTER = Rule(above=True, bound=0.0, refuted=0.05, effect=0.05)
KEEPS = Rule(above=True, bound=0.9, refuted=0.9, effect=0.97)
SMALL = Rule(above=False, bound=0.1, refuted=0.1, effect=0.02)
_STUDIES = 1500


def interval(low: float, high: float) -> Interval:
    return Interval(estimate=(low + high) / 2, low=low, high=high)


def test_one_cell_has_students_interval() -> None:
    values = np.random.default_rng(0).normal(0.1, 1.0, 12)
    assert mean_effect([CellEffect.of("a", values, "trainings")]) == pytest.approx(
        mean_t_interval(values)
    )


def test_equal_cells_are_as_precise_as_their_pool() -> None:
    cell = CellEffect(agent="a", estimate=1.0, error=0.5, freedom=math.inf, over="measurements")
    four = mean_effect([cell] * 4)
    assert four is not None
    assert four.high - four.low == pytest.approx(2 * 1.959964 * 0.25)


@pytest.mark.parametrize(
    ("rule", "low", "high", "verdict"),
    [
        (BETTER, 0.01, 0.09, "supported"),
        (BETTER, 0.01, 0.04, "refuted"),  # there, but smaller than what would matter
        (BETTER, -0.2, -0.1, "refuted"),
        (BETTER, -0.1, 0.1, "undecided"),
        (BETTER, 0.0, 0.1, "undecided"),  # the bound itself is no support
        (KEEPS, 0.91, 0.93, "supported"),
        (KEEPS, 0.5, 0.89, "refuted"),
        (SMALL, 0.0, 0.05, "supported"),
        (SMALL, 0.2, 0.3, "refuted"),
        (SMALL, 0.05, 0.2, "undecided"),
    ],
)
def test_verdicts_follow_the_interval(rule: Rule, low: float, high: float, verdict: str) -> None:
    assert rule.verdict(interval(low, high)) == verdict


def test_without_an_interval_nothing_is_decided() -> None:
    assert BETTER.verdict(None) == "undecided"


def test_one_of_several_parts_refutes_by_its_wider_interval_only() -> None:
    assert KEEPS.verdict(interval(0.8, 0.89), interval(0.7, 0.91)) == "undecided"


@pytest.mark.parametrize(
    ("rule", "cells", "trainings", "episodes"),
    [
        (BETTER, [Variation(trainings=0.0, episodes=0.2)], 1, 100),
        (BETTER, [Variation(trainings=0.05, episodes=0.2)] * 2, 5, 30),
        (BETTER, [Variation(trainings=0.04, episodes=0.3), Variation(trainings=0.02, episodes=0.1)],
         4, 50),
        (KEEPS, [Variation(trainings=0.05, episodes=0.1)], 6, 30),
        (SMALL, [Variation(trainings=0.08, episodes=0.0)] * 3, 5, 30),
    ],
)  # fmt: skip
def test_the_power_is_the_share_of_simulated_studies_that_support(
    rule: Rule, cells: list[Variation], trainings: int, episodes: int
) -> None:
    rng = np.random.default_rng(1)
    claimed = power(rule, cells, trainings=trainings, episodes=episodes)
    supported = 0
    for _ in range(_STUDIES):
        effects = []
        for cell in cells:
            if trainings == 1:
                values = rng.normal(rule.effect, cell.episodes, episodes)
            else:
                truth = rng.normal(rule.effect, cell.trainings, (trainings, 1))
                values = rng.normal(truth, cell.episodes, (trainings, episodes)).mean(axis=1)
            effects.append(CellEffect.of("a", values, "trainings"))
        supported += rule.verdict(mean_effect(effects)) == "supported"
    assert 0.1 < claimed < 0.99, "the case shows nothing"
    assert supported / _STUDIES == pytest.approx(claimed, abs=3.5 * 0.5 / math.sqrt(_STUDIES))


def test_more_trainings_and_more_episodes_give_more_power() -> None:
    cells = [Variation(trainings=0.05, episodes=0.3)]

    def of(trainings: int, episodes: int) -> float:
        return power(BETTER, cells, trainings=trainings, episodes=episodes)

    assert of(3, 50) < of(6, 50) < of(12, 50)
    assert of(6, 30) < of(6, 100) < of(6, 400)


def test_deviations_are_told_apart() -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(rng.normal(0.0, 0.3, (400, 1)), 1.0, (400, 50))
    found = variation_of(values)
    assert found.trainings == pytest.approx(0.3, abs=0.04)
    assert found.episodes == pytest.approx(1.0, abs=0.02)
