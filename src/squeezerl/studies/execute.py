"""`execute`: a study's jobs are done, here or on a cluster, and whatever is killed goes on."""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from squeezerl.errors import InvalidArgumentError
from squeezerl.host.cores import count_cores
from squeezerl.store.records import Counts, Status
from squeezerl.store.store import Store
from squeezerl.store.url import SQLITE, sqlite_path
from squeezerl.studies.pool import Pool
from squeezerl.studies.worker import Assignment, RunJob, reference
from squeezerl.studies.worker_name import free_dead

if TYPE_CHECKING:
    from squeezerl.studies.location import Location

LEASE_S = 60.0
_SHORTEST_LOOK_S, _LONGEST_LOOK_S = 0.1, 2.0
_LOOKING_SHARE = 0.05  # of the time, at most, goes into looking where the study stands


def execute(
    store_url: str,
    study: str,
    *,
    location: Location,
    run: RunJob | str = "squeezerl.studies.run_job:run_job",
    workers: int | None = None,
    threads: int | None = None,
    executor: Literal["local", "ray"] = "local",
    address: str | None = None,
    on_progress: Callable[[Status], None] = lambda status: None,
    should_stop: Callable[[], bool] = lambda: False,
    scratch: Path | None = None,
    lease_s: float = LEASE_S,
) -> Counts:
    """Do the jobs of a study until none is left that can be done.

    Several of these, on one machine or many, can work on one study. When one is killed, the same
    call goes on where it was. Jobs that failed for reasons that may have passed are tried again.

    Args:
        store_url: where the study was put in.
        study: name.
        location: artifacts of jobs.
        run: what does a job; importable by name in the workers, a function or "module:function".
        workers: processes, each doing one job at a time; unless given, one a core.
        threads: that a job may use; unless given, local workers share out the cores, and those of
            a cluster, whose hosts differ, have one each. A job that must be alone on its host may
            use them all.
        executor: "local" for processes of this machine, "ray" for actors of a Ray cluster.
        address: of the Ray cluster, as `ray.init` takes it; unless given, one is started here.
        on_progress: told a few times a second at most where the study stands.
        should_stop: asked as often; if true, no more jobs are started, those that can end early do,
            and it returns when the workers have ended. Ctrl-C does the same and raises
            `KeyboardInterrupt` in the end; a second one kills the workers.
        scratch: local folder for what unfinished jobs go on from; unless given, one of the user's.
        lease_s: seconds after which a worker that does not answer loses its job.

    Returns:
        Where the study stands at the end.

    Raises:
        StoreError: if the store cannot be used, or has no such study.
        ExecutionError: if workers do not start.
    """
    cores = count_cores()
    count = cores if workers is None else workers
    if count < 1:
        raise InvalidArgumentError(f"workers must be at least 1, not {count}")
    url = _absolute(store_url)
    assignment = Assignment(
        store_url=url,
        study=study,
        location=location,
        run=reference(run),
        scratch=_scratch(url) if scratch is None else scratch.absolute(),
        threads=threads or (max(1, cores // count) if executor == "local" else 1),
        lease_s=lease_s,
    )
    with Store.open(url) as store:
        store.study(study)
        free_dead(store)
        store.release_expired()
        store.retry_failed(study, transient_only=True)
        pool = _pool(executor, address, assignment, workers, store)
        try:
            _watch(store, pool, assignment, on_progress, should_stop)
        finally:
            pool.close()
        return store.counts(study)


def _pool(
    executor: str, address: str | None, assignment: Assignment, workers: int | None, store: Store
) -> Pool:
    if executor == "local":
        from squeezerl.studies.local import LocalPool

        return LocalPool(assignment, workers or count_cores(), store)
    if executor == "ray":
        from squeezerl.studies.ray_executor import RayPool

        return RayPool(assignment, workers, store, address)
    raise InvalidArgumentError(f"no executor {executor!r}; there are local and ray")


def _watch(
    store: Store,
    pool: Pool,
    assignment: Assignment,
    on_progress: Callable[[Status], None],
    should_stop: Callable[[], bool],
) -> None:
    stopping = interrupted = False
    freed = time.monotonic()
    while True:
        try:
            start = time.monotonic()
            status = store.status(assignment.study)
            on_progress(status)
            if not stopping and (status.counts.open == 0 or should_stop()):
                stopping = True
                pool.ask_to_stop()
            pool.tend()
            if stopping and pool.ended():
                break
            if time.monotonic() - freed > assignment.lease_s / 4:
                freed = time.monotonic()
                free_dead(store, pool.names())
                store.release_expired()
            took = time.monotonic() - start
            pool.wait(min(max(took / _LOOKING_SHARE, _SHORTEST_LOOK_S), _LONGEST_LOOK_S))
        except KeyboardInterrupt:
            if stopping:
                raise
            stopping = interrupted = True
            pool.ask_to_stop()
    if interrupted:
        raise KeyboardInterrupt


def _absolute(url: str) -> str:
    """Workers may have another current folder."""
    path = sqlite_path(url)
    if path is None:
        return url
    _, question, options = url.partition("?")
    return f"{SQLITE}{path.absolute()}{question}{options}"


def _scratch(url: str) -> Path:
    """A folder of the user's for this store on this host."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    store = hashlib.sha256(url.encode()).hexdigest()[:12]
    return state / "squeezerl" / socket.gethostname() / store
