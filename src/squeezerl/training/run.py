"""One training from its start, or from its last checkpoint, to its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.utils import set_random_seed

from squeezerl.evaluation.evaluate import play
from squeezerl.network.network import Network
from squeezerl.runtimes.onnx_runtime import load_network
from squeezerl.training.checkpoint import Checkpoint, remove_checkpoints, restore, save_checkpoint
from squeezerl.training.folder import BEST, TrainingFolder
from squeezerl.training.gradual_pruning import GraduallyPrunedActor
from squeezerl.training.model import check_memory, make_model, network_of
from squeezerl.training.qat import FakeQuantizedActor
from squeezerl.training.resolve import Training
from squeezerl.training.result import (
    EVALUATION_SEED,
    Evaluations,
    Progress,
    TrainingProgress,
    TrainingResult,
)

# Ranges are adapted once per window, which for on-policy algorithms is a rollout. For the others it
# is this many steps, or this share of the steps in which they learn: int8 cannot begin before the
# first window has ended, also in a short training.
_WINDOW_STEPS = 1_000
_WINDOW_SHARE = 0.1
_REPORT_SECONDS = 0.2


def run(
    training: Training,
    output: Path,
    *,
    resume: bool,
    on_progress: Progress,
    should_stop: Callable[[], bool],
) -> TrainingResult:
    """Train into `output`, or go on with the training that it holds; see `train`."""
    with closing(TrainingFolder(output, training)) as folder, _denormals_are_zero():
        return _run(training, folder, resume, on_progress, should_stop)


@contextmanager
def _denormals_are_zero() -> Iterator[None]:
    """Treat numbers below 1e-38 as zero, which are slow and change nothing.

    Adam's moments for a neuron that has become silent shrink for ever. After 47,000 gradient steps
    of PPO on Hopper an eighth of all moments were such numbers, and a step of Adam took 0.21 ms
    instead of 0.15 ms.
    """
    was_on = (torch.tensor(1e-39) * 1.0).item() == 0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(was_on)


def _run(
    training: Training,
    folder: TrainingFolder,
    resume: bool,
    on_progress: Progress,
    should_stop: Callable[[], bool],
) -> TrainingResult:
    check_memory(training)
    checkpoint = folder.prepare(resume=resume)
    start = time.perf_counter()
    if folder.is_complete:
        evaluations = folder.load_evaluations()
        # Complete rollouts can be more than was asked for; the last evaluation was at the end.
        steps = evaluations.steps[-1] if evaluations.steps else training.steps
        return _result(training, folder, evaluations, steps)
    try:
        model = make_model(training, folder.monitor())
        if checkpoint is None:
            folder.note_start(model)
        run = _Run(training, folder, model, on_progress, should_stop)
    except BaseException:
        folder.undo()
        raise
    try:
        with _tracked(training, folder.path, model):
            begun = run.restore(checkpoint) if checkpoint is not None else 0
            try:
                if begun < training.steps:
                    model.learn(
                        training.steps - begun,
                        callback=_Callback(run),
                        tb_log_name=training.algorithm.name,
                        reset_num_timesteps=checkpoint is None,
                    )
            except _Stopped:
                return run.interrupt(begun, time.perf_counter() - start)
            return run.finish(begun, time.perf_counter() - start)
    finally:
        model.env.close()


@contextmanager
def _tracked(training: Training, output: Path, model: Any) -> Iterator[None]:
    """While this lasts, the model logs its curves to the tracker that the config names, if any."""
    track = training.config.track
    if track is None:
        # Otherwise Stable-Baselines3 makes an empty folder in the system's temporary directory.
        model.set_logger(Logger(folder=None, output_formats=[]))
        yield
        return
    model.tensorboard_log = str(output / "tensorboard")
    if track == "tensorboard":
        yield
        return
    import wandb

    tracked: Any = wandb.init(
        project="squeezerl",
        name=f"{training.algorithm.name}-{training.env_name}-{training.seed}",
        dir=str(output),
        config={
            **training.hyperparameters.raw,
            "algorithm": training.algorithm.name,
            "environment": training.environment.id,
            "steps": training.steps,
            "seed": training.seed,
            "qat": training.config.qat is not None,
        },
        sync_tensorboard=True,
    )
    try:
        yield
    finally:
        tracked.finish()


class _Stopped(Exception):  # noqa: N818 - it is no error
    """The training was asked to stop, and is between two rollouts."""


def _result(
    training: Training,
    folder: TrainingFolder,
    evaluations: Evaluations,
    steps: int,
    *,
    new_steps: int = 0,
    seconds: float = 0.0,
    complete: bool = True,
) -> TrainingResult:
    artifact = None if folder.artifact_name is None else folder.path / folder.artifact_name
    return TrainingResult(
        path=folder.path,
        algorithm=training.algorithm.name,
        env_id=training.environment.id,
        seed=training.seed,
        steps=steps,
        new_steps=new_steps,
        seconds=seconds,
        complete=complete,
        evaluation=evaluations.latest(training.environment),
        best_return=evaluations.best_return,
        artifact=artifact if complete and artifact is not None and artifact.is_dir() else None,
    )


class _Run:
    """A model in training, which decides when it is evaluated, quantized and saved."""

    def __init__(
        self,
        training: Training,
        folder: TrainingFolder,
        model: Any,
        on_progress: Progress,
        should_stop: Callable[[], bool],
    ) -> None:
        self._training, self._folder, self._model = training, folder, model
        self._on_progress, self._should_stop = on_progress, should_stop
        self._qat = (
            None
            if training.config.qat is None
            else FakeQuantizedActor(model, training.algorithm, training.config.qat)
        )
        self._pruned = (
            None
            if training.config.prune is None
            else GraduallyPrunedActor(model, training.algorithm, training.config.prune)
        )
        self._evaluations = Evaluations()
        self._window_end = 0
        learning = training.steps - training.hyperparameters.model.get("learning_starts", 0)
        self._window_steps = min(_WINDOW_STEPS, _WINDOW_SHARE * learning)
        self._checkpoint_time = time.perf_counter()
        self._report_time = 0.0

    def restore(self, checkpoint: Checkpoint) -> int:
        """Go on from a checkpoint; returns the number of steps that it has."""
        qat = restore(checkpoint, self._model)
        if self._qat is not None:
            self._qat.load_state(qat)
        self._evaluations = Evaluations.from_json(checkpoint.notes, checkpoint.path)
        steps = int(self._model.num_timesteps)
        self._window_end = steps
        # New seeds, so that neither exploration nor the environments repeat what they did before.
        set_random_seed((self._training.seed + steps) % 2**31)
        self._model.action_space.seed(self._training.seed + steps)
        self._model.env.seed((self._training.seed + steps) % 2**31)
        return steps

    def between_rollouts(self) -> None:
        """Everything that must not happen in the middle of a rollout.

        Raises:
            _Stopped: if the training was asked to stop.
        """
        steps = int(self._model.num_timesteps)
        if self._qat is not None:
            self._follow_ranges(self._qat, steps)
        if self._pruned is not None:
            self._pruned.follow(steps / self._training.steps)
        if self._evaluation_is_due(steps):
            self._evaluate(steps)
        if time.perf_counter() - self._checkpoint_time >= self._training.config.checkpoint_seconds:
            self._save_checkpoint()
        if self._should_stop():
            raise _Stopped

    def after_step(self) -> None:
        """Report the progress, at most a few times per second."""
        if (now := time.perf_counter()) - self._report_time >= _REPORT_SECONDS:
            self._report_time = now
            episodes = self._model.ep_info_buffer
            self._on_progress(
                TrainingProgress(
                    steps=int(self._model.num_timesteps),
                    total_steps=self._training.steps,
                    mean_return=float(np.mean([e["r"] for e in episodes])) if episodes else None,
                    evaluation=self._evaluations.mean() if self._evaluations.steps else None,
                )
            )

    def interrupt(self, begun: int, seconds: float) -> TrainingResult:
        """Save a checkpoint to go on from."""
        self._save_checkpoint()
        return self._result(begun, seconds, complete=False)

    def finish(self, begun: int, seconds: float) -> TrainingResult:
        """Save the trained agent."""
        steps = int(self._model.num_timesteps)
        if self._qat is not None:
            self._follow_ranges(self._qat, steps, at_end=True)
        if self._pruned is not None:
            self._pruned.follow(1.0)
        if steps not in self._evaluations.steps[-1:]:
            self._evaluate(steps)
        self._save(self._training.env_name)
        remove_checkpoints(self._folder.path)
        return self._result(begun, seconds, complete=True)

    def _result(self, begun: int, seconds: float, *, complete: bool) -> TrainingResult:
        steps = int(self._model.num_timesteps)
        return _result(
            self._training,
            self._folder,
            self._evaluations,
            steps,
            new_steps=steps - begun,
            seconds=seconds,
            complete=complete,
        )

    def _follow_ranges(self, qat: FakeQuantizedActor, steps: int, *, at_end: bool = False) -> None:
        training = self._training
        if training.algorithm.on_policy or at_end or steps - self._window_end >= self._window_steps:
            qat.end_window()
            self._window_end = steps
        assert training.config.qat is not None
        warmup_steps = training.config.qat.warmup * training.steps
        if not qat.is_enabled and qat.is_ready and steps >= warmup_steps:
            qat.enable()

    def _evaluation_is_due(self, steps: int) -> bool:
        """Whether one of the evenly spaced points was passed since the last evaluation."""
        total, count = self._training.steps, self._training.config.evaluations
        done = self._evaluations.steps[-1] if self._evaluations.steps else 0
        return steps * count // total > done * count // total

    def _deployed(self) -> Network:
        network = network_of(self._model, self._training.algorithm)
        return network if self._shaped is None else self._shaped.export(network)

    @property
    def _shaped(self) -> FakeQuantizedActor | GraduallyPrunedActor | None:
        """The actor that makes the artifact, once it computes as the artifact will."""
        if self._qat is not None and self._qat.is_enabled:
            return self._qat
        return self._pruned if self._pruned is not None and self._pruned.is_complete else None

    def _evaluate(self, steps: int) -> None:
        """Evaluate the policy as it would be deployed now."""
        actor = load_network(self._deployed())
        record = play(
            actor,
            self._training.environment,
            episodes=self._training.config.eval_episodes,
            seed=EVALUATION_SEED,
        )
        # In a training for int8, only an int8 policy can be the best, and so with pruning.
        counts = (self._qat is None and self._pruned is None) or self._shaped is not None
        if self._evaluations.add(steps, record, may_be_best=counts):
            self._save(BEST)
        self._folder.save_evaluations(self._evaluations)
        # These are the names that Stable-Baselines3's own evaluations have.
        self._model.logger.record("eval/mean_reward", self._evaluations.mean())
        self._model.logger.record("eval/mean_ep_length", record.steps / len(record.episodes))
        self._model.logger.dump(steps)

    def _save(self, name: str) -> None:
        self._folder.save_model(self._model, name)
        if self._shaped is not None:
            self._folder.save_artifact(self._deployed(), self._shaped.recipe, name)

    def _save_checkpoint(self) -> None:
        save_checkpoint(
            self._folder.path,
            self._model,
            notes=self._evaluations.to_json(),
            qat=None if self._qat is None else self._qat.state(),
        )
        self._checkpoint_time = time.perf_counter()


@final
class _Callback(BaseCallback):  # type: ignore[misc]
    """Calls the run between rollouts and after each step."""

    def __init__(self, run: _Run) -> None:
        super().__init__()
        self._run = run

    def _on_rollout_start(self) -> None:
        self._run.between_rollouts()

    def _on_step(self) -> bool:
        self._run.after_step()
        return True
