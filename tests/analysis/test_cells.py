from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from made_study import LEVELS, RATIOS, made_study, usual_truth
from squeezerl.analysis.bootstrap import student_interval
from squeezerl.analysis.cells import CELL_COLUMNS, CELL_KEYS, cells
from squeezerl.analysis.frames import StudyData
from squeezerl.analysis.hierarchy import MethodDraws, agent_draws, resampled_hierarchy
from squeezerl.analysis.retention import retention
from squeezerl.errors import InvalidArgumentError

pytestmark = pytest.mark.slow

KEYS = list(CELL_KEYS)


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def _with_returns(data: StudyData, returns: pd.DataFrame) -> StudyData:
    return replace(data, returns=returns)


def _cell(frame: pd.DataFrame, agent: str, method: str, ratio: float | None = None) -> Any:
    rows = frame[(frame.agent == agent) & (frame.method == method)]
    rows = rows[rows.ratio.isna()] if ratio is None else rows[np.isclose(rows.ratio, ratio)]
    return rows.iloc[0]


def test_every_method_of_every_agent_has_its_row() -> None:
    frame = cells(made_study(), _rng())
    assert tuple(frame.columns) == CELL_COLUMNS
    assert len(frame) == 4 * (1 + 3 + 2 * len(RATIOS) + 3)
    assert not frame.duplicated(KEYS).any()
    assert set(frame.over) == {"seeds and episodes"}
    assert (frame.train_seeds == 3).all()
    assert (frame.episodes == 40).all()


def test_the_truth_is_found() -> None:
    frame = cells(made_study(train_seeds=5, episodes=60), _rng())
    others = frame[frame.method != "float"]
    truth = np.array(
        [
            usual_truth(row.agent, row.method, None if math.isnan(row.ratio) else row.ratio)
            for row in others.itertuples()
        ]
    )
    covered = (others.retention_low <= truth) & (truth <= others.retention_high)
    assert covered.mean() > 0.9
    np.testing.assert_allclose(others.retention, truth, atol=0.05)
    assert set(others.verdict[truth > 0.96]) == {"keeps"}
    assert set(others.verdict[truth < 0.84]) == {"loses"}


def test_the_float_policy_keeps_exactly_all_of_itself() -> None:
    frame = cells(made_study(), _rng())
    own = frame[frame.method == "float"]
    for name in ("retention", "return_ratio"):
        assert (own[[name, f"{name}_low", f"{name}_high"]] == 1).all(axis=None)
    assert own.verdict.isna().all()
    assert (own.file_times == 1).all()


def test_one_training_is_judged_as_retention_judges_it() -> None:
    data = made_study(train_seeds=1, episodes=60)
    frame = cells(data, _rng())
    assert set(frame.over) == {"episodes"}
    by_key = data.returns.set_index(["agent", "method"]).returns
    random = data.returns[(data.returns.method == "random")].set_index("env_id").returns
    for agent, env_id in (("ppo-Hopper-v4", "Hopper-v4"), ("sac-HalfCheetah-v4", "HalfCheetah-v4")):
        for method in ("ptdq", "ptsq", "qat"):
            ours = _cell(frame, agent, method)
            theirs = retention(
                by_key[agent, method],
                by_key[agent, "float"],
                random[env_id],
                threshold=0.9,
                rng=_rng(1),
            )
            assert theirs.normalized is not None
            width = theirs.normalized.high - theirs.normalized.low
            assert ours.retention == pytest.approx(theirs.normalized.estimate)
            assert ours.retention_low == pytest.approx(theirs.normalized.low, abs=0.1 * width)
            assert ours.retention_high == pytest.approx(theirs.normalized.high, abs=0.1 * width)
            assert ours.verdict == theirs.verdict


def test_untrained_agents_have_no_retention() -> None:
    frame = cells(made_study(untrained=("sac-Hopper-v4",)), _rng())
    untrained = frame[frame.agent == "sac-Hopper-v4"]
    assert untrained.trained.eq(False).all()
    unknown = ["retention", "retention_low", "retention_high", "verdict"]
    assert untrained[unknown].isna().all(axis=None)
    assert untrained.mean_return.notna().all()
    assert frame[frame.agent != "sac-Hopper-v4"].trained.eq(True).all()


