import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from made_study import made_study
from squeezerl.analysis import cell_statistics as statistics
from squeezerl.analysis.cells import cells
from squeezerl.analysis.effects import Rule, Variation, mean_effect, power
from squeezerl.analysis.frames import StudyData

_SMALL: dict[str, Any] = {
    "algorithms": ("ppo",), "quantized": ("ptdq", "ptsq", "qat"), "pruned": (), "tickets": (),
    "costs": False,
}  # fmt: skip
AGENTS = ["ppo-HalfCheetah-v4", "ppo-Hopper-v4"]


def study(seed: int = 0, **options: Any) -> StudyData:
    return made_study(seed, **(_SMALL | options))


def kept(truth: dict[str, float]) -> Any:
    return lambda agent, method, ratio: 1.0 if method == "float" else truth[method]


def test_the_retention_is_the_one_of_the_cells() -> None:
    data = study(train_seeds=4)
    table = cells(data, np.random.default_rng(0))
    assert statistics.trained_agents(table) == AGENTS
    for found in statistics.retention(data, AGENTS, ["ptsq"]):
        row = table[(table["agent"] == found.agent) & (table["method"] == "ptsq")].iloc[0]
        assert found.values.mean() == pytest.approx(row["retention"])
        assert found.values.shape == (4, 40)


def test_the_error_over_episodes_is_about_that_of_the_bootstrap() -> None:
    data = study(train_seeds=1, episodes=200)
    table = cells(data, np.random.default_rng(0))
    for found in statistics.retention(data, AGENTS, ["ptsq"]):
        row = table[(table["agent"] == found.agent) & (table["method"] == "ptsq")].iloc[0]
        assert found.effect is not None
        interval = mean_effect([found.effect])
        assert interval is not None
        assert interval.low == pytest.approx(row["retention_low"], abs=0.002)
        assert interval.high == pytest.approx(row["retention_high"], abs=0.002)


def test_methods_are_compared_at_the_ratios_that_both_have() -> None:
    data = made_study(
        0, algorithms=("ppo",), quantized=(), pruned=("l1", "l2"), ratios=(0.1, 0.3), tickets=(),
        costs=False,
    )  # fmt: skip
    lacking = data.returns[~((data.returns["method"] == "l1") & (data.returns["ratio"] == 0.3))]
    data = dataclasses.replace(data, returns=lacking)
    (first, _) = statistics.retention(data, AGENTS, ["l2"], ["l1"])
    kept = statistics.retention_values(data, first.agent)
    assert np.allclose(first.values, kept["l2", 0.1] - kept["l1", 0.1])


@pytest.mark.slow
def test_the_power_holds_for_studies_of_returns() -> None:
    """From a large pilot to the verdicts of many small studies."""
    rule = Rule(above=True, bound=0.0, refuted=0.03, effect=0.03)
    truth = kept({"ptdq": 0.98, "ptsq": 0.95})
    options: dict[str, Any] = {
        "truth": truth, "noise": 0.3, "environments": ("Hopper-v4",), "quantized": ("ptdq", "ptsq"),
    }  # fmt: skip
    (pilot,) = statistics.retention(
        study(99, train_seeds=40, episodes=100, **options), AGENTS, ["ptdq"], ["ptsq"]
    )
    assert pilot.values.mean() == pytest.approx(0.03, abs=0.005)
    claimed = power(rule, [pilot.variation], trainings=4, episodes=60)
    supported, studies = 0, 200
    many = study(0, train_seeds=4 * studies, episodes=60, **options)
    group = many.returns["train_seed"].astype(float) // 4
    for number in range(studies):
        own = many.returns[group.isna() | (group == number)]
        data = dataclasses.replace(many, returns=own)
        (found,) = statistics.retention(data, AGENTS, ["ptdq"], ["ptsq"])
        assert found.effect is not None
        supported += rule.verdict(mean_effect([found.effect])) == "supported"
    assert 0.3 < claimed < 0.95, "the case shows nothing"
    assert supported / studies == pytest.approx(claimed, abs=3.5 * 0.5 / math.sqrt(studies))


