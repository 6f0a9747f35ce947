"""The reference implementation of a network's arithmetic, in NumPy.

It defines what a network computes; every runtime has to agree with it. Integer layers multiply and
add exactly; everything else is float32.

Where the sums of an integer layer become integers again, a default session of ONNX Runtime makes
one operator of the layer and its rounding (QGemm). That multiplies the sums once, by the quotient
of the two steps, which differs from a multiplication and a division in the last bit. This is what
is deployed, so it is what is defined here (`fused_value`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from squeezerl.network.activations import Activation
from squeezerl.network.network import (
    ACTION,
    LOG_DEVIATION,
    OBSERVATION,
    AnyRounding,
    Float,
    Head,
    IntegerTensor,
    Layer,
    Network,
    Rounding,
    as_float,
)

Observe = Callable[[str, Float], None]


def act(
    network: Network,
    observations: npt.NDArray[Any],
    observe: Observe = lambda name, value: None,
    noise: Float | None = None,
) -> npt.NDArray[Any]:
    """Actions (n, *action_shape) for raw observations (n, *observation_shape).

    Args:
        network: float, integer or mixed.
        observations: float32.
        observe: called with the name of each value of the chain and the value (n, features) before
            it is rounded; the indices of a discrete action are not among them.
        noise: (n, network.noise_width) where actions are drawn; unless given, zeros.
    """
    chain = _Chain(network, np.asarray(observations, np.float32), observe)
    normalizer = network.normalizer
    if normalizer is not None:
        chain.put("normalizer.center", chain.value - as_float(normalizer.mean))
        chain.put("normalizer.scale", chain.value * as_float(normalizer.inverse_std))
        clip = np.float32(normalizer.clip)
        chain.put("normalizer.clip", np.clip(chain.value, -clip, clip))
    features = chain.unrounded
    for index, layer in enumerate(network.layers):
        if layer.skip:
            chain.put(f"skip{index}", np.concatenate([chain.unrounded, features], axis=1))
        fused = _fused_steps(network, index, chain)
        chain.put(f"layer{index}", _linear(layer, chain), fused)
        if layer.activation is not None:
            value = Activation.of(layer.activation)(chain.value)
            chain.put(f"activation{index}", value, fused)
    if network.head.sampling is not None:
        _draw(network, chain, noise)
    if network.head.is_discrete:
        return chosen(network.head, chain.value)
    _apply_head(network.head, chain)
    return chain.value.reshape(len(chain.value), *network.action_shape)


class _Chain:
    """The values one after the other: `value` is the latest, as the next step sees it.

    Where it was rounded, `unrounded` is what it was before, `integers` holds it without its zero
    point, and `scale` its step for each row, (n, 1).
    """

    value: Float
    unrounded: Float
    integers: npt.NDArray[np.int64] | None
    scale: Float

    def __init__(self, network: Network, observations: Float, observe: Observe) -> None:
        self._network, self._observe = network, observe
        features = math.prod(network.observation_shape)
        self.put(OBSERVATION, observations.reshape(len(observations), features))

    def put(
        self,
        name: str,
        value: npt.NDArray[Any],
        fused: tuple[str, npt.NDArray[np.int64]] | None = None,
    ) -> None:
        """Go on to the next value; `fused` has its integers if it is the value that it names."""
        self.value, self.integers = value.astype(np.float32, copy=False), None
        self.unrounded = self.value
        self._observe(name, self.value)
        rounding = self._network.roundings.get(name)
        if rounding is not None:
            self.integers, self.scale = rounded(self.value, rounding)
            if fused is not None and fused[0] == name:
                self.integers = fused[1]
            self.value = self.integers.astype(np.float32) * self.scale


def rounded(values: Float, rounding: AnyRounding) -> tuple[npt.NDArray[np.int64], Float]:
    """Values (n, features) as integers without zero point, and the step of each row (n, 1)."""
    levels = 2**rounding.bits - 1
    if isinstance(rounding, Rounding):
        scale: Any = np.full((len(values), 1), rounding.scale, np.float32)
        zero_point: Any = np.float32(rounding.zero_point)
    else:
        low = np.minimum(values.min(axis=1, keepdims=True), np.float32(0))
        high = np.maximum(values.max(axis=1, keepdims=True), np.float32(0))
        scale = (high - low) / np.float32(levels)
        scale[scale == 0] = 1  # a row of zeros
        zero_point = np.clip(np.rint(-low / scale), 0, levels)
    stored = np.clip(np.rint(values / scale) + zero_point, 0, levels)
    return (stored - zero_point).astype(np.int64), scale


def fused_value(network: Network, index: int) -> str | None:
    """The name of the rounded value that comes from a layer's sums with one multiplication.

    That is the value of a layer with weights, biases and inputs in integers of 8 bits, or the one
    behind its ReLU where integers begin at 0, so that rounding does what the ReLU does.
    """
    layer = network.layers[index]
    before = network.roundings.get(network.input_of(index))
    weight, activation = layer.weight, layer.activation
    if not (
        isinstance(before, Rounding)
        and isinstance(weight, IntegerTensor)
        and isinstance(layer.bias, IntegerTensor)
        and weight.bits == 8  # fewer are written out in ONNX, operator by operator
    ):
        return None
    name = f"layer{index}"
    if name not in network.roundings and activation is not None:
        name = f"activation{index}"
    rounding = network.roundings.get(name)
    if not isinstance(rounding, Rounding) or rounding.bits != 8:
        return None
    if name == f"activation{index}" and (activation != "ReLU" or rounding.zero_point != 0):
        return None
    skips = (i for i, layer in enumerate(network.layers) if layer.skip)
    if any(network.before(skip) == name for skip in skips):
        return None  # a skip takes the value before it is rounded
    return name


def _fused_steps(
    network: Network, index: int, chain: _Chain
) -> tuple[str, npt.NDArray[np.int64]] | None:
    """That name and its integers without zero point."""
    name = fused_value(network, index)
    if name is None:
        return None
    layer, rounding = network.layers[index], network.roundings[name]
    assert isinstance(rounding, Rounding)
    sums = _sums(layer, chain)
    steps = np.rint(sums.astype(np.float32) * fused_step(layer, chain.scale, rounding))
    low = -rounding.zero_point
    return name, np.clip(steps, low, low + 2**rounding.bits - 1).astype(np.int64)


def fused_step(layer: Layer, scale: Any, rounding: Rounding) -> Float:
    """What the sums of a layer are multiplied by to become steps of a rounding.

    Args:
        layer: with weights in integers.
        scale: of what the layer takes.
        rounding: that is fused with it.
    """
    assert isinstance(layer.weight, IntegerTensor)
    step = np.float32(scale) * layer.weight.scale
    return np.asarray(step / np.float32(rounding.scale), np.float32)


def _sums(layer: Layer, chain: _Chain) -> npt.NDArray[np.float64]:
    """The exact sums of products, with the bias if it is in integers.

    Sums of products of integers below 2^53 are exact in float64, which BLAS is fast with.
    """
    assert chain.integers is not None
    assert isinstance(layer.weight, IntegerTensor)
    weight = layer.weight.centered.T.astype(np.float64)
    sums: npt.NDArray[np.float64] = chain.integers.astype(np.float64) @ weight
    # The bias's step is that of the products, so it is added before the one multiplication.
    return sums + layer.bias.centered if isinstance(layer.bias, IntegerTensor) else sums


def _linear(layer: Layer, chain: _Chain) -> Float:
    weight, bias = layer.weight, layer.bias
    if chain.integers is None or not isinstance(weight, IntegerTensor):
        return chain.value @ as_float(weight).T + as_float(bias)
    scaled = _sums(layer, chain).astype(np.float32) * (chain.scale * weight.scale)
    return scaled if isinstance(bias, IntegerTensor) else scaled + bias


def _draw(network: Network, chain: _Chain, noise: Float | None) -> None:
    width, outputs = network.noise_width, chain.value
    assert width is not None
    if noise is None:
        noise = np.zeros((len(outputs), width), np.float32)
    if network.head.has_own_deviation:
        low, high = map(np.float32, LOG_DEVIATION)
        noise = noise * np.exp(np.clip(outputs[:, width:], low, high))
    elif network.head.deviation is not None:
        noise = noise * network.head.deviation
    chain.put("head.sample", outputs[:, :width] + noise)


def _apply_head(head: Head, chain: _Chain) -> None:
    if head.kind == "clip":
        chain.put(ACTION, np.minimum(np.maximum(chain.value, head.low), head.high))
        return
    outputs = chain.value
    if head.clip_mean is not None:
        outputs = np.clip(outputs, -np.float32(head.clip_mean), np.float32(head.clip_mean))
    for name, operation, numbers in tanh_steps(head):
        chain.put(name, operation(outputs, *numbers))
        outputs = chain.value


def grouped(head: Head, outputs: Float) -> list[Float]:
    """The outputs (n, outputs) of each choice of a discrete head, without a copy."""
    return np.split(outputs, np.cumsum(head.groups[:-1]), axis=1) if head.groups else [outputs]


def chosen(head: Head, outputs: Float) -> npt.NDArray[np.int64]:
    """The actions (n, *action_shape) of a discrete head: the largest output of each choice."""
    indices = [group.argmax(axis=1) for group in grouped(head, outputs)]
    return np.stack(indices, axis=1) if head.groups else indices[0]


def tanh_steps(head: Head) -> list[tuple[str, np.ufunc, list[Float]]]:
    """The values of a tanh head in order, each with the operation and the numbers that give it.

    The operations are tanh, multiply by half the range, and add the centre of the bounds; the last
    two are left out where they change nothing.
    """
    half_range, center = tanh_parts(head)
    steps: list[tuple[str, np.ufunc, list[Float]]] = [("head.tanh", np.tanh, [])]
    if (half_range != 1).any():
        steps.append(("head.stretch", np.multiply, [half_range]))
    if (center != 0).any():
        steps.append(("head.shift", np.add, [center]))
    steps[-1] = (ACTION, *steps[-1][1:])
    return steps


def tanh_parts(head: Head) -> tuple[Float, Float]:
    """Half range and centre of a tanh head's bounds, both (outputs,)."""
    two = np.float32(2)
    return np.divide(head.high - head.low, two), np.divide(head.high + head.low, two)
