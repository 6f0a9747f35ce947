"""The source that reads policies in ONNX files, whoever exported them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np

from squeezerl.agents import chain as steps
from squeezerl.agents.chain import Chain, Select, Value, network_of
from squeezerl.agents.load import (
    SOURCES,
    Agent,
    Source,
    exported_source,
    read_limited,
    reading,
    refuse_normalizer,
)
from squeezerl.errors import CheckpointError, NetworkError, UnsupportedPolicyError
from squeezerl.network.network import Network

if TYPE_CHECKING:
    import onnx

_OLDEST_OPSET = 9
_MAX_NODES = 10_000
_MOST_METADATA = 1_000_000
_STANDARD = ("", "ai.onnx")
# What exporters call the action among several outputs.
_ACTIONS = ("actions", "action", "mu", "mean", "continuous_actions", "output")
_FLOATS = (1, 10, 11, 16)  # FLOAT, FLOAT16, DOUBLE, BFLOAT16
_RECURRENT = ("LSTM", "GRU", "RNN", "Loop", "Scan")


@final
class OnnxGraph(Source):
    """Reads multilayer perceptrons in ONNX files of any exporter, from opset 9."""

    kind = "onnx"
    takes = "an .onnx file"

    def recognises(self, path: Path) -> bool:
        """See `Source`."""
        return path.suffix == ".onnx" and path.is_file()

    def load(self, path: Path, *, normalizer: Path | None = None) -> Agent:
        """See `Source`."""
        refuse_normalizer(path, normalizer)
        content = read_limited(path)
        with reading(path, what="an ONNX model"):
            model = _parse(content)
            network = _network(model)
            metadata = _metadata(model)
            network = _with_parts(network, metadata)
        versions = {model.producer_name: model.producer_version} if model.producer_name else {}
        source = exported_source(
            self.kind, path, "the nodes of the graph", versions=versions, metadata=metadata
        )
        return Agent(network, source)


SOURCES.register(OnnxGraph.kind, OnnxGraph())


def _parse(content: bytes) -> onnx.ModelProto:
    import onnx

    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's errors share no base class
        raise CheckpointError("not an ONNX model, or damaged; export it again") from error
    if not model.graph.output:
        raise CheckpointError("not an ONNX model, or damaged: it has no output")
    if len(model.graph.node) > _MAX_NODES:
        raise UnsupportedPolicyError(f"{len(model.graph.node):,} nodes are no policy")
    return model


def _metadata(model: onnx.ModelProto) -> dict[str, str]:
    """What the exporter wrote beside the graph."""
    size = sum(len(one.key) + len(one.value) for one in model.metadata_props)
    if size > _MOST_METADATA:
        raise UnsupportedPolicyError(
            f"{size:,} characters of metadata (metadata_props); {_MOST_METADATA:,} are allowed"
        )
    return {one.key: one.value for one in model.metadata_props}


def _with_parts(network: Network, metadata: dict[str, str]) -> Network:
    """The network with the entries of a dict observation, which files of SqueezeRL name."""
    from squeezerl.formats.onnx import parts_in

    try:
        return network.replace(observation_parts=parts_in(metadata))
    except NetworkError as error:
        raise CheckpointError(str(error)) from error


def _opset(model: onnx.ModelProto) -> int:
    versions = [i.version for i in model.opset_import if i.domain in _STANDARD]
    if not versions or versions[0] < _OLDEST_OPSET:
        raise UnsupportedPolicyError(
            f"opset {versions[0] if versions else 'unknown'}; {_OLDEST_OPSET} and later are "
            "supported: export it again, or use onnx.version_converter"
        )
    return int(versions[0])


def _network(model: onnx.ModelProto) -> Network:
    from onnx import numpy_helper

    graph = model.graph
    for tensor in graph.initializer:
        _check_inside(tensor)
    if graph.sparse_initializer:
        raise UnsupportedPolicyError("sparse weights are not supported")
    initial = {tensor.name: tensor for tensor in graph.initializer}
    inputs = {value.name: value for value in graph.input if value.name not in initial}
    output = _output(graph)
    needed = _needed(graph, output.name)
    values: dict[str, Value] = {}
    for name, value in inputs.items():
        shape = _shape(value)
        width = None if None in shape[1:] else math.prod(n for n in shape[1:] if n is not None)
        if len(shape) == 1:
            width = shape[0]
        values[name] = Chain(name, rank=len(shape), inputs=width)
    opset = _opset(model)
    for index, node in enumerate(graph.node):
        if index not in needed:
            continue
        place = f"node {node.name[:80] or index!r} ({node.op_type[:40]})"
        given: list[Value | None] = []
        for name in node.input:
            if name in initial and name not in values:
                values[name] = numpy_helper.to_array(initial[name])
            if name and name not in values:
                raise CheckpointError(
                    f"{place} takes {name[:80]!r}, which nothing before it gives: the graph has a "
                    "cycle, or lacks a part"
                )
            given.append(values[name] if name else None)
        results = _apply(_Node(node, place, opset), given)
        values.update(zip(node.output, results, strict=False))
    if output.name not in values:
        raise CheckpointError(f"nothing gives the output {output.name[:80]!r}")
    result = values[output.name]
    place = f"the output {output.name[:80]!r}"
    if not isinstance(result, Chain):
        return network_of(result, place=place)
    dimensions = _shape(inputs[result.origin])
    shape = dimensions[1:] if len(dimensions) > 1 else dimensions
    known = tuple(n for n in shape if n is not None)
    return network_of(
        result, observation_shape=known if len(known) == len(shape) else None, place=place
    )


def _check_inside(tensor: onnx.TensorProto) -> None:
    from onnx import TensorProto

    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        places = [entry.value for entry in tensor.external_data if entry.key == "location"]
        raise CheckpointError(
            f"the weights {tensor.name[:80]!r} lie outside, in {''.join(places)[:80]!r}, which is "
            "not read; put them inside: onnx.save_model(onnx.load(OLD), NEW)"
        )


def _output(graph: onnx.GraphProto) -> onnx.ValueInfoProto:
    outputs = list(graph.output)
    if len(outputs) == 1:
        return outputs[0]
    named = {output.name: output for output in outputs}
    for name in _ACTIONS:
        if name in named:
            return named[name]
    names = ", ".join(repr(name[:40]) for name in list(named)[:8])
    raise UnsupportedPolicyError(
        f"it has {len(outputs)} outputs ({names}), and none is called 'actions': export the action "
        "alone, or name it so"
    )


def _needed(graph: onnx.GraphProto, output: str) -> set[int]:
    """The places of the nodes that the output depends on."""
    giving = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    needed: set[int] = set()
    waiting = [output]
    while waiting:
        index = giving.get(waiting.pop())
        if index is not None and index not in needed:
            needed.add(index)
            waiting += graph.node[index].input
    return needed


def _shape(value: onnx.ValueInfoProto) -> tuple[int | None, ...]:
    """The dimensions of an input; a dimension of any size is `None`."""
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type") or tensor.elem_type not in _FLOATS:
        raise UnsupportedPolicyError(f"the input {value.name[:80]!r} does not consist of floats")
    shape = tuple(
        d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None
        for d in tensor.shape.dim
    )
    if not shape:
        raise UnsupportedPolicyError(f"the input {value.name[:80]!r} has no features")
    return shape


@dataclass(frozen=True)
class _Node:
    proto: onnx.NodeProto
    place: str
    opset: int

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or its default."""
        from onnx import helper

        for attribute in self.proto.attribute:
            if attribute.name == name:
                if attribute.HasField("t"):
                    _check_inside(attribute.t)
                return helper.get_attribute_value(attribute)
        return default

    def axes(self, given: Sequence[Value | None]) -> list[int]:
        """The axes, which are an attribute before opset 13, and an input from then on."""
        axes = self.get("axes")
        if axes is None and len(given) > 1 and given[1] is not None:
            axes = _whole(given[1], self.place)
        return [int(axis) for axis in axes or []]


