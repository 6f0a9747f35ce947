"""Workers as processes of this machine."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, final

from squeezerl.store.store import Store
from squeezerl.studies.pool import FruitlessEnds, Pool
from squeezerl.studies.worker import Assignment
from squeezerl.studies.worker_name import end_orphans, worker_name

STOP = b"s"
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_TOLD_BYTES = 2_000
_DEATH_S = 10.0


@final
class LocalPool(Pool):
    """Processes that end with this one, however it ends."""

    def __init__(self, assignment: Assignment, workers: int, store: Store) -> None:
        self._assignment = assignment
        self._store = store
        self._stopping = False
        self._fruitless = FruitlessEnds()
        self._processes: list[_Process] = []
        try:
            for _ in range(workers):
                self._processes.append(_Process(assignment))
        except BaseException:
            self.close()
            raise

    def tend(self) -> None:
        """See `Pool`."""
        for index, process in enumerate(self._processes):
            code = process.returncode()
            if code is None:
                continue
            told = process.close()
            if code == 0 and self._stopping:
                continue
            jobs = self._store.release_worker(process.name, f"its worker {_end(code)}{told}")
            if not self._stopping:
                self._fruitless.note(had_job=jobs > 0, killed=code < 0, told=f"{_end(code)}{told}")
                self._processes[index] = _Process(self._assignment)
        if self._stopping:
            self._processes = [p for p in self._processes if p.returncode() is None]

    def names(self) -> set[str]:
        """See `Pool`."""
        return {process.name for process in self._processes}

    def ask_to_stop(self) -> None:
        """See `Pool`."""
        self._stopping = True
        for process in self._processes:
            process.ask_to_stop()

    def ended(self) -> bool:
        """See `Pool`."""
        return all(process.returncode() is not None for process in self._processes)

    def wait(self, seconds: float) -> None:
        """See `Pool`."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if any(process.returncode() is not None for process in self._processes):
                return
            time.sleep(min(left, 0.05))

    def close(self) -> None:
        """See `Pool`."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.close()
            self._store.release_worker(process.name)
        self._processes = []


@final
class _Process:
    """One worker's process."""

    def __init__(self, assignment: Assignment) -> None:
        threads = str(assignment.threads)
        # Without a name: nothing is left of it, whatever happens.
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `close`
        self._process = subprocess.Popen(
            [sys.executable, "-m", "squeezerl.studies.local_worker", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                **dict.fromkeys(_THREAD_VARIABLES, threads),
                "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
            },
            # Ctrl-C in a terminal is for the coordinator, which tells the workers.
            process_group=0,
        )
        self.name = worker_name(self._process.pid)
        self._asked = self._closed = False
        self._send(pickle.dumps(assignment))

    def returncode(self) -> int | None:
        return self._process.poll()

    def ask_to_stop(self) -> None:
        if not self._asked:
            self._asked = True
            self._send(STOP)

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> str:
        """End what the worker had started, and tell the last that it said."""
        if self._closed:
            return ""
        self._closed = True
        self._process.kill()
        if self._process.wait(_DEATH_S) != 0:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            end_orphans(self.name)
        with suppress(BrokenPipeError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        with self._output as output:
            size = output.seek(0, os.SEEK_END)
            output.seek(max(0, size - _TOLD_BYTES))
            told = output.read().decode("utf-8", "replace").strip()
        return f":\n{told}" if told else ""

    def _send(self, message: bytes) -> None:
        pipe = self._process.stdin
        with suppress(BrokenPipeError):  # it has ended; `tend` sees to it
            if pipe is not None:
                pipe.write(message)
                pipe.flush()


def _end(code: int) -> str:
    if code >= 0:
        return f"ended with {code}"
    name = signal.Signals(-code).name if -code in {*signal.Signals} else str(-code)
    why = " (killed, most likely for lack of memory)" if code == -signal.SIGKILL else ""
    return f"ended by {name}{why}"
