"""Workers as actors of a Ray cluster."""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, final

from squeezerl.errors import ExecutionError
from squeezerl.host.cores import count_cores
from squeezerl.jobs.executors import EXECUTORS, Executor, FruitlessEnds
from squeezerl.jobs.presence import free_dead, worker_name
from squeezerl.jobs.store import Store
from squeezerl.jobs.worker import Assignment, work
from squeezerl.registry import PLUGINS_VARIABLE

# How often it warns of workers for which the cluster has no room.
WAIT_S = 60.0
_REACH_S = 10.0
_LOG = logging.getLogger(__name__)


@final
class RayWorker:
    """What an actor runs: `work` in one thread, `stop` in another."""

    def __init__(self, assignment: Assignment, *, first: bool) -> None:
        self._assignment = assignment
        self._stop = threading.Event()
        if first:
            # Workers of an earlier run that was killed as a whole. Later ones of this run are
            # looked after by its driver.
            with Store.open(assignment.store_url) as store:
                free_dead(store)

    def name(self) -> str:
        """The worker's name, with its host."""
        return worker_name()

    def work(self) -> None:
        """Work until `stop`."""
        work(self._assignment, worker_name(), self._stop)

    def stop(self) -> None:
        """Take no more jobs."""
        self._stop.set()


@final
class RayExecutor(Executor):
    """Actors of this driver; Ray ends them when the driver ends."""

    def __init__(
        self, assignment: Assignment, store: Store, *, workers: int | None, address: str | None
    ) -> None:
        self._ray, self._is_ours = _connect(address, (workers or 1) * assignment.threads)
        self._assignment = assignment
        self._store = store
        self._stopping = False
        self._fruitless = FruitlessEnds()
        self._warned_at = time.monotonic()
        count = workers or int(self._ray.cluster_resources().get("CPU", 1))
        self._actors = [_Actor(self._ray, assignment, first=True) for _ in range(count)]

    @staticmethod
    def threads_per_job(workers: int | None) -> int:
        """See `Executor`: the hosts of a cluster differ, so a job has one thread."""
        return 1

    def tend(self) -> None:
        """See `Executor`."""
        self._warn_of_waiting()
        ended = self._ended()
        for index, actor in enumerate(self._actors):
            if actor.working not in ended:
                continue
            error, jobs = actor.error(), 0
            if error is None and self._stopping:
                continue
            if (name := actor.name()) is not None:
                jobs = self._store.release_worker(name, f"its worker ended: {error}")
            if not self._stopping:
                killed = isinstance(error, self._ray.exceptions.RayActorError)
                self._fruitless.note(had_job=jobs > 0, killed=killed, reason=str(error))
                self._actors[index] = _Actor(self._ray, self._assignment, first=False)
        if self._stopping:
            self._actors = [actor for actor in self._actors if actor.working not in ended]

    def _warn_of_waiting(self) -> None:
        """Warn of actors that no host has room for: Ray lets them wait for ever."""
        if self._stopping or time.monotonic() - self._warned_at < WAIT_S:
            return
        self._warned_at = time.monotonic()
        if waiting := sum(actor.name() is None for actor in self._actors):
            _LOG.warning(
                "%d of %d workers wait for a place in the Ray cluster, which has %g CPUs, %g free",
                waiting,
                len(self._actors),
                self._ray.cluster_resources().get("CPU", 0),
                self._ray.available_resources().get("CPU", 0),
            )

    def names(self) -> set[str]:
        """See `Executor`."""
        return {name for actor in self._actors if (name := actor.name()) is not None}

    def ask_to_stop(self) -> None:
        """See `Executor`."""
        self._stopping = True
        for actor in self._actors:
            actor.ask_to_stop()

    def ended(self) -> bool:
        """See `Executor`."""
        return len(self._ended()) == len(self._actors)

    def wait(self, seconds: float) -> None:
        """See `Executor`."""
        works = [actor.working for actor in self._actors]
        if works:
            self._ray.wait(works, num_returns=1, timeout=seconds)

    def _ended(self) -> set[Any]:
        """The works that have ended; Ray is asked about all at once, as there may be many."""
        works = [actor.working for actor in self._actors]
        if not works:
            return set()
        return set(self._ray.wait(works, num_returns=len(works), timeout=0)[0])

    def close(self) -> None:
        """See `Executor`."""
        names = []
        for actor in self._actors:
            with suppress(Exception):  # Ray may be gone
                names.append(actor.name())
                actor.kill()
        self._actors = []
        if self._is_ours:
            with suppress(Exception):
                self._ray.shutdown()
        for name in names:
            if name is not None:
                self._store.release_worker(name)


