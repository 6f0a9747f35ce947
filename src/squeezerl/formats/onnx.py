"""A network as an ONNX graph: raw observation in, environment's action out.

The graph is written node by node: it does not depend on the version of torch, holds nothing but the
policy, and keeps the layers' names. Integer weights are uint8 with zero point 128: ONNX Runtime's
kernels for int8 weights saturate on x86-64 processors without VNNI, those for uint8 weights are
exact everywhere.

Weights of 4 bits or fewer are stored as uint4, two in a byte, and the graph multiplies and adds
them as integers, so that every processor gets the integers of `network/arithmetic.py`.

Values keep the names of the network's chain ("layer0" is the value "layer0.out"), so that reading
the graph back needs no search. What was read is written again, and has to give the same file.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from squeezerl.errors import AuditError, FormatError
from squeezerl.formats.base import FORMATS, Format, SizeRecord
from squeezerl.formats.packed import read_exactly
from squeezerl.network.activations import GELU_CUBE, GELU_ROOT, SQRT_2, Activation
from squeezerl.network.arithmetic import tanh_steps
from squeezerl.network.network import (
    ACTION,
    LOG_DEVIATION,
    NOISE,
    OBSERVATION,
    TERNARY_BITS,
    AnyRounding,
    DynamicRounding,
    Float,
    Head,
    IntegerTensor,
    Layer,
    Network,
    Normalizer,
    Part,
    Port,
    Rounding,
    Sampling,
    Tensor,
    product_step,
    read_parts,
)

OPSET = 17
_PACKED_OPSET = 21  # the first that knows uint4
_OLDEST_OPSET = 7
_BITS = 8
_PACKED_BITS = 4

# Activation → its operators, in order. Those without one of their own in this opset are written
# out, and ONNX Runtime fuses them again where it can.
_OPERATORS = {
    "ReLU": ("Relu",),
    "Tanh": ("Tanh",),
    "ELU": ("Elu",),
    "LeakyReLU": ("LeakyRelu",),
    "Sigmoid": ("Sigmoid",),
    "Softplus": ("Softplus",),
    "SELU": ("Selu",),
    "SiLU": ("Sigmoid", "Mul"),
    "GELU": ("Div", "Erf", "Add", "Mul", "Mul"),
    "GELUTanh": ("Mul", "Mul", "Mul", "Add", "Mul", "Tanh", "Add", "Mul", "Mul"),
    "Mish": ("Softplus", "Tanh", "Mul"),
    "Hardtanh": ("Clip",),
    "Softsign": ("Softsign",),
    "PReLU": ("PRelu",),
}
# What `tanh_steps` names → operator, the node's name, and that of its constant.
_TANH_STEPS = {
    np.tanh: ("Tanh", "head.tanh"),
    np.multiply: ("Mul", "head.stretch", "head.half_range"),
    np.add: ("Add", "head.shift", "head.center"),
}
# Under this key the entries of a dict observation stand beside the graph, as JSON.
_PARTS = "squeezerl.observation_parts"
# What is said of the noise in the file.
_DOCS = {
    "normal": "Standard normal numbers. Zeros give the action without sampling.",
    "gumbel": "Standard Gumbel numbers, -log(-log(u)) of uniform u. Zeros give the action "
    "without sampling.",
}


class OnnxFormat(Format):
    """`policy.onnx`, for ONNX Runtime and whatever else reads ONNX.

    Args:
        opset: of the files that are written, for an older ONNX Runtime; unless given, 17, or 21
            for weights of 4 bits or fewer.
    """

    name = "onnx"

    def __init__(self, opset: int | None = None) -> None:
        self._opset = opset

    def write(self, network: Network) -> bytes:
        """See `Format`."""
        return _bytes(to_onnx(network, self._opset))

    def read(self, content: bytes) -> tuple[Network, SizeRecord]:
        """See `Format`."""
        return read_exactly(content, _parsed)


def _parsed(content: bytes) -> tuple[Network, bytes]:
    model = onnx.load_model_from_string(content)
    network = _read(model)
    same = to_onnx(network, model.opset_import[0].version)
    same.metadata_props.extend(one for one in model.metadata_props if one.key != _PARTS)
    return network, _bytes(same)


def with_metadata(content: bytes, metadata: Mapping[str, str]) -> bytes:
    """The file with this metadata (`metadata_props`) and the entry that SqueezeRL adds."""
    if not metadata:
        return content
    model = onnx.load_model_from_string(content)
    own = {one.key: one.value for one in model.metadata_props if one.key == _PARTS}
    helper.set_model_props(model, own | dict(metadata))
    return _bytes(model)


def metadata_of(content: bytes) -> dict[str, str]:
    """The metadata of a file (`metadata_props`), without the entry that SqueezeRL adds."""
    props = onnx.load_model_from_string(content).metadata_props
    return {one.key: one.value for one in props if one.key != _PARTS}


def parts_in(metadata: dict[str, str]) -> tuple[Part, ...]:
    """Take the entries of a dict observation out of the metadata of a file."""
    return read_parts(json.loads(metadata.pop(_PARTS, "[]")))


FORMATS.register("onnx", OnnxFormat())
_ROUNDING_PARTS = ("scale", "zero_point")
_WIDTHS: tuple[float, ...] = (*range(1, _BITS), TERNARY_BITS)


def to_onnx(
    network: Network, opset: int | None = None, *, separate_rows: bool = False
) -> onnx.ModelProto:
    """The graph: `observation` (batch, ...) → `action` (batch, ...), for any batch.

    Where actions are drawn, it has a second input, `noise` (batch, ...). The entries of a dict
    observation are parts of the one input, so that every reader of ONNX takes the file as it is;
    their names, shapes and places stand beside the graph (`metadata_props`).

    Args:
        network: becomes the graph.
        opset: unless given, 17, or 21 for weights of 4 bits or fewer.
        separate_rows: roundings at run time take their scale from each row, as they do at batch
            size 1, and not from the batch. The graph is larger then, and is never a file.

    Raises:
        FormatError: if it rounds values to other than 8 bits, or if the opset is too old for it.
    """
    graph = _Graph(network, separate_rows=separate_rows)
    if len(network.observation_shape) != 1:
        graph.add("Flatten", "flatten", axis=1)
    graph.end(OBSERVATION)
    if network.normalizer is not None:
        _add_normalizer(graph, network.normalizer)
    features = graph.unrounded
    for index, layer in enumerate(network.layers):
        if layer.skip:
            graph.join(f"skip{index}", features)
        _add_layer(graph, index, layer)
    _add_head(graph, network)
    signature = network.signature
    observed = ", ".join(map(str, network.observation_parts))
    packed = any(tensor.data_type == TensorProto.UINT4 for tensor in graph.constants)
    default = _PACKED_OPSET if packed else OPSET
    imports = [helper.make_opsetid("", default)]
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "policy",
            [
                _value_info(
                    port, observed if port.name == OBSERVATION else _DOCS[str(network.head.noise)]
                )
                for port in signature.inputs
            ],
            [_value_info(port) for port in signature.outputs],
            graph.constants,
        ),
        opset_imports=imports,
        ir_version=helper.find_min_ir_version_for(imports),
        producer_name="squeezerl",
    )
    if parts := [dataclasses.asdict(part) for part in network.observation_parts]:
        helper.set_model_props(model, {_PARTS: json.dumps(parts)})
    return model if opset is None or opset == default else _in_opset(model, opset)


def _in_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """The same graph in an older opset, if that has all of it."""
    newest = model.opset_import[0].version
    if opset in range(_OLDEST_OPSET, newest + 1):
        older = _labelled(model, opset)
        if _is_valid(older):
            return older
    fitting = next(
        version
        for version in range(_OLDEST_OPSET, newest + 1)
        if _is_valid(_labelled(model, version))
    )
    raise FormatError(
        f"`opset` {opset} cannot hold this policy; it needs one from {fitting} to {newest}"
    )


def _labelled(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    other = onnx.ModelProto()
    other.CopyFrom(model)
    other.opset_import[0].version = opset
    other.ir_version = helper.find_min_ir_version_for(list(other.opset_import))
    return other


def _is_valid(model: onnx.ModelProto) -> bool:
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception:  # its exceptions share no base class
        return False
    return True


class _Graph:
    """Nodes and constants in the making; `value` is the name of the latest result.

    `unrounded` names it before it was rounded. Where it is there as integers alone, `rounded` names
    them, their scale and their zero point.
    """

    def __init__(self, network: Network, *, separate_rows: bool) -> None:
        self._separate_rows = separate_rows
        self._roundings = network.roundings
        self._takers = {network.input_of(i): layer for i, layer in enumerate(network.layers)}
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.value = self.unrounded = OBSERVATION
        self.rounded: tuple[str, str, str] | None = None
        self.has_row_scales = False

    def constant(self, name: str, array: npt.NDArray[Any]) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def node(self, op: str, name: str, inputs: list[str], outputs: list[str], **given: Any) -> None:
        self.nodes.append(helper.make_node(op, inputs, outputs, name, **given))

    def add(self, op: str, name: str, *inputs: str, **given: Any) -> None:
        """Append a node that takes the latest value first."""
        if self.rounded is not None:
            raise FormatError(f"{self.value} is rounded at run time, but {name} takes floats")
        self.node(op, name, [self.value, *inputs], [f"{name}.out"], **given)
        self.value = f"{name}.out"

    def join(self, name: str, features: str) -> None:
        """The latest value and, behind it, the features, both unrounded."""
        self.node("Concat", name, [self.unrounded, features], [f"{name}.out"], axis=1)
        self.value = f"{name}.out"
        self.end(name)

    def tensor(self, name: str, tensor: Tensor, transposed: bool = False) -> str:
        """A constant, dequantized in the graph if it consists of integers."""
        if not isinstance(tensor, IntegerTensor):
            return self.constant(name, tensor.T if transposed else tensor)
        stored = self._stored(name, tensor, transposed=transposed)
        scale = self.constant(f"{name}_scale", tensor.scale)
        zero_point = tensor.zero_point
        zero = (
            self._pack(f"{name}_zero_point", zero_point)
            if tensor.bits <= _PACKED_BITS
            else self.constant(f"{name}_zero_point", zero_point)
        )
        axis = len(tensor.shape) - 1 if transposed else 0
        given = {"axis": axis} if tensor.scale.ndim else {}
        self.node(
            "DequantizeLinear",
            f"{name}.dequantize",
            [stored, scale, zero],
            [f"{name}.out"],
            **given,
        )
        return f"{name}.out"

    def floats(self, name: str, tensor: IntegerTensor) -> str:
        """A weight of integers for a product of floats.

        DequantizeLinear would say the same, but a default session of ONNX Runtime 1.32 makes a
        product of it that rounds its other factor to 8 bits (MatMulNBits).
        """
        values, zero_point = self._stored(name, tensor, transposed=True), tensor.zero_point
        zero = zero_point.reshape(-1)[0] if (zero_point == zero_point.flat[0]).all() else zero_point
        scale = self.constant(f"{name}_scale", tensor.scale)
        zero = self.constant(f"{name}_zero_point", zero.astype(np.float32))
        self.node("Cast", f"{name}.unpack", [values], [f"{name}.unpacked"], to=TensorProto.FLOAT)
        self.node("Sub", f"{name}.center", [f"{name}.unpacked", zero], [f"{name}.centered"])
        self.node("Mul", f"{name}.scale", [f"{name}.centered", scale], [f"{name}.out"])
        return f"{name}.out"

    def integers(self, name: str, tensor: IntegerTensor) -> tuple[str, str, str]:
        """The names of a weight's values, scale and zero point, for a product of integers."""
        values = self._stored(name, tensor, transposed=True)
        zero_point: npt.NDArray[Any] = tensor.zero_point
        if tensor.bits <= _PACKED_BITS:
            unpacked = f"{name}.unpacked"
            self.node("Cast", f"{name}.unpack", [values], [unpacked], to=TensorProto.UINT8)
            values = unpacked
            if (zero_point == zero_point.flat[0]).all():
                zero_point = zero_point.reshape(-1)[0]
        return (
            values,
            self.constant(f"{name}_scale", tensor.scale),
            self.constant(f"{name}_zero_point", zero_point),
        )

    def _stored(self, name: str, tensor: IntegerTensor, *, transposed: bool) -> str:
        values = tensor.values.T if transposed else tensor.values
        stored = f"{name}_{_suffix(tensor.bits)}"
        if tensor.bits <= _PACKED_BITS:
            return self._pack(stored, values)
        return self.constant(stored, values)

    def _pack(self, name: str, values: npt.NDArray[np.integer[Any]]) -> str:
        """A constant of values below 16, two in a byte, the first in the low half."""
        flat = values.flatten()
        pairs = np.append(flat, np.zeros(len(flat) % 2, np.uint8)).reshape(-1, 2)
        content = (pairs[:, 0] | pairs[:, 1] << 4).astype(np.uint8).tobytes()
        self.constants.append(
            helper.make_tensor(name, TensorProto.UINT4, values.shape, content, raw=True)
        )
        return name

    def end(self, value: str) -> None:
        """The latest result is this value of the network's chain; round it if that is due."""
        self.rounded, self.unrounded, self.has_row_scales = None, self.value, False
        rounding = self._roundings.get(value)
        if rounding is None:
            return
        source = self.value
        name = value if value in (OBSERVATION, ACTION) else source
        integers = f"{name}_quantized"
        parts = (integers, f"{name}_scale", f"{name}_zero_point")
        if isinstance(rounding, DynamicRounding):
            if rounding.bits != _BITS:
                raise FormatError(f"{value} is rounded at run time to {rounding.bits} bits, not 8")
            if self._separate_rows:
                self._round_rows(source, name, parts)
                self.has_row_scales = True
            else:
                self.node("DynamicQuantizeLinear", f"{name}_quantize", [source], list(parts))
            self.rounded = parts
            return
        if rounding.bits != _BITS:
            # Numbers beyond the range of the integers become the first or the last integer.
            bounds = [
                self.constant(f"{name}_{end}", _scalar(bound))
                for end, bound in zip(("low", "high"), _range(rounding), strict=True)
            ]
            self.node("Clip", f"{name}_clip", [source, *bounds], [f"{name}_clipped"])
            source = f"{name}_clipped"
        scale = self.constant(parts[1], np.array(rounding.scale, np.float32))
        zero = self.constant(parts[2], np.array(rounding.zero_point, np.uint8))
        self.node("QuantizeLinear", f"{name}_quantize", [source, scale, zero], [integers])
        taker = self._takers.get(value)
        if taker is not None and _has_few_bits(taker.weight):
            self.rounded = parts
            return
        self.value = f"{name}_rounded"
        self.node("DequantizeLinear", f"{name}_dequantize", [integers, scale, zero], [self.value])

    def _round_rows(self, source: str, name: str, parts: tuple[str, str, str]) -> None:
        """DynamicQuantizeLinear for each row: integers (n, features); scale and zero (n, 1)."""
        zero, levels, one = (
            self.constant(f"{name}_{part}", _scalar(value))
            for part, value in (("none", 0), ("levels", 2**_BITS - 1), ("one", 1))
        )

        def step(op: str, *inputs: str, **given: Any) -> str:
            result = f"{name}_row{len(self.nodes)}"
            self.node(op, result, list(inputs), [result], **given)
            return result

        low = step("Min", step("ReduceMin", source, axes=[1], keepdims=1), zero)
        high = step("Max", step("ReduceMax", source, axes=[1], keepdims=1), zero)
        width = step("Div", step("Sub", high, low), levels)
        scale = step("Where", step("Equal", width, zero), one, width)
        lowest = step("Round", step("Div", step("Sub", zero, low), scale))
        zero_point = step("Clip", lowest, zero, levels)
        rounded = step("Add", step("Round", step("Div", source, scale)), zero_point)
        stored = step("Clip", rounded, zero, levels)
        self.node("Cast", f"{name}_stored", [stored], [parts[0]], to=TensorProto.UINT8)
        self.node("Identity", f"{name}_scales", [scale], [parts[1]])
        self.node("Cast", f"{name}_zeros", [zero_point], [parts[2]], to=TensorProto.INT32)


