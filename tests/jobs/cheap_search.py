"""A search whose next jobs depend on results: three rounds, then a job that needs all others."""

from __future__ import annotations

import os
from pathlib import Path

from cheap_jobs import cheap_job

from squeezerl.jobs.store import Store

STUDY, ROUNDS, WIDTH = "search", 3, 4
TRACE = "SEARCH_TRACE"  # environment variable with the folder of the trace


def plan_more(store: Store) -> None:
    """Put the next round in once the last is done: it starts from the best value so far."""
    trace = os.environ.get(TRACE)
    folder = None if trace is None else Path(trace)
    rows = store.results(STUDY)
    for number in range(ROUNDS):
        done = [row for row in rows if row.label["round"] == number]
        if not done:
            best = max((row.content["value"] for row in rows), default=0)
            jobs = [
                cheap_job(10 * best + n, trace=folder, seconds=0.2) for n in range(1, WIDTH + 1)
            ]
            store.add_jobs(STUDY, [(job, {"round": number}) for job in jobs])
            return
        if len(done) < WIDTH:
            return
    last = cheap_job(1, tuple(row.job for row in rows if row.label["round"] < ROUNDS))
    store.add_jobs(STUDY, [(last, {"round": ROUNDS})])


def expected_value() -> int:
    """The value of the last job."""
    best, total = 0, 1
    for _ in range(ROUNDS):
        values = [10 * best + n for n in range(1, WIDTH + 1)]
        best, total = max(values), total + sum(values)
    return total
