"""A float policy read back from its ONNX graph: the inverse of `to_onnx`, which proves it."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, numpy_helper

from squeezerl.errors import ArtifactError
from squeezerl.network.action_head import ActionHead
from squeezerl.network.normalizer import ObservationNormalizer
from squeezerl.network.onnx_graph import to_onnx
from squeezerl.network.parts import check_policy
from squeezerl.network.policy import LinearLayer, Policy

_Constants = dict[str, npt.NDArray[np.float32]]

# Operator → activation; SiLU ends in a product.
_ACTIVATIONS = {
    "Relu": "ReLU",
    "Tanh": "Tanh",
    "Elu": "ELU",
    "LeakyRelu": "LeakyReLU",
    "Sigmoid": "Sigmoid",
    "Softplus": "Softplus",
    "Selu": "SELU",
    "Mul": "SiLU",
}
_INT8_OPERATORS = {"MatMulInteger", "DynamicQuantizeLinear", "QuantizeLinear", "DequantizeLinear"}


def from_onnx(model: onnx.ModelProto) -> Policy:
    """The policy whose graph this is, byte for byte.

    Bounds of a tanh head may come back one unit in the last place off: the graph holds their
    half range and centre only.

    Raises:
        ArtifactError: if the model is quantized, damaged, or not what `to_onnx` writes.
    """
    if any(node.op_type in _INT8_OPERATORS for node in model.graph.node):
        raise ArtifactError(
            "the model is quantized: int8 models run in ONNX Runtime only, "
            "torch gets policies in float32"
        )
    try:
        policy = _read(model)
        check_policy(policy)
        same = _content(to_onnx(policy)) == _content(model)
    except Exception as error:  # a hostile model can make the reader fail in any way
        reason = str(error) or type(error).__name__
        raise ArtifactError(f"not a float policy that this release writes: {reason}") from error
    if not same:
        raise ArtifactError(
            "not a float policy that this release writes: what was read from the graph makes "
            "another graph"
        )
    return policy


def _content(model: onnx.ModelProto) -> bytes:
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _read(model: onnx.ModelProto) -> Policy:
    """What the names in the graph say; whether that is all of the graph is for others to prove."""
    if any(
        t.data_location == TensorProto.EXTERNAL or t.external_data for t in model.graph.initializer
    ):
        raise ArtifactError("constants lie outside the file")
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    operators = {node.name: node.op_type for node in model.graph.node}
    layers = []
    for index in itertools.takewhile(lambda n: f"layer{n}" in operators, itertools.count()):
        weight, bias = constants[f"layer{index}.weight"], constants[f"layer{index}.bias"]
        operator = operators.get(f"activation{index}")
        layers.append(
            LinearLayer(
                torch.tensor(weight.T),
                torch.tensor(bias),
                _ACTIVATIONS[operator] if operator else None,
            )
        )
    if not layers:
        raise ArtifactError("it has no node 'layer0'")
    normalizer = None
    if "normalizer.center" in operators:
        normalizer = ObservationNormalizer.from_inverse_std(
            torch.tensor(constants["normalizer.mean"]),
            torch.tensor(constants["normalizer.inverse_std"]),
            clip=constants["normalizer.high"].item(),
        )
    return Policy(
        layers,
        _read_head(operators, constants, len(layers[-1].bias)),
        normalizer=normalizer,
        observation_shape=_shape(model.graph.input[0]),
        action_shape=_shape(model.graph.output[0]),
    )


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    """Without the batch."""
    return tuple(dimension.dim_value for dimension in value.type.tensor_type.shape.dim[1:])


def _read_head(operators: dict[str, str], constants: _Constants, outputs: int) -> ActionHead:
    if "head.argmax" in operators:
        return ActionHead.argmax()
    if "head.tanh" not in operators:
        low, high = (
            np.broadcast_to(constants[name], outputs).copy() for name in ("head.low", "head.high")
        )
        return ActionHead.box("clip", low, high)
    bounds = _bounds(
        constants.get("head.half_range", np.ones(outputs, np.float32)),
        constants.get("head.center", np.zeros(outputs, np.float32)),
    )
    clip_mean = constants.get("head.mean_high")
    return ActionHead.box(
        "tanh", *bounds, clip_mean=None if clip_mean is None else clip_mean.item()
    )


def _bounds(
    half_range: npt.NDArray[np.float32], center: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Bounds with this half range and centre in single precision, rounding included.

    Both were rounded when the graph was written, so that centre ± half range can miss by one unit
    in the last place; then one of the neighbours is right.
    """
    lows, highs = _neighbours(center - half_range), _neighbours(center + half_range)
    low, high = lows[0].copy(), highs[0].copy()
    for other_low, other_high in itertools.product(lows, highs):
        missed = ((high - low) / 2 != half_range) | ((high + low) / 2 != center)
        low[missed], high[missed] = other_low[missed], other_high[missed]
    return low, high


def _neighbours(values: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
    """The values, and the closest below and above them."""
    infinity = np.float32(np.inf)
    return [values, np.nextafter(values, -infinity), np.nextafter(values, infinity)]
