from __future__ import annotations

import numpy as np
import pytest

from made_study import made_study
from squeezerl.analysis.cells import cells
from squeezerl.analysis.frames import StudyData
from squeezerl.analysis.hierarchy import Key
from squeezerl.analysis.method_scores import (
    THRESHOLDS,
    MethodScores,
    aggregate_table,
    method_scores,
    profile_table,
)

SMALL = {"ratios": (0.05, 0.5), "tickets": ()}


def _scores(data: StudyData) -> dict[Key, MethodScores]:
    return method_scores(data, cells(data, np.random.default_rng(0)))


def test_scores_are_normalised_runs_of_trained_cells() -> None:
    data = made_study(**SMALL, untrained=("sac-Hopper-v4",))
    scores = _scores(data)
    own = scores["ptdq", None]
    assert own.over == "trainings"
    assert own.scores.shape == (3, 3)
    assert "sac-Hopper-v4" not in own.tasks
    # The float policies define 1, cell by cell.
    assert scores["float", None].scores.mean(axis=0) == pytest.approx(np.ones(3))
    assert own.scores.mean() == pytest.approx(0.99, abs=0.02)


def test_a_missing_run_is_missing() -> None:
    data = made_study(**SMALL)
    dropped = (data.returns["agent"] == "ppo-Hopper-v4") & (data.returns["method"] == "ptdq")
    dropped &= data.returns["train_seed"] == 2
    partial = StudyData(
        name="made", returns=data.returns[~dropped], costs=data.costs, trainings=data.trainings
    )
    assert np.isnan(_scores(partial)["ptdq", None].scores).sum() == 1


def test_with_one_training_each_runs_are_episodes() -> None:
    own = _scores(made_study(**SMALL, train_seeds=1, episodes=40))["qat", None]
    assert own.over == "episodes"
    assert own.scores.shape == (40, 4)


def test_the_aggregates_find_what_was_put_in() -> None:
    table = aggregate_table(_scores(made_study(**SMALL)), np.random.default_rng(0))
    rows = table.set_index(["method", "ratio"])
    qat = table[table["method"] == "qat"].iloc[0]
    assert qat["iqm_low"] < 0.85 < qat["iqm_high"]
    assert qat["optimality_gap"] == pytest.approx(0.15, abs=0.03)
    assert qat["improvement"] < 0.2
    assert np.isnan(table.loc[table["method"] == "float", "improvement"].iloc[0])
    assert rows.loc[("l2", 0.5), "iqm"] > rows.loc[("l1", 0.5), "iqm"]


def test_profiles_fall_from_one_to_none() -> None:
    scores = _scores(made_study(**SMALL))
    table = profile_table(scores, [("ptsq", None)], np.random.default_rng(0))
    assert table["threshold"].tolist() == pytest.approx(THRESHOLDS)
    assert table["value"].iloc[0] == 1.0
    assert table["value"].iloc[-1] == 0.0
    assert (np.diff(table["value"]) <= 0).all()
    assert (table["low"] <= table["value"]).all()
    assert (table["value"] <= table["high"]).all()


def test_without_a_trained_cell_there_is_nothing() -> None:
    agents = [f"{a}-{e}" for a in ("ppo", "sac") for e in ("Hopper-v4", "HalfCheetah-v4")]
    scores = _scores(made_study(**SMALL, untrained=agents))
    rng = np.random.default_rng(0)
    assert aggregate_table(scores, rng).empty
    assert profile_table(scores, list(scores), rng).empty
