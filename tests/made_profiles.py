"""Profiles that were never measured, with figures that can be checked by hand."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from balancing import SOURCE
from squeezerl.measurement.noise import Noise
from squeezerl.measurement.result import (
    EnergySamples,
    EpisodeWindow,
    LatencySamples,
    MemoryStage,
    MemoryStages,
    Meter,
    ModelSize,
    ObservationsRecord,
    ProcessRecord,
    Profile,
    ProfileRow,
    Startup,
)
from squeezerl.records import Host

GAUGE_NS = 10_000
CHUNKS = 20
PER_CHUNK = 5
USUAL_NS = 20_000
DECISIONS = 100  # in each chunk of the energy window
STAGES = (*("start", "instrument", "imported", "inputs", "loaded", "first_action", "many_actions"),)

HOST = Host(
    cpu="A CPU",
    cpu_flags=("avx2", "fma"),
    cores=2,
    cores_available=2,
    physical_cores=1,
    sockets=1,
    governor="performance",
    virtual_machine=False,
    memory_bytes=2**33,
    system="Linux x86_64",
    kernel="6.1",
    python="3.11.7",
    libraries={"numpy": "2.4.6"},
    load=0.25,
)
SIZE = ModelSize(
    file_bytes=4000,
    gzip_bytes=3000,
    weight_bytes=3600,
    weight_bytes_by_dtype={"float32": 3600},
    parameters=900,
    macs=1000,
)
METER = Meter(source="estimate: CPU time x 5 W per core (given)", estimated=True)


def make_gauges(disturbed: Collection[int] = ()) -> Any:
    """Gauges around `CHUNKS` chunks; those at the positions given took twice their time."""
    gauges = np.full(CHUNKS + 1, GAUGE_NS)
    gauges[list(disturbed)] *= 2
    return gauges


def make_process(
    round_: int = 0,
    *,
    usual_ns: int = USUAL_NS,
    disturbed: Collection[int] = (),
    cpu_share: float = 1.0,
    nanoseconds: Any = None,
    rss: Sequence[int] = (10, 12, 40, 45, 55, 60, 65),
    uss: Sequence[int | None] = (5, 6, 20, 24, 32, 33, 34),
    anonymous: Sequence[int | None] = (4, 5, 15, 18, 24, 25, 26),
    working_bytes: int | None = 256,
    joules: float | None = None,
    cpu_s: float = 0.001,
    idle_watts: float | None = None,
    energy_disturbed: Collection[int] = (),
    meter: Meter | None = METER,
    episodes: EpisodeWindow | None = None,
    episodes_problem: str | None = None,
) -> ProcessRecord:
    """A process whose decisions take `usual_ns`, three times that in disturbed chunks.

    `joules` and `cpu_s` are those of a chunk of `DECISIONS` decisions and 1 ms, three times as much
    where the gauges at `energy_disturbed` say so; memory is that of the seven stages.
    """
    gauges, energy_gauges = make_gauges(disturbed), make_gauges(energy_disturbed)
    if nanoseconds is None:
        nanoseconds = np.repeat(usual_ns * _slowdown(gauges), PER_CHUNK)
    stages = [
        MemoryStage(rss_bytes=r, uss_bytes=u, anonymous_bytes=a)
        for r, u, a in zip(rss, uss, anonymous, strict=True)
    ]
    slowdown = _slowdown(energy_gauges)
    return ProcessRecord(
        round=round_,
        memory=MemoryStages(**dict(zip(STAGES, stages, strict=True))),
        working_bytes=working_bytes,
        gpu_memory_bytes=None,
        startup=Startup(import_s=0.1, load_s=0.02, first_action_s=0.003),
        latency=LatencySamples(
            nanoseconds=np.asarray(nanoseconds),
            chunk_ends=np.arange(1, CHUNKS + 1) * PER_CHUNK,
            gauges=gauges,
            cpu_share=cpu_share,
        ),
        meter=None if joules is None else meter,
        energy=EnergySamples(
            seconds=np.full(CHUNKS, 0.001),
            cpu_seconds=cpu_s * slowdown,
            decisions=np.full(CHUNKS, DECISIONS),
            joules=None if joules is None else joules * slowdown,
            idle_watts=idle_watts,
            gauges=energy_gauges,
        ),
        episodes=episodes,
        episodes_problem=episodes_problem,
    )


def _slowdown(gauges: Any) -> Any:
    high = gauges > GAUGE_NS
    return np.where(high[:-1] | high[1:], 3, 1)


def make_window(**figures: Any) -> EpisodeWindow:
    """Two episodes of 100 and 300 steps in 2 seconds, a quarter of which went into decisions."""
    window: dict[str, Any] = {
        "seconds": 2.0,
        "cpu_seconds": 2.0,
        "acting_s": 0.5,
        "lengths": (100, 300),
        "returns": (10.0, 20.0),
        "joules": None,
        "idle_watts": None,
    }
    return EpisodeWindow(**window | figures)


def make_row(
    name: str = "float",
    processes: Sequence[ProcessRecord] | None = None,
    *,
    runtime: str = "ort",
    problem: str | None = None,
    size: ModelSize = SIZE,
) -> ProfileRow:
    """A row of six processes like `make_process()`, unless others are given."""
    if processes is None:
        processes = () if problem else [make_process(number) for number in range(6)]
    return ProfileRow(
        name=name,
        runtime=runtime,
        source=SOURCE,
        env_id="CartPole-v1",
        observations=ObservationsRecord(
            count=4096, shape=(17,), sha256="2" * 64, origin="episodes"
        ),
        size=size,
        processes=tuple(processes),
        problem=problem,
    )


def make_profile(*rows: ProfileRow, meter_problem: str | None = None, batch: int = 1) -> Profile:
    return Profile(
        host=HOST,
        batch=batch,
        threads=1,
        seconds=5.0,
        precision=0.05,
        seed=0,
        meter_problem=meter_problem,
        rows=rows,
    )


def make_noise(**figures: float | None) -> Noise:
    """That of a quiet machine, but for the figures given."""
    quiet: dict[str, Any] = {
        "usual_s": 10e-6,
        "median_s": 10.1e-6,
        "p99_s": 11e-6,
        "max_s": 50e-6,
        "disturbed_share": 0.01,
        "cpu_share": 0.999,
        "steal_share": 0.0,
    }
    return Noise(**quiet | figures)