def _suffix(bits: float) -> str:
    """How the name of integers ends."""
    return "ternary" if bits == TERNARY_BITS else f"int{bits}" if bits < _BITS else "quantized"


def _has_few_bits(weight: Tensor) -> bool:
    return isinstance(weight, IntegerTensor) and weight.bits < _BITS


def _range(rounding: Rounding) -> tuple[float, float]:
    """The lowest and the highest number that a rounding gives."""
    scale, zero_point = np.float32(rounding.scale), rounding.zero_point
    return float(-zero_point * scale), float((2**rounding.bits - 1 - zero_point) * scale)


def _value_info(port: Port, doc: str = "") -> onnx.ValueInfoProto:
    dtype = TensorProto.INT64 if port.dtype == "int64" else TensorProto.FLOAT
    return helper.make_tensor_value_info(port.name, dtype, ["batch", *port.shape], doc)


def _scalar(value: float) -> npt.NDArray[np.float32]:
    return np.array(value, dtype=np.float32)


def _add_normalizer(graph: _Graph, normalizer: Normalizer) -> None:
    graph.add("Sub", "normalizer.center", graph.tensor("normalizer.mean", normalizer.mean))
    graph.end("normalizer.center")
    inverse_std = graph.tensor("normalizer.inverse_std", normalizer.inverse_std)
    graph.add("Mul", "normalizer.scale", inverse_std)
    graph.end("normalizer.scale")
    graph.add(
        "Clip",
        "normalizer.clip",
        graph.constant("normalizer.low", _scalar(-normalizer.clip)),
        graph.constant("normalizer.high", _scalar(normalizer.clip)),
    )
    graph.end("normalizer.clip")


