from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from made_study import HOST, LEVELS, made_study
from squeezerl.analysis.cells import cells
from squeezerl.analysis.figure_data import (
    grid_shape,
    in_order,
    learning_curves,
    mean_curve,
    panels,
    reference_levels,
    retention_by_ratio,
    scaled_costs,
    untrained_agents,
)

SMALL = {"ratios": (0.05, 0.5), "tickets": ()}


def test_costs_are_shares_of_the_baselines() -> None:
    data = made_study(**SMALL, train_seeds=1)
    frame = scaled_costs(data, ("ptdq",))
    assert set(frame["quantity"]) == {"time", "energy", "memory"}
    assert set(zip(frame["runtime"], frame["host_id"], strict=True)) == {("ort", HOST)}
    row = frame[(frame["agent"] == "ppo-Hopper-v4") & (frame["quantity"] == "time")].iloc[0]
    cost = data.costs[(data.costs["agent"] == row["agent"]) & (data.costs["method"] == "ptdq")]
    assert row["value"] == pytest.approx(1 / cost["latency_times"].iloc[0])
    assert row["low"] == pytest.approx(1 / cost["latency_times_high"].iloc[0])
    assert row["high"] == pytest.approx(1 / cost["latency_times_low"].iloc[0])
    assert row["low"] < row["value"] < row["high"]
    assert frame.loc[frame["quantity"] == "memory", ["low", "high"]].isna().all(axis=None)
    assert frame["estimated"].equals(frame["quantity"] == "energy")


def test_several_seeds_give_their_median_and_reach() -> None:
    data = made_study(**SMALL, train_seeds=3)
    frame = scaled_costs(data, ("l1",))
    row = frame[(frame["quantity"] == "energy") & (frame["ratio"] == 0.5)].iloc[0]
    costs = data.costs[(data.costs["agent"] == row["agent"]) & (data.costs["method"] == "l1")]
    costs = costs[costs["ratio"] == 0.5]
    assert row["seeds"] == 3
    assert row["value"] == pytest.approx(np.median(1 / costs["energy_times"]))
    assert row["high"] == pytest.approx((1 / costs["energy_times_low"]).max())


def test_unknown_energy_has_no_row() -> None:
    frame = scaled_costs(made_study(**SMALL, energy=False), ("ptdq",))
    assert set(frame["quantity"]) == {"time", "memory"}
    assert scaled_costs(made_study(**SMALL, costs=False), ("ptdq",)).empty


def test_untrained_cells_are_there_and_known() -> None:
    data = made_study(**SMALL, untrained=("sac-Hopper-v4",))
    found = cells(data, np.random.default_rng(0))
    assert untrained_agents(found) == {"sac-Hopper-v4"}
    kept = retention_by_ratio(found, ("l1", "l2"))
    assert len(kept) == 4 * 2 * 2
    assert kept.loc[kept["agent"] == "sac-Hopper-v4", "value"].isna().all()
    assert kept.loc[kept["agent"] != "sac-Hopper-v4", "value"].notna().all()
    no_random = cells(made_study(**SMALL, random=False), np.random.default_rng(0))
    assert untrained_agents(no_random) == frozenset()


def test_curves_are_the_means_of_the_evaluations() -> None:
    data = made_study(**SMALL, train_seeds=2)
    curves = learning_curves(data)
    row = data.trainings.iloc[0]
    own = curves[
        (curves["agent"] == row["agent"])
        & (curves["method"] == row["method"])
        & (curves["train_seed"] == row["train_seed"])
    ]
    assert own["timesteps"].tolist() == list(row["timesteps"])
    assert own["value"].to_numpy() == pytest.approx(row["evaluations"].mean(axis=1))


def test_a_mean_curve_ends_with_the_shortest_training() -> None:
    curves = pd.DataFrame(
        {"train_seed": [0, 0, 1], "timesteps": [10, 20, 10], "value": [1.0, 5.0, 3.0]}
    )
    mean = mean_curve(curves)
    assert mean.to_dict("records") == [
        {"timesteps": 10, "value": 2.0, "low": 1.0, "high": 3.0, "seeds": 2}
    ]


def test_reference_levels_are_by_environment() -> None:
    levels = reference_levels(made_study(**SMALL))["random"]
    assert set(levels) == {"Hopper-v4", "HalfCheetah-v4"}
    assert levels["HalfCheetah-v4"] == pytest.approx(LEVELS["HalfCheetah-v4"][0], abs=100)


def test_panels_are_in_the_order_of_the_published_tables() -> None:
    assert in_order(["sac", "a2c", "trpo", "sac"], ("trpo", "sac")) == ["trpo", "sac", "a2c"]
    frame = made_study(**SMALL).returns
    found = panels(frame[frame["agent"] != ""])
    assert [agent for agent, _, _ in found] == [
        "ppo-HalfCheetah-v4", "sac-HalfCheetah-v4", "ppo-Hopper-v4", "sac-Hopper-v4",
    ]  # fmt: skip
    assert grid_shape(found) == (["HalfCheetah-v4", "Hopper-v4"], ["ppo", "sac"])
    assert grid_shape(found[:1]) is None
    assert grid_shape([*found, ("again", "ppo", "Hopper-v4")]) is None
