"""Inside a measuring process: windows of decisions, timed one by one or metered as a whole."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from squeezerl.measurement.energy.config import MeterConfig
from squeezerl.measurement.energy.sensors import open_meter
from squeezerl.measurement.gauge import TOLERANCE, gauge_ns

if TYPE_CHECKING:
    from squeezerl.measurement.energy.meter import EnergyMeter

Act = Callable[[Any], Any]

_MOST_SAMPLES = 1_000_000
_LATENCY_CHUNK_S = 0.002
# Windows counts CPU time in steps of 15.6 ms.
_ENERGY_CHUNK_S = 1.0 if sys.platform == "win32" else 0.002
# On a disturbed machine a window may take so many times longer, to get its undisturbed time.
_MOST_PATIENCE = 3.0
# Clocks stay high for a while after work; idle power is taken when they are not.
_SETTLE_S = 1.0
_DECISIONS_BETWEEN_CLOCKS = 8


class _Window:
    """Open until so many seconds of undisturbed chunks have passed, or the patience is at an end.

    `gauges` are taken at the start and after every chunk. `usual_gauge_ns` is what is known of the
    undisturbed gauge so far; which chunks count is decided later, from all processes.
    """

    def __init__(self, seconds: float, usual_gauge_ns: float) -> None:
        self.seconds = seconds
        self.gauges = [gauge_ns()]
        self._limit_ns = usual_gauge_ns * (1 + TOLERANCE)
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
    """Time single decisions, in chunks between gauges; one reading of the clock is in each.

    Writes `nanoseconds` (samples,), `chunk_ends` (chunks,) and `gauges` (chunks + 1,).

    Returns:
        CPU time by wall-clock time.
    """
    clock = time.perf_counter_ns
    following = itertools.cycle(inputs)
    _decide(act, following, job["warmup_s"])
    nanoseconds: list[int] = []
    chunk_ends: list[int] = []
    cpu, wall = time.process_time_ns(), clock()
    window = _Window(job["latency_s"], job["usual_gauge_ns"])
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
    """Joules of decisions alone, and of complete episodes where they are asked for."""
    meter = None if job["meter"] is None else open_meter(MeterConfig.from_json(job["meter"]))
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
                _Window(seconds, job["usual_gauge_ns"]),
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


def _decisions(
    act: Act, following: Iterator[Any], meter: EnergyMeter | None, window: _Window, batch: int
) -> dict[str, Any]:
    """Chunks of uninterrupted decisions between gauges.

    A sensor that sees the whole machine is read around one long chunk only: its steps are too
    coarse for short ones.
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
    """Complete episodes, at least one, until the time is up."""
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
    """What `work` returns, and its seconds, CPU seconds and joules."""
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
    """Decide over and over; returns how many times."""
    clock, decisions = time.perf_counter, 0
    end = clock() + seconds
    while clock() < end:
        for observations in itertools.islice(following, _DECISIONS_BETWEEN_CLOCKS):
            act(observations)
        decisions += _DECISIONS_BETWEEN_CLOCKS
    return decisions
