"""`profile`: measure the float policy and others side by side, alone on the host."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from squeezerl.analysis.retention import best_percentage
from squeezerl.analysis.timing import median_interval
from squeezerl.artifacts.artifact import read_artifact
from squeezerl.evaluation.evaluate import calibrate
from squeezerl.host.facts import host_facts
from squeezerl.jobs.context import JobContext, stoppable
from squeezerl.jobs.job import Job, Outcome
from squeezerl.measurement.meters.choose import choose_meter
from squeezerl.measurement.profile import profile_subjects
from squeezerl.measurement.result import Profile, ProfileRow
from squeezerl.measurement.settings import Settings, Workload
from squeezerl.measurement.subject import Subject
from squeezerl.measurement.summary import (
    energy_of,
    energy_ratio,
    latency_of,
    latency_ratio,
    memory_of,
    usual_gauge_ns,
)
from squeezerl.pipeline.place import Place
from squeezerl.records import Interval, bounded
from squeezerl.runtimes.base import RUNTIMES


@dataclasses.dataclass(frozen=True)
class _Chosen:
    """A policy that is measured: the job that made it, the folder there, and what was loaded."""

    job: str
    folder: str
    subject: Subject


def profile(job: Job, context: JobContext) -> Outcome:
    """Measure on observations of the float policy's own episodes.

    Raises:
        Interrupted: if the job was asked to stop.
        SqueezeRLError: if nothing could be measured.
    """
    params = job.params
    chosen = _choose(params, context)
    meter, meter_problem = choose_meter(host_facts(), energy=params["energy"])
    if meter is None and params["watts_per_core"] is not None:
        meter, meter_problem = choose_meter(host_facts(), watts_per_core=params["watts_per_core"])
    settings = Settings(
        runtimes=tuple(params["runtimes"]),
        seconds=params["seconds"],
        precision=params["precision"],
        meter=meter,
        seed=params["seed"],
    )
    given = params["calibration"]
    with stoppable(context) as progress, context.location.scratch() as scratch:
        observations, _ = calibrate(
            RUNTIMES.get("ort").load(chosen[0].subject.artifact),
            Place.of(given).find(),
            episodes=given["episodes"],
            count=given["count"],
            seed=given["seed"],
        )
        progress(0.0)
        workload = Workload(env_id=given["env_id"], observations=observations)
        measured = profile_subjects(
            [choice.subject for choice in chosen],
            {choice.subject.name: workload for choice in chosen},
            settings,
            meter_problem=meter_problem,
            scratch=scratch,
            on_progress=lambda stage, fraction: progress(fraction),
        )
    return Outcome(content=_content(measured, chosen), arrays=_samples(measured))


def _choose(params: Mapping[str, Any], context: JobContext) -> list[_Chosen]:
    """The float policy, the subjects, and the best percentage of each pruning method; each once."""
    entries = [params["reference"], *params["subjects"]]

    def mean_return(evaluation: str) -> float:
        return float(context.store.result(evaluation).content["mean_return"])

    for choice in params["best_of"]:
        candidates = {candidate["ratio"]: candidate for candidate in choice}
        best = best_percentage(
            mean_return(params["reference_evaluation"]),
            mean_return(params["random_evaluation"]),
            [(ratio, mean_return(c["evaluation"])) for ratio, c in candidates.items()],
        )
        entries.append(candidates[best])
    chosen: dict[str, _Chosen] = {}
    for entry in entries:
        job, folder = entry["job"], entry["folder"]
        name = f"{job}/{folder}"
        if name not in chosen:
            subject = Subject(name, read_artifact(context.fetch(job) / folder))
            chosen[name] = _Chosen(job, folder, subject)
    return list(chosen.values())


def _content(measured: Profile, chosen: Sequence[_Chosen]) -> dict[str, Any]:
    """The figures that studies compare: one row for each policy and runtime.

    Rows name their policy by the job that made it. What the policy is called is up to each study.
    """
    processes = [process for row in measured.rows for process in row.processes]
    gauge = usual_gauge_ns(processes, measured.threads)
    by_name = {choice.subject.name: choice for choice in chosen}
    reference = chosen[0].subject.name
    references = {row.runtime: row for row in measured.rows if row.name == reference}
    rows = []
    for row in measured.rows:
        choice = by_name[row.name]
        rows.append(
            {
                "job": choice.job,
                "folder": choice.folder,
                "runtime": row.runtime,
                "file_bytes": row.size.file_bytes,
                "problem": row.problem,
                **_figures(row, references[row.runtime], measured, gauge),
            }
        )
    return {
        "rows": rows,
        "seconds": measured.seconds,
        "precision": measured.precision,
        "energy_problem": measured.meter_problem,
    }


def _figures(
    row: ProfileRow, reference: ProfileRow, measured: Profile, gauge: float
) -> dict[str, Any]:
    latency = energy = memory = times = energy_times = memory_times = None
    unstable = None
    if row.processes:
        found = latency_of(row.processes, gauge, precision=measured.precision)
        latency, unstable = found.median, found.unstable_because
        energy = energy_of(row.processes, gauge).per_decision
        memory = _memory(row)
        times = latency_ratio(reference, row, gauge)
        energy_times = energy_ratio(reference, row, gauge)
        before, after = memory_of(reference.processes), memory_of(row.processes)
        if before is not None and after is not None:
            memory_times = before.total_bytes / after.total_bytes
    meter = row.processes[0].meter if row.processes else None
    return {
        **bounded("latency_s", latency, None),
        **bounded("energy_j", energy, None),
        **bounded("memory_bytes", memory, None),
        **bounded("latency_times", times, None),
        **bounded("energy_times", energy_times, None),
        "memory_times": memory_times,
        "energy_source": meter.source if meter else None,
        "energy_estimated": meter.estimated if meter else None,
        "unstable_because": unstable,
    }


def _memory(row: ProfileRow) -> Interval | None:
    """Resident bytes of a process, all parts together; the median over the processes."""
    whole = memory_of(row.processes)
    each = [memory_of([process]) for process in row.processes]
    totals = [memory.total_bytes for memory in each if memory is not None]
    interval = median_interval(totals) if len(totals) == len(row.processes) else None
    if whole is None or interval is None:
        return None
    return Interval(
        estimate=whole.total_bytes,
        low=min(interval.low, whole.total_bytes),
        high=max(interval.high, whole.total_bytes),
    )


def _samples(measured: Profile) -> dict[str, npt.NDArray[Any]]:
    """The raw samples of each row: those of its processes, joined, and where each part ends."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    for number, row in enumerate(measured.rows):
        if not row.processes:
            continue
        latencies = [process.latency for process in row.processes]
        energies = [process.energy for process in row.processes]
        parts: dict[str, list[npt.NDArray[Any]]] = {
            "latency_ns": [times.nanoseconds.astype(np.uint32) for times in latencies],
            "latency_chunk_ends": [times.chunk_ends for times in latencies],
            "latency_gauges_ns": [times.gauges for times in latencies],
            "energy_seconds": [e.seconds for e in energies],
            "energy_cpu_seconds": [e.cpu_seconds for e in energies],
            "energy_decisions": [e.decisions for e in energies],
            "energy_gauges_ns": [e.gauges for e in energies],
        }
        joules = [e.joules for e in energies if e.joules is not None]
        if len(joules) == len(energies):
            parts["energy_joules"] = joules
        for name, values in parts.items():
            arrays[f"{number}.{name}"] = np.concatenate(values)
        for name in ("latency_ns", "latency_chunk_ends", "energy_seconds"):
            ends = np.cumsum([len(values) for values in parts[name]])
            arrays[f"{number}.{name}_ends"] = ends.astype(np.int64)
        memory = [process.memory.many_actions.rss_bytes for process in row.processes]
        arrays[f"{number}.rss_bytes"] = np.array(memory, dtype=np.int64)
    return arrays
