"""From floats to integers: the arithmetic that int8 methods share.

Weights are symmetric around the zero point 128, from -127 to 127: `IntegerTensor`. Values are
rounded affinely, 0 being exact (Jacob et al. 2018, arXiv 1712.05877, eq. 1).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from squeezerl.methods.base import ExpectedLayer
from squeezerl.network.network import (
    AnyRounding,
    Float,
    IntegerTensor,
    Network,
    Rounding,
    as_float,
)

BITS = 8
LEVELS = 255
WEIGHT_ZERO_POINT = 128
_WEIGHT_LIMIT = 127
_BIAS_LIMIT = 2**31 - 1


def affine_rounding(low: float, high: float) -> Rounding:
    """For values in [low, high], widened to hold 0."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / LEVELS
    if scale < np.finfo(np.float32).tiny:
        return Rounding(scale=1.0, zero_point=0)
    zero_point = np.clip(np.rint(-low / scale), 0, LEVELS)
    return Rounding(scale=float(np.float32(scale)), zero_point=int(zero_point))


def symmetric_rounding(bound: float) -> Rounding:
    """For values in [-bound, bound]."""
    scale = np.float32(bound / (LEVELS // 2))
    return Rounding(scale=float(scale), zero_point=WEIGHT_ZERO_POINT)


def integer_weight(weight: Float, *, per_channel: bool) -> IntegerTensor:
    """A weight (out, in) in int8, with one scale per output neuron or one for all."""
    bound = np.abs(weight).max(axis=1) if per_channel else np.abs(weight).max()
    scale = np.asarray(bound / np.float32(_WEIGHT_LIMIT), np.float32)
    scale = np.where(scale < np.finfo(np.float32).tiny, np.float32(1), scale)
    step = scale[:, np.newaxis] if per_channel else scale
    values = np.clip(np.rint(weight / step), -_WEIGHT_LIMIT, _WEIGHT_LIMIT) + WEIGHT_ZERO_POINT
    zero_point = np.full(scale.shape, WEIGHT_ZERO_POINT, np.uint8)
    return IntegerTensor(values.astype(np.uint8), scale, zero_point, BITS)


def integer_bias(bias: Float, weight: IntegerTensor, rounding: Rounding) -> IntegerTensor:
    """A bias in int32, in the step of the products that it is added to."""
    scale = np.asarray(weight.scale * np.float32(rounding.scale), np.float32)
    values = np.clip(np.rint(bias.astype(np.float64) / scale), -_BIAS_LIMIT, _BIAS_LIMIT)
    zero_point = np.zeros(scale.shape, np.int32)
    return IntegerTensor(values.astype(np.int32), scale, zero_point, 32)


def with_integer_layers(
    network: Network,
    roundings: Mapping[str, AnyRounding],
    *,
    per_channel: bool,
    keep: Sequence[str] = (),
) -> Network:
    """The network with integer weights, and with its values rounded as given.

    A layer whose input is rounded at run time keeps its bias in float: there is no step for it yet.

    Args:
        network: in float.
        roundings: by the name of the value; those of the inputs of all layers but `keep`.
        per_channel: one weight scale per output neuron.
        keep: names of layers that stay in float.
    """
    layers = []
    for index, (name, layer) in enumerate(network.named_layers.items()):
        if name in keep:
            layers.append(layer)
            continue
        rounding = roundings[network.input_of(index)]
        weight = integer_weight(as_float(layer.weight), per_channel=per_channel)
        bias = as_float(layer.bias)
        layers.append(
            dataclasses.replace(
                layer,
                weight=weight,
                bias=integer_bias(bias, weight, rounding)
                if isinstance(rounding, Rounding)
                else bias,
            )
        )
    return network.replace(layers=tuple(layers), roundings=roundings)


def expect_integers(
    layers: Sequence[ExpectedLayer], *, per_channel: bool, keep: Sequence[str]
) -> list[ExpectedLayer]:
    """What the audit must find after `with_integer_layers`."""
    return [
        layer
        if layer.name in keep
        else ExpectedLayer(
            name=layer.name,
            in_features=layer.in_features,
            out_features=layer.out_features,
            weight_dtype=f"int{BITS}",
            scales=layer.out_features if per_channel else 1,
        )
        for layer in layers
    ]
