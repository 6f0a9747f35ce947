"""`train`: an agent from nothing into a folder; one that was interrupted goes on."""

from __future__ import annotations

import fcntl
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from squeezerl.artifacts.artifact import read_artifact
from squeezerl.artifacts.output import write_file
from squeezerl.errors import CheckpointError, StudyError
from squeezerl.jobs.context import Interrupted, JobContext
from squeezerl.jobs.job import Job, Outcome
from squeezerl.methods.base import spec_from_json
from squeezerl.methods.trained_int8 import QuantizationAwareTraining
from squeezerl.pipeline.kinds import sizes
from squeezerl.pipeline.place import Place
from squeezerl.runtimes.sb3_predictor import import_contrib, import_sb3
from squeezerl.training.config import QatConfig, TicketConfig, TrainConfig
from squeezerl.training.result import TrainingProgress
from squeezerl.training.train import train as run

_FOLDER, _SECONDS, _LOCK = "agent", "seconds.json", "lock"
_NOTE_SECONDS = 5.0
_POLL_SECONDS = 0.5


def train(job: Job, context: JobContext) -> Outcome:
    """Train in `scratch/<id>/agent`, and put what comes out to the location.

    Raises:
        Interrupted: if it was asked to stop; the checkpoint stays in scratch.
        SqueezeRLError: if the training cannot be made as it was planned.
    """
    import_sb3()
    import_contrib()
    scratch = context.scratch / job.id
    scratch.mkdir(parents=True, exist_ok=True)
    with _alone(scratch / _LOCK, context):
        try:
            return _train(job, context, scratch)
        except CheckpointError:
            if not (scratch / _FOLDER / "checkpoints").exists():
                raise
            # What a crash of the machine left is worth less than a training from the start.
            shutil.rmtree(scratch / _FOLDER)
            return _train(job, context, scratch)


def _train(job: Job, context: JobContext, scratch: Path) -> Outcome:
    config = _config(job, context)
    folder = scratch / _FOLDER
    clock = _Clock(scratch / _SECONDS)

    def progress(now: TrainingProgress) -> None:
        clock.note()
        context.on_progress(now.steps / now.total_steps)

    result = run(
        config, output=folder, resume=True, on_progress=progress, should_stop=context.should_stop
    )
    seconds = clock.note(at_once=True)
    if not result.complete:
        raise Interrupted
    with np.load(folder / "evaluations.npz", allow_pickle=False) as file:
        curve = {"timesteps": file["timesteps"], "evaluations": file["results"]}
    content: dict[str, Any] = {
        "steps": result.steps,
        "seconds": seconds,
        "best_return": result.best_return,
        "mean_return": result.evaluation.mean_return if result.evaluation else None,
        "int8": None,
    }
    if result.artifact is not None:
        content["int8"] = sizes(read_artifact(result.artifact).manifest.size)
    stored = context.location.put(folder)
    content |= {"artifact": stored.name, "stored_bytes": stored.bytes}
    return Outcome(content=content, arrays=curve)


def _config(job: Job, context: JobContext) -> TrainConfig:
    """The training that the job's parameters describe."""
    params = job.params
    qat = ticket = None
    if params["qat"] is not None:
        spec = spec_from_json(dict(params["qat"]["spec"]))
        if not isinstance(spec, QuantizationAwareTraining):
            raise StudyError(f"a training for {spec.kind} is not possible")
        qat = QatConfig(spec=spec, warmup=params["qat"]["warmup"], critic=params["qat"]["critic"])
    if params["ticket"] is not None:
        given = params["ticket"]
        original = context.fetch(given["of"])
        ticket = TicketConfig(of=original, choice=given["norm"], ratio=given["ratio"])
    place = Place.of(params)
    return TrainConfig(
        algorithm=params["algorithm"],
        env=place.env_id,
        env_kwargs=place.env_kwargs,
        backend=place.backend,
        hyperparameters=params["hyperparameters"],
        steps=params["steps"],
        seed=params["seed"],
        qat=qat,
        ticket=ticket,
        # Several trainings run side by side, and a GPU computes other numbers than a processor.
        device="cpu",
        threads=1,
        evaluations=params["evaluations"],
        eval_episodes=params["eval_episodes"],
    )


class _Clock:
    """Seconds of a training over all its interruptions, noted in a file now and then."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._before = 0.0
        if path.is_file():
            self._before = float(json.loads(path.read_text(encoding="utf-8")))
        self._start = self._noted = time.perf_counter()

    def note(self, *, at_once: bool = False) -> float:
        now = time.perf_counter()
        total = self._before + now - self._start
        if at_once or now - self._noted >= _NOTE_SECONDS:
            self._noted = now
            write_file(self._path, json.dumps(total).encode())
        return total


@contextmanager
def _alone(path: Path, context: JobContext) -> Iterator[None]:
    """Wait for a worker that lost this job and has not noticed yet; its death ends its lock.

    Raises:
        Interrupted: if it was asked to stop while it waited.
    """
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if context.should_stop():
                    raise Interrupted from None
                time.sleep(_POLL_SECONDS)
        # The one that held it may have taken the folder away.
        path.parent.mkdir(exist_ok=True)
        yield
