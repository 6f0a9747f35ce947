"""The JSON of a profile: the keys of `profile --json` and of its file."""

from __future__ import annotations

import math
import statistics
from typing import Any

from squeezerl.measurement.result import ProcessRecord, Profile, ProfileRow
from squeezerl.measurement.summary import (
    Episodes,
    energy_of,
    energy_ratio,
    episodes_of,
    latency_of,
    latency_ratio,
    memory_of,
    usual_gauge_ns,
)
from squeezerl.records import Interval, to_json
from squeezerl.report.intervals import bounds


def profile_json(profile: Profile) -> dict[str, Any]:
    """Everything but the single samples. The first measured row is the reference of all ratios."""
    processes = [process for row in profile.rows for process in row.processes]
    gauge = usual_gauge_ns(processes, profile.threads)
    reference = next(row for row in profile.rows if row.processes)
    return {
        "host": to_json(profile.host) | {"id": profile.host.id},
        "seconds": profile.seconds,
        "precision": profile.precision,
        "seed": profile.seed,
        "usual_gauge_s": gauge / 1e9 if math.isfinite(gauge) else None,
        "reference": {"artifact": reference.name, "runtime": reference.runtime},
        "energy_problem": profile.meter_problem,
        "rows": [_row(row, reference, profile, gauge) for row in profile.rows],
    }


def beside(data: dict[str, Any], other: dict[str, Any], label: str) -> dict[str, Any]:
    """A profile's JSON with the rows of another, without ratios: another run or another host.

    Args:
        data: the profile.
        other: what `profile_json` gave before, perhaps on another machine.
        label: put behind the names of its rows, where shortening spares it; without slashes.
    """
    rows = [
        row | {"artifact": f"{row['artifact']} ({label})", "reference_ratio": None}
        for row in other["rows"]
    ]
    return data | {
        "rows": [*data["rows"], *rows],
        "other_hosts": [
            *data.get("other_hosts", []),
            other["host"],
            *other.get("other_hosts", []),
        ],
    }


def _row(row: ProfileRow, reference: ProfileRow, profile: Profile, gauge: float) -> dict[str, Any]:
    return {
        "artifact": row.name,
        "runtime": row.runtime,
        "threads": profile.threads,
        "batch": profile.batch,
        "host_id": profile.host.id,
        "agent_sha256": row.source.sha256,
        "env_id": row.env_id,
        "observations": to_json(row.observations),
        **to_json(row.size),
        **(_measured(row, profile, gauge) if row.processes else _UNMEASURED),
        "reference_ratio": _ratios(reference, row, gauge),
        "problem": row.problem,
    }


_UNMEASURED: dict[str, None] = dict.fromkeys(
    ("latency_s", "decisions_per_second", "startup_s", "memory_bytes", "gpu_memory_bytes",
     "energy_j_per_decision", "energy_source", "energy_estimated", "cpu_s_per_decision",
     "episodes", "episodes_problem")
)  # fmt: skip


def _measured(row: ProfileRow, profile: Profile, gauge: float) -> dict[str, Any]:
    """What the processes of a row say."""
    latency = latency_of(row.processes, gauge, precision=profile.precision, threads=profile.threads)
    energy = energy_of(row.processes, gauge)
    meter = row.processes[0].meter
    return {
        "latency_s": {
            "median": latency.median.estimate,
            "ci95": bounds(latency.median),
            "p90": latency.p90_s,
            "p99": latency.p99_s,
            "max": latency.max_s,
            "disturbed_p99": latency.disturbed_p99_s,
            "disturbed_max": latency.disturbed_max_s,
            "jitter": latency.jitter_s,
            "stable": latency.unstable_because is None,
            "unstable_because": latency.unstable_because,
            "undisturbed_share": latency.undisturbed_share,
            "samples": latency.samples,
            "processes": len(row.processes),
        },
        "decisions_per_second": profile.batch / latency.median.estimate,
        "startup_s": {
            name: statistics.median(getattr(p.startup, f"{name}_s") for p in row.processes)
            for name in ("import", "load", "first_action")
        },
        "memory_bytes": _memory(row.processes),
        "gpu_memory_bytes": row.processes[-1].gpu_memory_bytes,
        "energy_j_per_decision": _mean(energy.per_decision),
        "energy_source": meter.source if meter else None,
        "energy_estimated": meter.estimated if meter else None,
        "cpu_s_per_decision": _mean(energy.cpu_s_per_decision),
        "episodes": _episodes(episodes_of(row.processes)),
        "episodes_problem": next(
            (p.episodes_problem for p in row.processes if p.episodes_problem), None
        ),
    }


def _memory(processes: tuple[ProcessRecord, ...]) -> dict[str, Any] | None:
    memory = memory_of(processes)
    if memory is None:
        return None
    return {
        "interpreter": memory.interpreter_bytes,
        "runtime": memory.runtime_bytes,
        "model": memory.model_bytes,
        "total": memory.total_bytes,
        "unique_total": memory.unique_bytes,
        "working_peak": memory.working_bytes,
        "stages": [to_json(process.memory) for process in processes],
    }


def _episodes(episodes: Episodes | None) -> dict[str, Any] | None:
    if episodes is None:
        return None
    return {
        "episodes": episodes.episodes,
        "mean_length": episodes.mean_length,
        "mean_return": episodes.mean_return,
        "seconds_per_step": episodes.seconds_per_step,
        "deciding_share": episodes.deciding_share,
        "j_per_step": _mean(episodes.j_per_step),
        "j_per_episode": _mean(episodes.j_per_episode),
    }


def _ratios(reference: ProfileRow, row: ProfileRow, gauge: float) -> dict[str, Any]:
    """How many times less than the reference needs."""
    theirs, ours = memory_of(reference.processes), memory_of(row.processes)
    return {
        "file_bytes": reference.size.file_bytes / row.size.file_bytes,
        "weight_bytes": reference.size.weight_bytes / row.size.weight_bytes,
        "macs": reference.size.macs / row.size.macs,
        "latency": _median(latency_ratio(reference, row, gauge)),
        "memory_total": theirs.total_bytes / ours.total_bytes if theirs and ours else None,
        "energy": _median(energy_ratio(reference, row, gauge)),
    }


def _mean(interval: Interval | None) -> dict[str, Any] | None:
    return None if interval is None else {"mean": interval.estimate, "ci95": bounds(interval)}


def _median(interval: Interval | None) -> dict[str, Any] | None:
    return None if interval is None else {"median": interval.estimate, "ci95": bounds(interval)}
