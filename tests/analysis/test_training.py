from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from squeezerl.analysis import training as module
from squeezerl.analysis.bootstrap import percentile_interval
from squeezerl.analysis.training import convergence_steps, final_return_spread
from squeezerl.errors import InvalidArgumentError
from squeezerl.records import Interval

Floats = npt.NDArray[np.float64]
STEPS = np.arange(1, 41) * 1000.0
RAMP = np.minimum(STEPS / 20_000, 1.0) * 100  # 5 at the first evaluation, 100 from 20,000 steps on


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def _bounds(interval: Interval | None) -> tuple[float, float, float]:
    assert interval is not None
    return interval.low, interval.estimate, interval.high


def _steps(returns: npt.ArrayLike, seed: int = 0, **options: Any) -> tuple[float, float, float]:
    return _bounds(convergence_steps(STEPS, returns, _rng(seed), **options))


def _exactly(curve: npt.ArrayLike, episodes: int = 5) -> Floats:
    """The same return in each episode, (evaluations, episodes)."""
    return np.repeat(np.asarray(curve, dtype=np.float64)[:, np.newaxis], episodes, axis=1)


def _noisy(
    curve: Floats, deviation: float, seed: int, seeds: int = 5, episodes: int = 10
) -> Floats:
    noise = _rng(seed).normal(0, deviation, (seeds, len(curve), episodes))
    return curve[:, np.newaxis] + noise


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


