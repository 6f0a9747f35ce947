"""Names of workers, which tell on their host whether the worker is still there."""

from __future__ import annotations

import hashlib
import os
import platform
import signal
import socket
import uuid
from collections.abc import Collection
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from squeezerl.store.store import Store

# What a worker starts inherits it, and is known by it when the worker was killed.
VARIABLE = "SQUEEZERL_WORKER"
_PROC = Path("/proc")


@cache
def host_key() -> str:
    """The host with its processes: not to be mistaken for another, nor for itself rebooted."""
    facts = [socket.gethostname(), f"{uuid.getnode():x}"]
    if platform.system() == "Linux":
        facts.append((_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        # Containers of one host have processes of their own.
        facts.append(os.readlink(_PROC / "self/ns/pid"))  # noqa: PTH115 - it points to no path
    else:
        facts.append(str(psutil.boot_time()))
    return f"{facts[0]}-{hashlib.sha256(repr(facts).encode()).hexdigest()[:8]}"


def worker_name(pid: int | None = None) -> str:
    """The name of a process of this host, which is no other's later with the same id."""
    number = os.getpid() if pid is None else pid
    return f"{host_key()}:{number}:{_started(number)}"


def is_dead(worker: str) -> bool:
    """Whether a worker was on this host and is no more."""
    host, number, started = worker.rsplit(":", 2)
    return host == host_key() and _started(int(number)) != started


def _started(pid: int) -> str | None:
    """When a process was started, in units of the system; `None` if there is none."""
    if platform.system() == "Linux":
        try:
            fields = (_PROC / str(pid) / "stat").read_text(encoding="latin-1").rpartition(")")[2]
        except OSError:
            return None
        state, *rest = fields.split()
        return None if state in "ZX" else rest[18]
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.Error:
        return None


def free_dead(store: Store, but: Collection[str] = ()) -> int:
    """Free what dead workers of this host held, and end what they left running.

    Args:
        store: where.
        but: workers that somebody else looks after.
    """
    freed = 0
    for worker in store.running_workers():
        if worker not in but and is_dead(worker):
            end_orphans(worker)
            freed += store.release_worker(worker)
    return freed


def end_orphans(worker: str) -> None:
    """End the processes that a dead worker had started: they would disturb what is measured."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(VARIABLE) == worker:
                process.send_signal(signal.SIGKILL)
