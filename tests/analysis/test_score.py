from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from squeezerl.analysis.score import PARTS, score, score_part
from squeezerl.errors import InvalidArgumentError
from squeezerl.records import Interval


def _exact(figure: float) -> Interval:
    return Interval(estimate=figure, low=figure, high=figure)


@pytest.mark.parametrize(
    ("name", "figures", "scores"),
    [
        (
            "retention",
            (0.95, 0.9499, 0.9, 0.8, 0.7, 0.699, -3.0),
            (1, 0.8, 0.8, 0.6, 0.4, 0.2, 0.2),
        ),
        ("compression", (4.0, 3.99, 2.0, 1.5, 1.2, 1.19), (1, 0.8, 0.8, 0.6, 0.4, 0.2)),
        ("energy", (1.2, 1.19, 1.1, 0.95, 0.94), (1, 0.8, 0.8, 0.6, 0.3)),
        ("speed", (2.0, 1.99, 1.5, 1.2, 1.05, 1.04), (1, 0.8, 0.8, 0.6, 0.4, 0.2)),
    ],
)
def test_steps_are_those_of_the_study_card(
    name: str, figures: tuple[float, ...], scores: tuple[float, ...]
) -> None:
    assert tuple(score_part(name, _exact(figure)).score for figure in figures) == scores


def test_weights_sum_to_one() -> None:
    assert math.isclose(sum(rule.weight for rule in PARTS.values()), 1.0)


def test_a_step_counts_only_if_the_unfavourable_end_reaches_it() -> None:
    part = score_part("compression", Interval(estimate=4.5, low=3.9, high=5.0))
    assert (part.score, part.low, part.high) == (0.8, 0.8, 1.0)


def test_what_is_unknown_is_bounded_not_guessed() -> None:
    part = score_part("energy", None)
    assert (part.score, part.low, part.high) == (None, 0.3, 1.0)
    card = score(retention=_exact(1.0), compression=_exact(4.0), energy=None, speed=_exact(2.0))
    assert card.total is None
    assert card.low == pytest.approx(0.4 + 0.3 + 0.2 * 0.3 + 0.1)
    assert card.high == pytest.approx(1.0)


def test_a_known_total_is_the_weighted_sum() -> None:
    card = score(
        retention=_exact(0.85), compression=_exact(1.3), energy=_exact(1.0), speed=_exact(1.0)
    )
    assert card.total == pytest.approx(0.4 * 0.6 + 0.3 * 0.4 + 0.2 * 0.6 + 0.1 * 0.2)
    assert card.low == card.high == card.total


@pytest.mark.parametrize(
    ("figures", "verdict", "action", "words"),
    [
        ((0.95, 4, 1.2, 2), None, "deploy", "at least 4.00 times smaller"),
        ((0.95, 4, None, 2), None, "deploy", "energy is unknown"),
        ((0.95, 4, 0.8, 0.5), None, "deploy", "a decision's time is at least 2.00 times"),
        ((0.5, 4, 1.2, 2), None, "don't", "it keeps at most 50.0 %"),
        ((0.95, 1, 1, 1), None, "don't", "nothing is gained"),
        ((0.95, 1, None, 1), None, "measure first", "energy is unknown"),
        ((0.95, 4, 1.2, 2), "undecided", "more episodes", "between 95.0 % and 95.0 %"),
        ((None, 4, 1.2, 2), None, "measure first", "how much of the return"),
    ],
)
def test_the_recommendation_follows_from_the_parts(
    figures: tuple[float | None, ...], verdict: str | None, action: str, words: str
) -> None:
    kept, small, energy, speed = (None if f is None else _exact(f) for f in figures)
    card = score(retention=kept, compression=small, energy=energy, speed=speed, verdict=verdict)
    assert card.action == action
    assert words in card.recommendation


def test_an_interval_across_the_line_asks_for_episodes() -> None:
    kept = Interval(estimate=0.95, low=0.85, high=1.02)
    card = score(retention=kept, compression=_exact(4), energy=None, speed=None)
    assert card.action == "more episodes"
    assert "between 85.0 % and 102.0 %" in card.recommendation


@given(
    st.sampled_from(sorted(PARTS)),
    st.floats(-2, 10),
    st.floats(0, 5),
)
def test_scores_stay_in_order_and_range(name: str, low: float, width: float) -> None:
    part = score_part(name, Interval(estimate=low, low=low, high=low + width))
    assert part.score is not None
    assert PARTS[name].lowest <= part.low == part.score <= part.high <= 1.0


def test_nonsense_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="no part"):
        score_part("beauty", None)
    with pytest.raises(InvalidArgumentError, match="no order"):
        score_part("speed", Interval(estimate=1, low=2, high=1))
    with pytest.raises(InvalidArgumentError, match="no order"):
        score_part("speed", Interval(estimate=1, low=math.nan, high=1))
