"""Cheap jobs with known results for tests of execution; they keep a trace of what ran when."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from squeezerl.errors import SqueezeRLError
from squeezerl.jobs.context import Interrupted, JobContext
from squeezerl.jobs.job import Job, Outcome
from squeezerl.jobs.kinds import register_kind

CHEAP = register_kind("cheap", version=1, run="cheap_jobs:run_cheap")


def cheap_job(
    number: int,
    needs: tuple[Job, ...] = (),
    *,
    trace: Path | None = None,
    seconds: float = 0.0,
    exclusive: bool = False,
    fault: str | None = None,
    estimate_s: float | None = None,
) -> Job:
    """A job whose value is its number plus the values of the jobs that it needs."""
    return CHEAP.job(
        {
            "number": number,
            "seconds": seconds,
            "trace": None if trace is None else str(trace),
            "fault": fault,
        },
        needs=tuple(job.id for job in needs),
        exclusive=exclusive,
        estimate_s=estimate_s,
    )


def run_cheap(job: Job, context: JobContext) -> Outcome:
    params = job.params
    _note(job, "start")
    try:
        value = params["number"] + sum(
            context.store.result(need).content["value"] for need in job.needs
        )
        _fault(job, context)
        end = time.monotonic() + params["seconds"]
        while (left := end - time.monotonic()) > 0:
            context.on_progress(1 - left / params["seconds"])
            time.sleep(min(left, 0.01))
    finally:
        _note(job, "end")
    content = {"value": {value} if params["fault"] == "not-json" else value}
    return Outcome(content=content, arrays=arrays_of(job))


def arrays_of(job: Job) -> dict[str, np.ndarray]:
    """The arrays that the job must leave."""
    rng = np.random.default_rng(job.params["number"])
    return {"file": rng.random(50), "lengths": rng.integers(0, 9, (3, 2))}


def _fault(job: Job, context: JobContext) -> None:
    match job.params["fault"]:
        case None | "not-json":
            return
        case "bug":
            raise ZeroDivisionError("a bug")
        case "refusal":
            raise SqueezeRLError("cannot be done")
        case "os":
            raise OSError("the disk is away")
        case "os-twice":
            seen = Path(job.params["trace"]) / "seen"
            seen.mkdir(exist_ok=True)
            (seen / uuid.uuid4().hex).touch()
            if len(list(seen.iterdir())) <= 2:
                raise OSError("the disk is away")
        case "die":
            os.kill(os.getpid(), 9)
        case "exit":
            sys.stdout.write("last words")
            sys.stdout.flush()
            os._exit(7)
        case "until-lost":
            if len(_starts(job)) == 1:
                while not context.should_stop():
                    time.sleep(0.01)
        case "orphan":
            _leave_an_orphan(Path(job.params["trace"]) / "orphan")
        case "until-stopped":
            while not context.should_stop():
                time.sleep(0.01)
            raise Interrupted


def _leave_an_orphan(path: Path) -> None:
    """The first time, start a process and wait to be killed; the second time, do nothing."""
    if path.exists():
        return
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    path.write_text(str(process.pid), encoding="utf-8")
    process.wait()


def _starts(job: Job) -> list[dict[str, Any]]:
    lines = (Path(job.params["trace"]) / "trace.jsonl").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in lines]
    return [e for e in events if (e["job"], e["event"]) == (job.id, "start")]


def _note(job: Job, event: str) -> None:
    """Append one whole line."""
    if job.params["trace"] is None:
        return
    line = {"job": job.id, "event": event, "at": time.monotonic(), "pid": os.getpid()}
    with (Path(job.params["trace"]) / "trace.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
