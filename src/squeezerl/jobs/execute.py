"""`execute`: do the jobs of a study, here or on a cluster; whatever is killed can go on."""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from squeezerl.errors import InvalidArgumentError
from squeezerl.jobs.executors import EXECUTORS, Executor
from squeezerl.jobs.job import Counts, Status
from squeezerl.jobs.kinds import KINDS
from squeezerl.jobs.location import Location
from squeezerl.jobs.open import SQLITE, sqlite_path
from squeezerl.jobs.presence import free_dead
from squeezerl.jobs.store import Store
from squeezerl.jobs.worker import Assignment, pack_setup

LEASE_S = 60.0
_SHORTEST_LOOK_S, _LONGEST_LOOK_S = 0.1, 2.0
_LOOKING_SHARE = 0.05  # of the coordinator's time, at most, goes into looking at the study


def execute(
    store_url: str,
    study: str,
    *,
    location: Location,
    workers: int | None = None,
    threads: int | None = None,
    executor: str = "local",
    address: str | None = None,
    plan_more: Callable[[Store], None] | None = None,
    on_progress: Callable[[Status], None] = lambda status: None,
    should_stop: Callable[[], bool] = lambda: False,
    scratch: Path | None = None,
    lease_s: float = LEASE_S,
    setup: Sequence[Callable[[], None]] = (),
) -> Counts:
    """Do the jobs of a study until none is left that can be done.

    Several of these calls, on one machine or many, can work on one study. If a call is killed, the
    same call goes on where it was. Jobs with a transient failure are tried again.

    Args:
        store_url: where the study is.
        study: its name.
        location: where the files of jobs are.
        workers: how many processes, each of which does one job at a time; unless given, one per
            core.
        threads: how many a job may use; unless given, the executor decides. A job that must be
            alone on its host may use all cores.
        executor: "local" for processes of this machine, "ray" for actors of a Ray cluster, or
            another one that is registered in `EXECUTORS`.
        address: of the Ray cluster, as `ray.init` takes it; unless given, one is started here.
        plan_more: for searches whose next jobs depend on results. It is called at the start and
            whenever jobs have ended since its last call, and may put more jobs into the study with
            `Store.add_jobs`. The study is finished when no job is open and `plan_more` has been
            called after the last one ended. After a restart it is called with all results so far,
            so it should plan from what is in the store.
        on_progress: called a few times per second at most with how far the study is.
        should_stop: asked as often. If it returns true, no more jobs are started, jobs that can
            stop early do so, and the call returns when the workers have ended. Ctrl-C does the
            same and raises `KeyboardInterrupt` in the end; a second one kills the workers.
        scratch: local folder for what unfinished jobs go on from; unless given, one of the user's.
        lease_s: after how many seconds a worker that does not answer loses its job.
        setup: functions that each worker calls first. They may be of the running script, which
            workers cannot import.

    Returns:
        How many jobs are in each state at the end.

    Raises:
        StoreError: if the store cannot be used, or has no such study.
        ExecutionError: if workers do not start.
    """
    if workers is not None and workers < 1:
        raise InvalidArgumentError(f"`workers` must be at least 1, not {workers}")
    chosen = EXECUTORS.get(executor)
    url = _absolute(store_url)
    assignment = Assignment(
        store_url=url,
        study=study,
        location=location,
        kinds=tuple(KINDS),
        scratch=_scratch(url) if scratch is None else scratch.absolute(),
        threads=threads or chosen.threads_per_job(workers),
        lease_s=lease_s,
        setup=pack_setup(setup),
    )
    with Store.open(url) as store:
        store.study(study)
        free_dead(store)
        store.release_expired()
        store.retry_failed(study, transient_only=True)
        status = store.status(study)
        if plan_more is None and status.counts.open == 0:  # workers would start for nothing
            on_progress(status)
            return status.counts
        pool = chosen(assignment, store, workers=workers, address=address)
        try:
            _Coordinator(store, assignment, pool, plan_more, on_progress, should_stop).run()
        finally:
            pool.close()
        return store.counts(study)


@final
@dataclass(eq=False)
class _Coordinator:
    """Follows the study and looks after its workers until the study is finished."""

    store: Store
    assignment: Assignment
    executor: Executor
    plan_more: Callable[[Store], None] | None
    on_progress: Callable[[Status], None]
    should_stop: Callable[[], bool]
    planned_after: int = -1  # how many jobs had ended when the planner was last called
    reading_s: float = 0.0
    stopping: bool = False
    freed: float = field(default_factory=time.monotonic)

    def run(self) -> None:
        interrupted = False
        while True:
            try:
                if self._look():
                    break
                pause = self.reading_s / _LOOKING_SHARE
                self.executor.wait(min(max(pause, _SHORTEST_LOOK_S), _LONGEST_LOOK_S))
            except KeyboardInterrupt:
                if self.stopping:
                    raise
                interrupted = True
                self._ask_to_stop()
        if interrupted:
            raise KeyboardInterrupt

    def _look(self) -> bool:
        """Look once; returns whether all is over."""
        start = time.monotonic()
        status = self.store.status(self.assignment.study)
        # Planning is not part of it: what was planned should be taken up soon.
        self.reading_s = time.monotonic() - start
        self.on_progress(status)
        if not self.stopping:
            finished = not self._plan(status) and status.counts.open == 0
            if finished or self.should_stop():
                self._ask_to_stop()
        self.executor.tend()
        if self.stopping and self.executor.ended():
            return True
        if time.monotonic() - self.freed > self.assignment.lease_s / 4:
            self.freed = time.monotonic()
            free_dead(self.store, self.executor.names())
            self.store.release_expired()
        return False

    def _plan(self, status: Status) -> bool:
        """Let the planner see new results, if there are any; returns whether it was called."""
        if self.plan_more is None or status.counts.ended == self.planned_after:
            return False
        self.planned_after = status.counts.ended
        self.plan_more(self.store)
        return True

    def _ask_to_stop(self) -> None:
        self.stopping = True
        self.executor.ask_to_stop()


def _absolute(url: str) -> str:
    """The URL with an absolute path, since workers may have another current folder."""
    path = sqlite_path(url)
    if path is None:
        return url
    _, question, options = url.partition("?")
    return f"{SQLITE}{path.absolute()}{question}{options}"


def _scratch(url: str) -> Path:
    """The user's folder for this store on this host."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    store = hashlib.sha256(url.encode()).hexdigest()[:12]
    return state / "squeezerl" / socket.gethostname() / store
