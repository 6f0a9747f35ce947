"""Studies: how much time a job takes beside its work, and how fast a large store answers.

    python benchmarks/study_overhead.py
    python benchmarks/study_overhead.py --store postgresql://user@host/database
    python benchmarks/study_overhead.py --server    # starts a PostgreSQL server of its own

First, local workers do jobs that do nothing: the seconds include the start of the workers. They are
reported per job, and per job of each worker (workers x seconds / jobs); the goal for the latter is
at most 20 ms. Then a study has many finished jobs, each with the arrays of 100 episodes: seconds
until its status and its results are read, as medians of a few; the goal is under 2 s each. The
database must be empty.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import sqlalchemy as sa

from squeezerl.host.facts import host_facts
from squeezerl.jobs import schema
from squeezerl.jobs.context import JobContext
from squeezerl.jobs.database import make_engine, parse_url
from squeezerl.jobs.encode import pack
from squeezerl.jobs.execute import execute
from squeezerl.jobs.job import Job, Outcome
from squeezerl.jobs.kinds import register_kind
from squeezerl.jobs.location import Location
from squeezerl.jobs.store import Store
from squeezerl.records import to_json

_REPEATS = 5
_GOAL_MS, _GOAL_S = 20.0, 2.0
register_kind("nothing", version=1, run="study_overhead:nothing")


def nothing(job: Job, context: JobContext) -> Outcome:
    """A job that does nothing."""
    return Outcome(content={"number": job.params["number"]})


def _jobs(kind: str, count: int) -> list[tuple[Job, dict[str, Any]]]:
    label = {"role": "evaluate", "agent": "ppo-Hopper-v4", "algorithm": "ppo", "method": "l1"}
    return [
        (Job(kind=kind, params={"number": n}, estimate_s=0.01), {**label, "train_seed": n})
        for n in range(count)
    ]


def measure_overhead(url: str, folder: Path, jobs: int, workers: int) -> dict[str, Any]:
    """Time jobs that do nothing, done by local workers."""
    with Store.open(url) as store:
        start = time.perf_counter()
        store.put_study("nothing", {}, _jobs("nothing", jobs))
        put_s = time.perf_counter() - start
    start = time.perf_counter()
    counts = execute(
        url,
        "nothing",
        location=Location(str(folder / "artifacts")),
        workers=workers,
        scratch=folder / "scratch",
    )
    seconds = time.perf_counter() - start
    assert counts.done == jobs
    of_a_worker = 1e3 * seconds * workers / jobs
    return {
        "jobs": jobs,
        "workers": workers,
        "put_s": put_s,
        "seconds": seconds,
        "ms_per_job": 1e3 * seconds / jobs,
        "worker_ms_per_job": of_a_worker,
        "goal_ms": _GOAL_MS,
        "reached": of_a_worker <= _GOAL_MS,
    }


def measure_reading(url: str, jobs: int) -> dict[str, Any]:
    """Time reading the status and the results of a finished study."""
    with Store.open(url) as store:
        store.put_study("many", {}, _jobs("finished", jobs))
    _finish_all(url)
    with Store.open(url) as store:
        status_s = _median_s(lambda: store.status("many"))
        results_s = _median_s(lambda: store.results("many", arrays=False))
        arrays_s = _median_s(lambda: store.results("many"), 1)
        assert store.counts("many").done == len(store.results("many", arrays=False)) == jobs
    return {
        "jobs": jobs,
        "status_s": status_s,
        "results_s": results_s,
        "results_with_arrays_s": arrays_s,
        "goal_s": _GOAL_S,
        "reached": max(status_s, results_s) < _GOAL_S,
    }


def _median_s(action: Callable[[], object], repeats: int = _REPEATS) -> float:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return median(seconds)


def _finish_all(url: str) -> None:
    """Fill the tables as workers would, all at once."""
    rng = np.random.default_rng(0)
    blob = pack(
        {
            "seeds": np.arange(100),
            "returns": rng.normal(3000, 500, 100),
            "lengths": rng.integers(500, 1001, 100),
        }
    )
    content = {
        "mean_return": 3012.25,
        "ci95": [2911.5, 3109.75],
        "episodes": 100,
        "steps": 75_123,
        "seconds": 4.2,
        "backend": "envpool",
    }
    engine = make_engine(parse_url(url))
    jobs = schema.jobs.c
    with engine.execution_options(writes=True).begin() as connection:
        which = jobs.kind == "finished"
        ids = connection.execute(sa.select(jobs.id).where(which)).scalars().all()
        host = sa.insert(schema.hosts).values(id="made", facts="{}")
        connection.execute(host)
        result = {"content": json.dumps(content), "host_id": "made", "seconds": 4.2}
        connection.execute(
            sa.insert(schema.results),
            [{"job_id": id_, "finished_s": 0.0, **result} for id_ in ids],
        )
        connection.execute(sa.insert(schema.arrays), [{"job_id": id_, "data": blob} for id_ in ids])
        connection.execute(sa.delete(schema.ready))
        done = sa.update(schema.jobs).where(which).values(state="done", seconds=4.2)
        connection.execute(done)
    engine.dispose()


@contextmanager
def _server() -> Iterator[str]:
    """The tests' PostgreSQL server, with default settings and on a socket."""
    sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
    tests: Any = importlib.import_module("postgresql_server")
    binaries = tests.find_binaries()
    if binaries is None:
        sys.exit(tests.ABSENT)
    with tests.running_server(binaries, settings="-c listen_addresses=''") as server:
        yield server.create_database()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", help="URL of an empty database; unless given, SQLite")
    parser.add_argument("--server", action="store_true", help="start a PostgreSQL server for it")
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--finished", type=int, default=100_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        url = given.store or f"sqlite:///{folder}/store.db"
        if given.server:
            url = stack.enter_context(_server())
        overhead = measure_overhead(url, folder, given.jobs, given.workers)
        print(overhead, file=sys.stderr)
        reading = measure_reading(url, given.finished)
    found = {
        "store": parse_url(url).get_backend_name(),
        "overhead": overhead,
        "reading": reading,
        "host": to_json(host_facts()),
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