@pytest.mark.parametrize("share", [0.25, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("start", [None, 5.0, 0.0, -100.0])
def test_a_ramp_is_crossed_where_geometry_says(share: float, start: float | None) -> None:
    begin = 5.0 if start is None else start
    threshold = begin + share * (100 - begin)
    expected = 20_000 * threshold / 100 if threshold >= 5 else 1000.0
    options = {} if start is None else {"start": start}
    # Without any variation, the interval has no width.
    assert _steps(_exactly(RAMP), share=share, **options) == pytest.approx((expected,) * 3)


def test_ninety_percent_is_the_default() -> None:
    assert _steps(_exactly(RAMP)) == _steps(_exactly(RAMP), share=0.9)


def test_evaluations_need_not_be_evenly_spaced() -> None:
    steps = np.array([0, 10, 100, 1000, 4000, 9000, 10_000, 20_000, 30_000])
    returns = _exactly(np.minimum(steps / 10_000, 1.0) - 3)
    estimate = _bounds(convergence_steps(steps, returns, _rng()))[1]
    assert estimate == pytest.approx(9000.0)


def test_negative_returns_improve_too() -> None:
    low, estimate, high = _steps(_noisy(RAMP * 15 - 1600, 50.0, 1))
    assert low < estimate < high
    assert estimate == pytest.approx(18_100, abs=800)


@pytest.mark.parametrize("seeds", [1, 4])
def test_a_peak_that_is_not_held_does_not_count(seeds: int) -> None:
    curve = RAMP.copy()
    curve[3:5] = 110.0
    returns = np.repeat(_exactly(curve)[np.newaxis], seeds, axis=0)
    assert _steps(returns)[1] == pytest.approx(18_100)


def test_a_dip_that_is_made_up_for_does_not_count() -> None:
    curve = RAMP.copy()
    curve[28:30] = 60.0
    assert _steps(_exactly(curve))[1] == pytest.approx(18_100)


def test_what_is_forgotten_was_not_learnt() -> None:
    collapsed = np.where(STEPS <= 30_000, RAMP, 4.0)
    assert convergence_steps(STEPS, _exactly(collapsed), _rng()) is None
    relearnt = np.where((STEPS > 22_000) & (STEPS <= 35_000), 5.0, RAMP)
    assert _steps(_exactly(relearnt))[1] == pytest.approx(35_000 + 1000 * 0.9)


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.floats(0.1, 0.95))
def test_the_crossing_is_that_of_the_isotonic_fit(seed: int, share: float) -> None:
    curve = RAMP + _rng(seed).normal(0, 25, len(STEPS))
    interval = convergence_steps(STEPS, _exactly(curve), _rng(), share=share, start=-50.0)
    threshold = -50 + share * (curve[-4:].mean() + 50)
    fit = np.array(
        [
            max(min(curve[k : j + 1].mean() for j in range(i, 40)) for k in range(i + 1))
            for i in range(40)
        ]
    )  # the max-min formula
    after = int(np.argmax(fit >= threshold))
    estimate = _bounds(interval)[1]
    if after == 0:
        assert estimate == STEPS[0]
    else:
        assert STEPS[after - 1] <= estimate <= STEPS[after]
        assert np.interp(estimate, STEPS, curve) == pytest.approx(threshold)


@settings(max_examples=20)
@given(st.integers(0, 1000), st.floats(0.1, 10), st.floats(-1e4, 1e4))
def test_neither_unit_nor_zero_of_the_return_matters(
    seed: int, stretch: float, shift: float
) -> None:
    returns = _noisy(RAMP, 10.0, seed, seeds=2, episodes=4)
    np.testing.assert_allclose(
        _steps(stretch * returns + shift), _steps(returns), rtol=1e-6, atol=1e-3
    )


@pytest.mark.parametrize(
    ("seeds", "episodes", "most"), [(1, 10, 6), (1, 5, 9), (2, 5, 5), (5, 1, 9), (5, 10, 3)]
)
def test_noise_is_not_learning(
    seeds: int, episodes: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RESAMPLES", 1000)
    flat = np.zeros(20)
    claims = [
        convergence_steps(STEPS[:20], _noisy(flat, 50.0, seed, seeds, episodes), _rng(seed))
        for seed in range(60)
    ]
    assert sum(claim is not None for claim in claims) <= most


def test_rounding_is_not_learning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESAMPLES", 100)
    for value in [0.0, *_rng().normal(0, 1e4, 50)]:
        returns = np.full((3, 40, 7), value)
        assert convergence_steps(STEPS, returns, _rng()) is None
        assert convergence_steps(STEPS, returns, _rng(), start=value) is None


@pytest.mark.parametrize(("gain", "clear"), [(0.5, False), (2.0, True)])
def test_an_improvement_is_clear_where_its_interval_excludes_0(gain: float, clear: bool) -> None:
    first = stats.norm.ppf((np.arange(100) + 0.5) / 100) * 5  # its mean has an error of 0.5
    returns = np.stack([first] + [np.full(100, gain)] * 4)
    interval = convergence_steps(STEPS[:5], returns, _rng())
    assert (interval is not None) == clear


def test_resamples_that_learnt_nothing_count_as_late(monkeypatch: pytest.MonkeyPatch) -> None:
    first = stats.norm.ppf((np.arange(100) + 0.5) / 100) * 5
    returns = np.stack([first] + [np.full(100, 1.2)] * 14)
    seen: list[Floats] = []

    def record(estimate: float, resampled: Floats) -> Interval:
        seen.append(resampled)
        return percentile_interval(estimate, resampled)

    monkeypatch.setattr(module, "percentile_interval", record)
    # No quantile of 2.5 % sees the 0.8 % in which the first evaluation is better than the last.
    interval = convergence_steps(STEPS[:15], returns, _rng())
    assert _bounds(interval) == pytest.approx((1900.0,) * 3)
    late = seen[-1] > 2000
    np.testing.assert_array_equal(seen[-1][late], 15_000.0)
    np.testing.assert_allclose(seen[-1][~late], 1900.0)
    assert late.mean() == pytest.approx(stats.norm.sf(1.2 / 0.5), abs=0.004)


def test_a_run_that_gets_worse_did_not_converge() -> None:
    assert convergence_steps(STEPS, _noisy(-RAMP, 1.0, 0), _rng()) is None
    assert convergence_steps(STEPS, _noisy(RAMP, 1.0, 0), _rng(), start=500.0) is None


@pytest.mark.parametrize("shape", [(40, 4), (2, 40, 2), (1, 40, 1)])
def test_four_episodes_show_nothing(shape: tuple[int, ...]) -> None:
    returns = np.broadcast_to(RAMP[:, np.newaxis], shape)
    assert convergence_steps(STEPS, returns, _rng()) is None


def test_a_single_evaluation_shows_what_was_learnt_before_it() -> None:
    returns = _rng().normal(100, 5, (1, 10))
    assert convergence_steps([700], returns, _rng()) is None
    assert _bounds(convergence_steps([700], returns, _rng(), start=0.0)) == (700.0,) * 3


def test_one_seed_may_leave_its_axis_out() -> None:
    returns = _noisy(RAMP, 10.0, 3, seeds=1)
    assert _steps(returns) == _steps(returns[0])


@pytest.mark.parametrize(("seeds", "episodes"), [(2, 10), (5, 10), (1, 30)])
def test_the_interval_covers_the_true_crossing(
    seeds: int, episodes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RESAMPLES", 500)
    truth = _steps(_exactly(RAMP))[1]
    covered = 0
    for run in range(100):
        low, _, high = _steps(_noisy(RAMP, 15.0, run, seeds, episodes), run)
        covered += low <= truth <= high
    assert covered >= 90


def test_seeds_that_differ_widen_the_interval() -> None:
    alike = np.stack([_exactly(RAMP)] * 4)
    late = np.minimum(STEPS / 30_000, 1.0) * 100
    mixed = np.stack([_exactly(RAMP), _exactly(RAMP), _exactly(late), _exactly(late)])
    assert _steps(alike) == pytest.approx((18_100,) * 3)
    low, estimate, high = _steps(mixed)
    assert low == pytest.approx(18_100, abs=1000)
    assert low < estimate < high


def test_the_generator_decides_everything() -> None:
    returns = _noisy(RAMP, 10.0, 3)
    assert _steps(returns, 1) == _steps(returns, 1)
    assert _steps(returns, 1) != _steps(returns, 2)


@pytest.mark.parametrize(
    ("steps", "returns", "message"),
    [
        ([1, 2], np.zeros(2), "must be"),
        ([1, 2], np.zeros((3, 5)), "must be"),
        ([[1, 2]], np.zeros((2, 5)), "must be"),
        ([1, 2], np.zeros((1, 1, 2, 5)), "must be"),
        ([], np.zeros((0, 5)), "must be"),
        ([1, 2], np.zeros((2, 0)), "must be"),
        ([1, 1], np.zeros((2, 5)), "must increase"),
        ([2, 1], np.zeros((2, 5)), "must increase"),
        ([1, np.nan], np.zeros((2, 5)), "must increase"),
        ([1, 2], np.full((2, 5), np.inf), "finite"),
    ],
)
def test_what_does_not_fit_together_is_an_error(steps: Any, returns: Floats, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        convergence_steps(steps, returns, _rng())


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, 90.0, float("nan")])
def test_a_share_is_between_0_and_1(share: float) -> None:
    with pytest.raises(InvalidArgumentError, match="share"):
        convergence_steps(STEPS, _exactly(RAMP), _rng(), share=share)