def _add_layer(graph: _Graph, index: int, layer: Layer) -> None:
    name = f"layer{index}"
    if graph.rounded is not None and isinstance(layer.weight, IntegerTensor):
        _add_integer_product(graph, name, layer, graph.rounded)
    else:
        weight = layer.weight
        graph.add(
            "Gemm",
            name,
            graph.floats(f"{name}.weight", weight)
            if isinstance(weight, IntegerTensor) and graph.value == graph.unrounded
            else graph.tensor(f"{name}.weight", weight, transposed=True),
            graph.tensor(f"{name}.bias", layer.bias),
        )
    graph.end(name)
    if layer.activation is None:
        return
    _add_activation(graph, index, Activation.of(layer.activation))
    graph.end(f"activation{index}")


def _add_activation(graph: _Graph, index: int, activation: Activation) -> None:
    name, x = f"activation{index}", graph.value

    def number(part: str, value: Any) -> str:
        return graph.constant(f"{name}.{part}", _scalar(value))

    match activation.name:
        case "LeakyReLU" | "ELU":
            operator = _OPERATORS[activation.name][0]
            graph.add(operator, name, alpha=activation.parameters[0])
        case "PReLU":
            slopes = np.array(activation.parameters, np.float32)
            graph.add("PRelu", name, graph.constant(f"layer{index}.slope", slopes))
        case "Hardtanh":
            low, high = activation.parameters
            graph.add("Clip", name, number("low", low), number("high", high))
        case "SiLU":
            graph.add("Sigmoid", f"{name}.gate")
            graph.add("Mul", name, x)
        case "Mish":
            graph.add("Softplus", f"{name}.softplus")
            graph.add("Tanh", f"{name}.gate")
            graph.add("Mul", name, x)
        case "GELU":  # x (1 + erf(x / √2)) / 2
            graph.add("Div", f"{name}.scaled", number("sqrt_2", SQRT_2))
            graph.add("Erf", f"{name}.erf")
            graph.add("Add", f"{name}.gate", number("one", 1))
            graph.add("Mul", f"{name}.gated", x)
            graph.add("Mul", name, number("half", 0.5))
        case "GELUTanh":  # x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2
            graph.add("Mul", f"{name}.square", x)
            graph.add("Mul", f"{name}.cube", x)
            graph.add("Mul", f"{name}.small", number("factor", GELU_CUBE))
            graph.add("Add", f"{name}.sum", x)
            graph.add("Mul", f"{name}.scaled", number("root", GELU_ROOT))
            graph.add("Tanh", f"{name}.tanh")
            graph.add("Add", f"{name}.gate", number("one", 1))
            graph.add("Mul", f"{name}.gated", x)
            graph.add("Mul", name, number("half", 0.5))
        case _:
            graph.add(_OPERATORS[activation.name][0], name)


