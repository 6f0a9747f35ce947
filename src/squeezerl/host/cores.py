"""Which cores a measuring process is pinned to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from squeezerl.errors import InvalidArgumentError

_CPUS = Path("/sys/devices/system/cpu")


def cores_for(threads: int) -> list[int] | None:
    """The fastest cores, no two threads of one core while there are others, the last ones first.

    The first cores serve most interrupts. `None` where the system cannot pin (macOS, Windows).

    Raises:
        InvalidArgumentError: if there are not as many.
    """
    available, count = _available(), count_cores()
    if not 1 <= threads <= count:
        raise InvalidArgumentError(f"`threads` must be 1 to {count} on this machine, not {threads}")
    if available is None:
        return None
    taken: dict[str, int] = {}  # physical core → threads of it that come first
    ranked = []
    for core in sorted(available, reverse=True):
        siblings = _read(core, "topology/thread_siblings_list") or str(core)
        nth = taken[siblings] = taken.get(siblings, -1) + 1
        ranked.append((nth, -int(_read(core, "cpufreq/cpuinfo_max_freq") or 0), -core))
    return [-core for _, _, core in sorted(ranked)[:threads]]


def count_cores() -> int:
    """Cores that this process may use."""
    available = _available()
    return len(available) if available is not None else os.cpu_count() or 1


def pin(cores: Sequence[int] | None) -> None:
    """Keep this process on these cores."""
    if cores is not None:
        os.sched_setaffinity(0, cores)


def _available() -> list[int] | None:
    return list(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def _read(core: int, name: str) -> str | None:
    try:
        return (_CPUS / f"cpu{core}" / name).read_text(encoding="ascii").strip()
    except OSError:
        return None
