"""A group-sequential test: is a mean above or below zero, with one error rate over all looks.

Looking again and again at growing data and stopping at the first that pleases multiplies the
error. An error-spending test (Lan & DeMets 1983) says in advance how much of the error each look
may use, and computes critical values that hold for all looks together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy

ERROR = 0.025  # of each side: a 95 % interval's two sides together
Array = npt.NDArray[np.float64]
Side = Literal["above", "below"]
# Computes the error that may have been spent at a share of the episodes, from the share and the
# whole error.
Spending = Callable[[float, float], float]
_GRID = 501
_REACH = 8.0  # standard deviations that the integration covers


def obrien_fleming(share: float, error: float) -> float:
    """Spends next to nothing early (Lan & DeMets 1983), so that early looks cost no power."""
    return float(2 - 2 * scipy.special.ndtr(scipy.special.ndtri(1 - error / 2) / math.sqrt(share)))


def pocock(share: float, error: float) -> float:
    """Spends nearly evenly (Lan & DeMets 1983), so that what is clear ends early."""
    return error * math.log1p((math.e - 1) * share)


@dataclass(frozen=True)
class SequentialTest:
    """Looks at a growing sample of differences whose mean is compared with zero.

    A mean of at most zero is called "above" with a probability of at most `error`, over all looks
    together, and a mean of at least zero is called "below" with at most that. "Above" spends its
    error by O'Brien and Fleming, "below" by Pocock; neither counts on the test having ended by the
    other (the bounds are "non-binding").

    Args:
        looks: how many differences there are at each look, ascending; at the last one the test
            ends.
        error: of each of the two.
    """

    looks: tuple[int, ...]
    error: float = ERROR

    @cached_property
    def critical(self) -> dict[Side, tuple[float, ...]]:
        """How many standard errors from zero decide, at each look."""
        shares = [look / self.looks[-1] for look in self.looks]
        return {
            "above": critical_values(shares, self.error, obrien_fleming),
            "below": critical_values(shares, self.error, pocock),
        }

    def look(self, differences: Array) -> Side | None:
        """What the differences so far, (n,), decide; their number must be one of `looks`.

        Critical values are turned from normal quantiles to those of Student's t (Jennison &
        Turnbull 2000, section 3.8).
        """
        which, count = self.looks.index(len(differences)), len(differences)
        if count < 2:
            return None
        mean, error = float(differences.mean()), float(differences.std(ddof=1)) / math.sqrt(count)
        normal = [-self.critical[side][which] for side in ("above", "below")]
        above, below = -scipy.special.stdtrit(count - 1, scipy.special.ndtr(normal))
        if mean >= above * error:  # also where all differences are zero
            return "above"
        return "below" if mean < -below * error else None

    def needed(self, differences: Array) -> float:
        """How many differences in all would decide if their mean and spread stay as they are."""
        mean, deviation = float(differences.mean()), float(differences.std(ddof=1))
        if mean == 0:
            return math.inf
        last = self.critical["above" if mean > 0 else "below"][-1]
        return (last * deviation / mean) ** 2


def doubling(first: int, limit: int) -> tuple[int, ...]:
    """Looks at `first`, twice as many, ..., and at the limit."""
    looks = [first]
    while looks[-1] < limit:
        looks.append(min(2 * looks[-1], limit))
    return tuple(looks)


def critical_values(shares: Sequence[float], error: float, spending: Spending) -> tuple[float, ...]:
    """How many standard errors the mean must be above zero at each look.

    The standardised sum of the differences is a Brownian motion at the times `shares`. What of its
    density has not crossed before is integrated on a grid (Armitage, McPherson & Rowe 1969).

    Args:
        shares: of the last look's sample, ascending to 1.
        error: that all looks together may have.
        spending: how much of it may be spent at a share.
    """
    values: list[float] = []
    points, masses = np.zeros(1), np.ones(1)  # of the motion at the look before, at time 0
    before, spent = 0.0, 0.0
    for share in shares:
        step, top = math.sqrt(share - before), _REACH * math.sqrt(share)
        allowed = spending(share, error)
        bound = _bound(points, masses, step, top, allowed - spent)
        values.append(bound / math.sqrt(share))
        grid = np.linspace(-top, bound, _GRID)
        density = np.exp(-0.5 * ((grid[:, np.newaxis] - points) / step) ** 2) @ masses
        width = np.full(_GRID, grid[1] - grid[0])
        width[[0, -1]] /= 2
        points, masses = grid, density * width / (step * math.sqrt(2 * math.pi))
        before, spent = share, allowed
    return tuple(values)


def _bound(points: Array, masses: Array, step: float, top: float, error: float) -> float:
    """Where the motion ends up above with probability `error` after a step; `top` at most."""

    def surplus(bound: float) -> float:
        return float(masses @ scipy.special.ndtr((points - bound) / step)) - error

    return float(scipy.optimize.brentq(surplus, -top, top)) if surplus(top) < 0 else top