def _add_integer_product(
    graph: _Graph, name: str, layer: Layer, rounded: tuple[str, str, str]
) -> None:
    """The product in integers, its sums scaled by both steps.

    ONNX Runtime fuses these nodes where the bias is in float.
    """
    values, scale, zero_point = rounded
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, IntegerTensor)
    weights, weight_scale, weight_zero = graph.integers(f"{name}.weight", weight)
    graph.node("Mul", f"{name}.step", [scale, weight_scale], [f"{name}.step.out"])
    sums = f"{name}.product.out"
    if graph.has_row_scales:
        # A product takes one zero point for all rows, so that of each row is subtracted behind it.
        whole, shift = f"{name}.whole.out", f"{name}.shift.out"
        row_sum = weight.centered.sum(axis=1, dtype=np.int32)
        total = graph.constant(f"{name}.weight_sum", row_sum)
        graph.node("MatMulInteger", f"{name}.whole", [values, weights, "", weight_zero], [whole])
        graph.node("Mul", f"{name}.shift", [zero_point, total], [shift])
        graph.node("Sub", f"{name}.product", [whole, shift], [sums])
    else:
        graph.node(
            "MatMulInteger", f"{name}.product", [values, weights, zero_point, weight_zero], [sums]
        )
    if isinstance(bias, IntegerTensor):
        # Its scale is the step, its zero point 0: neither is stored.
        added = graph.constant(f"{name}.bias_quantized", bias.values)
        graph.node("Add", name, [sums, added], [f"{name}.sums.out"])
        sums = f"{name}.sums.out"
    graph.node("Cast", f"{name}.cast", [sums], [f"{name}.cast.out"], to=TensorProto.FLOAT)
    scaled = f"{name}.scaled.out" if isinstance(bias, np.ndarray) else f"{name}.out"
    graph.node("Mul", f"{name}.scaled", [f"{name}.cast.out", f"{name}.step.out"], [scaled])
    if isinstance(bias, np.ndarray):
        graph.node("Add", name, [scaled, graph.constant(f"{name}.bias", bias)], [f"{name}.out"])
    graph.value = f"{name}.out"
    graph.rounded = None


