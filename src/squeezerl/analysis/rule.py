"""The study's rule for the best pruning of a policy (arXiv 2407.04803, section 4)."""

from __future__ import annotations

import math
from collections.abc import Sequence

THRESHOLD = 0.9


def mean_share(value: float, baseline: float, origin: float) -> float:
    """What a policy keeps of the baseline's mean return above an origin; NaN if there is none."""
    return (value - origin) / (baseline - origin) if baseline > origin else math.nan


def best_percentage(
    baseline: float, random: float, returns: Sequence[tuple[float, float]]
) -> float:
    """The largest share of neurons whose removal leaves at least 90 % of the mean return.

    Where the baseline's is not positive, 90 % of what it is better than a random policy. Where no
    share will do, the smallest there is, as the paper has it.

    Args:
        baseline: mean return of the float policy.
        random: of a random policy.
        returns: share of neurons removed, and mean return.
    """
    origin = 0.0 if baseline > 0 else random
    keeping = [r for r, value in returns if mean_share(value, baseline, origin) >= THRESHOLD]
    return max(keeping) if keeping else min(ratio for ratio, _ in returns)
