"""ONNX Runtime: what a deployed artifact runs in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from squeezerl.artifacts.read import read_artifact
from squeezerl.errors import ArtifactError
from squeezerl.runtimes.actor import Actions, Observations

# These compute something over the whole batch, so a batch gives other actions than its rows.
_BATCH_WIDE_OPS = {"DynamicQuantizeLinear", "DynamicQuantizeMatMul"}


class OnnxActor:
    """A policy in ONNX Runtime, one thread.

    A batch is run in one call only where that gives, bit for bit, the actions of one row at a
    time: never for a dynamically quantized model, whose scale is taken over the batch, and for
    others once the first batch of that size has shown it on this machine's kernels.

    Args:
        model: the serialised ONNX policy.

    Raises:
        ArtifactError: if ONNX Runtime cannot load it.
    """

    def __init__(self, model: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise ArtifactError(f"ONNX Runtime cannot load the model ({error})") from error
        (source,), (target,) = self._session.get_inputs(), self._session.get_outputs()
        self._input, self._output = source.name, [target.name]
        self.observation_shape: tuple[int, ...] = tuple(source.shape[1:])
        self.action_shape: tuple[int, ...] = tuple(target.shape[1:])
        graph = onnx.load_model_from_string(model).graph
        self.action_count = _action_count(graph) if target.type == "tensor(int64)" else None
        self._row_by_row = any(node.op_type in _BATCH_WIDE_OPS for node in graph.node)
        self._checked_sizes = {1}

    def act(self, observations: Observations) -> Actions:
        """Actions (n, *action_shape) for raw observations (n, *observation_shape)."""
        size = len(observations)
        if size in self._checked_sizes and not self._row_by_row:
            return self._run(observations)
        rows = np.concatenate([self._run(row[np.newaxis]) for row in observations])
        if not self._row_by_row:
            self._row_by_row = not np.array_equal(rows, self._run(observations))
            self._checked_sizes.add(size)
        return rows

    def _run(self, observations: Observations) -> Actions:
        actions: Actions = self._session.run(self._output, {self._input: observations})[0]
        return actions


def load_actor(path: str | Path) -> OnnxActor:
    """The actor of an artifact's folder, after its audit.

    Raises:
        ArtifactError: if it is missing, damaged, or not what its manifest claims.
    """
    return OnnxActor(read_artifact(path).model)


def _action_count(graph: onnx.GraphProto) -> int | None:
    """Outputs of the last layer, of which a discrete policy takes the largest."""
    constants = {tensor.name: tensor.dims for tensor in graph.initializer}
    widths = [dims[-1] for name, dims in constants.items() if ".weight" in name and len(dims) == 2]
    return widths[-1] if widths else None
