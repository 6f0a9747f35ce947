"""One process's figures from its undisturbed chunks (see `measurement.gauge`)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from squeezerl.analysis.timing import gauge_floor, undisturbed
from squeezerl.measurement.gauge import TOLERANCE
from squeezerl.measurement.result import ProcessRecord

# Times of fewer chunks than these say little of a process.
_FEWEST_CHUNKS = 3


def usual_gauge_ns(
    processes: Sequence[ProcessRecord], threads: int, before: Sequence[int] = ()
) -> float:
    """The gauge's time on this machine when nothing disturbs it.

    Infinite, so that all times count, for several threads: a runtime's waiting threads would
    disturb the gauge themselves.

    Args:
        processes: all of a run.
        threads: of the runtime.
        before: times that were taken before there were any.
    """
    if threads > 1:
        return math.inf
    taken = [g for p in processes for g in (p.latency.gauges, p.energy.gauges)]
    return gauge_floor(np.concatenate(taken) if taken else before)


def clean_ns(process: ProcessRecord, gauge: float) -> npt.NDArray[np.int64] | None:
    """Times of decisions in undisturbed chunks; `None` if there are hardly any."""
    latency = process.latency
    clean = undisturbed(latency.gauges, gauge, TOLERANCE)
    if clean.sum() < _FEWEST_CHUNKS:
        return None
    sizes = np.diff(latency.chunk_ends, prepend=0)
    return latency.nanoseconds[np.repeat(clean, sizes)]


def cpu_s_per_decision(process: ProcessRecord, gauge: float) -> float:
    """CPU seconds of one decision."""
    used = _clean_chunks(process, gauge)
    return float(process.energy.cpu_seconds[used].sum() / process.energy.decisions[used].sum())


def joules_per_decision(process: ProcessRecord, gauge: float) -> float | None:
    """Joules of one decision, above idle; `None` without a meter."""
    energy = process.energy
    if energy.joules is None:
        return None
    if energy.idle_watts is not None:
        net = energy.joules - energy.idle_watts * energy.seconds
        return float(net.sum() / energy.decisions.sum())
    used = _clean_chunks(process, gauge)
    return float(energy.joules[used].sum() / energy.decisions[used].sum())


def _clean_chunks(process: ProcessRecord, gauge: float) -> npt.NDArray[np.bool_]:
    """The undisturbed chunks of the energy window, or all if there are hardly any."""
    clean = undisturbed(process.energy.gauges, gauge, TOLERANCE)
    return clean if clean.sum() >= _FEWEST_CHUNKS else np.ones_like(clean)
