"""Figures of a row from its processes: medians with intervals, parts of memory, joules, ratios.

Times and CPU times are taken from undisturbed chunks (see `measurement.measuring`) if a row has
enough of them; otherwise they are taken from all chunks, and the row is called unstable.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from squeezerl.analysis.timing import (
    FEWEST_FOR_INTERVAL,
    gauge_floor,
    mean_t_interval,
    median_interval,
    relative_half_width,
    undisturbed,
)
from squeezerl.measurement.result import MemoryStages, ProcessRecord, ProfileRow
from squeezerl.records import Interval

# By which share the gauge may exceed its usual time around an undisturbed chunk.
TOLERANCE = 0.1
# A process that is pinned and always busy should have its core nearly to itself.
_LEAST_CPU_SHARE = 0.9
# Fewer chunks than these say little about a process.
_FEWEST_CHUNKS = 3


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Seconds of one call of `act`.

    `median` is the median of the processes' medians with its interval. The percentiles are over the
    samples of all processes in undisturbed chunks; `disturbed_p99_s` and `disturbed_max_s` are over
    all samples. `undisturbed_share` is the share of chunks that nothing disturbed;
    `unstable_because` is `None` if there were enough of those and the processes agree.
    """

    median: Interval
    p90_s: float
    p99_s: float
    max_s: float
    disturbed_p99_s: float
    disturbed_max_s: float
    samples: int
    undisturbed_share: float
    unstable_because: str | None

    @property
    def jitter_s(self) -> float:
        """How far the 99th percentile lies above the median."""
        return self.p99_s - self.median.estimate


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Resident memory of a process by purpose; medians over the processes.

    `model_bytes` is what the process allocates from loading the policy to steady work.
    `runtime_bytes` is what importing the runtime adds, and those pages of its files that running
    the policy touches for the first time. `unique_bytes` is the unique set size of the whole
    process, which leaves out pages that other processes have mapped as well; it is `None` if the
    system does not report it.
    """

    interpreter_bytes: float
    runtime_bytes: float
    model_bytes: float
    unique_bytes: float | None
    working_bytes: float | None

    @property
    def total_bytes(self) -> float:
        """All three parts."""
        return self.interpreter_bytes + self.runtime_bytes + self.model_bytes


@dataclass(frozen=True, kw_only=True)
class Energy:
    """Means over the processes' windows. Joules are those above idle; `None` without a meter."""

    per_decision: Interval | None
    cpu_s_per_decision: Interval


@dataclass(frozen=True, kw_only=True)
class Episodes:
    """Figures of complete episodes, the environment's share included."""

    episodes: int
    mean_length: float
    mean_return: float
    seconds_per_step: float
    deciding_share: float
    j_per_step: Interval | None
    j_per_episode: Interval | None


def usual_gauge_ns(
    processes: Sequence[ProcessRecord], threads: int, before: Sequence[int] = ()
) -> float:
    """How long the gauge takes on this machine when nothing disturbs it.

    It is infinite for several threads, so that all times count: a runtime's waiting threads would
    themselves disturb the gauge.

    Args:
        processes: all processes of a run.
        threads: of the runtime.
        before: the gauge's times before the first process, used while there is none.
    """
    if threads > 1:
        return math.inf
    taken = [g for p in processes for g in (p.latency.gauges, p.energy.gauges)]
    return gauge_floor(np.concatenate(taken) if taken else before)


def clean_ns(process: ProcessRecord, gauge: float) -> npt.NDArray[np.int64] | None:
    """Times of decisions in undisturbed chunks; `None` if there are too few such chunks."""
    latency = process.latency
    clean = undisturbed(latency.gauges, gauge, TOLERANCE)
    if clean.sum() < _FEWEST_CHUNKS:
        return None
    sizes = np.diff(latency.chunk_ends, prepend=0)
    return latency.nanoseconds[np.repeat(clean, sizes)]


def cpu_s_per_decision(process: ProcessRecord, gauge: float) -> float:
    """CPU seconds per decision of one process."""
    used = _clean_chunks(process, gauge)
    return float(process.energy.cpu_seconds[used].sum() / process.energy.decisions[used].sum())


def joules_per_decision(process: ProcessRecord, gauge: float) -> float | None:
    """Joules per decision of one process, above idle; `None` without a meter."""
    energy = process.energy
    if energy.joules is None:
        return None
    if energy.idle_watts is not None:
        net = energy.joules - energy.idle_watts * energy.seconds
        return float(net.sum() / energy.decisions.sum())
    used = _clean_chunks(process, gauge)
    return float(energy.joules[used].sum() / energy.decisions[used].sum())


def _clean_chunks(process: ProcessRecord, gauge: float) -> npt.NDArray[np.bool_]:
    """The undisturbed chunks of the energy window, or all chunks if too few are undisturbed."""
    clean = undisturbed(process.energy.gauges, gauge, TOLERANCE)
    return clean if clean.sum() >= _FEWEST_CHUNKS else np.ones_like(clean)


