"""Int8 quantization of a float model with ONNX Runtime's own quantizer."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from squeezerl.errors import CompressionError
from squeezerl.methods.ranges import ActivationScale
from squeezerl.methods.specs import (
    DynamicQuantization,
    QuantizationAwareTraining,
    StaticQuantization,
)

LINEAR_OP = "Gemm"


def quantize_dynamically(model: onnx.ModelProto, spec: DynamicQuantization) -> onnx.ModelProto:
    """PTDQ: the float model with int8 weights and run-time activation scales."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "quantized.onnx"
        with _quiet():
            quantize_dynamic(
                _copy(model),
                output,
                per_channel=spec.per_channel,
                weight_type=QuantType.QInt8,
                # It first splits each Gemm into a MatMul, whose name it makes like this.
                nodes_to_exclude=[f"{name}_MatMul" for name in spec.keep],
            )
        return _tidy(onnx.load(output))


def quantize_statically(
    model: onnx.ModelProto, spec: StaticQuantization, observations: npt.NDArray[np.float32]
) -> onnx.ModelProto:
    """PTSQ: int8 weights, and activation scales from the range (minimum to maximum) seen.

    Args:
        model: the float model.
        spec: how to quantize.
        observations: raw observations that the agent visited, (n, *observation_shape).

    Raises:
        CompressionError: if the observations do not fit or are not finite.
    """
    observations = np.asarray(observations, dtype=np.float32)
    shape = tuple(d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim)[1:]
    if len(observations) == 0 or observations.shape[1:] != shape:
        raise CompressionError(
            f"calibration observations of shape {observations.shape} given, (n, "
            f"{', '.join(map(str, shape))}) needed with n of at least 1"
        )
    if not np.isfinite(observations).all():
        raise CompressionError("the calibration observations hold NaN or infinite values")
    settings = _LAYERS_ONLY if spec.layers_only else {}
    return _quantize_statically(model, observations, spec.per_channel, spec.keep, settings)


def quantize_as_trained(
    model: onnx.ModelProto,
    spec: QuantizationAwareTraining,
    scales: Mapping[str, ActivationScale],
) -> onnx.ModelProto:
    """QAT: int8 weights, and the activation scales of training.

    Args:
        model: the float model; weights are rounded as in `FakeQuantizedLinear`.
        spec: how it was trained.
        scales: of the input of each layer, by the layer's name.
    """
    inputs = {node.name: node.input[0] for node in model.graph.node if node.op_type == LINEAR_OP}
    options = _LAYERS_ONLY["extra_options"] | {
        "TensorQuantOverrides": {
            inputs[name]: [
                {
                    "quant_type": QuantType.QUInt8,
                    "scale": np.array(scale.scale, dtype=np.float32),
                    "zero_point": np.array(scale.zero_point, dtype=np.uint8),
                }
            ]
            for name, scale in scales.items()
        }
    }
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim][1:]
    # The quantizer insists on calibrating; what it finds is overridden.
    nothing = np.zeros((1, *shape), dtype=np.float32)
    settings = _LAYERS_ONLY | {"extra_options": options}
    return _quantize_statically(model, nothing, spec.per_channel, spec.keep, settings)


# The output of a layer stays in float until the next layer's input is quantized: one rounding per
# layer instead of two or three, and a continuous action at the end.
_LAYERS_ONLY: dict[str, Any] = {
    "op_types_to_quantize": [LINEAR_OP],
    "extra_options": {"OpTypesToExcludeOutputQuantization": [LINEAR_OP]},
}


def _quantize_statically(
    model: onnx.ModelProto,
    observations: npt.NDArray[np.float32],
    per_channel: bool,
    keep: tuple[str, ...],
    settings: Mapping[str, Any],
) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "quantized.onnx"
        with _quiet():
            quantize_static(
                _copy(model),
                output,
                _Observations(model.graph.input[0].name, observations),
                quant_format=QuantFormat.QDQ,
                calibrate_method=CalibrationMethod.MinMax,
                per_channel=per_channel,
                weight_type=QuantType.QInt8,
                activation_type=QuantType.QUInt8,
                nodes_to_exclude=list(keep),
                **settings,
            )
        return _tidy(onnx.load(output))


class _Observations(CalibrationDataReader):  # type: ignore[misc]
    """All observations as one batch; the range over a batch is that over its rows."""

    def __init__(self, name: str, observations: npt.NDArray[np.float32]) -> None:
        self._batches = iter([{name: observations}])

    def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
        return next(self._batches, None)


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    """The quantizer rewrites the model it is given."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def _tidy(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop what only documents the quantizer's own steps; it costs bytes and changes nothing."""
    model.producer_name, model.producer_version = "squeezerl", ""
    del model.metadata_props[:]
    del model.graph.value_info[:]
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Mute the quantizer's advice to pre-process, which our graph does not need."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
