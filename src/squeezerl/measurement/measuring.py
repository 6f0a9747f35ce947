"""Inside a measuring process: everything from a bare interpreter to joules.

Nothing but the runtime is imported before the memory has been read, so that interpreter, library
and model can be told apart.
"""

from __future__ import annotations

import importlib
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from squeezerl.errors import MeasurementError, SqueezeRLError
from squeezerl.host.cores import pin
from squeezerl.measurement.memory import Memory, memory_now

if TYPE_CHECKING:
    from squeezerl.runtimes.bare.policy import BarePolicy, BareRuntime

_INPUTS = 4096
_MANY_ACTIONS = 1000


def run_job(start: Memory, job_path: str, result_path: str, samples_path: str) -> None:
    """Measure what the job says; write the result, and the times of single decisions.

    `start` is the memory of the process before it imported this module.
    """
    job = json.loads(Path(job_path).read_text(encoding="utf-8"))
    try:
        result = _measure(start, job, samples_path)
    except SqueezeRLError as error:
        result = {"refusal": str(error)}
    Path(result_path).write_text(json.dumps(result), encoding="utf-8")


def _measure(born: Memory, job: dict[str, Any], samples_path: str) -> dict[str, Any]:
    """All measurements, in the only order that keeps the parts apart."""
    pin(job["cores"])
    clock = time.perf_counter
    memory = {"start": born, "instrument": memory_now()}

    start = clock()
    runtime: BareRuntime = importlib.import_module(job["module"])
    import_s = clock() - start
    memory["imported"] = memory_now()

    inputs = _inputs(job["observations"], job["batch"])
    memory["inputs"] = memory_now()

    start = clock()
    policy = runtime.load(Path(job["payload"]), threads=job["threads"], options=job["options"])
    load_s = clock() - start
    memory["loaded"] = memory_now()

    start = clock()
    policy.act(inputs[0])
    first_action_s = clock() - start
    memory["first_action"] = memory_now()

    end = clock() + job["warmup_s"]
    for number in range(_MANY_ACTIONS):
        policy.act(inputs[number % len(inputs)])
        if clock() > end:
            break
    memory["many_actions"] = memory_now()

    # Only now: these modules would have counted as the runtime's.
    from squeezerl.measurement.windows import measure_energy, measure_latency

    return {
        "memory": memory,
        "gpu_memory_bytes": _gpu_memory(policy, job["gpu_index"]),
        "startup": {"import_s": import_s, "load_s": load_s, "first_action_s": first_action_s},
        "cpu_share": measure_latency(policy.act, inputs, job, samples_path),
        **measure_energy(policy.act, inputs, job),
        "working_bytes": policy.working_bytes(inputs[0]),
    }


def _gpu_memory(policy: BarePolicy, gpu_index: int) -> dict[str, int | None] | None:
    allocator = policy.gpu_memory()
    if allocator is None:
        return None
    from squeezerl.measurement.energy.nvml import gpu_process_memory_bytes

    try:
        driver = gpu_process_memory_bytes(os.getpid(), gpu_index)
    except MeasurementError:  # NVML's package is an extra
        driver = None
    return {**allocator, "nvml": driver}


def _inputs(path: str, batch: int) -> list[Any]:
    """Batches of recorded observations, in their order, from the start again if they run out."""
    import numpy as np

    observations = np.load(path, allow_pickle=False)
    count = max(1, min(_INPUTS, len(observations)) // batch)
    rows = np.arange(count * batch).reshape(count, batch) % len(observations)
    return [np.ascontiguousarray(observations[row]) for row in rows]