def test_an_agent_that_does_no_better_than_a_constant_action_is_untrained() -> None:
    """The best constant action earns 0.8 of the return here, and SAC learnt 0.5 of it."""

    def truth(agent: str, method: str, ratio: float | None) -> float:
        return usual_truth(agent, method, ratio) * (0.5 if agent.startswith("sac") else 1.0)

    data = made_study(truth=truth, constant=0.8, seed_noise=0.01, noise=0.05)
    frame = cells(data, _rng())
    assert set(frame.agent) == set(cells(made_study(), _rng()).agent)
    sac = frame[frame.algorithm == "sac"]
    assert sac.trained.eq(False).all()
    assert sac[["retention", "verdict"]].isna().all(axis=None)
    assert frame[frame.algorithm == "ppo"].trained.eq(True).all()
    low, high = LEVELS["Hopper-v4"]
    row = _cell(frame, "ppo-Hopper-v4", "float")
    assert row.constant_return == pytest.approx(low + 0.8 * (high - low), rel=0.1)
    # Without constant actions, a random policy is all there is to beat.
    without = cells(made_study(truth=truth, seed_noise=0.01, noise=0.05), _rng())
    assert without.trained.eq(True).all()
    assert without.constant_return.isna().all()


def test_a_constant_action_changes_no_interval() -> None:
    plain, more = cells(made_study(), _rng()), cells(made_study(constant=0.1), _rng())
    pd.testing.assert_frame_equal(
        plain.drop(columns="constant_return"), more.drop(columns="constant_return")
    )


def test_without_a_random_or_a_float_policy_nothing_is_said_of_retention() -> None:
    data = made_study()
    for missing in ("random", "float"):
        frame = cells(_with_returns(data, data.returns[data.returns.method != missing]), _rng())
        assert frame.trained.isna().all()
        assert frame.retention.isna().all()
        assert frame.verdict.isna().all()
        assert frame.return_ratio.notna().all() == (missing == "random")


