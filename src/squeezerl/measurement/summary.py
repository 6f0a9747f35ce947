"""What the processes of a row say together: medians with intervals, parts of memory, joules.

Times and CPU times come from undisturbed chunks (see `measurement.gauge`) wherever a row has enough
of them; where it has not, from all, and the row is called unstable.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from squeezerl.analysis.timing import (
    FEWEST_FOR_INTERVAL,
    mean_t_interval,
    median_interval,
    relative_half_width,
    undisturbed,
)
from squeezerl.measurement.gauge import TOLERANCE
from squeezerl.measurement.result import MemoryStages, ProcessRecord
from squeezerl.measurement.undisturbed import (
    clean_ns,
    cpu_s_per_decision,
    joules_per_decision,
)
from squeezerl.records import Interval

# A process that is pinned and always busy should have its core nearly to itself.
_LEAST_CPU_SHARE = 0.9


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Seconds of one `act`.

    `median` is the median of the processes' medians with its interval; the percentiles are over
    the samples of all processes in undisturbed chunks, `disturbed_p99_s` and `disturbed_max_s` over
    all there are. `undisturbed_share` is the part of the chunks that nothing disturbed;
    `unstable_because` is `None` if there were enough of them and they agree.
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
        """How much later than usual one decision in a hundred is."""
        return self.p99_s - self.median.estimate


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Resident memory of a process by what it is for; medians over the processes.

    `model_bytes` is what the process allocates from loading the policy to steady work.
    `runtime_bytes` is what importing the runtime adds and, of its files, what running the policy
    touches for the first time. `unique_bytes` is the unique set size of the whole process, `None`
    if not told: it leaves out what other processes have mapped as well.
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
    """Joules above idle, means over the processes' windows. `None` without a meter."""

    per_decision: Interval | None
    cpu_s_per_decision: Interval


@dataclass(frozen=True, kw_only=True)
class Episodes:
    """Complete episodes: what the study measured, environment included."""

    episodes: int
    mean_length: float
    mean_return: float
    seconds_per_step: float
    deciding_share: float
    j_per_step: Interval | None
    j_per_episode: Interval | None


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
            "the figures are of all times"
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
    """The parts of memory; `None` without processes, or where the system does not tell them."""
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
    """What loading and running the policy allocated, not counting pages of files."""
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
    """Complete episodes over all processes; `None` if none were played."""
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
