"""ONNX Runtime: what a deployed artifact runs in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from squeezerl.artifacts.read import read_artifact
from squeezerl.errors import ArtifactError, InvalidArgumentError
from squeezerl.methods.layers import read_layers
from squeezerl.runtimes.actor import Actions, Observations
from squeezerl.runtimes.ort_session import make_session

# A batch of these gives other actions than its rows: dynamic quantization takes its scale over
# the batch, and the kernels of the others round a number otherwise at the end of a buffer.
_ROW_BY_ROW_OPS = {"DynamicQuantizeLinear", "Elu", "Selu", "Softplus"}


def acts_row_by_row(model: onnx.ModelProto) -> bool:
    """Whether a batch of this model's would give other actions than its rows do."""
    return any(node.op_type in _ROW_BY_ROW_OPS for node in model.graph.node)


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
        try:
            self._session = make_session(model, threads=1)
            proto = onnx.load_model_from_string(model)
            layers = read_layers(proto)
            (source,), (target,) = self._session.get_inputs(), self._session.get_outputs()
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise ArtifactError(f"ONNX Runtime cannot load the model ({error})") from error
        self._input, self._output = source.name, [target.name]
        self.observation_shape: tuple[int, ...] = tuple(source.shape[1:])
        self.action_shape: tuple[int, ...] = tuple(target.shape[1:])
        self.action_count = layers[-1].out_features if target.type == "tensor(int64)" else None
        self._row_by_row = acts_row_by_row(proto)
        self._checked_sizes = {1}

    def act(self, observations: Observations) -> Actions:
        """Actions (n, *action_shape) for raw observations (n, *observation_shape).

        Raises:
            InvalidArgumentError: if the observations have another shape.
        """
        observations = np.asarray(observations, dtype=np.float32)
        if observations.ndim == 0 or observations.shape[1:] != self.observation_shape:
            raise InvalidArgumentError(
                f"observations of shape {observations.shape} given, a batch of shape (n, "
                f"{', '.join(map(str, self.observation_shape))}) needed; for a single one, "
                "act(observation[None])[0]"
            )
        size = len(observations)
        if size == 0:
            dtype = np.float32 if self.action_count is None else np.int64
            return np.empty((0, *self.action_shape), dtype)
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
