"""The audit: read the model back and fail when it is not what the manifest claims."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import AttributeProto, TensorProto

from squeezerl.artifacts.manifest import Manifest, SizeRecord
from squeezerl.errors import AuditError, SpecError
from squeezerl.methods.layers import dtype_name, layer_prefixes, read_layers, tensor_bytes
from squeezerl.methods.specs import (
    Quantization,
    Spec,
    StructuredPruning,
    check_sequence,
    spec_from_json,
    specs_hash,
)

# What a policy is made of. Weights can enter through the linear operators only, and those
# `read_layers` counts.
_OPERATORS = {
    *("Flatten", "Reshape", "Sub", "Mul", "Add", "Clip", "Max", "Min", "ArgMax", "Cast"),
    *("Relu", "Tanh", "Sigmoid", "Elu", "LeakyRelu", "Selu", "Softplus"),
    *("Gemm", "MatMul", "MatMulInteger"),
    *("DynamicQuantizeLinear", "QuantizeLinear", "DequantizeLinear"),
}
_ATTRIBUTE_TYPES = (AttributeProto.FLOAT, AttributeProto.INT, AttributeProto.INTS)


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
    _audit_containment(model)
    try:
        specs = [spec_from_json(spec) for spec in manifest.specs]
        check_sequence(specs)
    except SpecError as error:
        raise AuditError(f"the manifest's specs are not valid: {error}") from error
    if specs_hash(specs) != manifest.specs_sha256:
        raise AuditError("the manifest's specs do not match their hash")
    layers = read_layers(model)
    if layers != manifest.layers:
        for found, claimed in zip(layers, manifest.layers, strict=False):
            if found != claimed:
                raise AuditError(f"the manifest claims {claimed}, the model holds {found}")
        raise AuditError(f"{len(manifest.layers)} layers claimed, {len(layers)} in the model")
    _audit_widths(manifest, specs)
    _audit_dtypes(model, manifest, specs)
    if measure_size(model) != manifest.size:
        raise AuditError(f"the manifest claims {manifest.size}, measured {measure_size(model)}")
    _audit_signature(model, manifest)


def _audit_containment(model: onnx.ModelProto) -> None:
    """Nothing outside the file, and no place in it where weights could hide."""
    for tensor in model.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            raise AuditError(f"constant {tensor.name!r} lies outside the file")
    if model.functions or model.training_info or model.graph.sparse_initializer:
        raise AuditError("the model has functions, training data or sparse constants")
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx"):
            raise AuditError(f"node {node.name!r} needs the operator set {node.domain!r}")
        if node.op_type not in _OPERATORS:
            raise AuditError(f"node {node.name!r}: no artifact needs {node.op_type!r}")
        if any(attribute.type not in _ATTRIBUTE_TYPES for attribute in node.attribute):
            raise AuditError(f"node {node.name!r} hides constants or a graph of its own")


def _audit_widths(manifest: Manifest, specs: Sequence[Spec]) -> None:
    widths = [layer.out_features for layer in manifest.layers_before]
    for spec in specs:
        if isinstance(spec, StructuredPruning):
            widths[:-1] = [width - spec.removed(width) for width in widths[:-1]]
    found = [layer.out_features for layer in manifest.layers]
    if found != widths:
        raise AuditError(f"the specs promise layers of widths {widths}, the model has {found}")


def _audit_dtypes(model: onnx.ModelProto, manifest: Manifest, specs: Sequence[Spec]) -> None:
    last = specs[-1] if specs else None
    spec = last if isinstance(last, Quantization) else None
    scales = {t.name: tensor_bytes(t) // 4 for t in model.graph.initializer}
    kept = set(spec.keep) if spec else {layer.name for layer in manifest.layers}
    for layer in manifest.layers:
        want = "float32" if layer.name in kept else "int8"
        if layer.weight_dtype != want:
            raise AuditError(f"{layer.name} should be {want}, but holds {layer.weight_dtype}")
        if spec and want == "int8":
            due = layer.out_features if spec.per_channel else 1
            if scales.get(f"{layer.name}.weight_scale") != due:
                raise AuditError(f"{layer.name} should have {due} weight scales")
    if spec is None:
        return
    allowed = {f"{name}.weight" for name in kept}
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
