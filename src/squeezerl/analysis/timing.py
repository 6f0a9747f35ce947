"""Statistics of times and joules: pure functions of the figures of independent processes."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import scipy

from squeezerl.analysis.bootstrap import CONFIDENCE
from squeezerl.records import Interval

# With fewer, not even [min, max] covers the median with 95 % confidence.
FEWEST_FOR_INTERVAL = 6
# Low enough to be met on a machine that is disturbed nearly all the time; not the minimum, which
# is one lucky reading of the clock.
_FLOOR_QUANTILE = 0.001


def median_interval(values: npt.ArrayLike) -> Interval | None:
    """The median of independent values, shape (n,), and its 95 % interval from order statistics.

    Distribution-free: the interval is that of the two values whose ranks a binomial with p = 1/2
    puts around the median (Conover 1999, section 3.2). `None` for fewer than six values.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    count = len(ordered)
    if count < FEWEST_FOR_INTERVAL:
        return None
    # The highest rank (from 0) below which the median lies with at most half the error.
    below = scipy.special.bdtr(np.arange(count + 1), count, 0.5)
    rank = int((below < (1 - CONFIDENCE) / 2).sum()) - 1
    return Interval(
        estimate=float(np.median(ordered)),
        low=float(ordered[rank]),
        high=float(ordered[count - 1 - rank]),
    )


def mean_t_interval(values: npt.ArrayLike, confidence: float = CONFIDENCE) -> Interval | None:
    """The mean of independent values, shape (n,), and its interval by Student's t.

    For a handful of windows, of which a bootstrap would claim too much. `None` for one value.
    """
    sample = np.asarray(values, dtype=np.float64)
    if len(sample) < 2:
        return None
    mean = float(sample.mean())
    error = float(sample.std(ddof=1)) / math.sqrt(len(sample))
    half = error * float(scipy.special.stdtrit(len(sample) - 1, (1 + confidence) / 2))
    return Interval(estimate=mean, low=mean - half, high=mean + half)


def relative_half_width(interval: Interval) -> float:
    """How far the interval reaches from its estimate, as a share of the estimate."""
    reach = max(interval.high - interval.estimate, interval.estimate - interval.low)
    return reach / interval.estimate


def gauge_floor(gauges: npt.ArrayLike) -> float:
    """What the gauge takes when nothing disturbs it, from all of its times, shape (n,)."""
    return float(np.quantile(np.asarray(gauges, dtype=np.float64), _FLOOR_QUANTILE))


def undisturbed(
    gauges: npt.NDArray[np.int64], floor: float, tolerance: float
) -> npt.NDArray[np.bool_]:
    """Which chunks had the gauge at its usual time before and after them.

    Args:
        gauges: times of the gauge around the chunks, shape (chunks + 1,).
        floor: its usual time.
        tolerance: by which share it may exceed that.

    Returns:
        (chunks,).
    """
    usual = gauges <= floor * (1 + tolerance)
    return usual[:-1] & usual[1:]
