"""How much this machine disturbs a process, found by taking the gauge again and again.

It runs in a process of its own: `python -P -m squeezerl.measurement.noise SECONDS CORE`.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass

import numpy as np
import psutil

from squeezerl.analysis.timing import gauge_floor
from squeezerl.errors import MeasurementError
from squeezerl.host.cores import cores_for, pin
from squeezerl.measurement.measuring import gauge_times
from squeezerl.measurement.processes import run_module
from squeezerl.measurement.summary import TOLERANCE

_PATIENCE_S = 60.0
_MOST_DISTURBED = 0.2
_LEAST_CPU_SHARE = 0.98


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Times of the gauge, a fixed piece of work, in a process that is pinned to one core.

    `disturbed_share` of them took clearly longer than the quickest. `cpu_share` is CPU time divided
    by wall-clock time; `steal_share` is the share of the machine's time that a hypervisor took
    (`None` if unknown).
    """

    usual_s: float
    median_s: float
    p99_s: float
    max_s: float
    disturbed_share: float
    cpu_share: float
    steal_share: float | None

    @property
    def trouble(self) -> str | None:
        """Why timings will not be stable here; `None` if the machine is quiet."""
        if self.cpu_share < _LEAST_CPU_SHARE:
            return f"other work takes {1 - self.cpu_share:.0%} of a core"
        if self.disturbed_share > _MOST_DISTURBED:
            return (
                f"the core is slowed down {self.disturbed_share:.0%} of the time (other work on "
                "it or beside it, or a changing clock rate); profile sets such times apart"
            )
        return None


def measure_noise(seconds: float = 2.0) -> Noise:
    """Measure in a fresh process on the core that profiles are pinned to.

    Raises:
        MeasurementError: if the process failed.
    """
    cores = cores_for(1)
    core = "" if cores is None else str(cores[0])
    before = _steal()
    start = time.perf_counter()
    ended = run_module(
        "squeezerl.measurement.noise", str(seconds), core, patience_s=_PATIENCE_S + seconds
    )
    if ended.returncode != 0:
        raise MeasurementError(f"the measuring process failed: {ended.stderr.strip()[-500:]}")
    after, passed = _steal(), time.perf_counter() - start
    stolen = None
    if before is not None and after is not None:
        stolen = (after - before) / (passed * (psutil.cpu_count() or 1))
    return Noise(**json.loads(ended.stdout), steal_share=stolen)


def _steal() -> float | None:
    """Seconds that a hypervisor has taken so far, over all cores; Linux only."""
    steal = getattr(psutil.cpu_times(), "steal", None)
    return None if steal is None else float(steal)


def _main(seconds: float, core: str) -> None:
    pin([int(core)] if core else None)
    cpu, wall = time.process_time_ns(), time.perf_counter_ns()
    times = np.array(gauge_times(seconds))
    share = (time.process_time_ns() - cpu) / (time.perf_counter_ns() - wall)
    usual = gauge_floor(times)
    noise = {
        "usual_s": usual / 1e9,
        "median_s": float(np.median(times)) / 1e9,
        "p99_s": float(np.quantile(times, 0.99)) / 1e9,
        "max_s": float(times.max()) / 1e9,
        "disturbed_share": float((times > usual * (1 + TOLERANCE)).mean()),
        "cpu_share": share,
    }
    sys.stdout.write(json.dumps(noise))


if __name__ == "__main__":
    _main(float(sys.argv[1]), sys.argv[2])
