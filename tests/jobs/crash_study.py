"""A study of cheap jobs that is killed while it runs, and what must be true of it afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import psutil
import sqlalchemy as sa
from cheap_jobs import arrays_of, cheap_job

from squeezerl.jobs import schema
from squeezerl.jobs.database import make_engine, parse_url
from squeezerl.jobs.job import Job
from squeezerl.jobs.store import Store

COMMAND = Path(__file__).with_name("cheap_command.py")


def make_study(folder: Path, first: int, rng: Random) -> list[Job]:
    """Some 60 jobs in three layers, a few of which must be alone."""
    base = [cheap_job(first + n, trace=folder, seconds=rng.uniform(0.0, 0.1)) for n in range(35)]
    middle = [
        cheap_job(
            first + 100 + n,
            tuple(rng.sample(base, 3)),
            trace=folder,
            seconds=rng.uniform(0.0, 0.1),
            exclusive=n % 5 == 0,
        )
        for n in range(20)
    ]
    top = [cheap_job(first + 200 + n, tuple(rng.sample(middle, 4)), trace=folder) for n in range(5)]
    return [*top, *middle, *base]


class Command:
    """The study's command, run until it ends or is killed."""

    def __init__(
        self, url: str, study: str, folder: Path, executor: str = "local", *, workers: int = 2
    ) -> None:
        how = (url, study, str(folder), executor, str(workers))
        self._arguments = [sys.executable, str(COMMAND), *how]
        self._folder = folder
        self._output = folder / "output"
        # Locks of its own: other tests have jobs that must be alone as well.
        self._environment = {**os.environ, "TMPDIR": str(folder)}
        # Just before and after, and which process; None for all.
        self.killed: list[tuple[float, float, int | None]] = []
        self.starts = 0
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        self.starts += 1
        with self._output.open("ab") as output:
            return subprocess.Popen(
                self._arguments, stdout=output, stderr=output, env=self._environment
            )

    def again(self) -> None:
        self.process = self._start()

    def output(self) -> str:
        return self._output.read_text(encoding="utf-8")[-3000:]

    def workers(self) -> list[psutil.Process]:
        try:
            children = psutil.Process(self.process.pid).children()
            return [child for child in children if child.status() != psutil.STATUS_ZOMBIE]
        except psutil.NoSuchProcess:
            return []

    def kill_worker(self, rng: Random | None = None) -> bool:
        """Kill a worker, one that is at a job if there is one."""
        workers = self.busy() or self.workers()
        if not workers:
            return False
        chosen = (rng or Random(0)).choice(workers)
        before = time.monotonic()
        chosen.kill()
        self.note_kill(before, chosen.pid)
        return True

    def note_kill(self, before: float, pid: int | None) -> None:
        """Of a process, or of all; it takes the kernel a moment."""
        self.killed.append((before, time.monotonic() + 0.02, pid))

    def busy(self) -> list[psutil.Process]:
        """Workers that are at a job."""
        running: set[int] = set()
        for event in read_trace(self._folder):
            (running.add if event["event"] == "start" else running.discard)(event["pid"])
        return [worker for worker in self.workers() if worker.pid in running]

    def wait_until_busy(self) -> None:
        """Or until it has ended."""
        deadline = time.monotonic() + 20
        while self.process.poll() is None and not self.busy() and time.monotonic() < deadline:
            time.sleep(0.02)

    def kill_coordinator(self) -> bool:
        workers = self.workers()
        before = time.monotonic()
        self.process.kill()
        killed = self.process.wait() == -signal.SIGKILL
        _, alive = psutil.wait_procs(workers, timeout=10)
        self.note_kill(before, None)
        assert not alive, "workers outlived their coordinator"
        return killed


def read_trace(folder: Path) -> list[dict[str, Any]]:
    """What the jobs noted."""
    path = folder / "trace.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def check(url: str, study: str, folder: Path, jobs: list[Job], command: Command) -> int:
    """Nothing is lost, doubled or half-written; order and exclusion were kept.

    Returns:
        How many times a job was cut off in its midst.
    """
    with Store.open(url) as store:
        counts = store.counts(study)
        assert (counts.done, counts.total) == (len(jobs), len(jobs))
        rows = store.results(study)
        assert Counter(row.job.id for row in rows) == Counter(job.id for job in jobs)
        values = {row.job.id: row.content["value"] for row in rows}
        for row in rows:
            below = sum(values[need] for need in row.job.needs)
            assert row.content["value"] == row.job.params["number"] + below
            expected = arrays_of(row.job)
            assert row.arrays.keys() == expected.keys()
            for name, array in expected.items():
                np.testing.assert_array_equal(row.arrays[name], array)
    _check_tables(url)
    return _check_trace(folder, jobs, command)


def _check_tables(url: str) -> None:
    engine = make_engine(parse_url(url))
    count = sa.func.count()
    with engine.connect() as connection:
        jobs = connection.execute(sa.select(count).select_from(schema.jobs)).scalar()
        for table in (schema.results, schema.arrays):
            assert connection.execute(sa.select(count).select_from(table)).scalar() == jobs
        assert connection.execute(sa.select(count).select_from(schema.ready)).scalar() == 0
        left = sa.select(count).where(schema.jobs.c.open_needs != 0)
        assert connection.execute(left).scalar() == 0
        if engine.dialect.name == "sqlite":
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
            assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
    engine.dispose()


def _check_trace(folder: Path, jobs: list[Job], command: Command) -> int:
    events = read_trace(folder)
    ends: dict[str, list[float]] = defaultdict(list)
    spans = _spans(events, command)
    for span in spans:
        if span["ended"]:
            ends[span["job"]].append(span["end"])
    by_id = {job.id: job for job in jobs}
    for span in spans:
        for need in by_id[span["job"]].needs:
            assert min(ends[need]) <= span["start"], "a job ran before what it needs"
    alone = [span for span in spans if by_id[span["job"]].exclusive]
    assert alone
    for span in alone:
        for other in spans:
            if other is not span:
                assert other["end"] <= span["start"] or span["end"] <= other["start"]
    return sum(not span["ended"] for span in spans)


def _spans(events: list[dict[str, Any]], command: Command) -> list[dict[str, Any]]:
    """From start to end, or to where the process was killed."""
    spans: list[dict[str, Any]] = []
    running: dict[int, dict[str, Any]] = {}
    for event in sorted(events, key=lambda event: event["at"]):
        if event["event"] == "start":
            start, pid = event["at"], event["pid"]
            # A job may start between the decision to kill its worker and the death.
            kills = [
                before
                for before, after, who in command.killed
                if who in (None, pid) and after > start
            ]
            end = max(start, min(kills, default=start))
            span = {"job": event["job"], "start": start, "end": end, "ended": False}
            running[pid] = span
            spans.append(span)
        else:
            span = running.pop(event["pid"])
            assert span["job"] == event["job"]
            span.update(end=event["at"], ended=True)
    return spans