_Inputs = Sequence[Any]
_Operator = Callable[[_Node, _Inputs], Value]


def _apply(node: _Node, given: list[Value | None]) -> Iterator[Value] | list[Value]:
    kind = node.proto.op_type
    if node.proto.domain not in _STANDARD:
        raise UnsupportedPolicyError(f"{node.place} is of the domain {node.proto.domain[:40]!r}")
    if kind == "Split":
        return _split(node, given)
    if kind not in _OPERATORS:
        why = "is not supported"
        if kind in _RECURRENT:
            why = "has a state; recurrent policies are not supported"
        elif kind.startswith(("Quantize", "Dequantize", "QLinear", "DynamicQuantize", "MatMulInt")):
            why = "is of a policy that is quantized already; start from the one in float"
        elif kind.startswith("Conv"):
            why = "is a convolution; only multilayer perceptrons are supported"
        elif kind in ("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Round"):
            why = steps.YES_OR_NO
        raise UnsupportedPolicyError(f"{node.place} {why}")
    if given and given[0] is None:
        raise CheckpointError(f"{node.place} lacks its input")
    try:
        return [_OPERATORS[kind](node, given)]
    except IndexError as error:
        raise CheckpointError(f"{node.place} lacks an input") from error


def _optional(given: _Inputs, index: int) -> Any:
    return given[index] if len(given) > index else None


