"""`train`: train an agent from nothing; a training that was interrupted goes on."""

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

from squeezerl.artifacts.output import write_file
from squeezerl.artifacts.read import read_artifact
from squeezerl.errors import CheckpointError, StudyError
from squeezerl.jobs.context import Interrupted, JobContext
from squeezerl.jobs.job import Job, Outcome
from squeezerl.methods.specs import QuantizationAwareTraining, spec_from_json
from squeezerl.pipeline.kinds import sizes
from squeezerl.pipeline.place import Place
from squeezerl.runtimes.sb3_predictor import import_contrib, import_sb3

_FOLDER, _SECONDS, _LOCK = "agent", "seconds.json", "lock"
_NOTE_SECONDS = 5.0
_POLL_SECONDS = 0.5


def train(job: Job, context: JobContext) -> Outcome:
    """Train in `scratch/<id>/agent`, and put the agent to the location.

    Raises:
        Interrupted: if the job was asked to stop; its checkpoint stays in scratch.
        SqueezeRLError: if the training cannot be done as it was planned.
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
            # A crash of the machine has damaged the checkpoints: start again.
            shutil.rmtree(scratch / _FOLDER)
            return _train(job, context, scratch)


def _train(job: Job, context: JobContext, scratch: Path) -> Outcome:
    from squeezerl.training.result import TrainingProgress
    from squeezerl.training.train import train as run

    settings = _settings(job, context)
    folder = scratch / _FOLDER
    clock = _Clock(scratch / _SECONDS)

    def progress(now: TrainingProgress) -> None:
        clock.note()
        context.on_progress(now.steps / now.total_steps)

    result = run(
        settings, folder, resume=True, on_progress=progress, should_stop=context.should_stop
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


def _settings(job: Job, context: JobContext) -> Any:
    """The training that the job's parameters describe."""
    from squeezerl.training.algorithms import find_algorithm
    from squeezerl.training.hyperparameters.read import read_settings
    from squeezerl.training.qat import QatSettings
    from squeezerl.training.settings import TrainingSettings
    from squeezerl.training.tickets import TicketSettings

    params = job.params
    qat = ticket = None
    if params["qat"] is not None:
        spec = spec_from_json(dict(params["qat"]["spec"]))
        if not isinstance(spec, QuantizationAwareTraining):
            raise StudyError(f"a training for {spec.kind} is not possible")
        qat = QatSettings(spec=spec, warmup=params["qat"]["warmup"], critic=params["qat"]["critic"])
    if params["ticket"] is not None:
        given = params["ticket"]
        original = context.fetch(given["of"])
        ticket = TicketSettings(of=str(original), choice=given["norm"], ratio=given["ratio"])
    return TrainingSettings(
        algorithm=find_algorithm(params["algorithm"]),
        environment=Place.of(params).find(),
        hyperparameters=read_settings(params["algorithm"], params["hyperparameters"]),
        steps=params["steps"],
        seed=params["seed"],
        qat=qat,
        ticket=ticket,
        # Several trainings run side by side, and a GPU gives other numbers than a CPU.
        device="cpu",
        threads=1,
        evaluations=params["evaluations"],
        eval_episodes=params["eval_episodes"],
    )


class _Clock:
    """Counts the seconds of a training across interruptions; a file keeps them."""

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
    """Wait for a worker that has lost this job and not noticed yet; when it ends, so does its lock.

    Raises:
        Interrupted: if the job was asked to stop while it waited.
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
        # The other worker may have removed the folder.
        path.parent.mkdir(exist_ok=True)
        yield
