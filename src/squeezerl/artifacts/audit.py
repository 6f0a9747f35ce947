"""The audit: read the model back and fail when it is not what the manifest claims."""

from __future__ import annotations

import onnx
from onnx import TensorProto

from squeezerl.artifacts.manifest import Manifest, SizeRecord
from squeezerl.compression.layers import dtype_name, layer_prefixes, read_layers, tensor_bytes
from squeezerl.errors import AuditError

_DOMAINS = ("", "ai.onnx", "com.microsoft")


def measure_size(model: onnx.ModelProto) -> SizeRecord:
    """Bytes by part, counted in the model as it stands."""
    layers = read_layers(model)
    prefixes = tuple(prefix for layer in layers for prefix in layer_prefixes(layer.name))
    in_layers = sum(layer.total_bytes for layer in layers)
    activations = other = 0
    for tensor in model.graph.initializer:
        if tensor.name.startswith(prefixes):
            continue
        if tensor.name.endswith(("_scale", "_zero_point")):
            activations += tensor_bytes(tensor)
        else:
            other += tensor_bytes(tensor)
    file_bytes = model.ByteSize()
    return SizeRecord(
        file_bytes=file_bytes,
        weight_bytes=in_layers,
        activation_bytes=activations,
        other_bytes=other,
        graph_bytes=file_bytes - in_layers - activations - other,
    )


def audit(model: onnx.ModelProto, manifest: Manifest) -> None:
    """Compare a model with its manifest.

    Raises:
        AuditError: on the first difference: layers, dtypes, bytes, inputs or outputs; if a layer
            that should be int8 has float weights anywhere in the file; or if the model reaches
            outside itself.
    """
    for tensor in model.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            raise AuditError(f"constant {tensor.name!r} lies outside the file")
    if model.functions or model.graph.sparse_initializer:
        raise AuditError("the model has functions or sparse constants, which no artifact needs")
    for node in model.graph.node:
        if node.domain not in _DOMAINS:
            raise AuditError(f"node {node.name!r} needs the operator set {node.domain!r}")
        if node.op_type == "Constant" or any(a.HasField("g") for a in node.attribute):
            raise AuditError(f"node {node.name!r} hides constants or a graph of its own")
    layers = read_layers(model)
    if layers != manifest.layers:
        for found, claimed in zip(layers, manifest.layers, strict=False):
            if found != claimed:
                raise AuditError(f"the manifest claims {claimed}, the model holds {found}")
        raise AuditError(f"{len(manifest.layers)} layers claimed, {len(layers)} in the model")
    _audit_dtypes(model, manifest)
    if measure_size(model) != manifest.size:
        raise AuditError(f"the manifest claims {manifest.size}, measured {measure_size(model)}")
    _audit_signature(model, manifest)


def _audit_dtypes(model: onnx.ModelProto, manifest: Manifest) -> None:
    quantizations = [spec for spec in manifest.specs if "quantization" in str(spec.get("kind"))]
    keep = {name for spec in quantizations for name in spec.get("keep", ())}
    expected = "int8" if quantizations else "float32"
    for layer in read_layers(model):
        want = "float32" if layer.name in keep else expected
        if layer.weight_dtype != want:
            raise AuditError(f"{layer.name} should be {want}, but holds {layer.weight_dtype}")
    if not quantizations:
        return
    allowed = {f"{name}.weight" for name in keep}
    for tensor in model.graph.initializer:
        if len(tensor.dims) > 1 and "float" in dtype_name(tensor) and tensor.name not in allowed:
            raise AuditError(f"a quantized model holds the float matrix {tensor.name!r}")


def _audit_signature(model: onnx.ModelProto, manifest: Manifest) -> None:
    if len(model.graph.input) != 1 or len(model.graph.output) != 1:
        raise AuditError("a policy has one input and one output")
    pairs = (
        (model.graph.input[0], manifest.observation_shape, TensorProto.FLOAT),
        (
            model.graph.output[0],
            manifest.action_shape,
            TensorProto.INT64 if manifest.discrete else TensorProto.FLOAT,
        ),
    )
    for value, shape, dtype in pairs:
        tensor = value.type.tensor_type
        dims = tuple(d.dim_value for d in tensor.shape.dim)
        if dims[1:] != shape or not tensor.shape.dim[0].dim_param:
            raise AuditError(f"{value.name!r} has shape {dims}, not (batch, {shape})")
        if tensor.elem_type != dtype:
            raise AuditError(f"{value.name!r} has another element type than claimed")