def _whole(value: Value, place: str) -> list[int]:
    """A constant of a few whole numbers."""
    if isinstance(value, Chain) or not np.issubdtype(value.dtype, np.integer) or value.size > 8192:
        raise UnsupportedPolicyError(f"{place} takes a shape that is computed from the observation")
    return [int(number) for number in value.reshape(-1)]


def _gemm(node: _Node, given: _Inputs) -> Value:
    if node.get("transA", 0):
        raise UnsupportedPolicyError(f"{node.place} transposes the features")
    weight = steps.constant(given[1], node.place) * node.get("alpha", 1.0)
    bias = _optional(given, 2)
    if bias is not None:
        bias = steps.constant(bias, node.place) * node.get("beta", 1.0)
    return steps.linear(given[0], weight if node.get("transB", 0) else weight.T, bias, node.place)


def _matmul(node: _Node, given: _Inputs) -> Value:
    return steps.linear(given[0], steps.constant(given[1], node.place).T, None, node.place)


def _clip(node: _Node, given: _Inputs) -> Value:
    low, high = (
        _optional(given, place + 1) if node.get(name) is None else np.asarray(node.get(name))
        for place, name in enumerate(("min", "max"))
    )
    return steps.clip(given[0], low, high, node.place)


def _extreme(low: bool) -> _Operator:
    def apply(node: _Node, given: _Inputs) -> Value:
        chains = [value for value in given if isinstance(value, Chain)]
        bounds = [value for value in given if not isinstance(value, Chain)]
        if len(chains) != 1 or len(bounds) != 1:
            raise UnsupportedPolicyError(f"{node.place} joins several branches")
        bound = bounds[0]
        below, above = (bound, None) if low else (None, bound)
        return steps.clip(chains[0], below, above, node.place)

    return apply


def _arithmetic(name: str) -> _Operator:
    return lambda node, given: steps.arithmetic(name, given[0], given[1], node.place)


def _activation(name: str, *attributes: tuple[str, float]) -> _Operator:
    """An activation whose settings are attributes, given with ONNX's defaults."""

    def apply(node: _Node, given: _Inputs) -> Value:
        numbers = [repr(float(node.get(key, default))) for key, default in attributes]
        return steps.activate(given[0], ":".join([name, *numbers]), node.place)

    return apply


def _selu(node: _Node, given: _Inputs) -> Value:
    settings = (node.get("alpha", 1.67326319), node.get("gamma", 1.05070102))
    if not np.allclose(settings, (1.67326319, 1.05070102), rtol=1e-4):
        raise UnsupportedPolicyError(f"{node.place} has other constants than SELU")
    return steps.activate(given[0], "SELU", node.place)


def _celu(node: _Node, given: _Inputs) -> Value:
    if node.get("alpha", 1.0) != 1.0:
        raise UnsupportedPolicyError(f"{node.place} has an alpha other than 1, where it is ELU")
    return steps.activate(given[0], "ELU", node.place)


def _gelu(node: _Node, given: _Inputs) -> Value:
    text = "GELUTanh" if node.get("approximate", b"none") == b"tanh" else "GELU"
    return steps.activate(given[0], text, node.place)


def _swish(node: _Node, given: _Inputs) -> Value:
    if node.get("alpha", 1.0) != 1.0:
        raise UnsupportedPolicyError(f"{node.place} has an alpha other than 1, where it is SiLU")
    return steps.activate(given[0], "SiLU", node.place)


def _batch_normalization(node: _Node, given: _Inputs) -> Value:
    value, scale, shift, mean, variance = given[:5]
    eps = node.get("epsilon", 1e-5)
    return steps.batch_normalization(value, scale, shift, mean, variance, eps, node.place)


