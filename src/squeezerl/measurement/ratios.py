"""How many times less a row needs than the reference."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from squeezerl.analysis.timing import median_interval
from squeezerl.measurement.result import ProcessRecord, ProfileRow
from squeezerl.measurement.summary import latency_of
from squeezerl.measurement.undisturbed import clean_ns, joules_per_decision
from squeezerl.records import Interval


def latency_ratio(reference: ProfileRow, row: ProfileRow, gauge: float) -> Interval | None:
    """How many times faster than the reference.

    The median over the rounds in which both ran undisturbed; with fewer than six of those, the
    quotient of the medians, within the bounds that their intervals leave.
    """

    def median_ns(process: ProcessRecord) -> float | None:
        samples = clean_ns(process, gauge)
        return None if samples is None else float(np.median(samples))

    if not (reference.processes and row.processes):
        return None
    if (paired := _paired(reference, row, median_ns)) is not None:
        return paired
    theirs, ours = (latency_of(r.processes, gauge, precision=1.0).median for r in (reference, row))
    return Interval(
        estimate=theirs.estimate / ours.estimate,
        low=theirs.low / ours.high,
        high=theirs.high / ours.low,
    )


def energy_ratio(reference: ProfileRow, row: ProfileRow, gauge: float) -> Interval | None:
    """How many times fewer joules a decision than the reference, by the same meter, paired."""
    meters = {process.meter for process in (*reference.processes, *row.processes)}
    if len(meters) > 1:
        return None
    return _paired(reference, row, lambda process: joules_per_decision(process, gauge))


def _paired(
    reference: ProfileRow, row: ProfileRow, figure: Callable[[ProcessRecord], float | None]
) -> Interval | None:
    ours = {process.round: figure(process) for process in row.processes}
    ratios = []
    for process in reference.processes:
        theirs, mine = figure(process), ours.get(process.round)
        if theirs is None or mine is None:
            continue
        if min(theirs, mine) <= 0:
            return None  # below the idle power: the sensor is too coarse for a ratio
        ratios.append(theirs / mine)
    return median_interval(ratios)
