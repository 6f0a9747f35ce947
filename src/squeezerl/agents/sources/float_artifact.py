"""The source that reads artifacts in float, which are agents that have been kept without training.

What an artifact holds beside its model is described in `artifacts/manifest.py`; this source needs
no more of the manifest than where the policy came from.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import final

from squeezerl.agents.load import (
    SOURCES,
    Agent,
    Source,
    read_limited,
    reading,
    refuse_normalizer,
    source_file,
)
from squeezerl.errors import AuditError, CheckpointError, UnsupportedPolicyError
from squeezerl.formats.base import FORMATS
from squeezerl.records import AgentSource

_MANIFEST, _MODEL = "manifest.json", "policy.onnx"


@final
class FloatArtifact(Source):
    """Reads the folders that `compress --recipe float` writes: a policy before any compression."""

    kind = "artifact"
    takes = "the folder of an artifact in float"

    def recognises(self, path: Path) -> bool:
        """See `Source`. Every folder with a manifest and no checkpoint counts."""
        return (path / _MANIFEST).is_file() and not any(path.glob("*.zip"))

    def load(self, path: Path, *, normalizer: Path | None = None) -> Agent:
        """See `Source`."""
        refuse_normalizer(path, normalizer)
        with reading(path / _MANIFEST):
            manifest = json.loads(read_limited(path / _MANIFEST))
            recipe, specs = str(manifest["recipe"])[:80], manifest["specs"]
            source, sha256 = AgentSource.from_json(manifest["source"]), manifest["model_sha256"]
        if specs:
            raise UnsupportedPolicyError(
                f"{path}: an artifact, not an agent: it was compressed ({recipe}); start from "
                f"{source.path}, which it was made of, or from an artifact of the recipe float"
            )
        with reading(path / _MODEL):
            content = read_limited(path / _MODEL)
            if hashlib.sha256(content).hexdigest() != sha256:
                raise CheckpointError("not the model that the manifest describes")
            try:
                network = FORMATS.get("onnx").read(content)[0]
            except AuditError as error:
                raise CheckpointError(str(error)) from error
        if network.head.noise is not None:
            raise UnsupportedPolicyError(
                f"{path}: an artifact, not an agent: it draws its actions; start from {source.path}"
            )
        files = (source_file("checkpoint", path / _MODEL),)
        return Agent(network, replace(source, kind=self.kind, path=str(path), files=files))


SOURCES.register(FloatArtifact.kind, FloatArtifact())
