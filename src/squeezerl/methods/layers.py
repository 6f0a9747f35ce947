"""The linear layers of an ONNX policy, read back from the graph as it stands."""

from __future__ import annotations

import onnx
from onnx import TensorProto, numpy_helper

from squeezerl.errors import ArtifactError
from squeezerl.records import LayerRecord

# Operator → position of its weight among its inputs.
_WEIGHT_INPUT = {"Gemm": 1, "MatMul": 1, "MatMulInteger": 1}
_QUANTIZED = "_quantized"


def read_layers(model: onnx.ModelProto) -> tuple[LayerRecord, ...]:
    """Every linear layer, in order, with the dtype and the bytes its weights really have.

    Raises:
        ArtifactError: if a linear operator's weights are not constants of the file.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    producers = {output: node for node in model.graph.node for output in node.output}
    layers = []
    for node in model.graph.node:
        if node.op_type not in _WEIGHT_INPUT:
            continue
        weight_name = node.input[_WEIGHT_INPUT[node.op_type]]
        producer = producers.get(weight_name)
        if producer is not None and producer.op_type == "DequantizeLinear":
            weight_name = producer.input[0]
        if weight_name not in constants or len(constants[weight_name].dims) != 2:
            raise ArtifactError(f"the weights of {node.name!r} are not constants of the model")
        name = weight_name.removesuffix(_QUANTIZED).removesuffix(".weight")
        weight = constants[weight_name]
        prefixes = layer_prefixes(name)
        parts = {n: t for n, t in constants.items() if n.startswith(prefixes)}
        bias = sum(tensor_bytes(t) for n, t in parts.items() if _is_bias(n, name))
        layers.append(
            LayerRecord(
                name=name,
                in_features=weight.dims[0],
                out_features=weight.dims[1],
                weight_dtype=dtype_name(weight),
                weight_bytes=tensor_bytes(weight),
                bias_bytes=bias,
                quantization_bytes=sum(map(tensor_bytes, parts.values()))
                - tensor_bytes(weight)
                - bias,
            )
        )
    return tuple(layers)


def layer_prefixes(layer: str) -> tuple[str, str]:
    """How the names of a layer's own constants begin."""
    return f"{layer}.weight", f"{layer}.bias"


def _is_bias(constant: str, layer: str) -> bool:
    return constant in (f"{layer}.bias", f"{layer}.bias{_QUANTIZED}")


def tensor_bytes(tensor: onnx.TensorProto) -> int:
    """Bytes of a constant's values."""
    return int(numpy_helper.to_array(tensor).nbytes)


def dtype_name(tensor: onnx.TensorProto) -> str:
    """For example "float32" or "int8"."""
    name: str = TensorProto.DataType.Name(tensor.data_type).lower()
    return {"float": "float32", "double": "float64"}.get(name, name)
