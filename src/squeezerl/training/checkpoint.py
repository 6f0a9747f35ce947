"""Checkpoints: everything that a training needs to go on, as numbers and nothing executable.

Each checkpoint is a folder of its own, which appears complete, by renaming. The one before is
removed only then, so that `kill -9` at any moment leaves at least one that is complete.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.vec_env import VecNormalize

from squeezerl.artifacts.output import new_folder, set_aside
from squeezerl.errors import CheckpointError

_FORMAT = 1
_FOLDER = "checkpoints"
_NAME = re.compile(r"\d{12}")
# What Stable-Baselines3 counts in attributes of the model.
_COUNTERS = ("num_timesteps", "_n_updates", "_episode_num", "_n_calls")
_REPLAY = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")
_MOMENTS = ("mean", "var", "count")

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk, with the notes that the trainer put into it."""

    path: Path
    notes: dict[str, Any]

    @property
    def steps(self) -> int:
        """Environment steps that were made until then."""
        return int(self.path.name)


def save_checkpoint(
    output: Path,
    model: Any,
    *,
    notes: Mapping[str, Any],
    qat: Mapping[str, Any] | None,
) -> None:
    """Write the state of a model, its optimizers, replay buffer and normaliser.

    Raises:
        OutputError: if it cannot be written; the checkpoint before is then still there.
    """
    path = output / _FOLDER / f"{model.num_timesteps:012d}"
    if path.exists():
        return  # no step has been made since
    state = {
        "parameters": model.get_parameters(),
        "variables": {name: attrgetter(name)(model).detach() for name in _variables(model)},
        "counters": {name: getattr(model, name) for name in _COUNTERS if hasattr(model, name)},
        "qat": qat,
    }
    with new_folder(path) as work:
        torch.save(state, work / "model.pt")
        arrays: dict[str, Any] = {**_replay_arrays(model), **_normalizer_arrays(model)}
        np.savez(work / "arrays.npz", **arrays)
        content = {"format": _FORMAT, "notes": notes}
        (work / "training.json").write_text(json.dumps(content), encoding="utf-8")
    for old in _folders(output):
        if old != path:
            shutil.rmtree(old, ignore_errors=True)


def find_checkpoint(output: Path) -> Checkpoint | None:
    """The latest checkpoint of a training; `None` if there is none.

    Raises:
        CheckpointError: if it is damaged.
    """
    folders = _folders(output)
    if not folders:
        return None
    try:
        content = json.loads((folders[-1] / "training.json").read_text(encoding="utf-8"))
        if content["format"] != _FORMAT:
            raise CheckpointError(f"{folders[-1]}: written by another version of this library")
        return Checkpoint(folders[-1], content["notes"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folders[-1]}: damaged ({error!r})") from error


def restore(checkpoint: Checkpoint, model: Any) -> Any:
    """Bring a new model to the state of a checkpoint; returns the state of its QAT.

    Raises:
        CheckpointError: if the checkpoint is damaged or another model's.
    """
    try:
        state = torch.load(checkpoint.path / "model.pt", map_location="cpu", weights_only=True)
        with np.load(checkpoint.path / "arrays.npz", allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        model.set_parameters(state["parameters"], exact_match=True, device=model.device)
        for name in _variables(model):
            attrgetter(name)(model).data.copy_(state["variables"][name])
        for name, value in state["counters"].items():
            setattr(model, name, int(value))
        _fill_replay(model, arrays)
        _fill_normalizer(model, arrays)
        return state["qat"]
    except Exception as error:  # a damaged file can make the readers fail in any way
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise CheckpointError(f"{checkpoint.path}: damaged ({reason})") from error


def has_checkpoints(output: Path) -> bool:
    """Whether a training is under way, or was when it was interrupted."""
    return (output / _FOLDER).exists()


def remove_checkpoints(output: Path) -> None:
    """Remove the checkpoints of a training that is complete."""
    folder = output / _FOLDER
    if not folder.exists():
        return
    # Renamed first, so that a kill during the removal leaves no half checkpoint.
    shutil.rmtree(set_aside(folder), ignore_errors=True)


def _folders(output: Path) -> list[Path]:
    """The complete checkpoints, oldest first; unfinished ones have names of another form."""
    folder = output / _FOLDER
    return sorted(p for p in folder.glob("*") if _NAME.fullmatch(p.name) and p.is_dir())


def _variables(model: Any) -> list[str]:
    return list(model._get_torch_save_params()[1])


def _replay_arrays(model: Any) -> Arrays:
    buffer = getattr(model, "replay_buffer", None)
    if buffer is None:
        return {}
    arrays = {f"replay.{name}": getattr(buffer, name)[: buffer.size()] for name in _REPLAY}
    return arrays | {"replay.position": np.array(buffer.pos)}


def _fill_replay(model: Any, arrays: Arrays) -> None:
    buffer = getattr(model, "replay_buffer", None)
    if buffer is None:
        return
    size = len(arrays["replay.rewards"])
    for name in _REPLAY:
        getattr(buffer, name)[:size] = arrays[f"replay.{name}"]
    # A buffer that is larger now than it was continues after its old content.
    buffer.full = size == buffer.buffer_size
    buffer.pos = int(arrays["replay.position"]) % size if buffer.full else size


def _normalizer_arrays(model: Any) -> Arrays:
    env = model.get_vec_normalize_env()
    if env is None:
        return {}
    return {
        f"{name}.{moment}": np.asarray(getattr(moments, moment))
        for name, moments in _moments(env).items()
        for moment in _MOMENTS
    }


def _fill_normalizer(model: Any, arrays: Arrays) -> None:
    env = model.get_vec_normalize_env()
    if env is None:
        return
    for name, moments in _moments(env).items():
        for moment in _MOMENTS:
            setattr(moments, moment, arrays[f"{name}.{moment}"])


def _moments(env: VecNormalize) -> dict[str, Any]:
    named = {"observation": env.obs_rms if env.norm_obs else None, "return": env.ret_rms}
    return {name: moments for name, moments in named.items() if moments is not None}
