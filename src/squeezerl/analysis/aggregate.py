"""Scores of a method over many runs and tasks in one figure (Agarwal et al. 2021, 2108.13264).

Scores are (runs, tasks) and normalised, so that tasks can be compared; where tasks have different
numbers of runs, the missing ones are NaN. Intervals are from the stratified bootstrap: runs are
resampled within each task, tasks are not. They say how sure one can be about these tasks, not about
others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from squeezerl.analysis.bootstrap import (
    RESAMPLES,
    Array,
    percentile_interval,
    resample_weights,
)
from squeezerl.analysis.frames import StudyData
from squeezerl.analysis.hierarchy import FLOAT, Key, key_of
from squeezerl.analysis.methods import BASELINE
from squeezerl.errors import InvalidArgumentError
from squeezerl.records import Interval, bounded

AGGREGATE_RESAMPLES = 2_000
THRESHOLDS = np.linspace(0.0, 1.2, 41)
_TRIMMED = 0.25
_MOST_NUMBERS = 2_000_000  # resampled at a time; fewer resamples where there are more scores

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


def optimality_gap(scores: npt.ArrayLike) -> Array:
    """By how much scores fall short of 1 on average; those above it count as reaching it.

    The mean over tasks of the mean over runs.
    """
    return np.asarray(1 - mean_score(np.minimum(np.asarray(scores, np.float64), 1)))


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


def final_return_spread(final_returns: npt.ArrayLike, rng: np.random.Generator) -> Interval:
    """The interquartile range of the final return over training seeds, and its interval.

    The dispersion across runs of Chan et al. 2020 (arXiv 1912.05663), with the percentile bootstrap
    over seeds.

    With few seeds, the interval is too narrow: a resample repeats some seeds and never reaches
    beyond the outermost. Of normal returns it covers the true range in 6, 14, 70 and 87 % of cases
    with 2, 3, 4 and 5 seeds, in 96 % with ten and with twenty. It is coarse too, as few
    different resamples exist: with two or three seeds it is [0, estimate] whatever the returns.

    Args:
        final_returns: (seeds,).
        rng: decides the resamples.

    Raises:
        InvalidArgumentError: if the array has another shape, fewer than two seeds, or returns that
            are not finite.
    """
    sample = np.asarray(final_returns, dtype=np.float64)
    if sample.ndim != 1:
        raise InvalidArgumentError(f"final returns must be (seeds,), not {sample.shape}")
    if len(sample) < 2:
        raise InvalidArgumentError(f"a spread needs at least two seeds, not {len(sample)}")
    if not np.isfinite(sample).all():
        raise InvalidArgumentError("returns must be finite numbers")
    rows = rng.integers(len(sample), size=(RESAMPLES, len(sample)))
    (estimate,) = _interquartile_range(sample[np.newaxis])
    return percentile_interval(estimate, _interquartile_range(sample[rows]))


@dataclass(frozen=True, kw_only=True, eq=False)
class MethodScores:
    """Scores of one method: 0 is random, 1 the mean of the cell's float policies.

    `scores` is (runs, tasks): a task is a trained cell, a run is one training of it, or, where no
    cell has two trainings, one episode (`over` is then "episodes", else "trainings"). Runs that
    were not made are NaN.
    """

    method: str
    ratio: float | None
    tasks: tuple[str, ...]
    scores: npt.NDArray[np.float64]
    over: str

    @property
    def resamples(self) -> int:
        """How many resamples memory and time allow."""
        return max(200, min(AGGREGATE_RESAMPLES, _MOST_NUMBERS // self.scores.size))


def method_scores(data: StudyData, cells: pd.DataFrame) -> dict[Key, MethodScores]:
    """The scores of each method in the trained cells, by method and ratio.

    Args:
        data: of the study.
        cells: what `squeezerl.analysis.cells.cells` says of it.
    """
    levels = cells[cells["trained"].eq(True) & (cells["method"] == BASELINE)]
    scale = {
        row.agent: (row.random_return, row.baseline_return - row.random_return)
        for row in levels.itertuples()
    }
    runs: dict[Key, dict[str, list[Array]]] = defaultdict(lambda: defaultdict(list))
    for row in data.returns.itertuples():
        if row.agent in scale:
            low, span = scale[row.agent]
            returns = (np.asarray(row.returns, dtype=np.float64) - low) / span
            runs[key_of(row.method, row.ratio)][row.agent].append(returns)
    several = any(len(made) > 1 for tasks in runs.values() for made in tasks.values())
    return {
        key: MethodScores(
            method=key[0],
            ratio=key[1],
            tasks=tuple(tasks),
            scores=_matrix(tasks.values(), several),
            over="trainings" if several else "episodes",
        )
        for key, tasks in runs.items()
    }


def aggregate_table(scores: dict[Key, MethodScores], rng: np.random.Generator) -> pd.DataFrame:
    """One row for each method and ratio.

    Returns:
        method, ratio, tasks, runs (most of a task), over, and with `_low` and `_high`: iqm,
        optimality_gap (to 1) and improvement (the probability that a run of it scores higher than
        one of the float policy, over the tasks that have both; missing for "float").
    """
    rows: list[dict[str, Any]] = []
    for (method, ratio), own in scores.items():
        row = {
            "method": method,
            "ratio": np.nan if ratio is None else ratio,
            "tasks": len(own.tasks),
            "runs": len(own.scores),
            "over": own.over,
        }
        row |= bounded("iqm", stratified_interval(iqm, own.scores, rng, own.resamples))
        gap = stratified_interval(optimality_gap, own.scores, rng, own.resamples)
        row |= bounded("optimality_gap", gap)
        better = None
        baseline = scores.get(FLOAT)
        if baseline is not None and method != BASELINE:
            both = [task for task in own.tasks if task in baseline.tasks]
            better = probability_of_improvement(
                _of(own, both), _of(baseline, both), rng, own.resamples
            )
        rows.append(row | bounded("improvement", better))
    columns = ["method", "ratio", "tasks", "runs", "over"]
    for name in ("iqm", "optimality_gap", "improvement"):
        columns += [name, f"{name}_low", f"{name}_high"]
    return pd.DataFrame(rows, columns=columns)


def profile_table(
    scores: dict[Key, MethodScores], keys: Iterable[Key], rng: np.random.Generator
) -> pd.DataFrame:
    """Performance profiles: the share of runs that score above a threshold, mean over tasks.

    Returns:
        method, ratio, threshold, value, low, high; a row for each of `THRESHOLDS`.
    """
    parts = []
    for method, ratio in keys:
        own = scores[(method, ratio)]
        value, low, high = performance_profile(
            own.scores, THRESHOLDS, rng, max(200, own.resamples // 4)
        )
        parts.append(
            pd.DataFrame(
                {
                    "method": method,
                    "ratio": np.nan if ratio is None else ratio,
                    "threshold": THRESHOLDS,
                    "value": value,
                    "low": low,
                    "high": high,
                }
            )
        )
    columns = ["method", "ratio", "threshold", "value", "low", "high"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


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


def _matrix(tasks: Collection[list[Array]], several: bool) -> Array:
    columns = [np.array([r.mean() for r in made]) if several else made[0] for made in tasks]
    matrix = np.full((max(len(column) for column in columns), len(columns)), np.nan)
    for task, column in enumerate(columns):
        matrix[: len(column), task] = column
    return matrix


def _of(own: MethodScores, tasks: Collection[str]) -> Array:
    return own.scores[:, [own.tasks.index(task) for task in tasks]]


def _interquartile_range(samples: Array) -> Array:
    """The interquartile range of each row of (resamples, seeds)."""
    low, high = np.quantile(samples, [0.25, 0.75], axis=1)
    return np.asarray(high - low)
