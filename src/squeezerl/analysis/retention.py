"""Retention: what share of its baseline's return a policy keeps, with an interval and a verdict."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from squeezerl.analysis.bootstrap import percentile_interval, resampled_means
from squeezerl.records import Interval, Retention

# A bootstrap interval from fewer is an illusion: one episode would give it no width at all.
MIN_EPISODES = 10


def retention(
    policy: npt.ArrayLike,
    baseline: npt.ArrayLike,
    random: npt.ArrayLike,
    *,
    threshold: float,
    rng: np.random.Generator,
) -> Retention:
    """Compare a policy with its baseline over the same seeds.

    The normalised retention (R - R_random) / (R_baseline - R_random) is 1 for the baseline and 0
    for a random policy, also where returns are negative; the verdict rests on its interval:
    "keeps" if all of it is at least the threshold, "loses" if all of it is below, else
    "undecided"; fewer than 10 episodes decide nothing. It is defined only where the baseline is
    clearly better than random: in every bootstrap resample. The plain ratio of the study is given
    where the baseline's mean is positive in every resample.

    Args:
        policy, baseline, random: returns (episodes,), in the same order of seeds.
        threshold: the retention that is asked for.
        rng: decides the bootstrap resamples.
    """
    samples = np.column_stack([np.asarray(x, dtype=np.float64) for x in (policy, baseline, random)])
    means = resampled_means(samples, rng)
    mean_policy, mean_baseline, mean_random = samples.mean(axis=0)
    ratio = normalized = verdict = None
    if (means[:, 1] > 0).all():
        ratio = percentile_interval(mean_policy / mean_baseline, means[:, 0] / means[:, 1])
    gain = means[:, 1] - means[:, 2]
    trained = bool((gain > 0).all())
    if trained:
        normalized = percentile_interval(
            (mean_policy - mean_random) / (mean_baseline - mean_random),
            (means[:, 0] - means[:, 2]) / gain,
        )
        verdict = _verdict(normalized, threshold, len(samples))
    return Retention(
        ratio=ratio,
        normalized=normalized,
        threshold=threshold,
        verdict=verdict,
        baseline_trained=trained,
        episodes=len(samples),
    )


def _verdict(interval: Interval, threshold: float, episodes: int) -> str:
    if episodes < MIN_EPISODES or interval.low < threshold <= interval.high:
        return "undecided"
    return "keeps" if interval.low >= threshold else "loses"
