"""Starting measuring processes and reading what they found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from squeezerl.errors import MeasurementError
from squeezerl.host.cores import cores_for
from squeezerl.measurement.energy.config import MeterConfig
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
from squeezerl.records import to_json

_PATIENCE_S = 120.0
_SLACK = 10.0
_ANY_GAUGE_NS = 1e18  # JSON has no infinity


@dataclass(frozen=True, kw_only=True)
class EpisodesJob:
    """Complete episodes to play in Gymnasium; `seed` is that of the first."""

    env_id: str
    env_kwargs: dict[str, Any]
    seed: int
    path: str


@dataclass(frozen=True, kw_only=True)
class ProbeJob:
    """What one measuring process does: `module` is the runtime's, `payload` what it loads."""

    module: str
    payload: Path
    options: dict[str, Any]
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
        job: what.
        round_: for the record.
        usual_gauge_ns: what is known of the undisturbed gauge.
        folder: takes files for the process, which are removed again.

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
        "usual_gauge_ns": min(usual_gauge_ns, _ANY_GAUGE_NS),
        "gpu_index": 0 if job.meter is None else job.meter.gpu_index,
    }
    job_file.write_text(json.dumps(data), encoding="utf-8")
    windows_s = job.warmup_s + job.latency_s + 3 * max(job.energy_s, 60.0 if job.meter else 0.0)
    try:
        ended = subprocess.run(
            [sys.executable, "-P", "-m", "squeezerl.measurement.probe", *map(str, files)],
            env={
                **os.environ,
                **dict.fromkeys(_THREAD_VARIABLES, str(job.threads)),
                # What libraries, or a process that is killed, leave behind goes with the folder.
                "TMPDIR": str(folder),
                "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # as NVML counts GPUs
            },
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE_S + _SLACK * windows_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise MeasurementError(
            f"the measuring process did not end within {error.timeout:.0f} s"
        ) from error
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


_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def _read(path: Path) -> dict[str, Any] | None:
    """What the process wrote; `None` if it ended before that, or in the midst of it."""
    try:
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return result


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
