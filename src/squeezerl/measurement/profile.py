"""Measures policies in runtimes, each in fresh processes, interleaved in rounds."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from squeezerl.analysis.timing import FEWEST_FOR_INTERVAL
from squeezerl.errors import InvalidArgumentError, MeasurementError, SqueezeRLError
from squeezerl.formats.c.program import c_program
from squeezerl.host.facts import host_facts
from squeezerl.measurement.measuring import gauge_times
from squeezerl.measurement.microcontroller import measure_microcontroller
from squeezerl.measurement.processes import ProbeJob, run_probe
from squeezerl.measurement.result import MicrocontrollerRow, ProcessRecord, Profile, ProfileRow
from squeezerl.measurement.settings import EpisodesJob, Settings, Workload
from squeezerl.measurement.subject import Subject, artifact_size
from squeezerl.measurement.summary import latency_of, usual_gauge_ns
from squeezerl.runtimes.base import RUNTIMES, Payload

MOST_PROCESSES = 2 * FEWEST_FOR_INTERVAL
_WARMUP_S = 0.2
_GAUGE_S = 0.2
_EPISODE_SEEDS_PER_ROUND = 10_000

Progress = Callable[[str, float], None]


@dataclass
class _Row:
    """A row while it is being measured. Once it has failed, it has no job any more."""

    subject: Subject
    runtime: str
    job: ProbeJob | None
    processes: list[ProcessRecord]
    problem: str | None


def profile_subjects(
    subjects: Sequence[Subject],
    workloads: Mapping[str, Workload],
    settings: Settings,
    *,
    meter_problem: str | None = None,
    scratch: Path | None = None,
    on_progress: Progress = lambda stage, fraction: None,
) -> Profile:
    """Measure each subject in each runtime; the first pair is the reference.

    Each row is measured in six to twelve processes of its own. They are started in rounds over all
    rows in random order, so that slow changes of the machine affect all rows alike, and ratios can
    be taken within rounds.

    Args:
        subjects: what to measure.
        workloads: what each subject decides on, by its name.
        settings: how to measure.
        meter_problem: why there is no meter, if there is none.
        scratch: folder for temporary files; unless given, the system's.
        on_progress: called with the current step and the share of the work that is done.

    Raises:
        InvalidArgumentError: if a subject does not take its workload's observations.
        MeasurementError: if nothing could be measured. A row that fails while others can be
            measured says why instead.
    """
    host = host_facts()
    with tempfile.TemporaryDirectory(prefix="squeezerl-profile-", dir=scratch) as name:
        folder = Path(name)
        rows = _prepare(subjects, workloads, settings, folder)
        if rows:
            _measure(rows, settings, folder, on_progress)
    emulated = _emulate(subjects, workloads, settings, on_progress)
    if not any(row.processes for row in rows) and not any(row.record for row in emulated):
        problem = (rows[0] if rows else emulated[0]).problem
        raise MeasurementError(f"nothing could be measured: {problem}")
    return Profile(
        host=host,
        batch=settings.batch,
        threads=settings.threads,
        seconds=settings.seconds,
        precision=settings.precision,
        seed=settings.seed,
        meter_problem=meter_problem,
        rows=tuple(
            ProfileRow(
                name=row.subject.name,
                runtime=row.runtime,
                source=row.subject.source,
                env_id=workloads[row.subject.name].env_id,
                observations=workloads[row.subject.name].record,
                size=artifact_size(row.subject.artifact),
                processes=tuple(row.processes),
                problem=row.problem,
            )
            for row in rows
        ),
        microcontrollers=emulated,
    )


def _emulate(
    subjects: Sequence[Subject],
    workloads: Mapping[str, Workload],
    settings: Settings,
    on_progress: Progress,
) -> tuple[MicrocontrollerRow, ...]:
    """Each subject as a C program on each emulated processor."""
    rows = []
    for subject in subjects:
        for processor in settings.processors:
            on_progress(f"{Path(subject.name).name} on {processor}, emulated", 1.0)
            record, problem = None, None
            try:
                seen = workloads[subject.name].observations
                program = c_program(subject.artifact.network, "policy", seen)
                record = measure_microcontroller(program, processor)
            except SqueezeRLError as error:
                problem = str(error)
            rows.append(
                MicrocontrollerRow(
                    name=subject.name, processor=processor, record=record, problem=problem
                )
            )
    return tuple(rows)


def _prepare(
    subjects: Sequence[Subject],
    workloads: Mapping[str, Workload],
    settings: Settings,
    folder: Path,
) -> list[_Row]:
    rows = []
    for number, subject in enumerate(subjects):
        workload = workloads[subject.name]
        _check_shape(subject, workload)
        seen = folder / f"observations-{number}.npy"
        np.save(seen, workload.observations)
        payload = folder / f"payload-{number}"
        Payload.of(subject.artifact).save(payload)
        for runtime in settings.runtimes:
            artifact = subject.artifact
            problem = RUNTIMES.get(runtime).cannot_run(artifact.network, artifact.algorithm)
            job = _job(subject, runtime, payload, seen, workload.episodes, settings)
            rows.append(_Row(subject, runtime, job if problem is None else None, [], problem))
    return rows


def _check_shape(subject: Subject, workload: Workload) -> None:
    wanted = subject.artifact.network.observation_shape
    if workload.observations.shape[1:] != wanted:
        raise InvalidArgumentError(
            f"{subject.name} takes observations of shape {wanted}, "
            f"not {workload.observations.shape[1:]}"
        )


def _job(
    subject: Subject,
    runtime: str,
    payload: Path,
    observations: Path,
    episodes: EpisodesJob | None,
    settings: Settings,
) -> ProbeJob:
    window_s = settings.seconds / FEWEST_FOR_INTERVAL
    return ProbeJob(
        runtime=runtime,
        algorithm=subject.artifact.algorithm,
        payload=payload,
        observations=observations,
        batch=settings.batch,
        threads=settings.threads,
        warmup_s=min(_WARMUP_S, window_s),
        latency_s=window_s,
        energy_s=window_s,
        meter=settings.gpu_meter if RUNTIMES.get(runtime).is_gpu else settings.meter,
        episodes=episodes,
    )


def _measure(rows: Sequence[_Row], settings: Settings, folder: Path, on_progress: Progress) -> None:
    rng = np.random.default_rng(settings.seed)
    first_gauges = gauge_times(_GAUGE_S)
    total = FEWEST_FOR_INTERVAL * len(rows)
    done = 0
    for round_ in range(MOST_PROCESSES):
        open_rows = [row for row in rows if row.job is not None]
        if not open_rows:
            return
        extra = round_ >= FEWEST_FOR_INTERVAL
        if extra:
            open_rows = _unstable(open_rows, settings)
            if not open_rows:
                return
            reference = next(row for row in rows if row.job is not None)
            if reference not in open_rows:
                open_rows.insert(0, reference)  # ratios are taken within rounds
        for index in rng.permutation(len(open_rows)):
            row = open_rows[index]
            label = f"{Path(row.subject.name).name} in {row.runtime}"
            on_progress(f"{label}, again: noisy" if extra else label, min(1.0, done / total))
            taken = [process for row in rows for process in row.processes]
            _measure_once(
                row, round_, usual_gauge_ns(taken, settings.threads, first_gauges), folder
            )
            done += 1


def _unstable(rows: Sequence[_Row], settings: Settings) -> list[_Row]:
    taken = [process for row in rows for process in row.processes]
    gauge = usual_gauge_ns(taken, settings.threads)
    return [
        row
        for row in rows
        if latency_of(
            row.processes, gauge, precision=settings.precision, threads=settings.threads
        ).unstable_because
    ]


def _measure_once(row: _Row, round_: int, gauge: float, folder: Path) -> None:
    assert row.job is not None
    job = row.job
    if job.episodes is not None:
        seed = job.episodes.seed + _EPISODE_SEEDS_PER_ROUND * round_
        job = dataclasses.replace(job, episodes=dataclasses.replace(job.episodes, seed=seed))
    try:
        row.processes.append(run_probe(job, round_, gauge, folder))
    except MeasurementError as error:
        # If one policy fails, the hour of measurements of the others must not be lost.
        row.job, row.problem = None, str(error)
        if len(row.processes) < FEWEST_FOR_INTERVAL:
            row.processes = []