def _add_head(graph: _Graph, network: Network) -> None:
    head = network.head
    if head.sampling is not None:
        _add_sample(graph, network)
    if head.groups:
        _add_choices(graph, head.groups)
    elif head.kind == "argmax":
        graph.add("ArgMax", "head.argmax", axis=1, keepdims=0)
    elif head.kind == "tanh":
        _add_tanh(graph, head)
    elif (head.low == head.low[0]).all() and (head.high == head.high[0]).all():
        # One pair of bounds for all features: ONNX's Clip takes scalars only.
        graph.add(
            "Clip",
            "head.clip",
            graph.constant("head.low", _scalar(head.low[0])),
            graph.constant("head.high", _scalar(head.high[0])),
        )
    else:
        graph.add("Max", "head.clip_low", graph.constant("head.low", head.low))
        graph.add("Min", "head.clip_high", graph.constant("head.high", head.high))
    if head.kind != "tanh":
        graph.end(ACTION)
    if not head.is_discrete and len(network.action_shape) != 1:
        shape = np.array([-1, *network.action_shape], dtype=np.int64)
        graph.add("Reshape", "reshape", graph.constant("action_shape", shape))
    graph.nodes[-1].output[0] = ACTION


def _add_choices(graph: _Graph, groups: tuple[int, ...]) -> None:
    sizes = graph.constant("head.groups", np.array(groups, np.int64))
    parts = [f"head.group{index}.out" for index in range(len(groups))]
    graph.node("Split", "head.split", [graph.value, sizes], parts, axis=1)
    indices = [f"head.argmax{index}.out" for index in range(len(groups))]
    for index, (part, chosen) in enumerate(zip(parts, indices, strict=True)):
        graph.node("ArgMax", f"head.argmax{index}", [part], [chosen], axis=1, keepdims=1)
    graph.node("Concat", "head.argmax", indices, ["head.argmax.out"], axis=1)
    graph.value = "head.argmax.out"


