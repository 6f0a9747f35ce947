"""Starts measuring processes and reads their results."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from squeezerl.errors import MeasurementError
from squeezerl.host.cores import cores_for
from squeezerl.measurement.meters.choose import MeterConfig
from squeezerl.measurement.result import (
    EnergySamples,
    EpisodeWindow,
    LatencySamples,
    MemoryStage,
    MemoryStages,
    Meter,
    ProcessRecord,
    Startup,
)
from squeezerl.measurement.settings import EpisodesJob
from squeezerl.measurement.summary import TOLERANCE
from squeezerl.records import to_json

_PATIENCE_S = 120.0
_SLACK = 10.0
_ANY_GAUGE_NS = 1e18  # JSON has no infinity
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class ProbeJob:
    """What one measuring process does: it loads the `Payload` in a folder into a runtime."""

    runtime: str
    algorithm: str
    payload: Path
    observations: Path
    batch: int
    threads: int
    warmup_s: float
    latency_s: float
    energy_s: float
    meter: MeterConfig | None
    episodes: EpisodesJob | None


def run_probe(job: ProbeJob, round_: int, usual_gauge_ns: float, folder: Path) -> ProcessRecord:
    """Measure in a fresh process.

    Args:
        job: what to measure.
        round_: for the record.
        usual_gauge_ns: the best estimate of the undisturbed gauge so far.
        folder: where files for the process are written; they are removed afterwards.

    Raises:
        MeasurementError: if the runtime cannot run the policy, or the process failed.
    """
    with tempfile.TemporaryDirectory(dir=folder) as name:
        return _run(job, round_, usual_gauge_ns, Path(name))


def _run(job: ProbeJob, round_: int, usual_gauge_ns: float, folder: Path) -> ProcessRecord:
    files = [folder / name for name in ("job.json", "result.json", "samples.npz")]
    job_file, result_file, samples_file = files
    data = to_json(job) | {
        "payload": str(job.payload),
        "observations": str(job.observations),
        "cores": cores_for(job.threads),
        "gauge_limit_ns": min(usual_gauge_ns * (1 + TOLERANCE), _ANY_GAUGE_NS),
    }
    job_file.write_text(json.dumps(data), encoding="utf-8")
    windows_s = job.warmup_s + job.latency_s + 3 * max(job.energy_s, 60.0 if job.meter else 0.0)
    ended = run_module(
        "squeezerl.measurement.probe",
        *map(str, files),
        patience_s=_PATIENCE_S + _SLACK * windows_s,
        environment={
            **dict.fromkeys(_THREAD_VARIABLES, str(job.threads)),
            # Files that libraries or a killed process leave behind are removed with the folder.
            "TMPDIR": str(folder),
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # as NVML counts GPUs
        },
    )
    result = _read(result_file)
    if result is None:
        message = (ended.stderr.strip().splitlines() or ["no message"])[-1]
        killed = " (killed, most likely for lack of memory)" if ended.returncode == -9 else ""
        raise MeasurementError(
            f"the measuring process ended with {ended.returncode}{killed}: {message}"
        )
    if "refusal" in result:
        raise MeasurementError(result["refusal"])
    with np.load(samples_file, allow_pickle=False) as samples:
        return _record(result, dict(samples), round_)


def _read(path: Path) -> dict[str, Any] | None:
    """What the process wrote; `None` if it ended before it had written all of it."""
    try:
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return result


def run_module(
    module: str, *arguments: str, patience_s: float, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a module in a fresh interpreter that imports nothing from the current folder.

    Args:
        module: its name.
        arguments: of its command line.
        patience_s: after which the process is killed.
        environment: variables on top of those of this process.

    Raises:
        MeasurementError: if it did not end in time.
    """
    try:
        return subprocess.run(
            [sys.executable, "-P", "-m", module, *arguments],
            env={**os.environ, **(environment or {})},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=patience_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise MeasurementError(
            f"the measuring process did not end within {patience_s:.0f} s"
        ) from error


def _record(
    result: dict[str, Any], samples: dict[str, npt.NDArray[np.int64]], round_: int
) -> ProcessRecord:
    energy, episodes = result["energy"], result["episodes"]
    if episodes is not None:
        episodes["lengths"] = tuple(episodes["lengths"])
        episodes["returns"] = tuple(episodes["returns"])
    arrays = {key: np.asarray(v) if isinstance(v, list) else v for key, v in energy.items()}
    for array in (*samples.values(), *arrays.values()):
        if isinstance(array, np.ndarray):
            array.flags.writeable = False
    return ProcessRecord(
        round=round_,
        memory=MemoryStages(
            **{name: MemoryStage(**stage) for name, stage in result["memory"].items()}
        ),
        working_bytes=result["working_bytes"],
        gpu_memory_bytes=result["gpu_memory_bytes"],
        startup=Startup(**result["startup"]),
        latency=LatencySamples(**samples, cpu_share=result["cpu_share"]),
        meter=None if result["meter"] is None else Meter(**result["meter"]),
        energy=EnergySamples(**arrays),  # type: ignore[arg-type]
        episodes=None if episodes is None else EpisodeWindow(**episodes),
        episodes_problem=result["episodes_problem"],
    )
