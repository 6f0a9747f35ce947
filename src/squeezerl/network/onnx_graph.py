"""A policy as an ONNX graph: raw observation in, environment's action out.

Written node by node rather than through torch's exporter: the graph then does not depend on the
version of torch, holds nothing but the policy, and keeps the layers' names for the audit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from squeezerl.network.action_head import ActionHead
from squeezerl.network.policy import Policy

OPSET = 17
IR_VERSION = 8
INPUT_NAME = "observation"
OUTPUT_NAME = "action"


class _Graph:
    """Nodes and constants in the making; `value` is the name of the latest result."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.value = INPUT_NAME

    def constant(self, name: str, array: npt.NDArray[np.generic]) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def add(self, op: str, name: str, *inputs: str, **attributes: Any) -> None:
        """Append a node that takes the latest value first."""
        node = helper.make_node(op, [self.value, *inputs], [f"{name}.out"], name, **attributes)
        self.nodes.append(node)
        self.value = node.output[0]


def to_onnx(policy: Policy) -> onnx.ModelProto:
    """The policy in float32: `observation` (batch, ...) → `action` (batch, ...), any batch."""
    graph = _Graph()
    if len(policy.observation_shape) != 1:
        graph.add("Flatten", "flatten", axis=1)
    if policy.normalizer is not None:
        _add_normalizer(graph, policy)
    for name, module in policy.network.named_children():
        if isinstance(module, nn.Linear):
            weight = module.weight.detach().numpy().T
            bias = module.bias.detach().numpy()
            graph.add(
                "Gemm",
                name,
                graph.constant(f"{name}.weight", weight),
                graph.constant(f"{name}.bias", bias),
            )
        else:
            _add_activation(graph, name, module)
    _add_head(graph, policy.head)
    discrete = policy.head.is_discrete
    if not discrete and len(policy.action_shape) != 1:
        shape = np.array([-1, *policy.action_shape], dtype=np.int64)
        graph.add("Reshape", "reshape", graph.constant("action_shape", shape))
    graph.nodes[-1].output[0] = OUTPUT_NAME
    return helper.make_model(
        helper.make_graph(
            graph.nodes,
            "policy",
            [_value_info(INPUT_NAME, TensorProto.FLOAT, policy.observation_shape)],
            [
                _value_info(
                    OUTPUT_NAME,
                    TensorProto.INT64 if discrete else TensorProto.FLOAT,
                    policy.action_shape,
                )
            ],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="squeezerl",
    )


def _value_info(name: str, dtype: int, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, ["batch", *shape])


def _scalar(value: float) -> npt.NDArray[np.float32]:
    return np.array(value, dtype=np.float32)


def _add_normalizer(graph: _Graph, policy: Policy) -> None:
    normalizer = policy.normalizer
    assert normalizer is not None
    graph.add(
        "Sub", "normalizer.center", graph.constant("normalizer.mean", normalizer.mean.numpy())
    )
    inverse_std = graph.constant("normalizer.inverse_std", normalizer.inverse_std.numpy())
    graph.add("Mul", "normalizer.scale", inverse_std)
    graph.add(
        "Clip",
        "normalizer.clip",
        graph.constant("normalizer.low", _scalar(-normalizer.clip)),
        graph.constant("normalizer.high", _scalar(normalizer.clip)),
    )


def _add_activation(graph: _Graph, name: str, module: nn.Module) -> None:
    match module:
        case nn.ReLU():
            graph.add("Relu", name)
        case nn.Tanh():
            graph.add("Tanh", name)
        case nn.Sigmoid():
            graph.add("Sigmoid", name)
        case nn.Softplus():
            graph.add("Softplus", name)
        case nn.SELU():
            graph.add("Selu", name)
        case nn.ELU():
            graph.add("Elu", name, alpha=float(module.alpha))
        case nn.LeakyReLU():
            graph.add("LeakyRelu", name, alpha=float(module.negative_slope))
        case nn.SiLU():
            before = graph.value
            graph.add("Sigmoid", f"{name}.gate")
            graph.add("Mul", name, before)
        case _:
            raise TypeError(f"no ONNX form for {type(module).__name__}")


def _add_head(graph: _Graph, head: ActionHead) -> None:
    if head.kind == "argmax":
        graph.add("ArgMax", "head.argmax", axis=1, keepdims=0)
        return
    low, high = head.low.numpy(), head.high.numpy()
    if head.kind == "tanh":
        if head.clip_mean is not None:
            graph.add(
                "Clip",
                "head.clip_mean",
                graph.constant("head.mean_low", _scalar(-head.clip_mean)),
                graph.constant("head.mean_high", _scalar(head.clip_mean)),
            )
        graph.add("Tanh", "head.tanh")
        half_range, center = (high - low) / 2, (high + low) / 2
        if (half_range != 1).any():
            graph.add("Mul", "head.stretch", graph.constant("head.half_range", half_range))
        if (center != 0).any():
            graph.add("Add", "head.shift", graph.constant("head.center", center))
        return
    if (low == low[0]).all() and (high == high[0]).all():
        # One pair of bounds for all features: ONNX's Clip takes scalars only.
        graph.add(
            "Clip",
            "head.clip",
            graph.constant("head.low", _scalar(low[0])),
            graph.constant("head.high", _scalar(high[0])),
        )
        return
    graph.add("Max", "head.clip_low", graph.constant("head.low", low))
    graph.add("Min", "head.clip_high", graph.constant("head.high", high))
