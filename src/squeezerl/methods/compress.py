"""`compress`: one verb for all methods; which method is a matter of the specs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx

from squeezerl.errors import CompressionError, SpecError
from squeezerl.methods.layers import read_layers
from squeezerl.methods.pruning import prune
from squeezerl.methods.quantization import (
    quantize_as_trained,
    quantize_dynamically,
    quantize_statically,
)
from squeezerl.methods.ranges import ActivationScale
from squeezerl.methods.result import CompressedPolicy, Signature
from squeezerl.methods.specs import (
    DynamicQuantization,
    Quantization,
    QuantizationAwareTraining,
    Spec,
    StructuredPruning,
    check_sequence,
)
from squeezerl.network.onnx_graph import to_onnx
from squeezerl.network.policy import Policy


def compress(
    policy: Policy,
    specs: Spec | Sequence[Spec] = (),
    *,
    observations: npt.NDArray[np.float32] | None = None,
    scales: Mapping[str, ActivationScale] | None = None,
) -> CompressedPolicy:
    """Apply specs in order; none at all gives the policy in float32.

    Args:
        policy: stays as it is.
        specs: one spec or a sequence, for example pruning and then quantization.
        observations: raw on-policy observations (n, *observation_shape); static quantization
            needs them.
        scales: of each layer's input, from quantization-aware training, which needs them.

    Raises:
        SpecError: if the specs do not fit together, or name layers that do not exist.
        CompressionError: if a layer was not treated as its spec asks.
    """
    if not isinstance(policy, Policy):
        raise CompressionError(f"{policy!r} is no policy; use load_agent(path).policy")
    steps = tuple(specs) if isinstance(specs, Sequence) else (specs,)
    check_sequence(steps)
    before = read_layers(to_onnx(policy))
    for spec in steps:
        if isinstance(spec, StructuredPruning):
            policy = prune(policy, spec)
    model = to_onnx(policy)
    if steps and isinstance(steps[-1], Quantization):
        model = _quantize(model, steps[-1], observations, scales)
    onnx.checker.check_model(model, full_check=True)
    return CompressedPolicy(
        model=model,
        specs=steps,
        signature=Signature(
            observation_shape=policy.observation_shape,
            action_shape=policy.action_shape,
            discrete=policy.head.is_discrete,
        ),
        layers_before=before,
        layers=read_layers(model),
    )


def _quantize(
    model: onnx.ModelProto,
    spec: Quantization,
    observations: npt.NDArray[np.float32] | None,
    scales: Mapping[str, ActivationScale] | None,
) -> onnx.ModelProto:
    names = [layer.name for layer in read_layers(model)]
    if unknown := [name for name in spec.keep if name not in names]:
        raise SpecError(f"keep names {unknown}; the policy's layers are {', '.join(names)}")
    if isinstance(spec, DynamicQuantization):
        quantized = quantize_dynamically(model, spec)
    elif isinstance(spec, QuantizationAwareTraining):
        if scales is None or {*scales} != {*names} - {*spec.keep}:
            raise SpecError(
                "quantization-aware training needs the scales that each layer was trained with; "
                "squeezerl train ALGO ENV --qat int8 writes such artifacts"
            )
        quantized = quantize_as_trained(model, spec, scales)
    elif observations is None:
        raise SpecError("static quantization needs on-policy observations to calibrate with")
    else:
        quantized = quantize_statically(model, spec, observations)
    for layer in read_layers(quantized):
        expected = "float32" if layer.name in spec.keep else "int8"
        if layer.weight_dtype != expected:
            raise CompressionError(
                f"{layer.name} came out of the quantizer as {layer.weight_dtype}, not {expected}"
            )
    return quantized
