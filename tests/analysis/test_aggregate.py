from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import stats

from made_study import made_study
from squeezerl.analysis import aggregate as module
from squeezerl.analysis.aggregate import (
    THRESHOLDS,
    MethodScores,
    aggregate_table,
    final_return_spread,
    iqm,
    mean_score,
    method_scores,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
    profile_table,
    stratified_interval,
)
from squeezerl.analysis.cells import cells
from squeezerl.analysis.frames import StudyData
from squeezerl.analysis.hierarchy import Key
from squeezerl.errors import InvalidArgumentError
from squeezerl.records import Interval

NAN = float("nan")
# Runs down, tasks across.
BY_HAND = [[0.0, 0.5, 2.0], [0.2, 0.7, 1.0], [0.4, 0.9, 0.0], [0.6, 1.1, 1.0]]
SCORES = arrays(
    np.float64,
    array_shapes(min_dims=2, max_dims=2, max_side=6),
    elements=st.integers(-20, 20).map(lambda number: number / 8),
)


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_values_worked_by_hand() -> None:
    # In order: 0 0 .2 | .4 .5 .6 .7 .9 1 | 1 1.1 2
    assert float(iqm(BY_HAND)) == pytest.approx((0.4 + 0.5 + 0.6 + 0.7 + 0.9 + 1.0) / 6)
    assert float(mean_score(BY_HAND)) == pytest.approx((0.3 + 0.8 + 1.0) / 3)
    # Shortfalls below 1: 0.7 on average; (.5 + .3 + .1 + 0) / 4; (0 + 0 + 1 + 0) / 4.
    assert float(optimality_gap(BY_HAND)) == pytest.approx((0.7 + 0.225 + 0.25) / 3)
    share, _, _ = performance_profile(BY_HAND, [-1.0, 0.4, 1.0], _rng())
    assert share == pytest.approx([1.0, (1 / 4 + 1 + 3 / 4) / 3, (0 + 1 / 4 + 1 / 4) / 3])


def test_missing_runs_count_for_nothing() -> None:
    ragged = [[0.0, 1.0], [0.5, 2.0], [1.0, NAN]]
    assert float(mean_score(ragged)) == pytest.approx((0.5 + 1.5) / 2)
    assert float(iqm(ragged)) == pytest.approx((0.5 + 1.0 + 1.0) / 3)  # one of five at either end
    share, low, high = performance_profile(ragged, [0.75], _rng())
    assert share == pytest.approx([(1 / 3 + 1) / 2])
    assert low <= share <= high
    better = probability_of_improvement(ragged, [[0.25, 1.5]], _rng())
    assert better.estimate == pytest.approx((2 / 3 + 1 / 2) / 2)


@given(SCORES)
def test_the_iqm_is_scipys_trimmed_mean(scores: np.ndarray) -> None:
    assert float(iqm(scores)) == pytest.approx(stats.trim_mean(scores, 0.25, axis=None), abs=1e-12)


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=8),
    st.lists(st.integers(0, 9), min_size=1, max_size=8),
)
@settings(max_examples=50)
def test_the_probability_of_improvement_is_mann_whitneys_u(x: list[int], y: list[int]) -> None:
    ours, theirs = (np.array(values, dtype=float)[:, np.newaxis] for values in (x, y))
    better = probability_of_improvement(ours, theirs, _rng(), 50)
    u = stats.mannwhitneyu(x, y, method="asymptotic").statistic
    assert better.estimate == pytest.approx(u / (len(x) * len(y)))
    worse = probability_of_improvement(theirs, ours, _rng(), 50)
    assert better.estimate + worse.estimate == pytest.approx(1.0)


def test_normal_scores_improve_as_often_as_the_closed_form_says() -> None:
    ours, theirs = _rng(1).normal(1.0, 1.0, (800, 2)), _rng(2).normal(0.0, 1.0, (800, 2))
    found = probability_of_improvement(ours, theirs, _rng(), 500)
    true = stats.norm.cdf(1 / np.sqrt(2))
    assert found.low < true < found.high
    assert found.high - found.low < 0.06


@given(SCORES, st.integers(-8, 8))
@settings(max_examples=50)
def test_statistics_move_with_the_scores(scores: np.ndarray, shift: int) -> None:
    for statistic in (iqm, mean_score):
        plain, moved = (
            stratified_interval(statistic, values, _rng(), 100)
            for values in (scores, 2 * scores + shift)
        )
        for name in ("low", "estimate", "high"):
            expected = 2 * getattr(plain, name) + shift
            assert getattr(moved, name) == pytest.approx(expected, abs=1e-9)
    assert float(optimality_gap(scores)) >= -1e-12
    assert float(optimality_gap(scores)) >= float(optimality_gap(scores + abs(shift))) - 1e-12


@given(SCORES)
@settings(max_examples=50)
def test_the_order_of_runs_and_tasks_does_not_matter(scores: np.ndarray) -> None:
    shuffled = _rng(3).permuted(scores, axis=0)[:, ::-1]
    for statistic in (iqm, mean_score, optimality_gap):
        assert float(statistic(scores)) == pytest.approx(float(statistic(shuffled)), abs=1e-12)