def _add_sample(graph: _Graph, network: Network) -> None:
    """The latest value becomes a draw: its mean and, times the deviation, the noise."""
    width = network.noise_width
    assert width is not None
    noise = NOISE
    if network.head.has_own_deviation:
        outputs = graph.value
        for name, first in (("log_deviation", width), ("mean", 0)):
            places = [
                graph.constant(f"head.{name}_{key}", np.array([value], np.int64))
                for key, value in (("start", first), ("end", first + width), ("axis", 1))
            ]
            graph.node("Slice", f"head.{name}", [outputs, *places], [f"head.{name}.out"])
        low, high = (
            graph.constant(f"head.log_deviation_{name}", _scalar(value))
            for name, value in zip(("low", "high"), LOG_DEVIATION, strict=True)
        )
        graph.value = "head.log_deviation.out"
        graph.add("Clip", "head.log_deviation_clip", low, high)
        graph.add("Exp", "head.deviation")
        graph.add("Mul", "head.noise", NOISE)
        noise, graph.value = graph.value, "head.mean.out"
    elif network.head.deviation is not None:
        deviation = graph.constant("head.deviation", network.head.deviation)
        graph.node("Mul", "head.noise", [NOISE, deviation], ["head.noise.out"])
        noise = "head.noise.out"
    graph.add("Add", "head.sample", noise)
    graph.end("head.sample")


