"""Jobs for tests of execution: cheap, with results that are known, and a trace of what ran when."""

from __future__ import annotations

import json
import os
import time
import uuid
from pathlib import Path

import numpy as np

from squeezerl.errors import SqueezeRLError
from squeezerl.store.job import Job, Outcome
from squeezerl.studies.context import Interrupted, JobContext


def cheap_job(
    number: int,
    needs: tuple[Job, ...] = (),
    *,
    trace: Path | None = None,
    seconds: float = 0.0,
    exclusive: bool = False,
    fault: str | None = None,
) -> Job:
    """A job whose value is its number and the sum of those that it needs."""
    return Job(
        kind="exclusive" if exclusive else "cheap",
        params={
            "number": number,
            "seconds": seconds,
            "trace": None if trace is None else str(trace),
            "fault": fault,
        },
        needs=tuple(job.id for job in needs),
        exclusive=exclusive,
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
    return Outcome(content={"value": value}, arrays=arrays_of(job))


def arrays_of(job: Job) -> dict[str, np.ndarray]:
    """What the job must leave."""
    rng = np.random.default_rng(job.params["number"])
    return {"file": rng.random(50), "lengths": rng.integers(0, 9, (3, 2))}


def _fault(job: Job, context: JobContext) -> None:
    match job.params["fault"]:
        case None:
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
            os._exit(7)
        case "not-json":
            raise_not = {1, 2}
            _return_not_json(raise_not)
        case "until-stopped":
            while not context.should_stop():
                time.sleep(0.01)
            raise Interrupted


def _return_not_json(value: set[int]) -> None:
    raise TypeError(f"{value}")


def _note(job: Job, event: str) -> None:
    """One line, appended whole."""
    if job.params["trace"] is None:
        return
    line = {"job": job.id, "event": event, "at": time.monotonic(), "pid": os.getpid()}
    with (Path(job.params["trace"]) / "trace.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
