"""Exact bounds on a share that was counted, and how many counts they need."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import scipy  # loads its parts where they are first used

from squeezerl.records import Interval

# Of the lags of an autocorrelation, so many times the time that they give (Sokal 1997).
_WINDOW = 5.0
MOST = 100_000_000


def share_interval(kept: float, count: float, error: float) -> Interval:
    """A share and its Clopper-Pearson bounds (Clopper & Pearson 1934).

    Each bound is wrong with a probability of at most `error`, for independent counts.

    Args:
        kept: how many of the counts are in.
        count: how many there are, at least 1.
        error: of each of the two bounds.
    """
    quantile = scipy.special.betaincinv
    low = float(quantile(kept, count - kept + 1, error)) if kept > 0 else 0.0
    high = float(quantile(kept + 1, count - kept, 1 - error)) if kept < count else 1.0
    return Interval(estimate=kept / count, low=low, high=high)


def fewest_to_show(share: float, error: float) -> int:
    """Counts below which not even a share of 1 shows that it is at least `share`."""
    return math.ceil(math.log(error) / math.log(share))


def counts_to_show(share: float, found: float, error: float) -> int | None:
    """Counts that would show that a share is at least `share`, if it is what was found.

    `None` if it is not above, or for more than 100 million.
    """
    if found <= share:
        return None
    low, high = 1, fewest_to_show(share, error)
    while share_interval(found * high, high, error).low < share:
        low, high = high, 2 * high
        if high > MOST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        enough = share_interval(found * middle, middle, error).low >= share
        low, high = (low, middle) if enough else (middle, high)
    return high


def correlation_time(values: npt.NDArray[np.float64]) -> float:
    """So many successive values, (n,), say as much of their mean as an independent one; at least 1.

    The integrated autocorrelation time, summed up to the first lag that is five times as long
    (Sokal 1997, "Monte Carlo methods in statistical mechanics").
    """
    centered = values - values.mean()
    size = len(values)
    spectrum = np.abs(np.fft.rfft(centered, 2 * size)) ** 2
    correlation = np.fft.irfft(spectrum)[:size]
    if correlation[0] <= 0:
        return 1.0
    times = 2 * np.cumsum(correlation / correlation[0]) - 1
    inside = np.arange(size) >= _WINDOW * times
    return max(1.0, float(times[np.argmax(inside)] if inside.any() else times[-1]))
