"""`train`: an agent from nothing, or from where an interrupted training stood."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import set_random_seed

from squeezerl.evaluation.evaluate import play
from squeezerl.methods.compress import compress
from squeezerl.methods.result import CompressedPolicy
from squeezerl.network.policy import Policy
from squeezerl.runtimes.onnx_actor import OnnxActor
from squeezerl.training.algorithms import check_actions
from squeezerl.training.checkpoint import Checkpoint, remove_checkpoints, restore, save_checkpoint
from squeezerl.training.evaluations import EVALUATION_SEED, Evaluations
from squeezerl.training.folder import BEST, INT8, TrainingFolder
from squeezerl.training.model import check_memory, make_model
from squeezerl.training.policy import network_of
from squeezerl.training.qat import FakeQuantizedActor, check_supports_qat
from squeezerl.training.result import Progress, TrainingProgress, TrainingResult
from squeezerl.training.settings import TrainingSettings
from squeezerl.training.tickets import check_ticket
from squeezerl.training.tracking import check_tracker, tracked

# Off-policy algorithms have no rollout to speak of; this many steps show what inputs are like, or
# this share of the steps in which they learn: int8 needs one such window before it can begin.
_WINDOW_STEPS = 1_000
_WINDOW_SHARE = 0.1
_REPORT_SECONDS = 0.2


def train(
    settings: TrainingSettings,
    output: Path,
    *,
    resume: bool = False,
    on_progress: Progress = lambda progress: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainingResult:
    """Train an agent into an rl-zoo folder at `output`.

    Args:
        settings: what to train.
        output: folder to write; new or empty, unless `resume`.
        resume: go on with the training that `output` holds, from its last checkpoint.
        on_progress: called now and then.
        should_stop: asked between rollouts; if true, a checkpoint is written and the training ends.

    Raises:
        SqueezeRLError: before anything is trained, if the settings cannot be met.
    """
    check_actions(settings.algorithm, settings.environment)
    if settings.qat is not None:
        check_supports_qat(settings.algorithm)
    if settings.ticket is not None:
        check_ticket(settings)
    check_tracker(settings.track)
    with closing(TrainingFolder(output, settings)) as folder, _denormals_are_zero():
        return _train(settings, folder, resume, on_progress, should_stop)


@contextmanager
def _denormals_are_zero() -> Iterator[None]:
    """Adam's moments of a neuron that fell silent shrink for ever; below 1e-38 they cost time.

    After 47,000 gradient steps of PPO on Hopper an eighth of all moments were such numbers, and
    Adam's step took 0.21 ms instead of the 0.15 ms with zeros in their place.
    """
    was_on = (torch.tensor(1e-39) * 1.0).item() == 0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(was_on)


def _train(
    settings: TrainingSettings,
    folder: TrainingFolder,
    resume: bool,
    on_progress: Progress,
    should_stop: Callable[[], bool],
) -> TrainingResult:
    checkpoint = folder.prepare(resume=resume, replay_bytes=check_memory(settings))
    start = time.perf_counter()
    if folder.is_complete:
        evaluations = folder.load_evaluations()
        # Whole rollouts can be more than was asked for; the last evaluation was at the end.
        steps = evaluations.steps[-1] if evaluations.steps else settings.steps
        return _result(settings, folder, evaluations, steps)
    try:
        model = make_model(settings, folder.monitor())
        if checkpoint is None:
            folder.note_start(model)
        run = _Run(settings, folder, model, on_progress, should_stop)
    except BaseException:
        folder.undo()
        raise
    try:
        with tracked(settings, folder.path) as logs:
            model.tensorboard_log = None if logs is None else str(logs)
            begun = run.restore(checkpoint) if checkpoint is not None else 0
            try:
                if begun < settings.steps:
                    model.learn(
                        settings.steps - begun,
                        callback=_Callback(run),
                        tb_log_name=settings.algorithm.name,
                        reset_num_timesteps=checkpoint is None,
                    )
            except _Stopped:
                return run.interrupt(begun, time.perf_counter() - start)
            return run.finish(begun, time.perf_counter() - start)
    finally:
        model.env.close()


class _Stopped(Exception):  # noqa: N818 - it is no error
    """The training was asked to stop, and is at rest."""


def _result(
    settings: TrainingSettings,
    folder: TrainingFolder,
    evaluations: Evaluations,
    steps: int,
    *,
    new_steps: int = 0,
    seconds: float = 0.0,
    complete: bool = True,
) -> TrainingResult:
    artifact = folder.path / INT8
    return TrainingResult(
        path=folder.path,
        algorithm=settings.algorithm.name,
        env_id=settings.environment.id,
        seed=settings.seed,
        steps=steps,
        new_steps=new_steps,
        seconds=seconds,
        complete=complete,
        evaluation=evaluations.latest(settings.environment),
        best_return=evaluations.best_return,
        artifact=artifact if complete and artifact.is_dir() else None,
    )


class _Run:
    """One model in training: when it is evaluated, quantized and saved."""

    def __init__(
        self,
        settings: TrainingSettings,
        folder: TrainingFolder,
        model: Any,
        on_progress: Progress,
        should_stop: Callable[[], bool],
    ) -> None:
        self._settings, self._folder, self._model = settings, folder, model
        self._on_progress, self._should_stop = on_progress, should_stop
        self._qat = (
            None
            if settings.qat is None
            else FakeQuantizedActor(model, settings.algorithm, settings.qat)
        )
        self._evaluations = Evaluations()
        self._window_end = 0
        learning = settings.steps - settings.hyperparameters.model.get("learning_starts", 0)
        self._window_steps = min(_WINDOW_STEPS, _WINDOW_SHARE * learning)
        self._checkpoint_time = time.perf_counter()
        self._report_time = 0.0

    def restore(self, checkpoint: Checkpoint) -> int:
        """Go on from a checkpoint; returns the steps that are done."""
        qat = restore(checkpoint, self._model)
        if self._qat is not None:
            self._qat.load_state(qat)
        self._evaluations = Evaluations.from_json(checkpoint.notes, checkpoint.path)
        steps = int(self._model.num_timesteps)
        self._window_end = steps
        # Neither exploration nor the environments shall repeat what they did before.
        set_random_seed((self._settings.seed + steps) % 2**31)
        self._model.action_space.seed(self._settings.seed + steps)
        self._model.env.seed((self._settings.seed + steps) % 2**31)
        return steps

    def between_rollouts(self) -> None:
        """All that must not fall into the middle of one: the model is at rest here.

        Raises:
            _Stopped: if the training was asked to stop.
        """
        steps = int(self._model.num_timesteps)
        if self._qat is not None:
            self._follow_ranges(self._qat, steps)
        if self._evaluation_is_due(steps):
            self._evaluate(steps)
        if time.perf_counter() - self._checkpoint_time >= self._settings.checkpoint_seconds:
            self._save_checkpoint()
        if self._should_stop():
            raise _Stopped

    def after_step(self) -> None:
        """Report now and then."""
        if (now := time.perf_counter()) - self._report_time >= _REPORT_SECONDS:
            self._report_time = now
            episodes = self._model.ep_info_buffer
            self._on_progress(
                TrainingProgress(
                    steps=int(self._model.num_timesteps),
                    total_steps=self._settings.steps,
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
        if steps not in self._evaluations.steps[-1:]:
            self._evaluate(steps)
        self._save(self._settings.env_name)
        remove_checkpoints(self._folder.path)
        return self._result(begun, seconds, complete=True)

    def _result(self, begun: int, seconds: float, *, complete: bool) -> TrainingResult:
        steps = int(self._model.num_timesteps)
        return _result(
            self._settings,
            self._folder,
            self._evaluations,
            steps,
            new_steps=steps - begun,
            seconds=seconds,
            complete=complete,
        )

    def _follow_ranges(self, qat: FakeQuantizedActor, steps: int, *, at_end: bool = False) -> None:
        settings = self._settings
        if settings.algorithm.on_policy or at_end or steps - self._window_end >= self._window_steps:
            qat.end_window()
            self._window_end = steps
        assert settings.qat is not None
        if not qat.is_enabled and qat.is_ready and steps >= settings.qat.warmup * settings.steps:
            qat.enable()

    def _evaluation_is_due(self, steps: int) -> bool:
        """Whether another of the evenly spaced points has been reached since the last one."""
        total, count = self._settings.steps, self._settings.evaluations
        done = self._evaluations.steps[-1] if self._evaluations.steps else 0
        return steps * count // total > done * count // total

    def _compressed(self) -> CompressedPolicy:
        policy = Policy.from_network(network_of(self._model, self._settings.algorithm))
        if self._qat is not None and self._qat.is_enabled:
            return self._qat.export(policy)
        return compress(policy)

    def _evaluate(self, steps: int) -> None:
        """The policy as it would be deployed now."""
        actor = OnnxActor(self._compressed().model.SerializeToString())
        record = play(
            actor,
            self._settings.environment,
            episodes=self._settings.eval_episodes,
            seed=EVALUATION_SEED,
        )
        # Of a training for int8, only what is int8 can be its best.
        counts = self._qat is None or self._qat.is_enabled
        if self._evaluations.add(steps, record, may_be_best=counts):
            self._save(BEST)
        self._folder.save_evaluations(self._evaluations)
        # Under the names that Stable-Baselines3's own evaluations have.
        self._model.logger.record("eval/mean_reward", self._evaluations.mean())
        self._model.logger.record("eval/mean_ep_length", record.steps / len(record.episodes))
        self._model.logger.dump(steps)

    def _save(self, name: str) -> None:
        self._folder.save_model(self._model, name)
        if self._qat is not None and self._qat.is_enabled:
            self._folder.save_int8(self._compressed(), name)

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
    """Stable-Baselines3's moments, handed to the run."""

    def __init__(self, run: _Run) -> None:
        super().__init__()
        self._run = run

    def _on_rollout_start(self) -> None:
        self._run.between_rollouts()

    def _on_step(self) -> bool:
        self._run.after_step()
        return True
