from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from made_study import FILE_BYTES, HOST, made_study
from squeezerl.analysis.cells import cells
from squeezerl.analysis.frames import StudyData
from squeezerl.analysis.score_cards import (
    PARTS,
    UNTRAINED,
    ScoreCard,
    score,
    score_cards,
    score_part,
)
from squeezerl.errors import InvalidArgumentError
from squeezerl.records import Interval

SMALL = {"algorithms": ("ppo",), "ratios": (0.05, 0.5), "tickets": ()}


def _cards(data: StudyData) -> dict[tuple[str, str, float | None], ScoreCard]:
    cards = score_cards(data, cells(data, np.random.default_rng(0)))
    found = {(card.agent, card.method, card.ratio): card for card in cards}
    assert len(found) == len(cards)
    return found


def test_every_compressed_cell_has_a_card() -> None:
    data = made_study(**SMALL, untrained=("ppo-Hopper-v4",))
    found = _cards(data)
    assert len(found) == 2 * (3 + 2 * 2)
    assert not {method for _, method, _ in found} & {"float", "random"}
    untrained = found["ppo-Hopper-v4", "ptdq", None]
    assert untrained.score is None
    assert untrained.recommendation == UNTRAINED


def test_figures_are_those_of_the_frames() -> None:
    data = made_study(**SMALL)
    card = _cards(data)["ppo-HalfCheetah-v4", "ptsq", None]
    assert card.score is not None
    small = card.score.part("compression").interval
    assert small is not None
    assert small.estimate == pytest.approx(FILE_BYTES / (FILE_BYTES // 4 + 1000))
    # Several seeds: the interval that reaches around all of theirs.
    rows = data.costs[(data.costs.agent == card.agent) & (data.costs.method == "ptsq")]
    speed = card.score.part("speed").interval
    assert speed is not None
    assert (speed.low, speed.high) == (
        rows.latency_times_low.min(), rows.latency_times_high.max(),
    )  # fmt: skip
    assert (card.runtime, card.host_id, card.energy_estimated) == ("ort", HOST, True)
    assert card.recommendation.endswith("(energy is an estimate)")


def test_energy_is_unknown_where_it_was_not_measured() -> None:
    card = _cards(made_study(**SMALL, energy=False))["ppo-HalfCheetah-v4", "ptdq", None]
    assert card.score is not None
    assert card.score.total is None
    assert card.score.part("energy").score is None
    assert card.energy_estimated is None
    assert card.score.low < card.score.high


def test_costs_without_intervals_are_unknown() -> None:
    data = made_study(**SMALL)
    costs = data.costs.copy()
    costs["latency_times_low"] = None
    card = _cards(dataclasses.replace(data, costs=costs))["ppo-HalfCheetah-v4", "ptdq", None]
    assert card.score is not None
    assert card.score.part("speed").score is None


def test_hosts_and_runtimes_are_not_merged() -> None:
    data = made_study(**SMALL)
    other = data.costs.assign(host_id="ffff0000", runtime="torch")
    data = dataclasses.replace(data, costs=pd.concat([data.costs, other], ignore_index=True))
    cards = score_cards(data, cells(data, np.random.default_rng(0)))
    places = {(c.runtime, c.host_id) for c in cards if c.method == "ptdq"}
    assert places == {("ort", HOST), ("torch", "ffff0000")}


def test_unmeasured_cells_have_a_card_too() -> None:
    card = _cards(made_study(**SMALL, costs=False))["ppo-HalfCheetah-v4", "l1", 0.5]
    assert (card.runtime, card.host_id) == (None, None)
    assert card.score is not None
    assert card.score.part("compression").score is not None
    assert card.score.part("speed").score is None


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
