"""The folder of a training, laid out as rl-zoo does it, so that its tools and ours can read it.

DIR/<env>.zip, best_model.zip, evaluations.npz, 0.monitor.csv
DIR/<env>/config.yml, args.yml, vecnormalize.pkl, initial_weights.safetensors
DIR/int8/, DIR/best_int8/      the integer artifacts of quantization-aware training
DIR/checkpoints/               while the training runs
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from squeezerl.agents.load import load_agent
from squeezerl.agents.sources.stable_baselines3.files import read_yaml
from squeezerl.artifacts.artifact import build_artifact
from squeezerl.artifacts.output import remove_leftovers, write_file
from squeezerl.errors import CheckpointError, OutputError
from squeezerl.methods.recipe import Recipe
from squeezerl.network.network import Network
from squeezerl.training.checkpoint import Checkpoint, find_checkpoint, has_checkpoints
from squeezerl.training.resolve import Training
from squeezerl.training.result import Evaluations
from squeezerl.training.tickets import START, pack_start

BEST = "best_model"
INT8 = "int8"
PRUNED = "pruned"
# These may differ when a training is resumed: they do not decide its result.
_WATCHING = ("device", "n_evaluations", "ticket_of")
_MARGIN_BYTES = 200 * 2**20


class TrainingFolder:
    """Where a training writes; each file appears complete or not at all."""

    def __init__(self, path: Path, training: Training) -> None:
        self.path = path
        self._training = training
        self._stats = path / training.env_name
        self._was_empty = False
        self._lock: int | None = None

    def prepare(self, *, resume: bool) -> Checkpoint | None:
        """Make the folder; returns the checkpoint to continue from, if there is one.

        Raises:
            OutputError: if the folder holds something else, another process trains in it, it
                cannot be written, or the disk is too full.
            CheckpointError: if the checkpoint is damaged.
        """
        checkpoint = None
        try:
            if self.path.exists() and not self.path.is_dir():
                raise OutputError(f"{self.path}: exists and is not a folder")
            if self.path.is_dir():
                self._take_lock()
            self._was_empty = not self.path.is_dir() or not any(self.path.iterdir())
            if not self._was_empty:
                self._check_same(resume)
                remove_leftovers(self.path)
                checkpoint = find_checkpoint(self.path)
            if checkpoint is not None and checkpoint.steps > self._training.steps:
                raise OutputError(
                    f"{self.path}: has {checkpoint.steps:,} steps already, more than the "
                    f"{self._training.steps:,} that were asked for"
                )
            self._check_space()
            self._stats.mkdir(parents=True, exist_ok=True)
            self._take_lock()
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written ({error.strerror})") from error
        for name, content in self._contents().items():
            write_file(self._stats / name, _yaml(content))
        return checkpoint

    def close(self) -> None:
        """Let other processes train in the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _take_lock(self) -> None:
        """Lock the folder itself: this leaves no file, and ends with the process that holds it."""
        if self._lock is not None:
            return
        self._lock = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                return  # some file systems, such as NFS, cannot lock folders
            self.close()
            raise OutputError(
                f"{self.path}: another process is training in it; wait until it ends, stop it, or "
                "choose another folder"
            ) from error

    @property
    def artifact_name(self) -> str | None:
        """The folder of the artifact to deploy, if the training makes one."""
        config = self._training.config
        return INT8 if config.qat else PRUNED if config.prune else None

    @property
    def is_complete(self) -> bool:
        """Whether the training has ended and everything that it leaves is there."""
        last = self.path / (self.artifact_name or f"{self._training.env_name}.zip")
        return last.exists() and not has_checkpoints(self.path)

    def undo(self) -> None:
        """Remove everything that was written since `prepare`, if the folder was empty before."""
        if self._was_empty:
            shutil.rmtree(self.path, ignore_errors=True)

    def monitor(self) -> Path:
        """The name of the next episode log; each start or resumption of a training has its own."""
        count = len(list(self.path.glob("*.monitor.csv")))
        return self.path / str(count)

    def note_start(self, model: Any) -> None:
        """Record the weights that a training starts from, for tickets of it."""
        write_file(self._stats / START, pack_start(model.policy.state_dict()))

    def save_model(self, model: Any, name: str) -> None:
        """Write `name.zip` and, if the model has one, the normaliser that belongs to it."""
        env = model.get_vec_normalize_env()
        if env is not None:
            own = self.path / f"{name}_vecnormalize.pkl" if name == BEST else None
            write_file(own or self._stats / "vecnormalize.pkl", pickle.dumps(env))
        content = io.BytesIO()
        model.save(content)
        write_file(self.path / f"{name}.zip", content.getvalue())

    def save_artifact(self, network: Network, recipe: Recipe, name: str) -> None:
        """Write the artifact of the integer or pruned network that belongs to `name.zip`."""
        agent = load_agent(self.path / f"{name}.zip")
        folder = self.path / (
            f"best_{self.artifact_name}" if name == BEST else str(self.artifact_name)
        )
        artifact = build_artifact(network, recipe, original=agent.network, source=agent.source)
        artifact.save(folder, force=True)

    def save_evaluations(self, evaluations: Evaluations) -> None:
        """Write `evaluations.npz` as Stable-Baselines3's EvalCallback does."""
        write_file(self.path / "evaluations.npz", evaluations.to_npz())

    def load_evaluations(self) -> Evaluations:
        """Read what `save_evaluations` wrote.

        Raises:
            CheckpointError: if it is damaged.
        """
        path = self.path / "evaluations.npz"
        try:
            with np.load(path, allow_pickle=False) as file:
                return Evaluations.from_arrays({name: file[name] for name in file.files})
        except Exception as error:  # a damaged file can make the reader fail in any way
            raise CheckpointError(f"{path}: damaged ({error!r})") from error

    def _check_same(self, resume: bool) -> None:
        """Check that the folder holds this very training, and that it may be resumed."""
        if not (self._stats / "args.yml").is_file():
            raise OutputError(
                f"{self.path}: not empty, and not a training of {self._training.env_name}; "
                "choose another folder"
            )
        if not resume:
            raise OutputError(
                f"{self.path}: holds a training already; `resume=True` goes on with it, "
                "or choose another folder"
            )
        for file, now in self._contents().items():
            before = read_yaml(self._stats / file)
            now = yaml.safe_load(_yaml(now))
            free = () if self.is_complete else ("n_timesteps",)
            for name in sorted({*before, *now} - {*_WATCHING, *free}):
                if before.get(name) != now.get(name):
                    raise OutputError(
                        f"{self.path}: was started with {name} {before.get(name)!r}, not "
                        f"{now.get(name)!r}; resume with the same settings, or choose another "
                        "folder (`init` starts from a trained agent)"
                    )

    def _check_space(self) -> None:
        # A checkpoint is removed only when the next one is complete, so there can be two.
        need = 2 * self._training.replay_bytes + _MARGIN_BYTES
        path = self.path.absolute()
        existing = next(folder for folder in (path, *path.parents) if folder.exists())
        free = shutil.disk_usage(existing).free
        if free < need:
            raise OutputError(
                f"{self.path}: checkpoints of this training need {need / 1e9:.1f} GB, "
                f"{free / 1e9:.1f} GB are free on that disk; a smaller replay buffer needs less "
                '(`hyperparameters=["buffer_size:100000"]`)'
            )

    def _contents(self) -> dict[str, dict[str, Any]]:
        """The settings as rl-zoo writes them, and what else decides the result."""
        training, config, original = self._training, self._training.config, self._training.original
        qat, ticket = config.qat, config.ticket
        arguments = {
            "algo": training.algorithm.name,
            "env": training.environment.id,
            "env_kwargs": dict(training.environment.kwargs) or None,
            "seed": training.seed,
            "n_timesteps": training.steps,
            "device": config.device,
            "eval_episodes": config.eval_episodes,
            "n_evaluations": config.evaluations,
            "trained_agent": str(config.init or ""),
            "qat": qat
            and {
                "spec": qat.spec.to_json(),
                "warmup": qat.warmup,
                "critic": qat.critic,
            },
            **({} if config.prune is None else {"prune": config.prune.to_json()}),
            "ticket": original and ticket and original.identity(ticket),
            "ticket_of": ticket and str(ticket.of),
        }
        return {"args.yml": arguments, "config.yml": dict(training.hyperparameters.raw)}


def _yaml(data: dict[str, Any]) -> bytes:
    text: str = yaml.safe_dump(data)
    return text.encode()
