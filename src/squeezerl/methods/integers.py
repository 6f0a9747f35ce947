"""From floats to integers: the arithmetic that quantizing methods share.

Weights are symmetric around a zero point in the middle, from -127 to 127 in 8 bits, from -7 to 7 in
4 bits: `IntegerTensor`. Values are rounded affinely, 0 being exact (Jacob et al. 2018, arXiv
1712.05877, eq. 1).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from squeezerl.methods.base import ExpectedLayer
from squeezerl.network.network import (
    AnyRounding,
    Float,
    IntegerTensor,
    Network,
    Normalizer,
    Rounding,
    as_float,
    level_count,
    product_step,
)

Scales = Literal["channel", "tensor", "shift"]
BITS = 8
LEVELS = 255
ZERO_POINT = 128
_BIAS_LIMIT = 2**31 - 1
# The fewest bits of float16 that numbers are shortened to: two are left for the mantissa.
_SHORTEST = 8
# The share of a range that a scale of few bits holds at least.
_HELD = 0.99
# Half range of a feature that never varied: what it does later hardly weighs.
_LEAST_HALF_RANGE = np.float32(1e-6)


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
    return Rounding(scale=float(scale), zero_point=ZERO_POINT)


def short_rounding(low: float, high: float) -> Rounding:
    """`affine_rounding` with a scale of few bits, for which up to 1 % of the range is clipped."""
    exact = affine_rounding(low, high)
    scale = float(as_short(np.array(exact.scale * _HELD), _SHORTEST, up=True))
    middle = np.rint(-min(low, 0.0) / scale)
    return Rounding(scale=scale, zero_point=int(np.clip(middle, 0, ZERO_POINT)))


def weight_limits(bits: float) -> tuple[int, int]:
    """The lowest and the highest integer of a weight around its zero point.

    In 8 bits they are -127 and 127, as most kernels for integers want it.
    """
    if bits == BITS:
        return -LEVELS // 2 + 1, LEVELS // 2
    zero = level_count(bits) // 2
    return -zero, level_count(bits) - 1 - zero


def step_by_row(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Scales or zero points, (out,) or (), so that they broadcast over weights (out, in)."""
    return array[:, np.newaxis] if array.ndim else array


def least_scale(bias: Float, rounding: Rounding | None, *, bits: int = 30) -> Float:
    """For each row of weights, the smallest scale with which its bias fits into the bits, (out,).

    Where weights are tiny beside a bias, the bias would overflow int32, or make the step that all
    biases of the layer share too coarse for the other neurons.
    """
    if rounding is None:
        return np.zeros_like(bias)
    return np.asarray(np.abs(bias) / (rounding.scale * 2.0**bits), np.float32)


def integer_weight(
    weight: Float, *, scales: Scales, bits: float = BITS, least: Float | None = None
) -> IntegerTensor:
    """A weight (out, in) in integers.

    Args:
        weight: in float.
        scales: one per output neuron ("channel"), also as powers of two ("shift"), or one for all.
        bits: of each integer.
        least: see `least_scale`.
    """
    zero = level_count(bits) // 2
    limit = weight_limits(bits)[1]
    bound = np.abs(weight).max(axis=None if scales == "tensor" else 1)
    scale = np.asarray(bound / np.float32(limit), np.float32)
    scale = np.where(scale < np.finfo(np.float32).tiny, np.float32(1), scale)
    if least is not None:
        scale = np.asarray(np.maximum(scale, least.max() if scales == "tensor" else least))
    scale = power_of_two(scale) if scales == "shift" else scale
    values = np.clip(np.rint(weight / step_by_row(scale)), -limit, limit) + zero
    return IntegerTensor(values.astype(np.uint8), scale, np.full(scale.shape, zero, np.uint8), bits)


def integer_bias(
    bias: Float, weight: IntegerTensor, rounding: Rounding, *, bits: int = 32
) -> IntegerTensor:
    """A bias in int32, in the step of the products that it is added to.

    With fewer `bits` it is a multiple of a power of two, so that so many bits say it all.
    """
    scale = product_step(weight, rounding)
    values = np.clip(np.rint(bias.astype(np.float64) / scale), -_BIAS_LIMIT, _BIAS_LIMIT)
    excess = max(0, int(np.abs(values).max(initial=0)).bit_length() + 1 - bits)
    if excess:
        most = 2 ** (bits - 1) - 1
        values = np.clip(np.rint(values / 2**excess), -most, most) * 2**excess
    zero_point = np.zeros(scale.shape, np.int32)
    return IntegerTensor(values.astype(np.int32), scale, zero_point, 32)


def in_float(network: Network) -> Network:
    """The network with the same numbers in float, and with values that are not rounded."""
    layers = [
        dataclasses.replace(layer, weight=as_float(layer.weight), bias=as_float(layer.bias))
        for layer in network.layers
    ]
    return network.replace(layers=tuple(layers), roundings={})


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
        scales: Scales = "channel" if per_channel else "tensor"
        bias = as_float(layer.bias)
        static = rounding if isinstance(rounding, Rounding) else None
        least = least_scale(bias, static)
        weight = integer_weight(as_float(layer.weight), scales=scales, least=least)
        layers.append(
            dataclasses.replace(
                layer,
                weight=weight,
                bias=bias if static is None else integer_bias(bias, weight, static),
            )
        )
    return network.replace(layers=tuple(layers), roundings=roundings)


