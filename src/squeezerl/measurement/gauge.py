"""A fixed piece of work that tells whether the core is disturbed, by how long it takes.

On shared machines a neighbour on the same physical core, or a lower clock rate, slows everything
by up to two times for seconds. Decisions are therefore timed in short chunks with this work between
them: a chunk counts as undisturbed if the work took its usual time on both sides. The work is the
same for every policy, so the choice does not depend on the figures that it selects.
"""

from __future__ import annotations

import time

TOLERANCE = 0.1

_NUMBERS = list(range(250)) * 8  # small integers exist once in CPython: the list is all there is


def gauge_times(seconds: float) -> list[int]:
    """The gauge over and over."""
    end = time.perf_counter() + seconds
    times = [gauge_ns()]
    while time.perf_counter() < end:
        times.append(gauge_ns())
    return times


def gauge_ns() -> int:
    """Nanoseconds of the work, some ten thousand, from warm caches."""
    sum(_NUMBERS)
    start = time.perf_counter_ns()
    sum(_NUMBERS)
    return time.perf_counter_ns() - start
