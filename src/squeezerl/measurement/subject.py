"""What can be profiled: a named artifact, and its size."""

from __future__ import annotations

import gzip
from collections import Counter
from dataclasses import dataclass

from squeezerl.artifacts.artifact import Artifact
from squeezerl.measurement.result import ModelSize
from squeezerl.network.network import IntegerTensor
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
    by_dtype: Counter[str] = Counter()
    for name, tensor in artifact.network.tensors():
        if not name.startswith("layer"):
            continue
        if isinstance(tensor, IntegerTensor):
            by_dtype[tensor.dtype_name] += tensor.values.nbytes + tensor.zero_point.nbytes
            by_dtype[str(tensor.scale.dtype)] += tensor.scale.nbytes
        else:
            by_dtype[str(tensor.dtype)] += tensor.nbytes
    layers = artifact.network.layers
    if slopes := sum(len(layer.slopes) for layer in layers):
        by_dtype["float32"] += 4 * slopes
    return ModelSize(
        file_bytes=len(artifact.model),
        gzip_bytes=len(gzip.compress(artifact.model, compresslevel=9, mtime=0)),
        weight_bytes=artifact.manifest.size.weight_bytes,
        weight_bytes_by_dtype=dict(sorted(by_dtype.items())),
        parameters=sum(layer.parameter_count for layer in layers),
        macs=sum(layer.in_features * layer.out_features for layer in layers),
    )
