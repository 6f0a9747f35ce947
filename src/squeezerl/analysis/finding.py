"""A finding of the paper as a hypothesis with a verdict, and what decides over many cells."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy

from squeezerl.analysis.bootstrap import CONFIDENCE
from squeezerl.analysis.hierarchy import AgentDraws, Key
from squeezerl.analysis.retention import THRESHOLD, verdict_of
from squeezerl.analysis.timing import mean_t_interval
from squeezerl.records import Interval

SUPPORTED = "supported"
REFUTED = "refuted"
UNDECIDED = "undecided"
# The findings are about models at large. Five cells would all point the same way by chance in 1 of
# 16 cases; six in 1 of 32, which is less than the error of a 95 % interval.
FEWEST_CELLS = 6


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One hypothesis of a finding.

    Args:
        number: of the finding, 1 to 6 in the order of the paper.
        part: "a", "b", ...; a finding holds if all of its parts do.
        claim: what the paper says.
        hypothesis: what is tested, with the rule of the decision.
        statistic: what `estimate` is.
        estimate: with its 95 % interval; `None` if there is nothing to compute it from.
        verdict: "supported", "refuted" or "undecided".
        evidence: a sentence with the figures, or with what is missing.
        cells: how many went in.
    """

    number: int
    part: str
    claim: str
    hypothesis: str
    statistic: str
    estimate: Interval | None
    verdict: str
    evidence: str
    cells: int

    @property
    def label(self) -> str:
        """Number and part, for example "3a"."""
        return f"{self.number}{self.part}"


def overall(verdicts: Iterable[str]) -> str:
    """The verdict of a finding from those of its parts: all must be supported, or one refuted."""
    found = set(verdicts)
    if REFUTED in found:
        return REFUTED
    return SUPPORTED if found == {SUPPORTED} else UNDECIDED


def overall_verdicts(found: Iterable[Finding]) -> dict[int, str]:
    """The verdict of each finding by its number (see `overall`)."""
    parts: dict[int, list[str]] = {}
    for finding in found:
        parts.setdefault(finding.number, []).append(finding.verdict)
    return {number: overall(parts[number]) for number in sorted(parts)}


def over_cells(values: npt.ArrayLike, comparisons: int = 1) -> Interval | None:
    """The mean over cells, shape (cells,), with Student's interval.

    Cells are the clusters: variation within a cell also varies the cell's value and is thus counted
    once. Cells count as independent, although they share algorithms and environments.

    Args:
        values: one for each cell; missing ones (NaN) are left out.
        comparisons: how many such intervals a decision takes the best of (Bonferroni).

    Returns:
        `None` for fewer than two cells.
    """
    array = np.asarray(values, dtype=np.float64)
    array = array[~np.isnan(array)]
    return mean_t_interval(array, 1 - (1 - CONFIDENCE) / comparisons)


def clipped(interval: Interval | None, low: float, high: float) -> Interval | None:
    """The part of an interval that is possible."""
    return interval and replace(interval, low=max(interval.low, low), high=min(interval.high, high))


def share_interval(least: int, most: int, cells: int, comparisons: int = 1) -> Interval:
    """A share of cells of which between `least` and `most` are clear.

    The estimate is in the middle; the exact interval (Clopper-Pearson) reaches from the low of the
    least to the high of the most. `comparisons` as in `over_cells`.
    """
    error = (1 - CONFIDENCE) / comparisons / 2
    low = scipy.special.betaincinv(least, cells - least + 1, error) if least else 0.0
    high = scipy.special.betaincinv(most + 1, cells - most, 1 - error) if most < cells else 1.0
    return Interval(estimate=(least + most) / 2 / cells, low=float(low), high=float(high))


def verdict_at(agent: AgentDraws, key: Key, comparisons: int = 1) -> str:
    """What the retention of a method of a trained agent decides about 90 %.

    Args:
        agent: of which `is_trained(key)`.
        key: method and ratio.
        comparisons: how many such verdicts a decision takes the best of (Bonferroni).
    """
    draws = agent.methods[key]
    assert draws.retention is not None
    interval = draws.interval(draws.retention, 1 - (1 - CONFIDENCE) / comparisons)
    return verdict_of(interval, THRESHOLD, draws.train_seeds * draws.episodes)


def too_few(what: str, cells: int) -> str:
    """The evidence where there is next to none."""
    there = "is" if cells == 1 else "are"
    return f"This needs trained cells {what}; there {there} {cells or 'none'}."


def exponential(interval: Interval | None) -> Interval | None:
    """Back from logarithms."""
    return interval and interval.mapped(math.exp)


def inside(interval: Interval | None, low: float, high: float) -> str:
    """Supported if all of the interval is inside, refuted if none of it is."""
    if interval is None:
        return UNDECIDED
    if low <= interval.low and interval.high <= high:
        return SUPPORTED
    return REFUTED if interval.low > high or interval.high < low else UNDECIDED


def figure(interval: Interval | None, digits: int = 2, unit: str = "") -> str:
    """An interval in words."""
    if interval is None:
        return "unknown"
    estimate, low, high = (
        f"{number:.{digits}f}" for number in (interval.estimate, interval.low, interval.high)
    )
    return f"{estimate}{unit} ({low} to {high}{unit})"


def percent(interval: Interval | None, digits: int = 0) -> str:
    """A share in words."""
    return figure(interval and interval.mapped(lambda share: 100 * share), digits, " %")


def listing(intervals: Mapping[str, Interval | None], digits: int = 2) -> str:
    """Several intervals by name."""
    return ", ".join(f"{name} {figure(interval, digits)}" for name, interval in intervals.items())
