"""Paired percentile bootstrap of means (Efron & Tibshirani 1993, chapters 8 and 13)."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import scipy  # loads its parts, half a second of imports, where they are first used

from squeezerl.records import Interval

RESAMPLES = 10_000
CONFIDENCE = 0.95
_CHUNK = 1_000_000  # indices drawn at a time, to bound the memory

Array = npt.NDArray[np.float64]


def resampled_means(samples: Array, rng: np.random.Generator, resamples: int = RESAMPLES) -> Array:
    """Means of bootstrap resamples, whole rows at a time, so that columns stay paired.

    Args:
        samples: (episodes, policies).
        rng: decides the resamples.
        resamples: how many.

    Returns:
        (resamples, policies).
    """
    episodes = len(samples)
    means = np.empty((resamples, samples.shape[1]))
    chunk = max(1, _CHUNK // episodes)
    for start in range(0, resamples, chunk):
        rows = rng.integers(episodes, size=(min(chunk, resamples - start), episodes))
        means[start : start + chunk] = samples[rows].mean(axis=1)
    return means


def resample_weights(count: int, rng: np.random.Generator, resamples: int = RESAMPLES) -> Array:
    """The share of each of `count` in bootstrap resamples, (resamples, count).

    Their product with samples gives resampled means without the resamples themselves.
    """
    shares = np.empty((resamples, count))
    chunk = max(1, _CHUNK // count)
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        drawn = rng.integers(count, size=(rows, count)) + count * np.arange(rows)[:, np.newaxis]
        times = np.bincount(drawn.ravel(), minlength=rows * count)
        shares[start : start + rows] = times.reshape(rows, count) / count
    return shares


def percentile_interval(
    estimate: float, resampled: Array, confidence: float = CONFIDENCE
) -> Interval:
    """The interval of a statistic from its values over resamples, shape (resamples,)."""
    tail = (1 - confidence) / 2
    ordered = np.sort(resampled)
    low, high = _quantile(ordered, tail), _quantile(ordered, 1 - tail)
    return Interval(estimate=float(estimate), low=low, high=high)


def _quantile(ordered: Array, share: float) -> float:
    """What `np.quantile` finds in sorted values, in a quarter of its time: studies ask for many."""
    if math.isnan(ordered[-1]):
        return math.nan
    place = share * (len(ordered) - 1)
    below = int(place)
    low, high = float(ordered[below]), float(ordered[min(below + 1, len(ordered) - 1)])
    return low + (high - low) * (place - below)


def student_interval(values: Array, count: int, confidence: float = CONFIDENCE) -> Interval:
    """The interval of a statistic by Student's t with the bootstrap's standard error.

    For few values: their resamples never lie beyond them, so that no percentile reaches far enough
    (Hesterberg 2015, arXiv 1411.5279, sections 4.1 and 4.3: with the factor sqrt(n / (n - 1)) it
    is the usual t interval where the statistic is a mean).

    Args:
        values: (1 + resamples,), the estimate first.
        count: of what was resampled, at least 2.
        confidence: that is asked for.
    """
    error = float(values[1:].std()) * math.sqrt(count / (count - 1))
    reach = float(scipy.special.stdtrit(count - 1, (1 + confidence) / 2)) * error
    estimate = float(values[0])
    return Interval(estimate=estimate, low=estimate - reach, high=estimate + reach)


def expanded_interval(values: Array, count: int) -> Interval:
    """The expanded percentile interval of a statistic, for skewed ones and six values or more.

    Percentile intervals of few values are too narrow. These take percentiles further out, by the
    quantile of Student's t and the factor sqrt(n / (n - 1)) (Hesterberg 2015, arXiv 1411.5279,
    section 4.3).

    Args:
        values: (1 + resamples,), the estimate first.
        count: of what was resampled, at least 2.
    """
    quantile = float(scipy.special.stdtrit(count - 1, (1 + CONFIDENCE) / 2))
    reach = quantile * math.sqrt(count / (count - 1))
    confidence = float(scipy.special.erf(reach / math.sqrt(2)))
    return percentile_interval(values[0], values[1:], confidence)


def mean_interval(returns: npt.ArrayLike, rng: np.random.Generator) -> Interval:
    """The mean of returns, shape (episodes,), and its interval."""
    sample = np.asarray(returns, dtype=np.float64)[:, np.newaxis]
    return percentile_interval(float(sample.mean()), resampled_means(sample, rng)[:, 0])
