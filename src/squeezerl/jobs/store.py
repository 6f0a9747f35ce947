"""The store: which jobs were planned, who works on them, and what they found."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar, final

import sqlalchemy as sa

from squeezerl.jobs import claims, planning, reading
from squeezerl.jobs.database import PATIENCE_S, make_engine, make_tables, parse_url, patiently
from squeezerl.jobs.encode import clean, pack, to_text
from squeezerl.jobs.job import Claim, Counts, Job, Label, Outcome
from squeezerl.jobs.schema import NOW
from squeezerl.jobs.schema import jobs as _jobs

P = ParamSpec("P")
T = TypeVar("T")
Query = Callable[Concatenate[sa.Connection, P], T]
Method = Callable[Concatenate["Store", P], T]


def _reads(query: Query[P, T]) -> Method[P, T]:
    """The method that runs a query in a transaction of its own."""

    @functools.wraps(query)
    def method(self: Store, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._patiently(self._engine, lambda connection: query(connection, *args, **kwargs))

    return method


def _writes(change: Query[P, T]) -> Method[P, T]:
    """The method that makes a change in a transaction of its own."""

    @functools.wraps(change)
    def method(self: Store, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._write(lambda connection: change(connection, *args, **kwargs))

    return method


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
        """Open a store, and make its tables; several processes may do so at once.

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
            patiently(lambda: make_tables(made, where), patience_s, where)
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

    study_names = _reads(reading.study_names)
    study = _reads(reading.find_study)

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

    heartbeat = _writes(claims.extend)

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

    fail = _writes(claims.fail)
    give_back = _writes(claims.give_back)
    retry_failed = _writes(claims.retry)
    reopen = _writes(claims.reopen)
    running_workers = _reads(reading.running_workers)

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

    # Reading

    status = _reads(reading.status)
    job = _reads(reading.find_job)
    result = _reads(reading.result)
    results = _reads(reading.results)
    still_needed = _reads(reading.still_needed)
    failures = _reads(reading.failures)
    hosts = _reads(reading.hosts)

    def counts(self, study: str) -> Counts:
        """How many jobs of a study are in each state."""
        return self.status(study).counts