def test_a_method_that_scatters_returns_over_trainings_is_seen() -> None:
    rng = np.random.default_rng(0)
    data = study(train_seeds=12, seed_noise=0.05, truth=kept({"ptdq": 1, "ptsq": 1, "qat": 1}))
    scattered = data.returns.copy()
    scattered["returns"] = [
        row.returns + (rng.normal(0, 1500) if row.method == "qat" else 0.0)
        for row in scattered.itertuples()
    ]
    data = dataclasses.replace(data, returns=scattered)
    (wide,) = statistics.spread(data, ["ppo-HalfCheetah-v4"], ["qat"])
    (same,) = statistics.spread(data, ["ppo-HalfCheetah-v4"], ["ptsq"])
    assert wide.values.mean() > math.log(3)
    assert same.values.mean() == pytest.approx(0.0, abs=0.2)


def test_a_spread_needs_three_trainings() -> None:
    assert statistics.spread(study(train_seeds=2), AGENTS, ["qat"]) == []


def test_convergence_is_where_the_curve_first_reaches_the_level() -> None:
    steps = np.array([10.0, 20.0, 30.0])
    returns = np.array([[0.0, 2.0], [4.0, 6.0], [9.0, 9.0]])
    assert statistics.convergence_steps(steps, returns, 1.0) == 10
    assert statistics.convergence_steps(steps, returns, 3.0) == pytest.approx(15)
    assert statistics.convergence_steps(steps, returns, 9.0) == 30
    assert math.isinf(statistics.convergence_steps(steps, returns, 9.1))


def test_slower_learning_takes_more_steps() -> None:
    data = study(train_seeds=3, truth=kept({"ptdq": 1, "ptsq": 1, "qat": 1}))
    data = dataclasses.replace(
        data,
        trainings=data.trainings.assign(
            timesteps=[
                row.timesteps * (2 if row.method == "qat" else 1)
                for row in data.trainings.itertuples()
            ]
        ),
    )
    for found in statistics.convergence(data, AGENTS, ["qat"]):
        assert found.values.mean() == pytest.approx(math.log(2), abs=0.25)


def test_settings_under_which_a_method_keeps_as_much_are_robust() -> None:
    def with_settings(truths: tuple[float, float]) -> StudyData:
        parts = []
        for number, truth in enumerate(truths):
            part = study(
                number, train_seeds=6, environments=("Hopper-v4",), quantized=("ptsq",),
                truth=kept({"ptsq": truth}),
            ).returns  # fmt: skip
            own = part["agent"] != ""
            part.loc[own, "agent"] += f"-setting{number}"
            parts.append(part if number == 0 else part[own])
        import pandas as pd

        return dataclasses.replace(study(), returns=pd.concat(parts, ignore_index=True))

    names = ["ppo-Hopper-v4-setting0", "ppo-Hopper-v4-setting1"]
    (same,) = statistics.robustness(with_settings((0.95, 0.95)), names, ["ptsq"])
    (other,) = statistics.robustness(with_settings((0.95, 0.55)), names, ["ptsq"])
    assert same.agent == "ppo-Hopper-v4"
    assert same.values.mean() < 0.02
    assert other.values.mean() == pytest.approx(0.4 / math.sqrt(2), abs=0.02)


def test_the_table_of_trainings_has_every_method_and_leaves_out_single_trainings() -> None:
    table = statistics.training_table(study(train_seeds=6), AGENTS)
    assert len(table) == 2 * 4
    assert table["return_sd"].notna().all()
    assert table[table["method"] != "float"]["retention_sd"].notna().all()
    learned = table[table["method"] == "float"]
    assert (learned["converged"] == 6).all()
    assert (learned["steps_to_converge_low"] <= learned["steps_to_converge"]).all()
    assert statistics.training_table(study(train_seeds=1), AGENTS).empty


def test_costs_are_logarithms_of_how_many_times_less() -> None:
    data = study(costs=True, train_seeds=1)
    for found in statistics.costs(data, AGENTS, ["ptsq"], "latency"):
        assert found.estimate == pytest.approx(math.log(1.1), abs=0.03)
        assert found.error == pytest.approx(0.0102, abs=0.002)
    assert statistics.costs(study(costs=True, energy=False), AGENTS, ["ptsq"], "energy") == []


def test_a_difference_varies_as_independent_values_do() -> None:
    one, other = Variation(trainings=3.0, episodes=0.0), Variation(trainings=4.0, episodes=1.0)
    assert one + other == Variation(trainings=5.0, episodes=1.0)
