"""The store: what was planned, who works on it, what was found."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar, final

import sqlalchemy as sa

from squeezerl.store import claims, engine, planning, reading
from squeezerl.store.blob import pack
from squeezerl.store.clock import NOW
from squeezerl.store.encode import clean, to_text
from squeezerl.store.job import Job, Outcome
from squeezerl.store.migrate import migrate
from squeezerl.store.patience import PATIENCE_S, patiently
from squeezerl.store.records import (
    Claim,
    Counts,
    Failure,
    Label,
    Status,
    StoredResult,
    StoredRow,
    StudyRecord,
)
from squeezerl.store.schema import jobs as _jobs

T = TypeVar("T")


@final
class Store:
    """Results in SQLite or PostgreSQL, shared by any number of processes.

    A job is known by its id: done for one study, it is done for all. Every method is one
    transaction, and is tried again while the database is away or locked.

    Raises:
        StoreError: by every method, if the database refuses; `StoreUnreachableError` if it stays
            away for as long as the store is patient.
    """

    def __init__(self, engine_: sa.Engine, where: str, patience_s: float) -> None:
        self._engine = engine_
        self._writing = engine_.execution_options(writes=True)
        self._where = where
        self._patience_s = patience_s
        self._known_hosts: set[str] = set()

    @classmethod
    def open(cls, url: str, *, patience_s: float = PATIENCE_S) -> Store:
        """Open a store, and make or update its tables; any number of processes may at once.

        Args:
            url: sqlite:///FILE or postgresql://USER@HOST/DATABASE.
            patience_s: how long to wait for a database that is away or locked.

        Raises:
            StoreError: if the URL is of neither, or a newer version wrote the store.
        """
        parsed = engine.parse_url(url)
        where = parsed.set(drivername=parsed.get_backend_name()).render_as_string()
        made = engine.make_engine(parsed)
        try:
            patiently(lambda: migrate(made, where), patience_s, where)
        except BaseException:
            made.dispose()
            raise
        return cls(made, where, patience_s)

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _read(self, action: Callable[[sa.Connection], T]) -> T:
        return self._patiently(self._engine, action)

    def _write(self, action: Callable[[sa.Connection], T]) -> T:
        return self._patiently(self._writing, action)

    def _patiently(self, engine_: sa.Engine, action: Callable[[sa.Connection], T]) -> T:
        def once() -> T:
            with engine_.begin() as connection:
                return action(connection)

        return patiently(once, self._patience_s, self._where)

    # Studies

    def put_study(
        self, name: str, spec: Mapping[str, Any], jobs: Sequence[tuple[Job, Label]]
    ) -> None:
        """Put a study in, or replace it: jobs that are known keep their state and results.

        Args:
            name: of the study.
            spec: plain JSON, for reading back.
            jobs: all of the study's with their labels, plain JSON. What a job needs must be among
                them.
        """
        study = planning.PreparedStudy(name, spec, jobs)
        self._write(lambda connection: planning.put(connection, study))

    def study_names(self) -> tuple[str, ...]:
        """Names of the studies."""
        return self._read(reading.study_names)

    def study(self, name: str) -> StudyRecord:
        """A study as it was put in."""
        return self._read(lambda connection: reading.find_study(connection, name))

    # Workers

    def claim(self, study: str, worker: str, *, exclusive: bool, lease_s: float) -> Claim | None:
        """Take a job whose needs are all done, the longest first, if there is one.

        Args:
            study: name.
            worker: who.
            exclusive: whether to take one that must be alone on its host, or one that need not.
            lease_s: how long it is held without a heartbeat.
        """
        token = uuid.uuid4().hex
        first = True

        def take(connection: sa.Connection) -> Claim | None:
            nonlocal first
            found = None if first else claims.find(connection, worker, token)
            first = False
            return found or claims.take(
                connection,
                study=study,
                worker=worker,
                token=token,
                exclusive=exclusive,
                lease_s=lease_s,
            )

        return self._write(take)

    def heartbeat(self, claim: Claim, lease_s: float, progress: float | None = None) -> bool:
        """Extend the lease; false if it was lost. `progress` is the share that is done."""
        return self._write(lambda connection: claims.extend(connection, claim, lease_s, progress))

    def finish(
        self, claim: Claim, outcome: Outcome, host: Mapping[str, Any], seconds: float
    ) -> bool:
        """Store a result and mark the job as done, in one transaction.

        Args:
            claim: on the job.
            outcome: the result.
            host: facts, plain JSON; `id` is the host's.
            seconds: that the job took.

        Returns:
            False if the lease was lost: nothing was stored.

        Raises:
            StoreError: also if the outcome cannot be stored: no plain JSON, arrays of objects.
        """
        content = to_text(outcome.content, "the content of a result")
        host_id = str(host["id"])
        known = host_id in self._known_hosts
        facts = None if known else to_text(host, "the facts of a host")
        blob = pack(outcome.arrays) if outcome.arrays else None
        finished = self._write(
            lambda connection: claims.finish(
                connection,
                claim,
                content=content,
                arrays=blob,
                host_id=host_id,
                facts=facts,
                seconds=seconds,
            )
        )
        if finished:
            self._known_hosts.add(host_id)
        return finished

    def fail(self, claim: Claim, error: str, *, retry: bool) -> bool:
        """Record a failure; with `retry` the job is tried up to 3 times. False: lease was lost."""
        text = clean(error)
        return self._write(lambda connection: claims.fail(connection, claim, text, transient=retry))

    def give_back(self, claim: Claim) -> bool:
        """Undo a claim: the job is as it was. False if the lease was lost."""
        return self._write(lambda connection: claims.give_back(connection, claim))

    def release_worker(self, worker: str, error: str | None = None) -> int:
        """Free what a worker held that is no more, and tell how many jobs that were.

        Args:
            worker: who.
            error: how it ended, where its job may be the cause; counts as a failure of the job.
        """
        text = None if error is None else clean(error)
        return self._write(
            lambda connection: claims.release(connection, _jobs.c.worker == worker, text)
        )

    def release_expired(self) -> int:
        """Free what nobody sent a heartbeat for, and tell how many jobs that were."""
        expired = _jobs.c.lease_until_s < NOW
        return self._write(lambda connection: claims.release(connection, expired))

    def retry_failed(self, study: str, *, transient_only: bool = False) -> int:
        """Let failed jobs be tried again, all or those that may pass another time."""
        return self._write(
            lambda connection: claims.retry(connection, study, transient_only=transient_only)
        )

    def reopen(self, job_ids: Sequence[str]) -> None:
        """Let jobs that are done be done again, and all that needed them; what they found goes."""
        self._write(lambda connection: claims.reopen(connection, job_ids))

    def running_workers(self) -> tuple[str, ...]:
        """Workers that hold jobs, of any study."""
        return self._read(reading.running_workers)

    # Reading

    def counts(self, study: str) -> Counts:
        """How many jobs are in which state."""
        return self.status(study).counts

    def status(self, study: str) -> Status:
        """Counts, sums of estimates, and what runs."""
        return self._read(lambda connection: reading.status(connection, study))

    def job(self, job_id: str) -> Job:
        """A job by its id."""
        return self._read(lambda connection: reading.find_job(connection, job_id))

    def result(self, job_id: str) -> StoredResult:
        """What a job found.

        Raises:
            StoreError: if it is not done.
        """
        return self._read(lambda connection: reading.result(connection, job_id))

    def results(
        self, study: str, kinds: Sequence[str] | None = None, *, arrays: bool = True
    ) -> list[StoredRow]:
        """Finished jobs in the study's order: those of some kinds, with or without arrays."""
        return self._read(
            lambda connection: reading.results(connection, study, kinds, arrays=arrays)
        )

    def still_needed(self, study: str) -> dict[str, dict[str, Any]]:
        """The content of results, by the job's id, that jobs of a study still need."""
        return self._read(lambda connection: reading.still_needed(connection, study))

    def failures(self, study: str) -> list[Failure]:
        """Jobs that failed for good, in the study's order."""
        return self._read(lambda connection: reading.failures(connection, study))

    def hosts(self) -> dict[str, dict[str, Any]]:
        """Facts of each host by its id."""
        return self._read(reading.hosts)
