"""The judge where there is no environment: how far a policy's actions are from the original's.

It says nothing of the return. A small deviation in the wrong moment can cost everything, and a
policy that deviates a lot can be as good.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from squeezerl.analysis.sequential import ERROR
from squeezerl.analysis.shares import (
    correlation_time,
    counts_to_show,
    fewest_to_show,
    share_interval,
)
from squeezerl.errors import InvalidArgumentError
from squeezerl.evaluation.log import Log, Part, rows_for
from squeezerl.network.arithmetic import act
from squeezerl.network.network import Network
from squeezerl.records import Interval
from squeezerl.runtimes.base import Actor
from squeezerl.runtimes.onnx_runtime import load_network

KEEP_ACTIONS = "0.99:0.02"
_UNITS = "units"
# Of the actions that the original takes, this share in the middle spans the range, where the action
# itself has no bounds.
_SPANNED, _RANGE_ROWS = 0.99, 10_000
_WORST = 5
_ENOUGH_OUTSIDE = 10
# Rows that an actor is given at once.
_BATCH = 4096
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class KeepActions:
    """What is asked of the actions: a share of decisions, and how far they may deviate.

    Args:
        share: of decisions that must be near enough in every dimension of the action, below 1.
        tolerance: the largest deviation that is near enough, for all dimensions of the action or
            for each. Discrete actions have to be the same instead.
        in_units: of the action; else it is a share of the action's range.

    Raises:
        InvalidArgumentError: if a number is out of range.
    """

    share: float = 0.99
    tolerance: tuple[float, ...] = (0.02,)
    in_units: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise InvalidArgumentError(
                f"`keep_actions` asks for a share of {self.share:g}: it must be above 0 and below "
                "1, which no log can show"
            )
        if not self.tolerance or not all(0 < each < np.inf for each in self.tolerance):
            raise InvalidArgumentError("the tolerances of `keep_actions` must be above 0")

    @classmethod
    def of(cls, text: KeepActions | str) -> KeepActions:
        """The demand of a text: "0.99:0.02", "0.99:0.1:units", "0.99:0.1,0.1,0.3:units".

        Raises:
            InvalidArgumentError: if it is none.
        """
        if isinstance(text, KeepActions):
            return text
        number = r"\d*\.?\d+(?:[eE][-+]?\d+)?"
        found = re.fullmatch(rf"({number}):({number}(?:,{number})*)(:{_UNITS})?", text.strip())
        if found is None:
            raise InvalidArgumentError(
                f"`keep_actions` {text!r} is not of the form SHARE:TOLERANCE or "
                f"SHARE:TOLERANCE:{_UNITS}: 0.99:0.02 allows 99 % of decisions to deviate by 2 % "
                f"of the action's range, 0.99:0.1:{_UNITS} by 0.1 in the action's own units; "
                "0.1,0.1,0.3 has one tolerance for each dimension"
            )
        tolerance = tuple(map(float, found[2].split(",")))
        return cls(share=float(found[1]), tolerance=tolerance, in_units=found[3] is not None)

    @property
    def text(self) -> str:
        """`of` is its inverse."""
        tolerance = ",".join(f"{each:g}" for each in self.tolerance)
        return f"{self.share:.12g}:{tolerance}" + f":{_UNITS}" * self.in_units


@dataclass(frozen=True, kw_only=True)
class DimensionDeviation:
    """How far one dimension of the action is from the original's, in its own units.

    Args:
        tolerance: what was allowed.
        within: the share of decisions that are near enough.
        mean, p99, largest: of the absolute deviation.
    """

    tolerance: float
    within: float
    mean: float
    p99: float
    largest: float


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One decision that deviates: its row in the log, what was wanted and what was done.

    Args:
        row: in the log, from 0.
        times: how many times the tolerance, in the dimension where it is worst.
        wanted, done: the actions, or the indices of discrete ones.
        outside: features that were outside of their range in the rows that policies are fitted to.
    """

    row: int
    times: float
    wanted: tuple[float, ...]
    done: tuple[float, ...]
    outside: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ActionRetention:
    """How many decisions of a policy are near enough to the original's, and how sure that is.

    Args:
        demand: what was asked for.
        kept: decisions that are near enough in every dimension.
        decisions: how many there are.
        share: of decisions that are near enough, with its exact (Clopper-Pearson) bounds.
        error: of each of the bounds.
        correlation_time: successive decisions resemble each other: so many of them say as much as
            an independent one.
        cautious_low: the lower bound over as many decisions as are independent.
        verdict: "keeps" if both lower bounds are at least what was asked for, "loses" if the upper
            one is below it, or "undecided".
        more_decisions: that would decide for "keeps" if the share stays what it is; `None` if it is
            not above what was asked for.
        dimensions: of the action; none of discrete ones.
        worst: the decisions that deviate most.
        outside: for each feature, the share of rows in which it was outside of its range in the
            rows that policies are fitted to; `None` if there are none.
        recorded: the share of recorded actions that the policy is near enough to; `None` if none
            were recorded.
    """

    demand: KeepActions
    kept: int
    decisions: int
    share: Interval
    error: float
    correlation_time: float
    cautious_low: float
    verdict: str
    more_decisions: int | None
    dimensions: tuple[DimensionDeviation, ...]
    worst: tuple[Decision, ...]
    outside: tuple[float, ...] | None
    recorded: float | None


