"""Paired percentile bootstrap of means (Efron & Tibshirani 1993, chapters 8 and 13)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from squeezerl.records import Interval

RESAMPLES = 10_000
CONFIDENCE = 0.95

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
    counts = rng.multinomial(episodes, np.full(episodes, 1 / episodes), size=resamples)
    means: Array = counts @ samples / episodes
    return means


def percentile_interval(estimate: float, resampled: Array) -> Interval:
    """The 95 % interval of a statistic from its values over resamples, shape (resamples,)."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return Interval(estimate=float(estimate), low=float(low), high=float(high))


def mean_interval(returns: npt.ArrayLike, rng: np.random.Generator) -> Interval:
    """The mean of returns, shape (episodes,), and its interval."""
    sample = np.asarray(returns, dtype=np.float64)[:, np.newaxis]
    return percentile_interval(float(sample.mean()), resampled_means(sample, rng)[:, 0])
