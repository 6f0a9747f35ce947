"""What can be profiled: a named artifact, and its size."""

from __future__ import annotations

import gzip
from dataclasses import dataclass

from squeezerl.artifacts.artifact import Artifact
from squeezerl.formats.packed import packed_size
from squeezerl.measurement.result import ModelSize
from squeezerl.records import AgentSource


@dataclass(frozen=True)
class Subject:
    """A policy and what results call it."""

    name: str
    artifact: Artifact

    @property
    def source(self) -> AgentSource:
        """The agent that it came from."""
        return self.artifact.manifest.source


def artifact_size(artifact: Artifact) -> ModelSize:
    """Bytes, parameters and multiply-accumulates of a policy."""
    layers = artifact.network.layers
    packed = packed_size(artifact.network)
    return ModelSize(
        file_bytes=len(artifact.model),
        gzip_bytes=len(gzip.compress(artifact.model, compresslevel=9, mtime=0)),
        weight_bytes=packed.total,
        weight_bytes_by_dtype=packed.by_dtype,
        parameters=artifact.network.parameter_count,
        macs=sum(layer.in_features * layer.out_features for layer in layers),
    )
