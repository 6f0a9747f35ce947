"""The measuring process: `python -P -m squeezerl.measurement.probe JOB RESULT SAMPLES.npz`.

It is started afresh for every measurement and imports nothing but the runtime before the memory
has been read, so that interpreter, library and model can be told apart.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from squeezerl.errors import SqueezeRLError

if TYPE_CHECKING:
    from squeezerl.runtimes.bare.policy import BarePolicy, BareRuntime

_INPUTS = 4096
_MANY_ACTIONS = 1000


def main(job_path: str, result_path: str, samples_path: str) -> None:
    """Measure what the job says; write the result, and the times of single decisions."""
    job = json.loads(Path(job_path).read_text(encoding="utf-8"))
    try:
        result = measure(job, samples_path)
    except SqueezeRLError as error:
        result = {"refusal": str(error)}
    Path(result_path).write_text(json.dumps(result), encoding="utf-8")


def measure(job: dict[str, Any], samples_path: str) -> dict[str, Any]:
    """From a bare interpreter to joules, in the only order that keeps the parts apart."""
    if job["cores"] is not None:
        psutil.Process().cpu_affinity(job["cores"])
    clock = time.perf_counter
    memory = {"start": _memory()}

    start = clock()
    runtime: BareRuntime = importlib.import_module(job["module"])
    import_s = clock() - start
    memory["imported"] = _memory()

    inputs = _inputs(job["observations"], job["batch"])
    memory["inputs"] = _memory()

    start = clock()
    policy = runtime.load(Path(job["payload"]), threads=job["threads"], options=job["options"])
    load_s = clock() - start
    memory["loaded"] = _memory()

    start = clock()
    policy.act(inputs[0])
    first_action_s = clock() - start
    memory["first_action"] = _memory()

    end = clock() + job["warmup_s"]
    for number in range(_MANY_ACTIONS):
        policy.act(inputs[number % len(inputs)])
        if clock() > end:
            break
    memory["many_actions"] = _memory()

    # Only now: these modules would have counted as the runtime's.
    from squeezerl.measurement.windows import measure_energy, measure_latency

    return {
        "memory": memory,
        "gpu_memory_bytes": _gpu_memory(policy),
        "startup": {"import_s": import_s, "load_s": load_s, "first_action_s": first_action_s},
        "cpu_share": measure_latency(policy.act, inputs, job, samples_path),
        **measure_energy(policy.act, inputs, job),
        "working_bytes": policy.working_bytes(inputs[0]),
    }


def _memory() -> dict[str, int | None]:
    gc.collect()
    process = psutil.Process()
    try:
        full = process.memory_full_info()
    except psutil.AccessDenied:
        return {"uss_bytes": None, "rss_bytes": process.memory_info().rss}
    return {"uss_bytes": full.uss, "rss_bytes": full.rss}


def _gpu_memory(policy: BarePolicy) -> dict[str, int | None] | None:
    allocator = policy.gpu_memory()
    if allocator is None:
        return None
    from squeezerl.measurement.energy.nvml import gpu_process_memory_bytes

    return {**allocator, "nvml": gpu_process_memory_bytes(os.getpid())}


def _inputs(path: str, batch: int) -> list[Any]:
    """Batches of recorded observations, in their order, from the start again if they run out."""
    import numpy as np

    observations = np.load(path, allow_pickle=False)
    count = max(1, min(_INPUTS, len(observations)) // batch)
    rows = np.arange(count * batch).reshape(count, batch) % len(observations)
    return [np.ascontiguousarray(observations[row]) for row in rows]


if __name__ == "__main__":
    main(*sys.argv[1:])