def latency_of(
    processes: Sequence[ProcessRecord], gauge: float, *, precision: float, threads: int = 1
) -> Latency:
    """The latency over at least six processes, and whether it can be relied on."""
    clean = [samples for p in processes if (samples := clean_ns(p, gauge)) is not None]
    enough = len(clean) >= FEWEST_FOR_INTERVAL
    used = clean if enough else [process.latency.nanoseconds for process in processes]
    median = median_interval([float(np.median(samples)) / 1e9 for samples in used])
    assert median is not None
    samples = np.concatenate(used)
    p90, p99 = np.quantile(samples, [0.9, 0.99]) / 1e9
    everything = np.concatenate([process.latency.nanoseconds for process in processes])
    masks = [undisturbed(p.latency.gauges, gauge, TOLERANCE) for p in processes]
    half = relative_half_width(median)
    share = statistics.median(process.latency.cpu_share for process in processes)
    unstable = None
    if threads == 1 and share < _LEAST_CPU_SHARE:
        unstable = f"the processes had their core only {share:.0%} of the time"
    elif not enough:
        unstable = (
            f"only {len(clean)} of {len(processes)} processes ran undisturbed for long enough; "
            "the figures include disturbed times"
        )
    elif half > precision:
        unstable = (
            f"the median is known to {half:.0%} only, from {len(clean)} processes "
            f"({precision:.0%} was asked for)"
        )
    return Latency(
        median=median,
        p90_s=float(p90),
        p99_s=float(p99),
        max_s=float(samples.max()) / 1e9,
        disturbed_p99_s=float(np.quantile(everything, 0.99)) / 1e9,
        disturbed_max_s=float(everything.max()) / 1e9,
        samples=len(samples),
        undisturbed_share=float(np.concatenate(masks).mean()),
        unstable_because=unstable,
    )


def memory_of(processes: Sequence[ProcessRecord]) -> Memory | None:
    """The parts of memory; `None` without processes, or if the system does not report them."""
    if not processes:
        return None
    model = [_allocated(process.memory) for process in processes]
    known = [size for size in model if size is not None]
    if len(known) < len(model):
        return None
    runtime, unique = [], []
    for process, size in zip(processes, known, strict=True):
        stages = process.memory
        imported = stages.imported.rss_bytes - stages.instrument.rss_bytes
        runtime.append(imported + stages.many_actions.rss_bytes - stages.inputs.rss_bytes - size)
        unique.append(stages.many_actions.uss_bytes)
    told = [size for size in unique if size is not None]
    working = [p.working_bytes for p in processes if p.working_bytes is not None]
    return Memory(
        interpreter_bytes=statistics.median(p.memory.start.rss_bytes for p in processes),
        runtime_bytes=statistics.median(runtime),
        model_bytes=statistics.median(known),
        unique_bytes=statistics.median(told) if told else None,
        working_bytes=statistics.median(working) if working else None,
    )


def _allocated(stages: MemoryStages) -> int | None:
    """Bytes that loading and running the policy allocated, not counting pages of files."""
    before, after = stages.inputs, stages.many_actions
    if before.anonymous_bytes is not None and after.anonymous_bytes is not None:
        return after.anonymous_bytes - before.anonymous_bytes
    if before.uss_bytes is not None and after.uss_bytes is not None:
        return after.uss_bytes - before.uss_bytes
    return None


def energy_of(processes: Sequence[ProcessRecord], gauge: float) -> Energy:
    """Joules and CPU seconds of one decision."""
    return Energy(
        per_decision=_mean([joules_per_decision(p, gauge) for p in processes]),
        cpu_s_per_decision=_required(_mean([cpu_s_per_decision(p, gauge) for p in processes])),
    )


def episodes_of(processes: Sequence[ProcessRecord]) -> Episodes | None:
    """Complete episodes over all processes; `None` if there were none."""
    played = [process.episodes for process in processes if process.episodes is not None]
    if not played:
        return None
    lengths = [length for window in played for length in window.lengths]
    seconds = sum(window.seconds for window in played)
    joules = [window.net_joules for window in played]

    def joules_per(count: Callable[[tuple[int, ...]], int]) -> Interval | None:
        return _mean(
            [
                None if j is None else j / count(w.lengths)
                for j, w in zip(joules, played, strict=True)
            ]
        )

    return Episodes(
        episodes=len(lengths),
        mean_length=statistics.fmean(lengths),
        mean_return=statistics.fmean(r for window in played for r in window.returns),
        seconds_per_step=seconds / sum(lengths),
        deciding_share=sum(window.acting_s for window in played) / seconds,
        j_per_step=joules_per(sum),
        j_per_episode=joules_per(len),
    )


def _mean(values: Sequence[float | None]) -> Interval | None:
    known = [value for value in values if value is not None]
    return mean_t_interval(known) if known else None


def _required(interval: Interval | None) -> Interval:
    assert interval is not None
    return interval


def latency_ratio(reference: ProfileRow, row: ProfileRow, gauge: float) -> Interval | None:
    """How many times faster a row is than the reference; `None` if either was not measured.

    This is the median over the rounds in which both ran undisturbed. With fewer than six such
    rounds it is the quotient of the two medians, with the bounds that their intervals allow.
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
    """How many times fewer joules per decision a row needs than the reference.

    This is the median over their common rounds; `None` if they were measured by different meters.
    """
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
