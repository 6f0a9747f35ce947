"""What can be profiled: an agent or an artifact, and its size."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import onnx

from squeezerl.agents.load import load_agent
from squeezerl.artifacts.audit import measure_size
from squeezerl.artifacts.read import is_artifact, read_artifact
from squeezerl.errors import ArtifactError
from squeezerl.measurement.result import ModelSize
from squeezerl.methods.compress import compress
from squeezerl.methods.layers import dtype_name, layer_prefixes, read_layers, tensor_bytes
from squeezerl.network.onnx_reader import from_onnx
from squeezerl.network.policy import Policy
from squeezerl.records import AgentSource


@dataclass(frozen=True)
class Subject:
    """A policy as ONNX and, unless it is int8, as a torch module.

    `no_policy` says why there is no torch module.
    """

    name: str
    source: AgentSource
    model: bytes
    policy: Policy | None
    no_policy: str | None = None


def load_subject(path: str | Path, *, vecnormalize: str | Path | None = None) -> Subject:
    """Load an artifact, or an agent, which is exported as a float32 policy.

    Raises:
        SqueezeRLError: if the path is neither, or damaged.
    """
    if not is_artifact(path):
        agent = load_agent(path, vecnormalize=vecnormalize)
        model = compress(agent.policy).model.SerializeToString()
        return Subject(str(path), agent.source, model, agent.policy)
    artifact = read_artifact(path)
    name, source, model = str(path), artifact.manifest.source, artifact.model
    try:
        return Subject(name, source, model, from_onnx(onnx.load_model_from_string(model)))
    except ArtifactError as error:
        return Subject(name, source, model, None, str(error))


def model_size(content: bytes) -> ModelSize:
    """The size of a serialised ONNX policy.

    Raises:
        ArtifactError: if a layer's weights are not constants of the model.
    """
    model = onnx.load_model_from_string(content)
    layers = read_layers(model)
    prefixes = tuple(prefix for layer in layers for prefix in layer_prefixes(layer.name))
    by_dtype: dict[str, int] = {}
    for tensor in model.graph.initializer:
        if tensor.name.startswith(prefixes):
            dtype = dtype_name(tensor)
            by_dtype[dtype] = by_dtype.get(dtype, 0) + tensor_bytes(tensor)
    return ModelSize(
        file_bytes=len(content),
        gzip_bytes=len(gzip.compress(content, compresslevel=9, mtime=0)),
        weight_bytes=measure_size(model).weight_bytes,
        weight_bytes_by_dtype=dict(sorted(by_dtype.items())),
        parameters=sum((layer.in_features + 1) * layer.out_features for layer in layers),
        macs=sum(layer.in_features * layer.out_features for layer in layers),
    )
