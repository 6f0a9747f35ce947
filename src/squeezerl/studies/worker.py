"""A worker: takes jobs, does them, hands in what they found, until it is told to stop."""

from __future__ import annotations

import importlib
import os
import random
import shutil
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from squeezerl.errors import ExecutionError, SqueezeRLError, StoreUnreachableError
from squeezerl.host.cores import count_cores
from squeezerl.host.facts import host_facts
from squeezerl.records import to_json
from squeezerl.store.claims import ATTEMPTS
from squeezerl.store.job import Job, Outcome
from squeezerl.store.records import Claim
from squeezerl.store.store import Store
from squeezerl.studies.context import Interrupted, JobContext
from squeezerl.studies.heart import Heart
from squeezerl.studies.host_lock import HostLock
from squeezerl.studies.worker_name import VARIABLE

if TYPE_CHECKING:
    from squeezerl.studies.location import Location

_SHORTEST_WAIT_S, _LONGEST_WAIT_S = 0.02, 1.0
_FIRST_RETRY_S, _LONGEST_RETRY_S = 0.5, 10.0
# Of libraries that are not known here: of databases and of remote storage.
_TRANSIENT_NAMES = ("OperationalError", "ConnectionError", "TimeoutError")


RunJob = Callable[[Job, JobContext], Outcome]


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What a worker works on; it is pickled on the way to its process.

    `run` is "module:function"; `threads` are for a job beside others: one that is alone on its host
    may use them all.
    """

    store_url: str
    study: str
    location: Location
    run: str
    scratch: Path
    threads: int
    lease_s: float


def reference(run: RunJob | str) -> str:
    """The name by which other processes import a function.

    Raises:
        ExecutionError: if they cannot.
    """
    if isinstance(run, str):
        return run
    name = f"{run.__module__}:{run.__qualname__}"
    local = run.__module__ == "__main__" or "<" in run.__qualname__
    if local or resolve(name) is not run:
        raise ExecutionError(f"{name}: workers cannot import it; put it into a module")
    return name


def resolve(name: str) -> RunJob:
    """The function of that name.

    Raises:
        ExecutionError: if there is none.
    """
    module, _, function = name.partition(":")
    try:
        found: RunJob = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ExecutionError(f"{name}: cannot be imported ({error})") from error
    return found


def work(assignment: Assignment, name: str, stop: threading.Event) -> None:
    """Work until `stop` is set.

    Raises:
        StoreError: if the store cannot be used.
        ExecutionError: if there is nothing to do the jobs with.
    """
    os.environ[VARIABLE] = name
    run = resolve(assignment.run)
    with Store.open(assignment.store_url) as store:
        worker = _Worker(assignment, name, stop, store, run)
        try:
            worker.work()
        finally:
            worker.close()


@final
class _Worker:
    def __init__(
        self, assignment: Assignment, name: str, stop: threading.Event, store: Store, run: RunJob
    ) -> None:
        self._assignment = assignment
        self._name = name
        self._stop = stop
        self._store = store
        self._run = run
        self._lock = HostLock()
        self._heart = Heart(store, assignment.lease_s)
        facts = host_facts()
        self._host: dict[str, Any] = {"id": facts.id_with_libraries, **to_json(facts)}

    def close(self) -> None:
        self._heart.close()
        self._lock.close()

    def work(self) -> None:
        wait = _SHORTEST_WAIT_S
        while not self._stop.is_set():
            if self._step():
                wait = _SHORTEST_WAIT_S
            else:
                # At different times, so that one can find the host free of the others.
                self._stop.wait(wait * random.uniform(0.5, 1.0))
                wait = min(1.5 * wait, _LONGEST_WAIT_S)

    def _step(self) -> bool:
        """Do a job, if there is one; one that must be alone only when there is no other."""
        for exclusive in (False, True):
            with self._lock.held(exclusive=exclusive) as held:
                if not held:
                    continue
                claim = self._store.claim(
                    self._assignment.study,
                    self._name,
                    exclusive=exclusive,
                    lease_s=self._assignment.lease_s,
                )
                if claim is None:
                    continue
                self._do(claim)
                return True
        return False

    def _do(self, claim: Claim) -> None:
        started = time.perf_counter()
        with self._heart.holding(claim):
            try:
                outcome = self._run(claim.job, self._context(claim))
                # Without effect if the lease was lost: then another worker has the job.
                seconds = time.perf_counter() - started
                if self._store.finish(claim, outcome, self._host, seconds):
                    # Not before: a worker that dies in between does not begin anew.
                    shutil.rmtree(self._assignment.scratch / claim.job.id, ignore_errors=True)
            except Interrupted:
                self._store.give_back(claim)
            except Exception as error:
                self._record(claim, error)

    def _context(self, claim: Claim) -> JobContext:
        given = self._assignment
        return JobContext(
            store=self._store,
            location=given.location,
            scratch=given.scratch,
            threads=count_cores() if claim.job.exclusive else given.threads,
            should_stop=lambda: self._stop.is_set() or self._heart.lost,
            on_progress=self._heart.tell,
        )

    def _record(self, claim: Claim, error: Exception) -> None:
        retry = is_transient(error)
        if retry and claim.failures + 1 < ATTEMPTS:
            # A full disk or a network that is away is still so a moment later.
            self._stop.wait(min(_FIRST_RETRY_S * 4**claim.failures, _LONGEST_RETRY_S))
        self._store.fail(claim, "".join(traceback.format_exception(error)), retry=retry)


def is_transient(error: Exception) -> bool:
    """Whether the same job may pass another time."""
    if isinstance(error, SqueezeRLError):
        return isinstance(error, StoreUnreachableError)
    if isinstance(error, OSError | MemoryError):
        return True
    return any(kind.__name__.endswith(_TRANSIENT_NAMES) for kind in type(error).__mro__)