@final
class _Actor:
    """The actor of one worker, which may be waiting for a place in the cluster."""

    def __init__(self, ray: Any, assignment: Assignment, *, first: bool) -> None:
        self._ray = ray
        threads = assignment.threads
        remote = ray.remote(num_cpus=threads, max_restarts=0, max_concurrency=3)(RayWorker)
        variables = {"OMP_NUM_THREADS": str(threads)}
        if plugins := os.environ.get(PLUGINS_VARIABLE):
            variables[PLUGINS_VARIABLE] = plugins
        self._handle = remote.options(runtime_env={"env_vars": variables}).remote(
            assignment, first=first
        )
        self._named = self._handle.name.remote()
        self._name: str | None = None
        self.working = self._handle.work.remote()

    def error(self) -> Exception | None:
        """The error that ended the worker; `None` if it ended because it was asked to."""
        try:
            self._ray.get(self.working)
        except Exception as error:  # it may be of a library that a job uses
            return error
        return None

    def name(self) -> str | None:
        """The worker's name; `None` if it has not started."""
        if self._name is None and self._ray.wait([self._named], timeout=0)[0]:
            with suppress(Exception):  # it ended before it could answer
                self._name = self._ray.get(self._named)
        return self._name

    def ask_to_stop(self) -> None:
        if self.name() is None:
            self.kill()  # it may be waiting for its place for ever
        else:
            self._handle.stop.remote()

    def kill(self) -> None:
        with suppress(Exception):
            self._ray.kill(self._handle)


def _connect(address: str | None, cores: int) -> tuple[Any, bool]:
    """Ray, connected to a cluster, and whether this call has connected it.

    Without an address it starts a cluster on this machine, with at least as many cores as the
    caller asks for: it may want more workers than there are cores.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ExecutionError('the executor ray needs Ray: pip install "squeezerl[ray]"') from error
    except Exception as error:
        raise ExecutionError(
            f"Ray does not load: {error}. If that names libamd_smi.so: pip uninstall amdsmi, which "
            "the extra zeus brought and Ray takes for an AMD GPU's library"
        ) from error
    if ray.is_initialized():
        return ray, False
    if address is not None:
        _reach(address)
    # Workers can import what this process can, if their host has it.
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    try:
        ray.init(
            address=address or "local",
            num_cpus=max(cores, count_cores()) if address is None else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
            include_dashboard=False if address is None else None,
            runtime_env={"env_vars": {"PYTHONPATH": path}},
        )
    except (OSError, RuntimeError, ValueError, SystemExit) as error:
        # Ray ends the process where nothing answers as a cluster does.
        reason = "nothing answers there" if isinstance(error, SystemExit) else error
        raise ExecutionError(f"no Ray cluster at {address or 'this machine'}: {reason}") from error
    return ray, True


def _reach(address: str) -> None:
    """Raise an `ExecutionError` if nobody listens there; Ray itself would wait for 80 seconds."""
    target = os.environ.get("RAY_ADDRESS", "") if address == "auto" else address
    host, colon, port = target.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return  # Ray says what is wrong with it
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_S).close()
    except (OSError, OverflowError) as error:
        raise ExecutionError(f"no Ray cluster at {target}: {error}") from error


EXECUTORS.register("ray", RayExecutor)
