"""An attacker who owns the folder: rewrites the model, and the manifest to go with it."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import onnx

from squeezerl.artifacts.audit import layer_records
from squeezerl.artifacts.manifest import MANIFEST_NAME, MODEL_NAME, Manifest
from squeezerl.errors import ArtifactError
from squeezerl.formats.base import FORMATS


def read_model(folder: Path) -> onnx.ModelProto:
    return onnx.load_model_from_string((folder / MODEL_NAME).read_bytes())


def read_manifest(folder: Path) -> Manifest:
    return Manifest.loads((folder / MANIFEST_NAME).read_text())


def change_manifest(folder: Path, **changes: Any) -> None:
    """Change the fields of the manifest that are named, in its JSON."""
    path = folder / MANIFEST_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def put_model(folder: Path, content: bytes) -> None:
    """Replace the model's bytes; the manifest gets their new hash."""
    (folder / MODEL_NAME).write_bytes(content)
    change_manifest(folder, model_sha256=hashlib.sha256(content).hexdigest())


def forge(folder: Path, model: onnx.ModelProto, *, relabel: bool) -> None:
    """Replace the model; the manifest gets its hash, its size and the layers it really has.

    Args:
        folder: the artifact.
        model: takes the place of the artifact's own.
        relabel: claim the new layers, and not those that the manifest had.
    """
    put_model(folder, model.SerializeToString())
    manifest = read_manifest(folder)
    with contextlib.suppress(ArtifactError):  # most forgeries cannot even be read
        network, size = FORMATS.get("onnx").read(model.SerializeToString())
        manifest = dataclasses.replace(manifest, size=size)
        if relabel:
            manifest = dataclasses.replace(manifest, layers=layer_records(network))
    (folder / MANIFEST_NAME).write_text(manifest.dumps())
