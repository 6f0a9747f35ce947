"""Workers as processes of this machine.

A worker reads its assignment from its standard input, and later a byte that asks it to stop. When
the input ends, the coordinator has ended, and the worker ends, too.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import pickle
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import IO, BinaryIO, final

from squeezerl.errors import InvalidArgumentError
from squeezerl.host.cores import count_cores
from squeezerl.jobs.executors import EXECUTORS, Executor, FruitlessEnds
from squeezerl.jobs.presence import end_orphans, worker_name
from squeezerl.jobs.store import Store
from squeezerl.jobs.worker import Assignment, work

_STOP = b"s"
_WORKER = "import sys; from squeezerl.jobs.executors.local import serve; serve(int(sys.argv[1]))"
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_OUTPUT_BYTES = 2_000
_DEATH_S = 10.0
_PR_SET_PDEATHSIG = 1


@final
class LocalExecutor(Executor):
    """Worker processes that end with this process, however it ends."""

    def __init__(
        self, assignment: Assignment, store: Store, *, workers: int | None, address: str | None
    ) -> None:
        if address is not None:
            raise InvalidArgumentError(
                f"`address` {address!r} is for `executor` 'ray', not 'local'"
            )
        self._assignment = assignment
        self._store = store
        self._stopping = False
        self._fruitless = FruitlessEnds()
        self._processes: list[_Process] = []
        try:
            for _ in range(workers or count_cores()):
                self._processes.append(_Process(assignment))
        except BaseException:
            self.close()
            raise

    @staticmethod
    def threads_per_job(workers: int | None) -> int:
        """See `Executor`: the workers share out the cores."""
        cores = count_cores()
        return max(1, cores // (workers or cores))

    def tend(self) -> None:
        """See `Executor`."""
        for index, process in enumerate(self._processes):
            code = process.returncode()
            if code is None:
                continue
            reason = f"{_end(code)}{process.close()}"
            if code == 0 and self._stopping:
                continue
            jobs = self._store.release_worker(process.name, f"its worker {reason}")
            if not self._stopping:
                self._fruitless.note(had_job=jobs > 0, killed=code < 0, reason=reason)
                self._processes[index] = _Process(self._assignment)
        if self._stopping:
            self._processes = [p for p in self._processes if p.returncode() is None]

    def names(self) -> set[str]:
        """See `Executor`."""
        return {process.name for process in self._processes}

    def ask_to_stop(self) -> None:
        """See `Executor`."""
        self._stopping = True
        for process in self._processes:
            process.ask_to_stop()

    def ended(self) -> bool:
        """See `Executor`."""
        return all(process.returncode() is not None for process in self._processes)

    def wait(self, seconds: float) -> None:
        """See `Executor`."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if any(process.returncode() is not None for process in self._processes):
                return
            time.sleep(min(left, 0.05))

    def close(self) -> None:
        """See `Executor`."""
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
        # The file has no name, so nothing of it is left over, whatever happens.
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - `close` closes it
        self._process = subprocess.Popen(
            [sys.executable, "-c", _WORKER, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                **dict.fromkeys(_THREAD_VARIABLES, threads),
                "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
            },
            # Ctrl-C in a terminal goes to the coordinator, which asks the workers to stop.
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
            self._send(_STOP)

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> str:
        """End the worker and what it had started, and return the end of its output."""
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
            output.seek(max(0, size - _OUTPUT_BYTES))
            text = output.read().decode("utf-8", "replace").strip()
        return f":\n{text}" if text else ""

    def _send(self, message: bytes) -> None:
        pipe = self._process.stdin
        with suppress(BrokenPipeError):  # the worker has ended; `tend` will notice
            if pipe is not None:
                pipe.write(message)
                pipe.flush()


def _end(code: int) -> str:
    if code >= 0:
        return f"ended with {code}"
    name = signal.Signals(-code).name if -code in {*signal.Signals} else str(-code)
    why = " (killed, most likely for lack of memory)" if code == -signal.SIGKILL else ""
    return f"ended by {name}{why}"


def serve(coordinator: int) -> None:
    """Be a worker until asked to stop, or until the coordinator's process has ended."""
    faulthandler.enable()
    _end_with(coordinator)
    # Processes that jobs start must not read the pipe.
    pipe = os.fdopen(os.dup(0), "rb")
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    assignment = pickle.Unpickler(pipe).load()
    assert isinstance(assignment, Assignment)
    stop = threading.Event()
    threading.Thread(target=_listen, args=(pipe, stop), name="listen", daemon=True).start()
    # Warnings of libraries are for their users, and nobody reads them here.
    warnings.simplefilter("ignore")
    work(assignment, worker_name(), stop)


def _end_with(coordinator: int) -> None:
    """Let the kernel kill this process when the coordinator ends; elsewhere `_listen` does it."""
    if platform.system() == "Linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != coordinator:
        sys.exit(1)  # it has ended already


def _listen(pipe: BinaryIO, stop: threading.Event) -> None:
    while pipe.read(1):
        stop.set()
    os.killpg(os.getpgid(0), signal.SIGKILL)


EXECUTORS.register("local", LocalExecutor)