def _add_tanh(graph: _Graph, head: Head) -> None:
    if head.clip_mean is not None:
        graph.add(
            "Clip",
            "head.clip_mean",
            graph.constant("head.mean_low", _scalar(-head.clip_mean)),
            graph.constant("head.mean_high", _scalar(head.clip_mean)),
        )
    for value, operation, numbers in tanh_steps(head):
        operator, name, *constants = _TANH_STEPS[operation]
        graph.add(operator, name, *map(graph.constant, constants, numbers))
        graph.end(value)


_Constants = Mapping[str, npt.NDArray[Any]]
_ACTIVATIONS = {operators: name for name, operators in _OPERATORS.items()}


def _read(model: onnx.ModelProto) -> Network:
    """What the names in the graph say; whether that is all of the graph is for others to prove."""
    if any(
        t.data_location == TensorProto.EXTERNAL or t.external_data for t in model.graph.initializer
    ):
        raise AuditError("constants lie outside the file")
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    operators = {node.name: node.op_type for node in model.graph.node}
    layers = [
        Layer(
            weight=_tensor(constants, f"layer{index}.weight", transposed=True),
            bias=_tensor(constants, f"layer{index}.bias"),
            activation=_read_activation(model.graph.node, constants, index),
            skip=f"skip{index}" in operators,
        )
        for index in itertools.takewhile(lambda n: f"layer{n}" in operators, itertools.count())
    ]
    if not layers:
        raise AuditError("it has no node 'layer0'")
    normalizer = None
    if "normalizer.center" in operators:
        normalizer = Normalizer(
            mean=_tensor(constants, "normalizer.mean"),
            inverse_std=_tensor(constants, "normalizer.inverse_std"),
            clip=constants["normalizer.high"].item(),
        )
    float_network = Network(
        layers=tuple(layers),
        head=_read_head(operators, constants, layers[-1].out_features),
        observation_shape=_shape(model.graph.input[0]),
        action_shape=_shape(model.graph.output[0]),
        normalizer=normalizer,
        observation_parts=parts_in({one.key: one.value for one in model.metadata_props}),
    )
    roundings = {
        value: rounding
        for value in float_network.value_names
        if (rounding := _read_rounding(operators, constants, value)) is not None
    }
    for index, layer in enumerate(layers):
        rounding = roundings.get(float_network.input_of(index))
        layers[index] = dataclasses.replace(layer, bias=_with_step(layer, rounding))
    return float_network.replace(layers=tuple(layers), roundings=roundings)


def _with_step(layer: Layer, rounding: AnyRounding | None) -> Tensor:
    """The bias, in the step of the products where its file does not say."""
    bias, weight = layer.bias, layer.weight
    if not (isinstance(bias, IntegerTensor) and _has_few_bits(weight)):
        return bias
    assert isinstance(weight, IntegerTensor)
    if not isinstance(rounding, Rounding):
        raise AuditError("a bias in integers behind values that are not")
    scale = product_step(weight, rounding)
    return IntegerTensor(bias.values, scale, np.zeros(scale.shape, np.int32), 32)