def _pow(node: _Node, given: _Inputs) -> Value:
    exponent = float(steps.constant(given[1], node.place).reshape(()))
    if isinstance(given[0], Chain):
        if exponent not in (2.0, 3.0):
            raise UnsupportedPolicyError(f"{node.place} raises the features to {exponent:g}")
        return steps.part(given[0], "Square" if exponent == 2 else "Cube", node.place)
    with np.errstate(all="ignore"):
        return np.asarray(steps.constant(given[0], node.place) ** exponent)


def _of_constants(name: str) -> _Operator:
    return lambda node, given: steps.function_of_constants(name, given[0], node.place)


def _abs(node: _Node, given: _Inputs) -> Value:
    if isinstance(given[0], Chain):
        return steps.part(given[0], "Abs", node.place)
    return np.asarray(np.abs(given[0]))


def _softmax(node: _Node, given: _Inputs) -> Value:
    given[0].check_last_axis(node.get("axis", 1 if node.opset < 13 else -1), node.place)
    return steps.part(given[0], "Softmax", node.place)


def _argmax(node: _Node, given: _Inputs) -> Value:
    chain = given[0]
    chain.check_last_axis(node.get("axis", 0), node.place)
    if node.get("select_last_index", 0):
        raise UnsupportedPolicyError(f"{node.place} takes the last of equal outputs, not the first")
    return steps.part(chain, "Argmax", node.place)


def _constant(node: _Node, given: _Inputs) -> Value:
    from onnx import numpy_helper

    for name in ("value", "value_float", "value_floats", "value_int", "value_ints"):
        value = node.get(name)
        if value is not None:
            if name == "value":
                return numpy_helper.to_array(value)
            return np.asarray(value, np.float32 if "float" in name else np.int64)
    raise UnsupportedPolicyError(f"{node.place} is no constant of numbers")


def _same(node: _Node, given: _Inputs) -> Value:
    value: Value = given[0]
    return value


def _cast(node: _Node, given: _Inputs) -> Value:
    from onnx import helper

    kind = node.get("to")
    if isinstance(given[0], Chain):
        if kind not in _FLOATS and not steps.is_index(given[0]):
            raise UnsupportedPolicyError(
                f"{node.place} makes other numbers than floats of features"
            )
        return given[0]
    return np.asarray(given[0], helper.tensor_dtype_to_np_dtype(kind))


def _flatten(node: _Node, given: _Inputs) -> Value:
    if not isinstance(given[0], Chain) or node.get("axis", 1) != 1:
        raise UnsupportedPolicyError(f"{node.place} flattens something else than observations")
    return replace(given[0], rank=2)


def _reshape(node: _Node, given: _Inputs) -> Value:
    shape = _whole(given[1], node.place)
    if not isinstance(given[0], Chain):
        return np.asarray(given[0]).reshape(shape)
    if steps.is_index(given[0]):
        return given[0]
    if len(shape) > 2 or (len(shape) == 2 and shape[0] not in (-1, 0, 1)):
        hint = steps.SEVERAL if len(shape) > 2 else ""
        raise UnsupportedPolicyError(f"{node.place} gives the features the shape {shape}{hint}")
    if shape[-1] not in (-1, 0, given[0].width):
        raise UnsupportedPolicyError(
            f"{node.place} makes {shape[-1]} features of {given[0].width or 'an unknown number'}"
        )
    return replace(given[0], rank=len(shape))


def _squeeze(by: int) -> _Operator:
    def apply(node: _Node, given: _Inputs) -> Value:
        axes = node.axes(given)
        if not isinstance(given[0], Chain):
            return np.squeeze(given[0]) if by < 0 else np.expand_dims(given[0], tuple(axes))
        if steps.is_index(given[0]) or axes == [0]:
            return replace(given[0], rank=given[0].rank + by)
        raise UnsupportedPolicyError(f"{node.place} moves the features to other axes")

    return apply


def _concat(node: _Node, given: _Inputs) -> Value:
    if len(given) == 1:
        return _same(node, given)
    if any(isinstance(value, Chain) for value in given):
        return steps.join(given, node.get("axis", 1), node.place)
    numbers = [number for value in given for number in _whole(value, node.place)]
    return np.asarray(numbers, np.int64)


