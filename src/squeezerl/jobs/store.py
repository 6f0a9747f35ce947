"""The store: which jobs were planned, who works on them, and what they found."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar, final

import sqlalchemy as sa

from squeezerl.jobs import claims, planning, reading
from squeezerl.jobs.database import PATIENCE_S, make_engine, migrate, parse_url, patiently
from squeezerl.jobs.encode import clean, pack, to_text
from squeezerl.jobs.job import (
    Claim,
    Counts,
    Failure,
    Job,
    Label,
    Outcome,
    Status,
    StoredResult,
    StoredRow,
    StudyRecord,
)
from squeezerl.jobs.schema import NOW
from squeezerl.jobs.schema import jobs as _jobs

T = TypeVar("T")


@final
class Store:
    """Studies, jobs and results in SQLite or PostgreSQL, shared by any number of processes.

    A study is a name for some jobs, each with one or more labels. A job is known by its id: once it
    is done for one study, it is done for all. Each method is one transaction, which is repeated
    while the database is away or locked.

    Raises:
        StoreError: by every method, if the database refuses; `StoreUnreachableError` if it is still
            away after `patience_s`.
    """

    def __init__(self, engine: sa.Engine, where: str, patience_s: float) -> None:
        self._engine = engine
        self._writing = engine.execution_options(writes=True)
        self._where = where
        self._patience_s = patience_s
        self._known_hosts: set[str] = set()

    @classmethod
    def open(cls, url: str, *, patience_s: float = PATIENCE_S) -> Store:
        """Open a store, and make or update its tables; several processes may do so at once.

        Args:
            url: sqlite:///FILE or postgresql://USER@HOST/DATABASE.
            patience_s: how long to wait for a database that is away or locked.

        Raises:
            StoreError: if the URL is of neither database, or if a newer version wrote the store.
        """
        parsed = parse_url(url)
        where = parsed.set(drivername=parsed.get_backend_name()).render_as_string()
        made = make_engine(parsed)
        try:
            patiently(lambda: migrate(made, where), patience_s, where)
        except BaseException:
            made.dispose()
            raise
        return cls(made, where, patience_s)

    def close(self) -> None:
        """Close the connections."""
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

    def _patiently(self, engine: sa.Engine, action: Callable[[sa.Connection], T]) -> T:
        def once() -> T:
            with engine.begin() as connection:
                return action(connection)

        return patiently(once, self._patience_s, self._where)

    # Studies

    def put_study(
        self, name: str, spec: Mapping[str, Any], jobs: Sequence[tuple[Job, Label]]
    ) -> None:
        """Put a study in, or replace it; jobs that are known keep their state and results.

        Args:
            name: of the study.
            spec: plain JSON that `study` gives back.
            jobs: all jobs of the study, each with a label of plain JSON. A job that has several
                labels is listed several times; it is done once and its result is listed as often.
                What a job needs must be in the list.
        """
        text = to_text(spec, "the study's specification")
        prepared = planning.PreparedJobs(jobs)
        prepared.check_needs()
        self._write(lambda connection: planning.put(connection, name, text, prepared))

    def add_jobs(self, study: str, jobs: Sequence[tuple[Job, Label]]) -> None:
        """Append jobs to a study that is there already, also while workers are busy with it.

        Adding the same jobs with the same labels again changes nothing.

        Args:
            study: its name.
            jobs: with their labels. What a job needs must be in the list or in the study.
        """
        prepared = planning.PreparedJobs(jobs)

        def add(connection: sa.Connection) -> None:
            planning.add(connection, reading.study_row(connection, study).id, prepared)

        self._write(add)

    def study_names(self) -> tuple[str, ...]:
        """The names of all studies."""
        return self._read(reading.study_names)

    def study(self, name: str) -> StudyRecord:
        """The study of that name, as it was put in."""
        return self._read(lambda connection: reading.find_study(connection, name))

    # Workers

    def claim(self, study: str, worker: str, *, exclusive: bool, lease_s: float) -> Claim | None:
        """Take the longest of the jobs whose needs are done; `None` if there is none.

        Args:
            study: name.
            worker: name of the worker that takes it.
            exclusive: whether to take a job that must be alone on its host, or another one.
            lease_s: how long the worker holds the job without a heartbeat.
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
        """Store a result and mark its job as done, in one transaction.

        Args:
            claim: the worker's hold on the job.
            outcome: the result.
            host: facts of the host as plain JSON, with its `id`.
            seconds: how long the job took.

        Returns:
            False if the lease was lost; then nothing was stored.

        Raises:
            StoreError: also if the outcome cannot be stored, as it is not plain JSON or numbers.
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
        """Record a failure; with `retry` a job gets three attempts. False if the lease was lost."""
        text = clean(error)
        return self._write(lambda connection: claims.fail(connection, claim, text, transient=retry))

    def give_back(self, claim: Claim) -> bool:
        """Undo a claim, so that the job is as it was before. False if the lease was lost."""
        return self._write(lambda connection: claims.give_back(connection, claim))

    def release_worker(self, worker: str, error: str | None = None) -> int:
        """Free the jobs of a worker that has ended, and return how many there were.

        Args:
            worker: its name.
            error: how the worker ended, if its job may be the cause; it counts as a failure.
        """
        text = None if error is None else clean(error)
        return self._write(
            lambda connection: claims.release(connection, _jobs.c.worker == worker, text)
        )

    def release_expired(self) -> int:
        """Free the jobs whose leases have expired, and return how many there were."""
        expired = _jobs.c.lease_until_s < NOW
        return self._write(lambda connection: claims.release(connection, expired))

    def retry_failed(self, study: str, *, transient_only: bool = False) -> int:
        """Make failed jobs pending again, all of them or only those with a transient failure."""
        return self._write(
            lambda connection: claims.retry(connection, study, transient_only=transient_only)
        )

    def reopen(self, job_ids: Sequence[str]) -> None:
        """Make finished jobs and all that need them pending again; their results are removed."""
        self._write(lambda connection: claims.reopen(connection, job_ids))

    def running_workers(self) -> tuple[str, ...]:
        """The workers that hold jobs of any study."""
        return self._read(reading.running_workers)

    # Reading

    def counts(self, study: str) -> Counts:
        """How many jobs of a study are in each state."""
        return self.status(study).counts

    def status(self, study: str) -> Status:
        """How far a study is: counts, sums of estimates, running jobs."""
        return self._read(lambda connection: reading.status(connection, study))

    def job(self, job_id: str) -> Job:
        """The job of that id."""
        return self._read(lambda connection: reading.find_job(connection, job_id))

    def result(self, job_id: str) -> StoredResult:
        """What a job found.

        Raises:
            StoreError: if the job is not done.
        """
        return self._read(lambda connection: reading.result(connection, job_id))

    def results(
        self, study: str, kinds: Sequence[str] | None = None, *, arrays: bool = True
    ) -> list[StoredRow]:
        """Finished jobs in the study's order, once for each label; `kinds` limits them."""
        return self._read(
            lambda connection: reading.results(connection, study, kinds, arrays=arrays)
        )

    def still_needed(self, study: str) -> dict[str, dict[str, Any]]:
        """The contents of results that unfinished jobs of a study need, by the job's id."""
        return self._read(lambda connection: reading.still_needed(connection, study))

    def failures(self, study: str) -> list[Failure]:
        """Jobs that failed for good, in the study's order, once for each label."""
        return self._read(lambda connection: reading.failures(connection, study))

    def hosts(self) -> dict[str, dict[str, Any]]:
        """The facts of each host by its id."""
        return self._read(reading.hosts)
