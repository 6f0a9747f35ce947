"""Reading an artifact back; what is read has passed the audit."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import onnx

from squeezerl.artifacts.audit import audit
from squeezerl.artifacts.manifest import MANIFEST_NAME, MODEL_NAME, Manifest
from squeezerl.errors import ArtifactError, AuditError

_MAX_BYTES = 512 * 2**20


@dataclass(frozen=True)
class Artifact:
    """An artifact in memory: its folder, what it claims, and the bytes of its model."""

    path: Path
    manifest: Manifest
    model: bytes


def is_artifact(path: str | Path) -> bool:
    """Whether `path` is a folder with a manifest."""
    return (Path(path) / MANIFEST_NAME).is_file()


def read_artifact(path: str | Path) -> Artifact:
    """Read and audit the artifact in a folder.

    Raises:
        ArtifactError: if it is missing or damaged.
        AuditError: if the model is not what the manifest claims.
    """
    folder = Path(path)
    for name in (MANIFEST_NAME, MODEL_NAME):
        if not (folder / name).is_file():
            raise ArtifactError(f"{folder}: holds no {name}, so it is not an artifact")
        if (folder / name).stat().st_size > _MAX_BYTES:
            raise ArtifactError(f"{folder / name}: larger than an artifact can be")
    try:
        text = (folder / MANIFEST_NAME).read_text(encoding="utf-8")
        manifest = Manifest.loads(text)
        content = (folder / MODEL_NAME).read_bytes()
        if hashlib.sha256(content).hexdigest() != manifest.model_sha256:
            raise AuditError(f"{MODEL_NAME} is not the file that the manifest describes")
        model = onnx.load_model_from_string(content)
        if model.ByteSize() != len(content):
            raise AuditError(f"{MODEL_NAME} holds bytes that are not part of the model")
        audit(model, manifest)
    except ArtifactError as error:
        raise type(error)(f"{folder}: {error}") from error
    except Exception as error:  # a hostile file can make the readers fail in any way
        raise ArtifactError(f"{folder}: damaged ({error})") from error
    return Artifact(folder, manifest, content)
