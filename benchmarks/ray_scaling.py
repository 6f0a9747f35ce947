"""Throughput of evaluation jobs with one Ray worker and with two, on one machine.

    python benchmarks/ray_scaling.py

The jobs are those of a study: episodes of the bundled agent's float artifact, one core per
worker. Each round runs both settings in turn, each in a Ray of its own. The throughput counts the
time in which all workers are at work: from when the last of them has finished its first job, before
which it loads its libraries, to when the first of them has finished its last. The goal is at least
1.8 times the throughput, on two cores that have nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any, Literal

import sqlalchemy as sa

from squeezerl.agents.load import load_agent
from squeezerl.host.facts import host_facts
from squeezerl.jobs import schema
from squeezerl.jobs.database import make_engine, parse_url
from squeezerl.jobs.execute import execute
from squeezerl.jobs.job import Job, Outcome
from squeezerl.jobs.location import Location
from squeezerl.jobs.store import Store
from squeezerl.pipeline.kinds import EVALUATE
from squeezerl.pipeline.make import make_artifact
from squeezerl.pipeline.place import Place
from squeezerl.records import to_json

_ENV_ID = "HalfCheetah-v5"
_GOAL = 1.8


def measure(
    folder: Path, workers: int, jobs: int, episodes: int, executor: Literal["local", "ray"]
) -> dict[str, float]:
    """Jobs per second, and environment steps per second."""
    url = f"sqlite:///{folder}/store.db"
    location = Location(str(folder / "artifacts"))
    make_artifact(load_agent("demo")).save(folder / "artifact")
    artifact = Job(kind="benchmark")
    played = [_job(artifact.id, number, episodes) for number in range(jobs)]
    with Store.open(url) as store:
        store.put_study("scaling", {}, [(job, {}) for job in (artifact, *played)])
        claim = store.claim("scaling", "benchmark", exclusive=False, lease_s=60)
        assert claim is not None
        stored = location.put(folder / "artifact")
        store.finish(claim, Outcome(content={"artifact": stored.name}), {"id": "benchmark"}, 0)
    counts = execute(
        url,
        "scaling",
        location=location,
        workers=workers,
        threads=1,
        executor=executor,
        scratch=folder / "scratch",
    )
    assert counts.done == 1 + jobs
    with Store.open(url) as store:
        steps = sum(row.content["steps"] for row in store.results("scaling", ("evaluate",)))
    rate = _rate(url, workers)
    return {"jobs_per_s": rate, "steps_per_s": rate * steps / jobs}


def _job(artifact: str, number: int, episodes: int) -> Job:
    place = Place(env_id=_ENV_ID)
    return EVALUATE.job(
        {
            "policy": {"job": artifact, "folder": ""},
            **place.found(place.find()).params,
            "episodes": episodes,
            "seed": number * episodes,
        },
        needs=(artifact,),
    )


def _rate(url: str, workers: int) -> float:
    """Jobs per second while all workers are at work."""
    jobs, results = schema.jobs.c, schema.results.c
    found = sa.select(jobs.worker, results.finished_s).where(
        jobs.id == results.job_id, jobs.kind == "evaluate"
    )
    engine = make_engine(parse_url(url))
    finished: dict[str, list[float]] = defaultdict(list)
    with engine.connect() as connection:
        for worker, at in connection.execute(found):
            finished[worker].append(at)
    engine.dispose()
    assert len(finished) == workers, "a worker had nothing to do; more jobs are needed"
    first = max(min(times) for times in finished.values())
    last = min(max(times) for times in finished.values())
    return sum(first < at <= last for times in finished.values() for at in times) / (last - first)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=20, help="for each worker")
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--executor", choices=("local", "ray"), default="ray")
    given = parser.parse_args()
    rounds: list[dict[str, Any]] = []
    for _ in range(given.rounds):
        rates = {}
        for workers in (1, 2):
            with tempfile.TemporaryDirectory() as name:
                jobs = given.jobs * workers
                found = measure(Path(name), workers, jobs, given.episodes, given.executor)
            rates[workers] = found
        ratio = rates[2]["jobs_per_s"] / rates[1]["jobs_per_s"]
        rounds.append({"one": rates[1], "two": rates[2], "ratio": ratio})
        print(rounds[-1], file=sys.stderr)
    ratio = median(r["ratio"] for r in rounds)
    found_all = {
        "executor": given.executor,
        "env_id": _ENV_ID,
        "episodes_per_job": given.episodes,
        "ratio": ratio,
        "goal": _GOAL,
        "reached": ratio >= _GOAL,
        "rounds": rounds,
        "host": to_json(host_facts()),
    }
    print(json.dumps(found_all, indent=2))


if __name__ == "__main__":
    main()
