"""Inside a measuring process: its whole life, from a bare interpreter to joules.

Until its memory has been read for the last time, the process imports nothing but the runtime and
NumPy, so that interpreter, library and model can be told apart. That is why the other imports stand
in the functions that need them.

On shared machines a neighbour on the same physical core, or a lower clock rate, slows everything
by up to two times for seconds. Decisions are therefore timed in short chunks, and between them a
fixed piece of work is timed, the gauge. A chunk counts as undisturbed if the gauge took its usual
time before and after it. The work is the same for every policy, so this selection does not depend
on the figures that it selects from.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from squeezerl.errors import SqueezeRLError
from squeezerl.host.cores import pin
from squeezerl.measurement.probe import Memory, memory_now

if TYPE_CHECKING:
    from squeezerl.measurement.meters.meter import EnergyMeter
    from squeezerl.runtimes.base import Actor

Act = Callable[[Any], Any]

_NUMBERS = list(range(250)) * 8  # CPython keeps one object for each small integer: no other memory

_INPUTS = 4096
_MANY_ACTIONS = 1000
_MOST_SAMPLES = 1_000_000
_LATENCY_CHUNK_S = 0.002
# Windows counts CPU time in steps of 15.6 ms.
_ENERGY_CHUNK_S = 1.0 if sys.platform == "win32" else 0.002
# On a disturbed machine a window stays open up to this many times longer, to collect its
# undisturbed time.
_MOST_PATIENCE = 3.0
# Clock rates stay high for a while after work, and idle power has to be measured after that.
_SETTLE_S = 1.0
_DECISIONS_BETWEEN_CLOCKS = 8


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
    """All measurements, in the only order that keeps their parts apart."""
    pin(job["cores"])
    clock = time.perf_counter
    memory = {"start": born, "instrument": memory_now()}

    start = clock()
    from squeezerl.runtimes.base import RUNTIMES, Payload

    runtime = RUNTIMES.get(job["runtime"])
    runtime.import_library(job["algorithm"])
    import_s = clock() - start
    memory["imported"] = memory_now()

    inputs = _inputs(job["observations"], job["batch"])
    memory["inputs"] = memory_now()

    start = clock()
    policy = runtime.load(Payload.load(Path(job["payload"])), threads=job["threads"])
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

    return {
        "memory": memory,
        "gpu_memory_bytes": _gpu_memory(policy),
        "startup": {"import_s": import_s, "load_s": load_s, "first_action_s": first_action_s},
        "cpu_share": measure_latency(policy.act, inputs, job, samples_path),
        **measure_energy(policy.act, inputs, job),
        "working_bytes": policy.working_bytes(inputs[0]),
    }


def _inputs(path: str, batch: int) -> list[Any]:
    """Batches of recorded observations in their order, from the start again when they run out."""
    import numpy as np

    observations = np.load(path, allow_pickle=False)
    count = max(1, min(_INPUTS, len(observations)) // batch)
    rows = np.arange(count * batch).reshape(count, batch) % len(observations)
    return [np.ascontiguousarray(observations[row]) for row in rows]


def _gpu_memory(policy: Actor) -> dict[str, int | None] | None:
    allocator = policy.gpu_memory()
    if allocator is None:
        return None
    from squeezerl.measurement.meters.nvml import gpu_process_memory_bytes

    try:
        driver = gpu_process_memory_bytes(os.getpid())
    except SqueezeRLError:  # the package for NVML is an extra
        driver = None
    return {**allocator, "nvml": driver}


def gauge_ns() -> int:
    """The gauge: nanoseconds that a fixed piece of work takes with warm caches, some 10,000."""
    sum(_NUMBERS)
    start = time.perf_counter_ns()
    sum(_NUMBERS)
    return time.perf_counter_ns() - start


def gauge_times(seconds: float) -> list[int]:
    """The gauge, taken again and again for so many seconds, at least once."""
    end = time.perf_counter() + seconds
    times = [gauge_ns()]
    while time.perf_counter() < end:
        times.append(gauge_ns())
    return times


class _Window:
    """Stays open until it has collected enough undisturbed time, or has been open for too long.

    `gauges` are taken at the start and after each chunk. `gauge_limit_ns` separates disturbed from
    undisturbed chunks as far as is known by now; which chunks count is decided later, from all
    processes.
    """

    def __init__(self, seconds: float, gauge_limit_ns: float) -> None:
        self.seconds = seconds
        self.gauges = [gauge_ns()]
        self._limit_ns = gauge_limit_ns
        self._start = self._chunk_start = time.perf_counter()
        self._undisturbed_s = 0.0

    def is_open(self) -> bool:
        """Whether another chunk is due."""
        passed = self._chunk_start - self._start
        return self._undisturbed_s < self.seconds and passed < _MOST_PATIENCE * self.seconds

    def chunk_ended(self) -> None:
        """Take the gauge after a chunk."""
        now = time.perf_counter()
        self.gauges.append(gauge_ns())
        if max(self.gauges[-2:]) <= self._limit_ns:
            self._undisturbed_s += now - self._chunk_start
        self._chunk_start = time.perf_counter()


def measure_latency(
    act: Act, inputs: Sequence[Any], job: dict[str, Any], samples_path: str
) -> float:
    """Time single decisions, in chunks between gauges. Each time includes one reading of the clock.

    Writes `nanoseconds` (samples,), `chunk_ends` (chunks,) and `gauges` (chunks + 1,).

    Returns:
        CPU time divided by wall-clock time.
    """
    import numpy as np

    clock = time.perf_counter_ns
    following = itertools.cycle(inputs)
    _decide(act, following, job["warmup_s"])
    nanoseconds: list[int] = []
    chunk_ends: list[int] = []
    cpu, wall = time.process_time_ns(), clock()
    window = _Window(job["latency_s"], job["gauge_limit_ns"])
    while window.is_open() and len(nanoseconds) < _MOST_SAMPLES:
        chunk_end = clock() + int(_LATENCY_CHUNK_S * 1e9)
        stop = 0
        while stop < chunk_end:
            observations = next(following)
            start = clock()
            act(observations)
            stop = clock()
            nanoseconds.append(stop - start)
        chunk_ends.append(len(nanoseconds))
        window.chunk_ended()
    share = (time.process_time_ns() - cpu) / (clock() - wall)
    np.savez(
        samples_path,
        nanoseconds=np.array(nanoseconds),
        chunk_ends=np.array(chunk_ends),
        gauges=np.array(window.gauges),
    )
    return share


def measure_energy(act: Act, inputs: Sequence[Any], job: dict[str, Any]) -> dict[str, Any]:
    """Joules of decisions alone and, if the job asks for them, of complete episodes."""
    meter = _open(job["meter"])
    seconds = max(job["energy_s"], meter.min_window_s if meter else 0.0)
    idle_watts = None
    if meter is not None and meter.machine_wide:
        time.sleep(_SETTLE_S)
        idle = _metered(meter, lambda: time.sleep(seconds))
        idle_watts = idle["joules"] / idle["seconds"]
    result: dict[str, Any] = {
        "meter": meter and {"source": meter.description, "estimated": meter.estimated},
        "energy": {
            "idle_watts": idle_watts,
            **_decisions(
                act,
                itertools.cycle(inputs),
                meter,
                _Window(seconds, job["gauge_limit_ns"]),
                job["batch"],
            ),
        },
        "episodes": None,
        "episodes_problem": None,
    }
    if job["episodes"] is not None:
        try:
            played = _episodes(act, meter, seconds, job["episodes"])
            result["episodes"] = {"idle_watts": idle_watts, **played}
        except Exception as error:  # an environment's own code may raise anything
            result["episodes_problem"] = f"{type(error).__name__}: {error}"
    return result


def _open(config: dict[str, Any] | None) -> EnergyMeter | None:
    if config is None:
        return None
    from squeezerl.measurement.meters.choose import MeterConfig, open_meter

    return open_meter(MeterConfig(**config))


def _decisions(
    act: Act, following: Iterator[Any], meter: EnergyMeter | None, window: _Window, batch: int
) -> dict[str, Any]:
    """Chunks of uninterrupted decisions between gauges.

    With a sensor that sees the whole machine there is one long chunk, because the steps of such a
    sensor are too coarse for short ones.
    """
    one_chunk = meter is not None and meter.machine_wide
    chunks: list[dict[str, Any]] = []
    while not chunks or (window.is_open() and not one_chunk):
        chunk_s = window.seconds if one_chunk else _ENERGY_CHUNK_S
        chunks.append(_metered(meter, lambda s=chunk_s: _decide(act, following, s)))  # type: ignore[misc]
        window.chunk_ended()
    return {
        "seconds": [chunk["seconds"] for chunk in chunks],
        "cpu_seconds": [chunk["cpu_seconds"] for chunk in chunks],
        "decisions": [chunk["result"] * batch for chunk in chunks],
        "joules": None if meter is None else [chunk["joules"] for chunk in chunks],
        "gauges": window.gauges,
    }


def _episodes(
    act: Act, meter: EnergyMeter | None, seconds: float, wanted: dict[str, Any]
) -> dict[str, Any]:
    """Play complete episodes until the time is up, at least one."""
    from squeezerl.evaluation.environment import make_gymnasium
    from squeezerl.evaluation.timed_episode import timed_episode

    sys.path.append(wanted["path"])  # where `module:Id` environments may live
    env = make_gymnasium(wanted["env_id"], wanted["env_kwargs"])
    played: list[tuple[float, int, float]] = []

    def play() -> None:
        end = time.perf_counter() + seconds
        while not played or time.perf_counter() < end:
            played.append(timed_episode(env, act, wanted["seed"] + len(played)))

    window = _metered(meter, play)
    env.close()
    returns, lengths, acting_s = zip(*played, strict=True)
    return {
        "seconds": window["seconds"],
        "cpu_seconds": window["cpu_seconds"],
        "joules": window["joules"],
        "acting_s": sum(acting_s),
        "lengths": lengths,
        "returns": returns,
    }


def _metered(meter: EnergyMeter | None, work: Callable[[], Any]) -> dict[str, Any]:
    """Do the work; its result, with its seconds, CPU seconds and joules."""
    start, cpu = time.perf_counter(), time.process_time()
    before = None if meter is None else meter.read_j()
    result = work()
    return {
        "joules": None if meter is None or before is None else meter.read_j() - before,
        "cpu_seconds": time.process_time() - cpu,
        "seconds": time.perf_counter() - start,
        "result": result,
    }


def _decide(act: Act, following: Iterator[Any], seconds: float) -> int:
    """Decide again and again; returns how many times."""
    clock, decisions = time.perf_counter, 0
    end = clock() + seconds
    while clock() < end:
        for observations in itertools.islice(following, _DECISIONS_BETWEEN_CLOCKS):
            act(observations)
        decisions += _DECISIONS_BETWEEN_CLOCKS
    return decisions
