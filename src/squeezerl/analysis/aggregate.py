"""Scores over many runs and tasks in one figure, as Agarwal et al. 2021 (arXiv 2108.13264) advise.

Scores are (runs, tasks) and normalised, so that tasks can be compared; where tasks have different
numbers of runs, the missing ones are NaN. Intervals are from the stratified bootstrap: runs are
resampled within each task, tasks are not. They say how sure one can be about these tasks, not about
others.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from squeezerl.analysis.bootstrap import Array, percentile_interval, resample_weights
from squeezerl.errors import InvalidArgumentError
from squeezerl.records import Interval

AGGREGATE_RESAMPLES = 2_000
_TRIMMED = 0.25

Statistic = Callable[[Array], Array]
"""Of scores (..., runs, tasks), to (...)."""


def iqm(scores: npt.ArrayLike) -> Array:
    """Interquartile mean: of the middle half of all runs over all tasks, weighted as one.

    A quarter of the scores is left out at either end, rounded down, as `scipy.stats.trim_mean`
    does and with it the authors' implementation.

    Args:
        scores: (..., runs, tasks).
    """
    array = np.asarray(scores, dtype=np.float64)
    ordered = np.sort(array.reshape(*array.shape[:-2], -1), axis=-1)  # NaN go last
    count = np.isfinite(ordered).sum(axis=-1)[..., np.newaxis]
    cut = np.floor(_TRIMMED * count)
    place = np.arange(ordered.shape[-1])
    middle = (place >= cut) & (place < count - cut)
    return np.asarray(np.where(middle, ordered, 0.0).sum(axis=-1) / middle.sum(axis=-1))


def mean_score(scores: npt.ArrayLike) -> Array:
    """Mean over tasks of the mean over runs."""
    return np.asarray(_task_means(scores).mean(axis=-1))


def median_score(scores: npt.ArrayLike) -> Array:
    """Median over tasks of the mean over runs."""
    return np.asarray(np.median(_task_means(scores), axis=-1))


def optimality_gap(scores: npt.ArrayLike, target: float = 1.0) -> Array:
    """By how much scores fall short of the target on average; those above it count as reaching it.

    The mean over tasks of the mean over runs.
    """
    return np.asarray(target - mean_score(np.minimum(np.asarray(scores, np.float64), target)))


def stratified_interval(
    statistic: Statistic,
    scores: npt.ArrayLike,
    rng: np.random.Generator,
    resamples: int = AGGREGATE_RESAMPLES,
) -> Interval:
    """A statistic of scores (runs, tasks), with its 95 % stratified-bootstrap interval.

    Too narrow with few runs: a bootstrap cannot know how runs vary that were not made.

    Raises:
        InvalidArgumentError: if the scores are not (runs, tasks), are infinite, or a task has none.
    """
    array = _checked(scores)
    resampled = statistic(_resampled(array, rng, resamples))
    return percentile_interval(float(statistic(array)), resampled)


def performance_profile(
    scores: npt.ArrayLike,
    thresholds: npt.ArrayLike,
    rng: np.random.Generator,
    resamples: int = AGGREGATE_RESAMPLES,
) -> tuple[Array, Array, Array]:
    """The share of runs that score above each threshold, averaged over tasks.

    The run-score distribution. The interval is of each point for itself, not of the whole curve.

    Args:
        scores: (runs, tasks).
        thresholds: (thresholds,).
        rng: decides the resamples.
        resamples: how many.

    Returns:
        Estimate, low and high, each (thresholds,).
    """
    array = _checked(scores)
    resampled = _resampled(array, rng, resamples)
    estimates, lows, highs = [], [], []
    for threshold in np.asarray(thresholds, dtype=np.float64):
        above = mean_score(_above(array, threshold))
        interval = percentile_interval(float(above), mean_score(_above(resampled, threshold)))
        estimates.append(interval.estimate)
        lows.append(interval.low)
        highs.append(interval.high)
    return np.array(estimates), np.array(lows), np.array(highs)


def probability_of_improvement(
    scores: npt.ArrayLike,
    others: npt.ArrayLike,
    rng: np.random.Generator,
    resamples: int = AGGREGATE_RESAMPLES,
) -> Interval:
    """How likely a run of one scores higher than a run of the other, averaged over tasks.

    Equal scores count half: the U statistic of Mann and Whitney divided by the number of pairs.
    Runs of the two are independent and resampled each on their own.

    Args:
        scores: (runs, tasks).
        others: (their runs, the same tasks).
        rng: decides the resamples.
        resamples: how many.

    Raises:
        InvalidArgumentError: if the scores do not fit, are infinite, or a task has none.
    """
    ours, theirs = _checked(scores), _checked(others)
    if ours.shape[1] != theirs.shape[1]:
        raise InvalidArgumentError(f"{ours.shape[1]} tasks cannot meet {theirs.shape[1]}")
    estimates, resampled = [], []
    for task in range(ours.shape[1]):
        mine, other = (s[np.isfinite(s[:, task]), task] for s in (ours, theirs))
        higher = (mine[:, np.newaxis] > other) + 0.5 * (mine[:, np.newaxis] == other)
        estimates.append(higher.mean())
        # The resampled statistic is a weighted mean over the same pairs.
        left, right = (resample_weights(count, rng, resamples) for count in higher.shape)
        resampled.append(((left @ higher) * right).sum(axis=1))
    return percentile_interval(float(np.mean(estimates)), np.mean(resampled, axis=0))


def _checked(scores: npt.ArrayLike) -> Array:
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim != 2 or not array.size:
        raise InvalidArgumentError(f"scores must be (runs, tasks), not {array.shape}")
    if np.isinf(array).any():
        raise InvalidArgumentError("scores must be finite numbers, or NaN for runs not made")
    if (~np.isfinite(array)).all(axis=0).any():
        raise InvalidArgumentError("a task has no scores at all")
    return array


def _resampled(array: Array, rng: np.random.Generator, resamples: int) -> Array:
    """(resamples, runs, tasks), each task's runs drawn among those it has."""
    drawn = np.full((resamples, *array.shape), np.nan)
    for task, column in enumerate(array.T):
        runs = column[np.isfinite(column)]
        rows = rng.integers(len(runs), size=(resamples, len(runs)))
        drawn[:, : len(runs), task] = runs[rows]
    return drawn


def _task_means(scores: npt.ArrayLike) -> Array:
    return np.asarray(np.nanmean(np.asarray(scores, dtype=np.float64), axis=-2))


def _above(scores: Array, threshold: float) -> Array:
    return np.where(np.isnan(scores), np.nan, scores > threshold)
