"""A worker: it takes jobs, does them and stores what they found, until it is told to stop."""

from __future__ import annotations

import os
import pickle
import random
import shutil
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from squeezerl.errors import ExecutionError, SqueezeRLError, StoreError, StoreUnreachableError
from squeezerl.host.cores import count_cores
from squeezerl.host.facts import host_facts
from squeezerl.jobs.claims import ATTEMPTS
from squeezerl.jobs.context import Interrupted, JobContext
from squeezerl.jobs.job import Claim
from squeezerl.jobs.kinds import KINDS, Kind, run_job
from squeezerl.jobs.location import Location
from squeezerl.jobs.presence import VARIABLE, HostLock
from squeezerl.jobs.store import Store
from squeezerl.records import to_json
from squeezerl.registry import load_plugins

_SHORTEST_WAIT_S, _LONGEST_WAIT_S = 0.02, 1.0
_FIRST_RETRY_S, _LONGEST_RETRY_S = 0.5, 10.0
_BEATS_PER_LEASE = 6
# How errors of libraries that are not imported here end: of databases and of remote storage.
_TRANSIENT_NAMES = ("OperationalError", "ConnectionError", "TimeoutError")


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What a worker works on; it is pickled on the way to the worker's process.

    Args:
        store_url: the store.
        study: the study whose jobs the worker does.
        location: where the files of jobs are.
        kinds: the kinds of jobs that the coordinator knows.
        scratch: local folder for what unfinished jobs go on from.
        threads: for a job beside others; a job that is alone on its host may use all cores.
        lease_s: how long a worker keeps a job without a heartbeat.
        setup: functions that the worker calls first, pickled by `pack_setup`.
    """

    store_url: str
    study: str
    location: Location
    kinds: tuple[Kind, ...]
    scratch: Path
    threads: int
    lease_s: float
    setup: bytes = b""


def pack_setup(setup: Sequence[Callable[[], None]]) -> bytes:
    """Functions for a worker, with all that the running script defines of them.

    Raises:
        ExecutionError: if something in them cannot be pickled.
    """
    if not setup:
        return b""
    import cloudpickle

    try:
        packed: bytes = cloudpickle.dumps(list(setup))
    except Exception as error:  # objects of the user's may raise anything
        raise ExecutionError(
            f"what the running script defines cannot be sent to workers: {error}. Put it into a "
            "module, and name the environment `module:Id` or load the module with "
            "`squeezerl.load_plugin`"
        ) from error
    return packed


def work(assignment: Assignment, name: str, stop: threading.Event) -> None:
    """Work until `stop` is set.

    Raises:
        StoreError: if the store cannot be used.
    """
    os.environ[VARIABLE] = name
    for kind in assignment.kinds:
        KINDS.register(kind.name, kind)
    load_plugins()  # what follows may refer to their modules
    for prepare in pickle.loads(assignment.setup) if assignment.setup else ():
        prepare()
    with Store.open(assignment.store_url) as store:
        worker = _Worker(assignment, name, stop, store)
        try:
            worker.work()
        finally:
            worker.close()


@final
class _Worker:
    def __init__(
        self, assignment: Assignment, name: str, stop: threading.Event, store: Store
    ) -> None:
        self._assignment = assignment
        self._name = name
        self._stop = stop
        self._store = store
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
                # For different times, so that one worker finds the host free of the others.
                self._stop.wait(wait * random.uniform(0.5, 1.0))
                wait = min(1.5 * wait, _LONGEST_WAIT_S)

    def _step(self) -> bool:
        """Do a job, if there is one; an exclusive job only when there is no other."""
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
                outcome = run_job(claim.job, self._context(claim))
                seconds = time.perf_counter() - started
                # This has no effect if the lease was lost: then another worker has the job.
                if self._store.finish(claim, outcome, self._host, seconds):
                    # Not earlier: until the result is stored, another worker may need the folder.
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
            on_progress=self._heart.note,
        )

    def _record(self, claim: Claim, error: Exception) -> None:
        retry = is_transient(error)
        if retry and claim.failures + 1 < ATTEMPTS:
            # Wait: a full disk or a lost network is not repaired in an instant.
            self._stop.wait(min(_FIRST_RETRY_S * 4**claim.failures, _LONGEST_RETRY_S))
        self._store.fail(claim, "".join(traceback.format_exception(error)), retry=retry)


def is_transient(error: Exception) -> bool:
    """Whether the same job may succeed at another time."""
    if isinstance(error, SqueezeRLError):
        return isinstance(error, StoreUnreachableError)
    if isinstance(error, OSError | MemoryError):
        return True
    return any(kind.__name__.endswith(_TRANSIENT_NAMES) for kind in type(error).__mro__)


@final
class Heart:
    """Extends the lease of one claim at a time, in a thread of its own."""

    def __init__(self, store: Store, lease_s: float) -> None:
        self._store = store
        self._lease_s = lease_s
        self._claim: Claim | None = None
        self._lost = False
        self._progress: float | None = None
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop beating."""
        self._closed.set()
        self._thread.join()

    @property
    def lost(self) -> bool:
        """Whether the lease of the claim was lost."""
        return self._lost

    def note(self, progress: float) -> None:
        """Note which share of the job is done; the next beat stores it."""
        self._progress = progress

    @contextmanager
    def holding(self, claim: Claim) -> Iterator[None]:
        """Beat for a claim while the block runs."""
        self._set(claim)
        try:
            yield
        finally:
            self._set(None)

    def _set(self, claim: Claim | None) -> None:
        with self._lock:
            self._claim, self._lost, self._progress = claim, False, None

    def _beat(self) -> None:
        while not self._closed.wait(self._lease_s / _BEATS_PER_LEASE):
            with self._lock:
                claim, progress = self._claim, self._progress
            if claim is None:
                continue
            try:
                held = self._store.heartbeat(claim, self._lease_s, progress)
            except StoreError:
                continue  # if the store stays away, storing the result will fail
            with self._lock:
                if not held and self._claim is claim:
                    self._lost = True
