"""Writing an artifact: model and manifest, atomically."""

from __future__ import annotations

import hashlib
import platform
from importlib.metadata import version
from pathlib import Path

from squeezerl.artifacts.audit import audit, measure_size
from squeezerl.artifacts.manifest import MANIFEST_NAME, MODEL_NAME, Manifest
from squeezerl.artifacts.output import new_folder
from squeezerl.methods.result import CompressedPolicy
from squeezerl.methods.specs import spec_to_json, specs_hash
from squeezerl.records import AgentSource, Calibration

_LIBRARIES = ("squeezerl", "onnx", "onnxruntime", "torch", "torch-pruning", "numpy")


def write_artifact(
    compressed: CompressedPolicy,
    source: AgentSource,
    path: str | Path,
    *,
    calibration: Calibration | None = None,
    force: bool = False,
) -> Manifest:
    """Write `policy.onnx` and `manifest.json` to a new folder at `path`, and audit them.

    Args:
        compressed: what `compress` returned.
        source: the agent that it came from.
        path: the folder; it must not exist or be empty, unless `force`.
        calibration: which observations a static quantization saw.
        force: replace what is there.

    Raises:
        OutputError: if the folder cannot be written.
        AuditError: if the model is not what the specs promise.
    """
    content = compressed.model.SerializeToString()
    signature = compressed.signature
    manifest = Manifest(
        source=source,
        specs=tuple(spec_to_json(spec) for spec in compressed.specs),
        specs_sha256=specs_hash(compressed.specs),
        calibration=calibration,
        observation_shape=signature.observation_shape,
        action_shape=signature.action_shape,
        discrete=signature.discrete,
        layers_before=compressed.layers_before,
        layers=compressed.layers,
        size=measure_size(compressed.model),
        model_sha256=hashlib.sha256(content).hexdigest(),
        versions={"python": platform.python_version()} | {n: version(n) for n in _LIBRARIES},
    )
    audit(compressed.model, manifest)
    with new_folder(Path(path), force=force) as folder:
        (folder / MODEL_NAME).write_bytes(content)
        (folder / MANIFEST_NAME).write_text(manifest.dumps(), encoding="utf-8")
    return manifest
