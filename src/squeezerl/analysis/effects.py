"""The size of an effect over given cells: its interval, its verdict, and the power to see it.

Each cell (an agent with all of its trainings) gives independent values whose mean is the cell's
effect: one for each training, or one for each episode where there is only one training. The cells
are those that were chosen, not a sample of others: nothing is said about agents elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from squeezerl.analysis.bootstrap import CONFIDENCE, Array
from squeezerl.analysis.finding import REFUTED, SUPPORTED, UNDECIDED
from squeezerl.records import Interval

_QUANTILES = 2_000


@dataclass(frozen=True, kw_only=True)
class CellEffect:
    """The effect in one cell.

    Args:
        agent: the cell.
        estimate: of the effect.
        error: its standard error.
        freedom: degrees of freedom of the error.
        over: what the error is over: "trainings", "episodes" or "measurements".
    """

    agent: str
    estimate: float
    error: float
    freedom: float
    over: str

    @staticmethod
    def of(agent: str, values: Array, over: str) -> CellEffect:
        """The effect from independent values (units,) whose mean it is; at least two."""
        units = len(values)
        return CellEffect(
            agent=agent,
            estimate=float(values.mean()),
            error=float(values.std(ddof=1)) / math.sqrt(units),
            freedom=units - 1,
            over=over,
        )


def mean_effect(cells: Sequence[CellEffect], confidence: float = CONFIDENCE) -> Interval | None:
    """The mean effect over these cells with Student's interval; `None` without cells.

    The degrees of freedom are those of Welch and Satterthwaite.
    """
    if not cells:
        return None
    estimate = float(np.mean([cell.estimate for cell in cells]))
    error, freedom = _error([cell.error for cell in cells], [cell.freedom for cell in cells])
    reach = _student(freedom, confidence) * error
    return Interval(estimate=estimate, low=estimate - reach, high=estimate + reach)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """When a hypothesis about an effect is supported, and when it is refuted.

    Supported if all of the interval is on the right side of `bound`. Refuted if all of it is on the
    wrong side of `refuted`, which goes first: with `refuted` at the effect that matters, an effect
    that is clearly there and clearly smaller than that is no support.

    Args:
        above: whether the effect should be above the bounds, or below them.
        bound: where support begins.
        refuted: where refutation ends.
        effect: the true effect that would matter; the power is for this.
    """

    above: bool
    bound: float
    refuted: float
    effect: float

    def verdict(self, interval: Interval | None, strict: Interval | None = None) -> str:
        """The verdict of a 95 % interval.

        Args:
            interval: `None` where nothing is known.
            strict: the interval that must refute, where one of several parts is enough to refute
                all of them (Bonferroni).
        """
        if interval is None:
            return UNDECIDED
        strict = strict or interval
        if (strict.high < self.refuted) if self.above else (strict.low > self.refuted):
            return REFUTED
        supported = interval.low > self.bound if self.above else interval.high < self.bound
        return SUPPORTED if supported else UNDECIDED


@dataclass(frozen=True, kw_only=True)
class Variation:
    """Standard deviations of an effect's values within a cell.

    `trainings` is between the trainings' true values, `episodes` between the episodes of one
    training.
    """

    trainings: float
    episodes: float

    def __add__(self, other: Variation) -> Variation:
        """Of the difference of two effects that vary independently."""
        return Variation(
            trainings=math.hypot(self.trainings, other.trainings),
            episodes=math.hypot(self.episodes, other.episodes),
        )


def variation_of(values: Array) -> Variation:
    """How values (trainings, episodes) vary; with one training, nothing between trainings."""
    trainings, episodes = values.shape
    within = float(values.var(axis=1, ddof=1).mean()) if episodes > 1 else 0.0
    if trainings == 1:
        return Variation(trainings=0.0, episodes=math.sqrt(within))
    between = float(values.mean(axis=1).var(ddof=1)) - within / episodes
    return Variation(trainings=math.sqrt(max(0.0, between)), episodes=math.sqrt(within))


def power(rule: Rule, cells: Sequence[Variation], *, trainings: int, episodes: int) -> float:
    """The probability of "supported" where the true effect is the one that matters, in all cells.

    For values that are normally distributed; the interval is that of `mean_effect`. With one
    training, the trainings are given, and only episodes vary.

    Args:
        rule: of the verdict.
        cells: how the values of each vary.
        trainings: of each cell.
        episodes: of each training.
    """
    errors, freedoms = [], []
    for cell in cells:
        squared = cell.episodes**2 / episodes
        if trainings > 1:
            squared = (cell.trainings**2 + squared) / trainings
        errors.append(math.sqrt(squared))
        freedoms.append(float(trainings - 1 if trainings > 1 else episodes - 1))
    if not errors or min(freedoms) < 1:
        return 0.0
    error, freedom = _error(errors, freedoms)
    sign = 1 if rule.above else -1
    effect, bound, refuted = (sign * value for value in (rule.effect, rule.bound, rule.refuted))
    if error == 0:
        return float(effect > bound)
    # Over the distribution of the estimated error: the estimate must be far enough above the bound
    # and must not be so low that the interval refutes.
    shares = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    if math.isfinite(freedom):
        scale = np.sqrt(scipy.special.chdtri(freedom, 1 - shares) / freedom)
    else:
        scale = np.ones(1)
    reach = _student(freedom, CONFIDENCE) * error * scale
    needed = np.maximum(bound + reach, refuted - reach)
    return float(scipy.special.ndtr((effect - needed) / error).mean())


def _error(errors: Sequence[float], freedoms: Sequence[float]) -> tuple[float, float]:
    """The error of the mean of estimates, and its degrees of freedom."""
    squares = np.square(errors)
    total = float(squares.sum())
    parts = sum(s**2 / f for s, f in zip(squares, freedoms, strict=True) if math.isfinite(f))
    freedom = total**2 / float(parts) if parts else math.inf
    return math.sqrt(total) / len(squares), freedom


def _student(freedom: float, confidence: float) -> float:
    share = (1 + confidence) / 2
    if math.isinf(freedom):
        return float(scipy.special.ndtri(share))
    return float(scipy.special.stdtrit(freedom, share))