def centered_outputs(network: Network, keep: Sequence[str] = ()) -> Network:
    """The same policy; the outputs of each discrete choice have a mean of 0 in every state.

    Only their differences decide. Q-values of 104 and 104.1 have them in the second decimal, which
    integers would lose in what all actions have in common.
    """
    last, name = network.layers[-1], [*network.named_layers][-1]
    if network.choices is None or last.activation is not None or name in keep:
        return network
    weight, bias = as_float(last.weight), as_float(last.bias)
    ends = np.cumsum(network.choices)[:-1]
    weight, bias = (
        np.concatenate([group - group.mean(axis=0) for group in np.split(whole, ends)])
        for whole in (weight, bias)
    )
    last = dataclasses.replace(last, weight=weight, bias=bias)
    return network.replace(layers=(*network.layers[:-1], last))


def expect_integers(
    layers: Sequence[ExpectedLayer],
    *,
    per_channel: bool,
    keep: Sequence[str],
    weight_dtype: str = f"int{BITS}",
) -> list[ExpectedLayer]:
    """What the audit must find after `with_integer_layers`."""
    return [
        layer
        if layer.name in keep
        else ExpectedLayer(
            name=layer.name,
            in_features=layer.in_features,
            out_features=layer.out_features,
            weight_dtype=weight_dtype,
            scales=layer.out_features if per_channel else 1,
        )
        for layer in layers
    ]


def fold_feature_ranges(network: Network, center: Float, half_range: Float) -> Network:
    """The same policy with its normaliser and first layer rescaled, feature by feature.

    Its first layer then sees values in [-1, 1]. Within the ranges it acts as before; beyond them a
    feature is held at its bound. One scale for the whole tensor then rounds each feature as finely
    as its own range allows.

    Args:
        network: in float.
        center: of the range of each feature that enters the first layer, (features,).
        half_range: of the same, above 0. The ranges lie within the normaliser's clip.
    """
    mean, inverse_std = np.zeros_like(center), np.ones_like(center)
    if network.normalizer is not None:
        mean = as_float(network.normalizer.mean)
        inverse_std = as_float(network.normalizer.inverse_std)
    features = len(center)
    layers = []
    for index, layer in enumerate(network.layers):
        if index == 0 or layer.skip:
            weight = as_float(layer.weight).copy()
            bias = as_float(layer.bias) + weight[:, -features:] @ center
            weight[:, -features:] *= half_range
            layer = dataclasses.replace(layer, weight=weight, bias=bias)
        layers.append(layer)
    return network.replace(
        layers=tuple(layers),
        normalizer=Normalizer(
            mean=mean + center / inverse_std, inverse_std=inverse_std / half_range, clip=1.0
        ),
    )


def scale_features(network: Network, low: Float, high: Float, *, short: bool = False) -> Network:
    """`fold_feature_ranges` for features in [low, high], with a normaliser of short numbers.

    What its mean and factor lose, the first layer's weights and bias take up.

    Args:
        network: in float.
        low: of each feature that enters the first layer, (features,).
        high: of the same.
        short: the mean has so few bits that the ranges grow by up to a quarter, and the factors are
            powers of two; else both are numbers of float16.
    """
    mean, factor = np.zeros_like(low), np.ones_like(low)
    if network.normalizer is not None:
        mean = as_float(network.normalizer.mean)
        factor = as_float(network.normalizer.inverse_std)
    middle, half_range = (low + high) / 2, np.maximum((high - low) / 2, _LEAST_HALF_RANGE)
    exact, allowed = mean + middle / factor, half_range / factor / (4 if short else 64)
    exact = np.where(np.abs(exact) < allowed, 0, exact)  # a tiny mean would need many bits
    for bits in range(_SHORTEST if short else 16, 17):
        new_mean = as_short(exact, bits)
        near = np.abs(new_mean - exact) < allowed
        if near.all():
            break
    new_mean = np.where(near, new_mean, exact).astype(np.float32)
    center = (new_mean - mean) * factor
    half_range = np.maximum(np.maximum(high - center, center - low), _LEAST_HALF_RANGE)
    # The next smaller number of float16, so that the whole range fits into [-1, 1].
    new_factor = as_half(factor / half_range * np.float32(1 - 2.0**-11))
    if short:
        new_factor = np.exp2(np.floor(np.log2(new_factor))).astype(np.float32)
    folded = fold_feature_ranges(network, center, factor / new_factor)
    return folded.replace(normalizer=Normalizer(mean=new_mean, inverse_std=new_factor, clip=1.0))


def as_short(values: npt.NDArray[Any], bits: int, *, up: bool = False) -> Float:
    """Round to float16 numbers of which only the first bits are used, so that they pack into fewer.

    Args:
        values: to round; where float16 is not precise, they only lose the end of their mantissa.
        bits: how many, from 7 to 16: the sign, 5 of the exponent, and the rest of the mantissa.
        up: to the next larger in size instead of to the nearest.
    """
    half = as_half(values)
    if bits == 16:
        return half
    mantissa, exponent = np.frexp(half)
    steps = 2.0 ** (bits - 5)
    rounded = (np.ceil if up else np.rint)(np.abs(mantissa) * steps) / steps
    short: Float = np.ldexp(np.copysign(rounded, mantissa), exponent).astype(np.float32)
    return short


def power_of_two(values: npt.NDArray[Any]) -> Float:
    """The next larger powers of two, or the same where they are some."""
    powers: Float = np.exp2(np.ceil(np.log2(values))).astype(np.float32)
    return powers


def as_half(values: npt.NDArray[Any]) -> Float:
    """The nearest numbers of float16, where that is precise; they take two bytes then."""
    size = np.abs(values)
    precise = (size == 0) | ((size > 2.0**-14) & (size < 60_000))
    short: Float = np.clip(values, -60_000, 60_000).astype(np.float16).astype(np.float32)
    return np.where(precise, short, values.astype(np.float32))
