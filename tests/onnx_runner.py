"""Actions of a network in torch, in ONNX Runtime and in ONNX's reference evaluator."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from onnx.reference import ReferenceEvaluator

from squeezerl.formats.onnx import to_onnx
from squeezerl.network.network import Network
from squeezerl.network.policy import Policy

Array = npt.NDArray[Any]


def torch_actions(network: Network, observations: Array) -> Array:
    """Of torch, for the whole batch at once."""
    with torch.no_grad():
        return Policy(network)(torch.from_numpy(observations.astype(np.float32))).numpy()


def onnx_actions(
    model: Network | onnx.ModelProto | bytes, observations: Array, noise: Array | None = None
) -> Array:
    """Of ONNX Runtime with its default options, for the whole batch at once."""
    given = {"observation": observations.astype(np.float32)}
    if noise is not None:
        given["noise"] = noise
    return default_session(model).run(None, given)[0]


def rows_alone(model: Network | onnx.ModelProto | bytes, observations: Array) -> Array:
    """Of ONNX Runtime with its default options, for one observation at a time."""
    session, rows = default_session(model), observations.astype(np.float32)
    return np.concatenate([session.run(None, {"observation": row[None]})[0] for row in rows])


def reference_actions(model: bytes, observations: Array) -> Array:
    """Of ONNX's reference evaluator, for one observation at a time where a scale is dynamic."""
    loaded = onnx.load_model_from_string(model)
    # It knows DequantizeLinear from this opset on; for our types nothing else has changed.
    loaded.opset_import[0].version = 19
    evaluator = ReferenceEvaluator(loaded)
    dynamic = any(node.op_type == "DynamicQuantizeLinear" for node in loaded.graph.node)
    batches = np.split(observations, len(observations) if dynamic else 1)
    return np.concatenate([evaluator.run(None, {"observation": x})[0] for x in batches])


def default_session(model: Network | onnx.ModelProto | bytes) -> onnxruntime.InferenceSession:
    """What a user has who loads the file as ONNX Runtime's documentation shows."""
    if isinstance(model, Network):
        model = to_onnx(model)
    content = model if isinstance(model, bytes) else model.SerializeToString()
    return onnxruntime.InferenceSession(content)
