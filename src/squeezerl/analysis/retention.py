"""Retention: the share of its baseline's return that a policy keeps, with interval and verdict.

At the end stands the paper's own rule (arXiv 2407.04803, section 4), which compares means alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from squeezerl.analysis.bootstrap import percentile_interval, resampled_means
from squeezerl.analysis.sequential import SequentialTest, Side
from squeezerl.records import Interval, Retention

THRESHOLD = 0.9  # the paper's idea of what is still good
_FEWEST_TO_LOSE = 10
MOST_EPISODES = 1_000_000


def retention(
    policy: npt.ArrayLike,
    baseline: npt.ArrayLike,
    random: npt.ArrayLike,
    *,
    threshold: float,
    rng: np.random.Generator,
    test: SequentialTest | None = None,
) -> Retention:
    """Compare a policy with its baseline over the same seeds.

    The normalised retention (R - R_random) / (R_baseline - R_random) is 1 for the baseline and 0
    for a random policy, also where returns are negative. It is defined only where the baseline is
    clearly better than random: in every bootstrap resample. The plain ratio of the study is given
    where the baseline's mean is positive in every resample.

    The verdict comes from `test`, over the paired differences R - threshold R_baseline -
    (1 - threshold) R_random, whose mean is positive exactly if the retention is above the
    threshold. No sample shows a failure that happened not to occur: by the rule of three, "keeps"
    needs at least 3 / (1 - threshold) episodes besides.

    Args:
        policy, baseline, random: returns (episodes,), in the same order of seeds.
        threshold: the retention that is asked for.
        rng: decides the bootstrap resamples.
        test: which looks there are while episodes are added; unless given, this one only.
    """
    samples = np.column_stack([np.asarray(x, dtype=np.float64) for x in (policy, baseline, random)])
    episodes = len(samples)
    test = test or SequentialTest((episodes,))
    means = resampled_means(samples, rng)
    mean_policy, mean_baseline, mean_random = samples.mean(axis=0)
    ratio = normalized = verdict = more = None
    if (means[:, 1] > 0).all():
        ratio = percentile_interval(mean_policy / mean_baseline, means[:, 0] / means[:, 1])
    gain = means[:, 1] - means[:, 2]
    several = episodes > 1
    trained = bool((gain > 0).all()) and several
    if trained:
        estimate = (mean_policy - mean_random) / (mean_baseline - mean_random)
        normalized = percentile_interval(estimate, (means[:, 0] - means[:, 2]) / gain)
        differences = samples @ (1, -threshold, threshold - 1)
        verdict = _verdict(test.look(differences), threshold, episodes)
        if verdict == "undecided":
            needed = max(test.needed(differences), fewest_to_keep(threshold))
            more = math.ceil(max(1, needed - episodes)) if needed < MOST_EPISODES else None
    return Retention(
        ratio=ratio if several else None,
        normalized=normalized,
        threshold=threshold,
        verdict=verdict,
        verdict_confidence=1 - 2 * test.error,
        baseline_trained=trained,
        episodes=episodes,
        more_episodes=more,
    )


def fewest_to_keep(threshold: float) -> int:
    """Episodes below which "keeps" is never said: 60 for 0.95 (rule of three), 300 at most."""
    return math.ceil(round(3 / max(1 - threshold, 0.01), 6))


def verdict_of(interval: Interval, threshold: float, episodes: int) -> str:
    """What the interval of the normalised retention over a fixed number of episodes decides."""
    side: Side | None = None
    if interval.low >= threshold:
        side = "above"
    elif interval.high < threshold:
        side = "below"
    return _verdict(side, threshold, episodes)


def _verdict(side: Side | None, threshold: float, episodes: int) -> str:
    if side == "above" and episodes >= fewest_to_keep(threshold):
        return "keeps"
    if side == "below" and episodes >= _FEWEST_TO_LOSE:
        return "loses"
    return "undecided"


def mean_share(value: float, baseline: float, origin: float) -> float:
    """The share of the baseline's mean above an origin that a policy keeps; NaN if it is below."""
    return (value - origin) / (baseline - origin) if baseline > origin else math.nan


def best_percentage(
    baseline: float, random: float, returns: Sequence[tuple[float, float]]
) -> float:
    """The largest share of neurons whose removal leaves at least 90 % of the mean return.

    Where the mean return of the baseline is not positive, 90 % of its advantage over a random
    policy must be left. If no share leaves that much, it is the smallest share, as in the paper.

    Args:
        baseline: mean return of the float policy.
        random: of a random policy.
        returns: share of neurons removed, and mean return.
    """
    origin = 0.0 if baseline > 0 else random
    keeping = [r for r, value in returns if mean_share(value, baseline, origin) >= THRESHOLD]
    return max(keeping) if keeping else min(ratio for ratio, _ in returns)
