"""The manifest: what an artifact claims about its model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from squeezerl.errors import ArtifactError
from squeezerl.formats.base import SizeRecord
from squeezerl.network.network import Part, read_parts
from squeezerl.records import (
    AgentSource,
    Calibration,
    LayerRecord,
    Learning,
    ObservationsRecord,
    to_json,
)

FORMAT_VERSION = 3
MODEL_NAME = "policy.onnx"
MANIFEST_NAME = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What `manifest.json` says.

    `recipe` is its canonical text, `specs` the same as data with the methods' versions.
    `observations` are those that the recipe needed; `calibration` says which episodes they were
    taken from, unless they were recorded elsewhere. `learning` says where a recipe that learns did
    so, unless it learned on observations alone.
    `noise` is the distribution of the model's input of that name, "normal" or "gumbel"; `None` if
    the model draws nothing. `groups` are those of the model's head. `observation_parts` are the
    entries of a dict observation, and where they stand in the flat one that the model takes.
    """

    format_version: int = FORMAT_VERSION
    source: AgentSource
    recipe: str
    specs: tuple[dict[str, Any], ...]
    specs_sha256: str
    calibration: Calibration | None
    observations: ObservationsRecord | None
    learning: Learning | None
    observation_shape: tuple[int, ...]
    action_shape: tuple[int, ...]
    discrete: bool
    noise: str | None = None
    groups: tuple[int, ...] = ()
    observation_parts: tuple[Part, ...] = ()
    layers_before: tuple[LayerRecord, ...]
    layers: tuple[LayerRecord, ...]
    size: SizeRecord
    model_sha256: str
    versions: dict[str, str]

    def dumps(self) -> str:
        """The manifest as JSON text."""
        data = to_json(self) | {"source": self.source.to_json()}
        for name in ("noise", "groups", "observation_parts"):
            if not data[name]:  # as in the manifests of earlier releases
                del data[name]
        return json.dumps(data, indent=2) + "\n"

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
                f"manifest of format {version!r}; this release reads format {FORMAT_VERSION}: make "
                "the artifact again"
            )
        try:
            calibration = data["calibration"]
            # Artifacts of earlier releases lack these two.
            observations, learning = data.get("observations"), data.get("learning")
            return cls(
                source=AgentSource.from_json(data["source"]),
                recipe=str(data["recipe"]),
                specs=tuple(data["specs"]),
                specs_sha256=data["specs_sha256"],
                calibration=None if calibration is None else Calibration(**calibration),
                observations=None
                if observations is None
                else ObservationsRecord(**observations | {"shape": tuple(observations["shape"])}),
                learning=None if learning is None else Learning(**learning),
                observation_shape=tuple(data["observation_shape"]),
                action_shape=tuple(data["action_shape"]),
                discrete=bool(data["discrete"]),
                noise=data.get("noise"),
                groups=tuple(data.get("groups", ())),
                observation_parts=read_parts(data.get("observation_parts", ())),
                layers_before=tuple(LayerRecord(**layer) for layer in data["layers_before"]),
                layers=tuple(LayerRecord(**layer) for layer in data["layers"]),
                size=SizeRecord(**data["size"]),
                model_sha256=data["model_sha256"],
                versions=dict(data["versions"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"the manifest is incomplete ({error!r})") from error
