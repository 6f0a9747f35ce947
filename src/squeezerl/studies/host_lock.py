"""One lock per host and user: jobs share it, a job that must be alone has it for itself.

The kernel holds it for the process, and frees it when the process ends, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import final

from squeezerl.errors import ExecutionError


def lock_folder() -> Path:
    """A folder for locks that all processes of this user on this host know.

    Raises:
        ExecutionError: if it is another user's, or others may write in it.
    """
    folder = Path(tempfile.gettempdir()) / f"squeezerl-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    facts = folder.lstat()
    others = facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or others:
        raise ExecutionError(f"{folder}: is not this user's own folder; remove it")
    return folder


@final
class HostLock:
    """The lock as one process holds it; nothing here waits."""

    def __init__(self, folder: Path | None = None) -> None:
        path = (lock_folder() if folder is None else folder) / "host.lock"
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._file)

    @contextmanager
    def held(self, *, exclusive: bool) -> Iterator[bool]:
        """Hold it, shared or exclusive; false if others hold it so that this cannot be."""
        try:
            fcntl.flock(self._file, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)