@final
class ActionReferee:
    """Compares policies with the original on a part of a log.

    Args:
        original: the uncompressed policy, whose bounds are the range of the action.
        log: what is judged on, in the shapes of the policy.
        demand: what is asked for.
        fitted: the rows that policies are fitted to: they give the range of actions that have no
            bounds, and that of each feature. Unless given, the log gives the former.
        first_row: the number of the log's first row, for what is shown.

    Raises:
        InvalidArgumentError: if the demand or the log does not fit the policy.
    """

    def __init__(
        self,
        original: Network,
        log: Log,
        demand: KeepActions,
        *,
        fitted: Log | None = None,
        first_row: int = 0,
    ) -> None:
        if original.head.sampling is not None:
            raise InvalidArgumentError(
                "a policy that draws its actions has none to compare with; give no `stochastic`"
            )
        self._log, self._demand, self._first_row = log, demand, first_row
        self._discrete = original.head.is_discrete
        self._wanted = self.actions(load_network(original))
        self.tolerance = np.zeros(1)
        if not self._discrete:
            self.tolerance = _tolerance(original, fitted or log, demand)
        self._outside: npt.NDArray[np.bool_] | None = None
        if fitted is not None:
            flat, known = (each.observations.reshape(len(each), -1) for each in (log, fitted))
            self._outside = (flat < known.min(axis=0)) | (flat > known.max(axis=0))

    def actions(self, actor: Actor) -> Floats:
        """What a policy does in each row, (n, dimensions)."""
        return _actions(actor, self._log)

    def judge(self, actor: Actor, error: float = ERROR) -> ActionRetention:
        """Compare a policy with the original.

        Args:
            actor: the policy.
            error: of each bound.
        """
        done = self.actions(actor)
        times = self._times(done, self._wanted)
        inside = times <= 1
        count, kept = len(inside), int(inside.sum())
        time = independent_every(times)
        share, wanted = share_interval(kept, count, error), self._demand.share
        cautious = share_interval(kept / time, count / time, error).low
        verdict = "undecided"
        if min(share.low, cautious) >= wanted:
            verdict = "keeps"
        elif share.high < wanted:
            verdict = "loses"
        needed = counts_to_show(wanted, share.estimate, error)
        recorded = self._log.actions
        return ActionRetention(
            demand=self._demand,
            kept=kept,
            decisions=count,
            share=share,
            error=error,
            correlation_time=time,
            cautious_low=cautious,
            verdict=verdict,
            more_decisions=None
            if verdict != "undecided" or needed is None
            else max(1, math.ceil(needed * time) - count),
            dimensions=() if self._discrete else self._dimensions(np.abs(done - self._wanted)),
            worst=self._worst(times, done),
            outside=None if self._outside is None else tuple(self._outside.mean(axis=0).tolist()),
            recorded=None
            if recorded is None
            else float((self._times(done, recorded.reshape(done.shape)) <= 1).mean()),
        )

    def _times(self, done: Floats, wanted: Floats) -> Floats:
        """How many times the tolerance each decision is off in its worst dimension, (n,)."""
        if self._discrete:
            return np.where((done == wanted).all(axis=1), 0.0, np.inf)
        times: Floats = (np.abs(done - wanted) / self.tolerance).max(axis=1)
        return times

    def _dimensions(self, far: Floats) -> tuple[DimensionDeviation, ...]:
        return tuple(
            DimensionDeviation(
                tolerance=float(tolerance),
                within=float((column <= tolerance).mean()),
                mean=float(column.mean()),
                p99=float(np.quantile(column, 0.99)),
                largest=float(column.max()),
            )
            for column, tolerance in zip(far.T, self.tolerance, strict=True)
        )

    def _worst(self, times: Floats, done: Floats) -> tuple[Decision, ...]:
        return tuple(
            Decision(
                row=self._first_row + int(row),
                times=float(times[row]),
                wanted=tuple(self._wanted[row].tolist()),
                done=tuple(done[row].tolist()),
                outside=()
                if self._outside is None
                else tuple(np.flatnonzero(self._outside[row]).tolist()),
            )
            for row in np.argsort(-times, kind="stable")[:_WORST]
            if times[row] > 0
        )


