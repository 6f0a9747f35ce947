"""Who is at work on this host: names of workers that show if one is alive, and the host's lock."""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import signal
import socket
import stat
import tempfile
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import final

import psutil

from squeezerl.errors import ExecutionError
from squeezerl.jobs.store import Store

# Processes that a worker starts inherit this; they are found by it if the worker is killed.
VARIABLE = "SQUEEZERL_WORKER"
_PROC = Path("/proc")
_TRIES = 100


@cache
def host_key() -> str:
    """A name for this host and its running system; after a reboot it is another one."""
    facts = [socket.gethostname(), f"{uuid.getnode():x}"]
    if platform.system() == "Linux":
        facts.append((_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        # Each container of a host has process ids of its own.
        facts.append(os.readlink(_PROC / "self/ns/pid"))  # noqa: PTH115 - the target is not a path
    else:
        facts.append(str(psutil.boot_time()))
    return f"{facts[0]}-{hashlib.sha256(repr(facts).encode()).hexdigest()[:8]}"


def worker_name(pid: int | None = None) -> str:
    """The name of a process of this host; a later process with the same id has another name."""
    number = os.getpid() if pid is None else pid
    return f"{host_key()}:{number}:{_started(number)}"


def is_dead(worker: str) -> bool:
    """Whether a worker was on this host and has ended."""
    host, number, started = worker.rsplit(":", 2)
    return host == host_key() and _started(int(number)) != started


def _started(pid: int) -> str | None:
    """When a process was started, in units of the system; `None` if there is no such process."""
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
    """Free the jobs of dead workers of this host, and end processes that these left running.

    Args:
        store: where the jobs are.
        but: workers to leave alone, as somebody else looks after them.

    Returns:
        How many jobs were freed.
    """
    freed = 0
    for worker in store.running_workers():
        if worker not in but and is_dead(worker):
            end_orphans(worker)
            freed += store.release_worker(worker)
    return freed


def end_orphans(worker: str) -> None:
    """End the processes that a dead worker had started, as they would disturb measurements."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(VARIABLE) == worker:
                process.send_signal(signal.SIGKILL)


def lock_folder() -> Path:
    """The folder for locks that all processes of this user on this host share.

    Raises:
        ExecutionError: if the folder belongs to another user, or if others may write in it.
    """
    folder = Path(tempfile.gettempdir()) / f"squeezerl-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    facts = folder.lstat()
    others = facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or others:
        raise ExecutionError(f"{folder}: does not belong to this user alone; remove it")
    return folder


@final
class HostLock:
    """One lock per host and user: jobs share it, and an exclusive job has it for itself.

    The kernel holds the lock for the process, and frees it when the process ends, however it ends.
    Nothing here waits. The last one to close it removes the file, and the folder unless given.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._open()

    def close(self) -> None:
        """Release the lock."""
        with suppress(OSError), self.held(exclusive=True) as alone:
            if alone:
                self._path.unlink()
                if self._folder is None:
                    self._path.parent.rmdir()
        os.close(self._file)

    def _open(self) -> None:
        for _ in range(_TRIES):
            folder = lock_folder() if self._folder is None else self._folder
            self._path = folder / "host.lock"
            # Between the two lines, another process can have removed the folder.
            with suppress(FileNotFoundError):
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                return
        raise ExecutionError(f"{self._path}: cannot be made")

    def _is_removed(self) -> bool:
        try:
            return os.fstat(self._file).st_ino != self._path.stat().st_ino
        except FileNotFoundError:
            return True

    @contextmanager
    def held(self, *, exclusive: bool) -> Iterator[bool]:
        """Hold the lock, shared or exclusive, in the block; gives false if others have it."""
        how = (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB
        try:
            fcntl.flock(self._file, how)
            while self._is_removed():  # others would lock another file
                os.close(self._file)
                self._open()
                fcntl.flock(self._file, how)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)
