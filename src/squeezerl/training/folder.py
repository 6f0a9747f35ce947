"""The folder of a training, laid out as rl-zoo does, so that its tools and ours can read it.

DIR/<env>.zip, best_model.zip, evaluations.npz, 0.monitor.csv
DIR/<env>/config.yml, args.yml, vecnormalize.pkl
DIR/int8/, DIR/best_int8/      the integer artifacts of quantization-aware training
DIR/checkpoints/               while the training runs
"""

from __future__ import annotations

import io
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import yaml

from squeezerl.agents.load import load_agent
from squeezerl.artifacts.output import write_file
from squeezerl.artifacts.write import write_artifact
from squeezerl.compression.result import CompressedPolicy
from squeezerl.errors import OutputError
from squeezerl.training.checkpoint import Checkpoint, find_checkpoint
from squeezerl.training.evaluations import Evaluations
from squeezerl.training.settings import TrainingSettings

BEST = "best_model"
INT8 = "int8"
_MARGIN_BYTES = 200 * 2**20


class TrainingFolder:
    """Where a training writes; every file appears whole or not at all."""

    def __init__(self, path: Path, settings: TrainingSettings) -> None:
        self.path = path
        self._settings = settings
        self._stats = path / settings.env_name

    @property
    def checkpoint_file(self) -> Path:
        """The trained agent; it exists if the training is complete."""
        return self.path / f"{self._settings.env_name}.zip"

    def prepare(self, *, resume: bool, replay_bytes: int) -> Checkpoint | None:
        """Make the folder; returns the checkpoint to continue from, if there is one.

        Raises:
            OutputError: if it holds something else, cannot be written, or the disk is too full.
            CheckpointError: if the checkpoint is damaged.
        """
        checkpoint = None
        try:
            if self.path.exists() and not self.path.is_dir():
                raise OutputError(f"{self.path}: exists and is not a folder")
            if self.path.is_dir() and any(self.path.iterdir()):
                checkpoint = self._continue(resume)
            self._check_space(replay_bytes)
            self._stats.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written ({error.strerror})") from error
        self._write_settings()
        return checkpoint

    def monitor(self) -> Path:
        """The name of the next episode log: one for each time that the training was started."""
        count = len(list(self.path.glob("*.monitor.csv")))
        return self.path / str(count)

    def save_model(self, model: Any, name: str) -> None:
        """`name.zip`, and the normaliser where it belongs to it."""
        env = model.get_vec_normalize_env()
        if env is not None:
            own = self.path / f"{name}_vecnormalize.pkl" if name == BEST else None
            write_file(own or self._stats / "vecnormalize.pkl", pickle.dumps(env))
        content = io.BytesIO()
        model.save(content)
        write_file(self.path / f"{name}.zip", content.getvalue())

    def save_int8(self, compressed: CompressedPolicy, name: str) -> None:
        """The integer artifact that goes with `name.zip`."""
        source = load_agent(self.path / f"{name}.zip").source
        folder = self.path / (f"best_{INT8}" if name == BEST else INT8)
        write_artifact(compressed, source, folder, force=True)

    def save_evaluations(self, evaluations: Evaluations) -> None:
        """`evaluations.npz`, as Stable-Baselines3's EvalCallback writes it."""
        write_file(self.path / "evaluations.npz", evaluations.to_npz())

    def _continue(self, resume: bool) -> Checkpoint | None:
        arguments = self._stats / "args.yml"
        if not arguments.is_file():
            raise OutputError(
                f"{self.path}: not empty, and not a training of {self._settings.env_name}; "
                "choose another folder"
            )
        if not resume:
            raise OutputError(
                f"{self.path}: holds a training already; --resume goes on with it, "
                "or choose another folder"
            )
        checkpoint = find_checkpoint(self.path)
        if checkpoint is not None:
            _check_same(self.path, checkpoint.identity, dict(self._settings.identity()))
        return checkpoint

    def _check_space(self, replay_bytes: int) -> None:
        # A checkpoint is removed when the next one is whole, so there are two at times.
        need = 2 * replay_bytes + _MARGIN_BYTES
        path = self.path.absolute()
        existing = next(folder for folder in (path, *path.parents) if folder.exists())
        free = shutil.disk_usage(existing).free
        if free < need:
            raise OutputError(
                f"{self.path}: checkpoints of this training need {need / 1e9:.1f} GB, "
                f"{free / 1e9:.1f} GB are free on that disk; a smaller replay buffer needs less "
                "(--hyperparams buffer_size:100000)"
            )

    def _write_settings(self) -> None:
        settings = self._settings
        arguments = {
            "algo": settings.algorithm.name,
            "env": settings.environment.id,
            "env_kwargs": dict(settings.environment.kwargs) or None,
            "seed": settings.seed,
            "n_timesteps": settings.steps,
            "device": settings.device,
            "eval_episodes": settings.eval_episodes,
            "qat": settings.identity()["qat"],
            "trained_agent": settings.init or "",
        }
        write_file(self._stats / "args.yml", _yaml(arguments))
        write_file(self._stats / "config.yml", _yaml(dict(settings.hyperparameters.raw)))


def _yaml(data: dict[str, Any]) -> bytes:
    text: str = yaml.safe_dump(data)
    return text.encode()


def _check_same(path: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    now = json.loads(json.dumps(now))
    for name in now:
        if before.get(name) != now[name]:
            raise OutputError(
                f"{path}: was started with {name} {before.get(name)!r}, not {now[name]!r}; "
                "resume with the same settings, or choose another folder"
            )
