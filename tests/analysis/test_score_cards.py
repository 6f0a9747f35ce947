from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from made_study import FILE_BYTES, HOST, made_study
from squeezerl.analysis.cells import cells
from squeezerl.analysis.frames import StudyData
from squeezerl.analysis.score_cards import UNTRAINED, ScoreCard, score_cards

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