def _shape_of(node: _Node, given: _Inputs) -> Value:
    if not isinstance(given[0], Chain):
        return np.asarray(given[0].shape, np.int64)
    width = given[0].width
    if given[0].rank != 2 or width is None:
        raise UnsupportedPolicyError(f"{node.place} asks for a shape that the file leaves open")
    return np.asarray([1, width], np.int64)


def _gather(node: _Node, given: _Inputs) -> Value:
    places, axis = _whole(given[1], node.place), node.get("axis", 0)
    if not isinstance(given[0], Chain):
        return np.asarray(np.take(given[0], given[1], axis=axis))
    given[0].check_last_axis(axis, node.place)
    return _select(given[0], np.asarray(places), node.place)


def _select(chain: Chain, places: np.ndarray[Any, Any], place: str) -> Chain:
    if chain.width is None:
        raise UnsupportedPolicyError(f"{place} takes some of an unknown number of features")
    return chain.then(Select(place, np.where(places < 0, places + chain.width, places)))


def _slice(node: _Node, given: _Inputs) -> Value:
    lists = [node.get(name) for name in ("starts", "ends", "axes")]
    for index, found in enumerate(lists):
        value = _optional(given, index + 1)
        if found is None and value is not None:
            lists[index] = _whole(value, node.place)
    starts, ends, axes = lists
    step = _optional(given, 4)
    if not starts or not ends or len(starts) != 1 or len(ends) != 1:
        raise UnsupportedPolicyError(f"{node.place} cuts along several axes")
    cut = slice(starts[0], ends[0], 1 if step is None else _whole(step, node.place)[0])
    axis = axes[0] if axes else 0
    if not isinstance(given[0], Chain):
        if axis != 0:
            raise UnsupportedPolicyError(f"{node.place} cuts constants")
        return np.asarray(given[0])[cut]
    given[0].check_last_axis(axis, node.place)
    return _select(given[0], np.arange(given[0].width or 0)[cut], node.place)


def _split(node: _Node, given: Sequence[Any]) -> list[Value]:
    chain, count = given[0], len(node.proto.output)
    if not isinstance(chain, Chain) or chain.width is None:
        raise UnsupportedPolicyError(f"{node.place} splits something else than known features")
    chain.check_last_axis(node.get("axis", 0), node.place)
    sizes = node.get("split")
    if sizes is None and _optional(given, 1) is not None:
        sizes = _whole(given[1], node.place)
    # Without sizes they are as large as each other, and the last one has what is left.
    sizes = sizes or [math.ceil(chain.width / count)] * count
    parts = np.split(np.arange(chain.width), np.cumsum(sizes)[:-1])
    return [_select(chain, places, node.place) for places in parts]


_OPERATORS: Mapping[str, _Operator] = {
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Add": _arithmetic("add"),
    "Sub": _arithmetic("sub"),
    "Mul": _arithmetic("mul"),
    "Div": _arithmetic("div"),
    "Neg": lambda node, given: steps.negative(given[0], node.place),
    "Pow": _pow,
    "Sqrt": _of_constants("sqrt"),
    "Reciprocal": _of_constants("reciprocal"),
    "Exp": _of_constants("exp"),
    "Abs": _abs,
    "Clip": _clip,
    "Max": _extreme(low=True),
    "Min": _extreme(low=False),
    "BatchNormalization": _batch_normalization,
    "Relu": _activation("ReLU"),
    "Tanh": _activation("Tanh"),
    "Elu": _activation("ELU", ("alpha", 1.0)),
    "Celu": _celu,
    "LeakyRelu": _activation("LeakyReLU", ("alpha", 0.01)),
    "PRelu": lambda node, given: steps.prelu(given[0], given[1], node.place),
    "Sigmoid": _activation("Sigmoid"),
    "Softplus": _activation("Softplus"),
    "Softsign": _activation("Softsign"),
    "Selu": _selu,
    "Swish": _swish,
    "Mish": _activation("Mish"),
    "Gelu": _gelu,
    "Erf": lambda node, given: steps.part(given[0], "Erf", node.place),
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "ArgMax": _argmax,
    "Constant": _constant,
    "Identity": _same,
    "Dropout": _same,
    "Cast": _cast,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Squeeze": _squeeze(-1),
    "Unsqueeze": _squeeze(1),
    "Concat": _concat,
    "Shape": _shape_of,
    "Gather": _gather,
    "Slice": _slice,
}
