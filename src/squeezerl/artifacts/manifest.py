"""The manifest: what an artifact claims about its model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from squeezerl.errors import ArtifactError
from squeezerl.records import AgentSource, Calibration, LayerRecord, to_json

FORMAT_VERSION = 1
MODEL_NAME = "policy.onnx"
MANIFEST_NAME = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class SizeRecord:
    """Where a model's bytes are. The parts add up to `file_bytes`.

    `weight_bytes` is what the layers hold: weights, biases, their scales and zero points.
    `activation_bytes` are the scales of quantized activations; `other_bytes` are the observation
    normaliser and the action head; `graph_bytes` is the rest of the file.
    """

    file_bytes: int
    weight_bytes: int
    activation_bytes: int
    other_bytes: int
    graph_bytes: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What `manifest.json` says."""

    format_version: int = FORMAT_VERSION
    source: AgentSource
    specs: tuple[dict[str, Any], ...]
    specs_sha256: str
    calibration: Calibration | None
    observation_shape: tuple[int, ...]
    action_shape: tuple[int, ...]
    discrete: bool
    layers_before: tuple[LayerRecord, ...]
    layers: tuple[LayerRecord, ...]
    size: SizeRecord
    model_sha256: str
    versions: dict[str, str]

    def dumps(self) -> str:
        """The manifest as JSON text."""
        return json.dumps(to_json(self) | {"source": self.source.to_json()}, indent=2) + "\n"

    @classmethod
    def loads(cls, text: str) -> Manifest:
        """The manifest in JSON text.

        Raises:
            ArtifactError: if it is not one, or of another version.
        """
        try:
            data = json.loads(text)
            version = data["format_version"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ArtifactError(f"not a manifest ({error!r})") from error
        if version != FORMAT_VERSION:
            raise ArtifactError(
                f"manifest of format {version!r}; this release reads format {FORMAT_VERSION}"
            )
        try:
            calibration = data["calibration"]
            return cls(
                source=AgentSource.from_json(data["source"]),
                specs=tuple(data["specs"]),
                specs_sha256=data["specs_sha256"],
                calibration=None if calibration is None else Calibration(**calibration),
                observation_shape=tuple(data["observation_shape"]),
                action_shape=tuple(data["action_shape"]),
                discrete=bool(data["discrete"]),
                layers_before=tuple(LayerRecord(**layer) for layer in data["layers_before"]),
                layers=tuple(LayerRecord(**layer) for layer in data["layers"]),
                size=SizeRecord(**data["size"]),
                model_sha256=data["model_sha256"],
                versions=dict(data["versions"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"the manifest is incomplete ({error!r})") from error