def test_a_negative_baseline_has_a_retention_and_no_plain_ratio(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(LEVELS, "Hopper-v4", (-1000.0, -100.0))
    row = _cell(cells(made_study(), _rng()), "ppo-Hopper-v4", "ptdq")
    assert row.retention == pytest.approx(0.99, abs=0.05)
    assert math.isnan(row.return_ratio)


def test_sizes_are_those_of_the_same_trainings() -> None:
    data = made_study(tickets=())
    frame = cells(data, _rng())
    assert _cell(frame, "ppo-Hopper-v4", "ptdq").file_times == pytest.approx(300_000 / 76_000)
    returns = data.returns.copy()
    returns.loc[returns.method == "ptsq", "file_bytes"] = None
    unknown = _cell(cells(_with_returns(data, returns), _rng()), "ppo-Hopper-v4", "ptsq")
    assert math.isnan(unknown.file_bytes)
    assert math.isnan(unknown.file_times)
    assert unknown.weight_times > 3


def test_only_trainings_and_episodes_that_both_have_are_compared() -> None:
    data = made_study(train_seeds=4, episodes=50, seed_noise=0.3)
    returns = data.returns.copy()
    late = (returns.method == "qat") & (returns.train_seed < 2)
    returns = returns[~late]
    short = returns.index[(returns.method == "ptsq")]
    for name in ("returns", "lengths"):
        returns.loc[short, name] = pd.Series([v[10:30] for v in returns.loc[short, name]], short)
    returns.loc[short, "first_seed"] += 10
    frame = cells(_with_returns(data, returns), _rng())
    qat, ptsq = (_cell(frame, "ppo-Hopper-v4", method) for method in ("qat", "ptsq"))
    assert (qat.train_seeds, qat.episodes) == (2, 50)
    assert (ptsq.train_seeds, ptsq.episodes) == (4, 20)
    own = returns[(returns.agent == "ppo-Hopper-v4") & (returns.method == "float")]
    same = np.stack(list(own[own.train_seed >= 2].returns)).mean()
    assert qat.baseline_return == pytest.approx(same)
    assert ptsq.baseline_return == pytest.approx(np.stack(list(own.returns))[:, 10:30].mean())


def test_policies_that_met_other_episodes_are_refused() -> None:
    data = made_study()
    returns = data.returns.copy()
    returns.loc[returns.method == "ptdq", "first_seed"] += 1000
    with pytest.raises(InvalidArgumentError, match="no common environment seeds"):
        cells(_with_returns(data, returns), _rng())


def test_a_policy_that_is_there_twice_is_refused() -> None:
    data = made_study()
    with pytest.raises(InvalidArgumentError, match="twice"):
        cells(_with_returns(data, pd.concat([data.returns, data.returns.tail(1)])), _rng())


def test_returns_that_are_no_numbers_are_refused() -> None:
    data = made_study()
    returns = data.returns.copy()
    returns.at[5, "returns"] = np.full(40, np.nan)
    with pytest.raises(InvalidArgumentError, match="finite"):
        cells(_with_returns(data, returns), _rng())


def test_a_study_without_results_has_no_cells() -> None:
    data = made_study()
    frame = cells(_with_returns(data, data.returns.head(0)), _rng())
    assert frame.empty
    assert tuple(frame.columns) == CELL_COLUMNS


def test_none_instead_of_missing_numbers_is_understood() -> None:
    data = made_study(train_seeds=1)
    returns = data.returns.astype({"ratio": object, "train_seed": object, "file_bytes": object})
    returns = returns.where(returns.notna(), None)
    pd.testing.assert_frame_equal(cells(_with_returns(data, returns), _rng()), cells(data, _rng()))


@given(st.integers(0, 10**6))
@settings(max_examples=5, deadline=None)
def test_the_order_of_rows_does_not_matter(seed: int) -> None:
    data = made_study(ratios=(0.1, 0.5))
    shuffled = data.returns.sample(frac=1, random_state=seed)
    pd.testing.assert_frame_equal(cells(_with_returns(data, shuffled), _rng()), cells(data, _rng()))


@given(st.floats(0.01, 100), st.floats(-1e4, 1e4))
@settings(max_examples=10, deadline=None)
def test_normalised_retention_has_neither_unit_nor_origin(unit: float, origin: float) -> None:
    data = made_study(ratios=(0.1, 0.5), episodes=20)
    moved = data.returns.assign(returns=[unit * own + origin for own in data.returns.returns])
    names = ["retention", "retention_low", "retention_high"]
    plain, other = (cells(_with_returns(data, frame), _rng()) for frame in (data.returns, moved))
    np.testing.assert_allclose(plain[names], other[names], rtol=1e-6)
    assert list(plain.verdict.fillna("")) == list(other.verdict.fillna(""))


@given(st.floats(0, 1000))
@settings(max_examples=10, deadline=None)
def test_better_returns_never_keep_less(gain: float) -> None:
    data = made_study(ratios=(0.1,), episodes=20)
    better = data.returns.copy()
    better["returns"] = [
        row.returns + gain if row.method == "ptsq" else row.returns for row in better.itertuples()
    ]
    before, after = (cells(_with_returns(data, frame), _rng()) for frame in (data.returns, better))
    for name in ("retention", "retention_low", "retention_high"):
        assert (after[name] >= before[name] - 1e-9).all()


def test_the_generator_decides() -> None:
    data = made_study()
    pd.testing.assert_frame_equal(cells(data, _rng(1)), cells(data, _rng(1)))
    assert not cells(data, _rng(1)).equals(cells(data, _rng(2)))


def test_methods_with_the_same_trainings_are_paired() -> None:
    (agent,) = agent_draws(made_study(environments=["Ant-v4"], algorithms=["td3"]), _rng())
    one, two = agent.methods["ptdq", None], agent.methods["l2", 0.05]
    assert one.baseline is not None
    assert two.baseline is not None
    np.testing.assert_allclose(one.baseline, two.baseline)
    assert np.corrcoef(one.policy, two.policy)[0, 1] > 0.5


def test_the_interval_of_a_mean_over_trainings_is_students() -> None:
    for trainings in (2, 3, 8):
        sample = _rng(3).normal(size=(trainings, 1, 1))
        means, _ = resampled_hierarchy(sample, np.empty((0, 1)), _rng(4), 100_000)
        interval = student_interval(means[:, 0], trainings)
        theirs = stats.t.interval(
            0.95, trainings - 1, sample.mean(), stats.sem(sample, axis=0).item()
        )
        np.testing.assert_allclose((interval.low, interval.high), theirs, rtol=0.02)


@pytest.mark.parametrize("within", [0.0, 0.1])
@pytest.mark.parametrize("trainings", [2, 3, 5, 10])
def test_intervals_over_trainings_cover_the_truth(trainings: int, within: float) -> None:
    assert _coverage(trainings, 0.1, within) >= 0.92


@pytest.mark.parametrize(("trainings", "between", "least"), [(1, 0.0, 0.9), (10, 0.02, 0.96)])
def test_intervals_over_episodes_cover_the_truth(
    trainings: int, between: float, least: float
) -> None:
    assert _coverage(trainings, between, 0.3) >= least


def _coverage(trainings: int, between: float, within: float) -> float:
    """How often the interval of the retention holds 0.9, which it is."""
    rng, cases, covered, episodes = _rng(5), 300, 0, 20
    for _ in range(cases):
        shared = rng.normal(0, within / 2, episodes)
        sample = np.array([[0.9], [1.0]]) + shared + rng.normal(0, within, (trainings, 2, episodes))
        sample += rng.normal(0, between, (trainings, 2, 1))
        levels = rng.normal(0, 0.05, (1, episodes))
        means, level_means = resampled_hierarchy(sample, levels, rng, 500)
        random = level_means[:, 0]
        draws = MethodDraws(
            policy=means[:, 0],
            baseline=means[:, 1],
            random=random,
            train_seeds=trainings,
            episodes=episodes,
        )
        interval = draws.interval((means[:, 0] - random) / (means[:, 1] - random))
        covered += interval.low <= 0.9 <= interval.high
    return covered / cases
