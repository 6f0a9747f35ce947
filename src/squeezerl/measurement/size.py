"""What a model weighs: bytes by part and by dtype, compressed bytes, parameters, arithmetic."""

from __future__ import annotations

import gzip

import onnx

from squeezerl.artifacts.audit import measure_size
from squeezerl.measurement.result import ModelSize
from squeezerl.methods.layers import dtype_name, layer_prefixes, read_layers, tensor_bytes


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