@given(SCORES)
@settings(max_examples=30)
def test_a_profile_falls_from_one_to_zero(scores: np.ndarray) -> None:
    share, low, high = performance_profile(scores, np.linspace(-3, 3, 13), _rng(), 100)
    assert (np.diff(share) <= 0).all()
    assert share[0] == 1
    assert share[-1] == 0
    assert ((low <= share) & (share <= high)).all()


def test_the_generator_decides() -> None:
    scores = _rng(4).normal(size=(5, 3))
    first, again, other = (stratified_interval(iqm, scores, _rng(seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng, covered, cases = _rng(5), {"mean": 0, "iqm": 0, "better": 0}, 300
    levels = np.array([0.2, 0.9, 1.5])
    # The mixture of three tasks is symmetrical around neither: its IQM is that of many runs.
    true_iqm = float(iqm(rng.normal(levels, 0.3, (200_000, 3))))
    for _ in range(cases):
        scores, others = (rng.normal(levels, 0.3, (12, 3)) for _ in range(2))
        mean = stratified_interval(mean_score, scores, rng, 400)
        middle = stratified_interval(iqm, scores, rng, 400)
        better = probability_of_improvement(scores, others, rng, 400)
        covered["mean"] += mean.low <= levels.mean() <= mean.high
        covered["iqm"] += middle.low <= true_iqm <= middle.high
        covered["better"] += better.low <= 0.5 <= better.high
    assert all(0.89 <= hits / cases <= 0.98 for hits in covered.values()), covered


@pytest.mark.parametrize("scores", [[1.0, 2.0], [[]], [[1.0, NAN]], [[float("inf")]]])
def test_scores_that_are_none_are_refused(scores: list[object]) -> None:
    with pytest.raises(InvalidArgumentError):
        stratified_interval(iqm, scores, _rng())


def test_other_tasks_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="2 tasks cannot meet 1"):
        probability_of_improvement([[1.0, 2.0]], [[1.0]], _rng())


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
        name="made",
        returns=data.returns[~dropped],
        costs=data.costs,
        trainings=data.trainings,
        methods=data.methods,
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


def _bounds(interval: Interval) -> tuple[float, float, float]:
    return interval.low, interval.estimate, interval.high


@pytest.mark.parametrize(
    ("returns", "spread"),
    [([1, 2, 3, 4, 5], 2.0), ([4, 1], 1.5), ([7, 7, 7], 0.0), ([0, 0, 10, 10], 10.0),
     (range(101), 50.0), ([1, 2, 3, 1e9], 2.5e8 + 1.25 - 1)],
)  # fmt: skip
def test_the_spread_is_the_interquartile_range(returns: list[float], spread: float) -> None:
    low, estimate, high = _bounds(final_return_spread(returns, _rng()))
    assert estimate == pytest.approx(spread) == pytest.approx(stats.iqr(list(returns)))
    assert low <= estimate <= high


def test_the_interval_of_the_spread_is_that_of_scipy() -> None:
    returns = _rng(1).normal(2000, 300, 25)
    low, _, high = _bounds(final_return_spread(returns, _rng(2)))
    theirs = stats.bootstrap(
        (returns,), stats.iqr, n_resamples=10_000, method="percentile", rng=_rng(3)
    ).confidence_interval
    tolerance = 0.03 * (theirs.high - theirs.low)  # what two sets of resamples differ by
    assert low == pytest.approx(theirs.low, abs=tolerance)
    assert high == pytest.approx(theirs.high, abs=tolerance)


@pytest.mark.parametrize(
    ("seeds", "least", "most"), [(2, 0.0, 0.15), (3, 0.05, 0.3), (5, 0.78, 0.95), (20, 0.92, 0.99)]
)
def test_the_interval_of_the_spread_covers_the_true_one_as_its_description_says(
    seeds: int, least: float, most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RESAMPLES", 1000)
    rng, true = _rng(4), 2 * stats.norm.ppf(0.75)
    covered = 0
    for _ in range(300):
        low, _, high = _bounds(final_return_spread(rng.normal(5.0, 1.0, seeds), rng))
        covered += low <= true <= high
    assert least <= covered / 300 <= most


@pytest.mark.parametrize("returns", [[1.0, 4.0], [0.0, -3.0, 8.0]])
def test_with_two_or_three_seeds_nothing_larger_can_be_seen(returns: list[float]) -> None:
    low, estimate, high = _bounds(final_return_spread(returns, _rng()))
    assert (low, high) == (0.0, estimate)


@pytest.mark.parametrize(
    ("returns", "message"),
    [
        ([], "two seeds"),
        ([5.0], "two seeds"),
        (5.0, "must be"),
        ([[1.0, 2.0]], "must be"),
        ([1.0, np.nan], "finite"),
    ],
)
def test_a_spread_needs_one_return_of_each_of_several_seeds(returns: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        final_return_spread(returns, _rng())


@settings(max_examples=20)
@given(
    st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=30),
    st.floats(0.1, 10),
    st.floats(-1e4, 1e4),
)
def test_spreads_stretch_with_the_returns_and_do_not_shift(
    returns: list[float], stretch: float, shift: float
) -> None:
    expected = stretch * np.array(_bounds(final_return_spread(returns, _rng())))
    moved = _bounds(final_return_spread(stretch * np.array(returns) + shift, _rng()))
    np.testing.assert_allclose(moved, expected, atol=1e-6)
