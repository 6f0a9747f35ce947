"""Taking saved agents apart, spoiling them, and seeing that they are refused unexecuted."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from squeezerl import load_agent
from squeezerl.errors import CheckpointError

ENV = "Pendulum-v1"
Members = dict[str, bytes]
Weights = dict[str, torch.Tensor]


class Payload:
    """Makes the folder `marker` when it is unpickled in earnest."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


def refuses(folder: Path, reason: str, file: str = f"{ENV}.zip") -> None:
    """Loading raises, names the file and the reason, and writes nothing."""
    with nothing_written(folder.parent), pytest.raises(CheckpointError, match=reason) as caught:
        load_agent(folder)
    assert file in str(caught.value)


@contextmanager
def nothing_written(folder: Path) -> Iterator[None]:
    """Fails if the block leaves any file or folder in `folder` new, gone or changed."""
    before = _contents(folder)
    yield
    assert _contents(folder) == before


def _contents(folder: Path) -> dict[str, str | None]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def peak_bytes(call: Callable[[], None]) -> int:
    """The most memory that Python's allocators held during the call."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def read_members(path: Path) -> Members:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_members(
    path: Path, members: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED
) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def change_members(path: Path, **changes: bytes) -> None:
    """Replace `data` or `policy` (for policy.pth)."""
    names = {"data": "data", "policy": "policy.pth"}
    new = {names[name]: content for name, content in changes.items()}
    write_members(path, read_members(path) | new)


def change_metadata(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    data = json.loads(read_members(path)["data"])
    change(data)
    change_members(path, data=json.dumps(data).encode())


def change_weights(path: Path, change: Callable[[Weights], Any]) -> None:
    content = io.BytesIO(read_members(path)["policy.pth"])
    weights = dict(torch.load(content, weights_only=True))
    change_members(path, policy=torch_file(change(weights)))


def torch_file(content: Any, *, legacy: bool = False) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=not legacy)
    return stream.getvalue()


def rebuilt_zip(
    content: bytes,
    compression: int = zipfile.ZIP_STORED,
    change: Callable[[str, bytes], bytes] = lambda _, member: member,
) -> bytes:
    """The same members in a new zip, each changed by `change(name, member)`."""
    target = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as source,
        zipfile.ZipFile(target, "w", compression) as archive,
    ):
        for name in source.namelist():
            archive.writestr(name, change(name, source.read(name)))
    return target.getvalue()


def saved_vecnormalize(state: Mapping[str, Any], protocol: int = 4) -> bytes:
    """The pickle of a VecNormalize with this state, in any condition."""
    from stable_baselines3.common.vec_env import VecNormalize

    record = VecNormalize.__new__(VecNormalize)
    record.__dict__.update(state, venv=None, class_attributes=None, returns=None)
    return pickle.dumps(record, protocol)


def change_vecnormalize(path: Path, **changes: Any) -> None:
    """Replace `mean` or `var` of the observations, or other entries of the state."""
    state = pickle.loads(path.read_bytes()).__dict__
    for name, value in changes.items():
        if name in ("mean", "var"):
            setattr(state["obs_rms"], name, value)
        else:
            state[name] = value
    path.write_bytes(saved_vecnormalize(state))
