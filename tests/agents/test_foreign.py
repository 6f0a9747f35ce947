from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import safetensors.numpy
import torch

from small_policies import make_network
from squeezerl import load_agent
from squeezerl.errors import CheckpointError
from squeezerl.formats.onnx import to_onnx

WEIGHTS = {"actor.weight": torch.zeros(2, 3)}


def _zip_of(*names: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, b"content")

    return write


def _cut(path: Path) -> None:
    _zip_of("data", "policy.pth")(path)
    path.write_bytes(path.read_bytes()[:-30])


WRITERS: dict[str, Callable[[Path], None]] = {
    "torch.save from before": lambda path: torch.save(
        WEIGHTS, path, _use_new_zipfile_serialization=False
    ),
    "safetensors": lambda path: safetensors.numpy.save_file({"a": np.zeros(3)}, path),
    "ONNX": lambda path: onnx.save(to_onnx(make_network(3, 4, 2)), path),
    "pickle": lambda path: path.write_bytes(pickle.dumps({"a": 1})),
    r"NumPy arrays": lambda path: path.write_bytes(_npz(path)),
    "Keras model": _zip_of("metadata.json", "config.json", "model.weights.h5"),
    "HDF5": lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100)),
    "Stable Baselines 2": _zip_of("data", "parameters", "parameter_list"),
    "other zips": _zip_of("ppo/agent.zip"),
    "a zip with readme.txt": _zip_of("readme.txt"),
    "git lfs pull": lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"),
    "web page": lambda path: path.write_text("\n<!DOCTYPE html><html></html>"),
    "gzip": lambda path: path.write_bytes(b"\x1f\x8b" + bytes(50)),
    "breaks off.*cut short": _cut,
    "empty file": lambda path: path.write_bytes(b""),
}


def _npz(path: Path) -> bytes:
    with path.open("wb") as file:
        np.savez(file, a=np.zeros(3))
    return path.read_bytes()


@pytest.mark.parametrize("name", ["agent.zip", "agent.pt"])
@pytest.mark.parametrize("what", WRITERS)
def test_a_foreign_file_is_named(tmp_path: Path, what: str, name: str) -> None:
    WRITERS[what](tmp_path / name)
    with pytest.raises(CheckpointError, match=what) as caught:
        load_agent(tmp_path / name)
    assert str(caught.value).count(str(tmp_path / name)) == 1
    is_cut = what.startswith(("breaks", "empty"))
    assert ("cut short" in str(caught.value)) == is_cut


@pytest.mark.parametrize(
    ("file", "what"), [("saved_model.pb", "SavedModel"), ("rllib_checkpoint.json", "RLlib")]
)
def test_a_foreign_folder_is_named(tmp_path: Path, file: str, what: str) -> None:
    (tmp_path / file).write_text("{}")
    with pytest.raises(CheckpointError, match=what):
        load_agent(tmp_path)