def independent_every(times: Floats) -> float:
    """How many successive decisions tell as much as one independent decision.

    It is the correlation time of being near enough. If fewer than ten decisions are too far off,
    that cannot be estimated, and the correlation time of the deviation itself counts if it is
    longer (`benchmarks/log_guarantee.py` measures what that is worth).

    Args:
        times: how many times its tolerance each decision is off, (n,).
    """
    inside = times <= 1
    time = correlation_time(inside.astype(np.float64))
    if np.count_nonzero(~inside) >= _ENOUGH_OUTSIDE:
        return time
    return max(time, correlation_time(np.minimum(times, 1)))


def check_length(log: Log, demand: KeepActions, part: Part | None = None) -> None:
    """Raise an `InvalidArgumentError` if no policy could be confirmed on so few rows.

    Args:
        log: the whole of it.
        demand: what is asked for.
        part: that is judged on; the whole log unless given.
    """
    needed = fewest_to_show(demand.share, ERROR)
    rows = len(log) if part is None else len(log.part(part))
    if rows >= needed:
        return
    whole = needed if part is None else rows_for(needed, part)
    which = "" if part is None else f", of which {rows:,} are kept to confirm with"
    raise InvalidArgumentError(
        f"`observations` ({log.origin}) have {len(log):,} rows{which}: too few to show that "
        f"{demand.share:g} of decisions are kept, at a confidence of 95 %. That takes at least "
        f"{needed:,}{'' if part is None else f' to confirm with, {whole:,} in all'}, even if no "
        "decision deviates; or ask for a smaller share (`keep_actions`)"
    )


def _actions(actor: Actor, log: Log) -> Floats:
    """Actions on all rows, (n, dimensions); indices of discrete ones are (n, 1)."""
    actor = actor.for_batches()
    batches = [
        actor.act(log.observations[start : start + _BATCH]) for start in range(0, len(log), _BATCH)
    ]
    actions: Floats = np.concatenate(batches).reshape(len(log), -1).astype(np.float64)
    return actions


def _tolerance(original: Network, seen: Log, demand: KeepActions) -> Floats:
    """The largest deviation of each dimension that is near enough, in its own units, (dimensions,).

    Args:
        original: whose action has bounds, or else the range of what it does.
        seen: where it does that.
        demand: what is asked for.
    """
    head, width = original.head, math.prod(original.action_shape)
    if len(demand.tolerance) not in (1, width):
        raise InvalidArgumentError(
            f"`keep_actions` has {len(demand.tolerance)} tolerances, and the action {width} "
            "dimensions; give one for each, or one for all"
        )
    tolerance = np.broadcast_to(np.asarray(demand.tolerance, np.float64), (width,))
    if demand.in_units:
        return tolerance
    size = np.subtract(head.high, head.low, dtype=np.float64).ravel()
    unbounded = ~np.isfinite(size)
    if unbounded.any():
        rows = seen.observations[:: -(-len(seen) // _RANGE_ROWS)]
        ends = [(1 - _SPANNED) / 2, (1 + _SPANNED) / 2]
        low, high = np.quantile(act(original, rows).reshape(len(rows), -1), ends, axis=0)
        size = np.where(unbounded, high - low, size)
    if not (size > 0).all():
        raise InvalidArgumentError(
            f"dimension {int(np.argmin(size))} of the action has no bounds and does not vary in "
            "the log, so there is no range to take a share of; give `keep_actions` in the "
            f"action's own units, for example {demand.share:g}:0.1:{_UNITS}"
        )
    return tolerance * size