def _read_activation(
    nodes: Iterable[onnx.NodeProto], constants: _Constants, index: int
) -> str | None:
    name = f"activation{index}"
    found = [
        node
        for node in nodes
        if node.name == name
        or (node.name.startswith(f"{name}.") and not node.name.startswith(f"{name}.out_"))
    ]
    if not found:
        return None
    kind = _ACTIVATIONS[tuple(node.op_type for node in found)]
    parameters = [attribute.f for attribute in found[0].attribute]
    if kind == "PReLU":
        parameters = constants[f"layer{index}.slope"].tolist()
    elif kind == "Hardtanh":
        parameters = [constants[f"{name}.{part}"].item() for part in ("low", "high")]
    return str(Activation(kind, tuple(parameters)))


def _tensor(constants: _Constants, name: str, *, transposed: bool = False) -> Tensor:
    def stored(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.ascontiguousarray(array.T) if transposed else array

    if name in constants:
        array: Float = stored(constants[name])
        return array
    bits = next((b for b in _WIDTHS if f"{name}_{_suffix(b)}" in constants), _BITS)
    values = stored(constants[f"{name}_{_suffix(bits)}"])
    if f"{name}_scale" not in constants:  # a bias whose step `_with_step` knows
        return IntegerTensor(values, np.ones((), np.float32), np.zeros((), np.int32), 32)
    scale, zero_point = constants[f"{name}_scale"], constants[f"{name}_zero_point"]
    if bits < _BITS or zero_point.dtype == np.float32:
        values = values.astype(np.uint8)
        zero_point = np.broadcast_to(zero_point, scale.shape).astype(np.uint8)
    return IntegerTensor(values, scale, zero_point, 32 if values.dtype == np.int32 else bits)


def _read_rounding(
    operators: Mapping[str, str], constants: _Constants, value: str
) -> AnyRounding | None:
    name = value if value in (OBSERVATION, ACTION) else f"{value}.out"
    match operators.get(f"{name}_quantize"):
        case "DynamicQuantizeLinear":
            return DynamicRounding()
        case "QuantizeLinear":
            scale, zero_point = (constants[f"{name}_{part}"].item() for part in _ROUNDING_PARTS)
            if f"{name}_clip" not in operators:
                return Rounding(scale=scale, zero_point=zero_point)
            least = max(1, zero_point.bit_length())
            fitting = (
                Rounding(scale=scale, zero_point=zero_point, bits=b) for b in range(least, _BITS)
            )
            high = constants[f"{name}_high"].item()
            return next(rounding for rounding in fitting if _range(rounding)[1] == high)
    return None


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    """Without the batch."""
    return tuple(dimension.dim_value for dimension in value.type.tensor_type.shape.dim[1:])


def _read_head(operators: Mapping[str, str], constants: _Constants, outputs: int) -> Head:
    sampling = None
    if "head.sample" in operators:
        sampling = Sampling(deviation=constants.get("head.deviation"))
    if "head.argmax" in operators:
        groups = tuple(constants.get("head.groups", np.zeros(0, np.int64)).tolist())
        return Head(kind="argmax", sampling=sampling, groups=groups)
    if "head.log_deviation" in operators:
        outputs //= 2
    if "head.tanh" not in operators:
        low, high = (
            np.broadcast_to(constants[name], outputs).copy() for name in ("head.low", "head.high")
        )
        return Head(kind="clip", low=low, high=high, sampling=sampling)
    low, high = _bounds(
        constants.get("head.half_range", np.ones(outputs, np.float32)),
        constants.get("head.center", np.zeros(outputs, np.float32)),
    )
    clip_mean = constants.get("head.mean_high")
    return Head(
        kind="tanh",
        low=low,
        high=high,
        clip_mean=None if clip_mean is None else clip_mean.item(),
        sampling=sampling,
    )


def _bounds(half_range: Float, center: Float) -> tuple[Float, Float]:
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


def _neighbours(values: Float) -> list[Float]:
    """The values, and the closest below and above them."""
    infinity = np.float32(np.inf)
    return [values, np.nextafter(values, -infinity), np.nextafter(values, infinity)]


def _bytes(model: onnx.ModelProto) -> bytes:
    content: bytes = model.SerializeToString()
    return content
