"""A network that learns, in NumPy, in the arithmetic in which it will be deployed.

At 8 to 32 units a step of torch's autograd takes about four times as long as the few lines of
calculus that a chain of layers needs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from squeezerl.methods.integers import as_half, integer_bias, step_by_row, weight_limits
from squeezerl.network.activations import Activation
from squeezerl.network.arithmetic import act, chosen, tanh_parts
from squeezerl.network.network import (
    Float,
    IntegerTensor,
    Layer,
    Network,
    Rounding,
    as_float,
)

_HALF_STEP = np.float32(1e-3)


class Student:
    """The layers of a network with parameters that learn; normaliser and head stay as they are.

    Integer weights learn behind straight-through estimates: the forward pass uses the integers that
    the network will have, and the gradient goes to the float numbers that they are rounded from.
    Their scales learn as well (LSQ: Esser et al. 2020, arXiv 1902.08153), as logarithms. Values are
    rounded as the network rounds them.

    Args:
        network: float, integer or mixed, without scales that are computed at run time.

    Attributes:
        parameters: all that learns, as one float32 vector, which may be changed in place.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._layers = network.layers
        parts: list[Float] = []
        for layer in network.layers:
            parts += [as_float(layer.weight), as_float(layer.bias)]
            if isinstance(layer.weight, IntegerTensor):
                parts.append(np.log(layer.weight.scale))
        self._shapes = [part.shape for part in parts]
        self.parameters: Float = np.concatenate([part.ravel() for part in parts])
        self._views = self._parts_of(self.parameters)
        self._roundings = [
            network.roundings.get(network.input_of(index)) for index in range(len(self._layers))
        ]
        self._tape: list[tuple[Float, Any, Any, Float]] = []

    def features(self, observations: npt.NDArray[Any]) -> Float:
        """What enters the first layer, (n, features), for raw observations."""
        return features_of(self._network, observations)

    def forward(self, features: Float) -> Float:
        """Outputs (n, outputs) before the head; `backward` refers to the last call."""
        self._tape = []
        value = features
        for layer, views, rounding in zip(self._layers, self._views, self._roundings, strict=True):
            if layer.skip:
                value = np.concatenate([value, features], axis=1)
            inside = None
            if isinstance(rounding, Rounding):
                value, inside = _rounded(value, rounding)
            weight, tape = _effective_weight(layer, views)
            before = value @ weight.T
            before += views[1]
            self._tape.append((value, inside, (weight, tape), before))
            value = before if layer.activation is None else _activate(layer, before)
        return value

    def backward(self, outputs: Float) -> Float:
        """The gradient of the parameters, for that of the outputs (n, outputs)."""
        gradients: list[list[Float]] = []
        slope = outputs
        for index in reversed(range(len(self._layers))):
            layer, views = self._layers[index], self._views[index]
            value, inside, (weight, tape), before = self._tape[index]
            if layer.activation is not None:
                slope = slope * _derivative(layer, before)
            of_weight = slope.T @ value
            gradients.append([*_weight_gradients(of_weight, layer, views, tape), slope.sum(axis=0)])
            if index == 0:
                break
            slope = slope @ weight
            if inside is not None:
                slope *= inside
            slope = slope[:, : self._layers[index - 1].out_features]
        ordered = [
            part
            for weight_gradient, *scale_gradient, bias_gradient in reversed(gradients)
            for part in (weight_gradient, bias_gradient, *scale_gradient)
        ]
        return np.concatenate([part.ravel() for part in ordered])

    def sparsity_slope(self, alpha: float) -> Float:
        """The gradient of the study's regulariser R(g, k), summed over the hidden neurons k.

        R = gamma_k I(g, k), where I is the squared L2 norm of all weights into and out of a neuron
        and gamma_k = 2^(alpha (Imax - I) / (Imax - Imin)), held constant: the less a neuron weighs,
        the more it is drawn to 0 (arXiv 2407.04803; DepGraph, arXiv 2301.12900).
        """
        gradient = np.zeros_like(self.parameters)
        slopes = self._parts_of(gradient)
        for index, layer in enumerate(self._layers[:-1]):
            incoming = self._views[index][0]
            outgoing = self._views[index + 1][0][:, : layer.out_features]
            importance = np.square(incoming).sum(axis=1) + np.square(outgoing).sum(axis=0)
            most, least = importance.max(), importance.min()
            share = (most - importance) / max(most - least, np.finfo(np.float32).tiny)
            gamma = (2 * 2 ** (np.float32(alpha) * share)).astype(np.float32)
            slopes[index][0] += gamma[:, np.newaxis] * incoming
            slopes[index + 1][0][:, : layer.out_features] += gamma * outgoing
        return gradient

    def network(self, parameters: Float | None = None) -> Network:
        """The network with the parameters of now, or with other ones."""
        views = self._views if parameters is None else self._parts_of(parameters.copy())
        layers = [
            _layer(layer, parts, rounding)
            for layer, parts, rounding in zip(self._layers, views, self._roundings, strict=True)
        ]
        return self._network.replace(layers=tuple(layers))

    def _parts_of(self, vector: Float) -> list[list[Float]]:
        """For each layer views of its weight, bias and, if it has one, the log of its scale."""
        parts: list[list[Float]] = []
        start, shapes = 0, iter(self._shapes)
        for layer in self._layers:
            parts.append([])
            for _ in range(3 if isinstance(layer.weight, IntegerTensor) else 2):
                shape = next(shapes)
                size = int(np.prod(shape))
                parts[-1].append(vector[start : start + size].reshape(shape))
                start += size
        return parts


class Adam:
    """Adam (Kingma and Ba 2015, arXiv 1412.6980) on one vector."""

    def __init__(self, size: int) -> None:
        self._mean, self._square = np.zeros(size, np.float32), np.zeros(size, np.float32)
        self._steps = 0

    def step(self, parameters: Float, gradient: Float, rate: float) -> None:
        """Change the parameters in place."""
        self._steps += 1
        self._mean += np.float32(0.1) * (gradient - self._mean)
        self._square += np.float32(0.001) * (gradient * gradient - self._square)
        scale = np.sqrt(self._square / np.float32(1 - 0.999**self._steps)) + np.float32(1e-8)
        parameters -= np.float32(rate / (1 - 0.9**self._steps)) * self._mean / scale


def features_of(network: Network, observations: npt.NDArray[Any]) -> Float:
    """What enters the first layer, (n, features), unrounded."""
    flat = np.asarray(observations, np.float32).reshape(len(observations), -1)
    normalizer = network.normalizer
    if normalizer is None:
        return flat
    clip = np.float32(normalizer.clip)
    scaled = (flat - as_float(normalizer.mean)) * as_float(normalizer.inverse_std)
    clipped: Float = np.clip(scaled, -clip, clip)
    return clipped


def outputs_of(network: Network, observations: npt.NDArray[Any]) -> Float:
    """What the last layer gives before the head, (n, outputs)."""
    seen: dict[str, Float] = {}
    last = len(network.layers) - 1
    name = f"layer{last}" if network.layers[last].activation is None else f"activation{last}"
    act(network, observations, lambda value, array: seen.update({value: array}))
    return seen[name]


def head_actions(network: Network, outputs: Float) -> npt.NDArray[Any]:
    """Actions (n, *action_shape) for outputs (n, outputs)."""
    head = network.head
    if head.is_discrete:
        return chosen(head, outputs)
    if head.kind == "tanh":
        if head.clip_mean is not None:
            outputs = np.clip(outputs, -np.float32(head.clip_mean), np.float32(head.clip_mean))
        half_range, center = tanh_parts(head)
        outputs = np.tanh(outputs) * half_range + center
    actions = np.clip(outputs, head.low, head.high).reshape(len(outputs), *network.action_shape)
    return actions


def random_layers(
    widths: Sequence[int],
    activation: str,
    rng: np.random.Generator,
    *,
    skip: bool = False,
    last: float = 0.1,
) -> tuple[Layer, ...]:
    """Layers of these widths, input first (He et al. 2015, arXiv 1502.01852).

    Args:
        widths: of the input, of each hidden layer and of the output.
        activation: behind each hidden layer.
        rng: draws the weights.
        skip: the last layer takes the input as well, if there is a hidden layer.
        last: a factor on the weights of the last layer.
    """
    layers = []
    count = len(widths) - 1
    for index in range(count):
        is_last = index == count - 1
        inputs = widths[index] + (widths[0] if skip and is_last and count > 1 else 0)
        size = (last if is_last else 2**0.5) / inputs**0.5
        layers.append(
            Layer(
                weight=(rng.standard_normal((widths[index + 1], inputs)) * size).astype(np.float32),
                bias=np.zeros(widths[index + 1], np.float32),
                activation=None if is_last else activation,
                skip=inputs != widths[index],
            )
        )
    return tuple(layers)


def _layer(layer: Layer, parts: list[Float], rounding: Any) -> Layer:
    weight, bias = parts[0].copy(), parts[1].copy()
    if not isinstance(layer.weight, IntegerTensor):
        return dataclasses.replace(layer, weight=weight, bias=bias)
    stored = layer.weight
    scale = _scale(parts[2], stored)
    steps = np.rint(weight / step_by_row(scale))
    values = np.clip(steps, *weight_limits(stored.bits)) + step_by_row(stored.zero_point)
    integers = IntegerTensor(values.astype(np.uint8), scale, stored.zero_point, stored.bits)
    if not isinstance(layer.bias, IntegerTensor):
        return dataclasses.replace(layer, weight=integers, bias=as_half(bias))
    bits = _bits_of(layer.bias)
    return dataclasses.replace(
        layer, weight=integers, bias=integer_bias(bias, integers, rounding, bits=bits)
    )


def _bits_of(bias: IntegerTensor) -> int:
    """8, 16 or 32, which hold the integers, shifted by as many bits as all of them allow."""
    every = int(np.bitwise_or.reduce(bias.centered, initial=0))
    largest = int(np.abs(bias.centered.astype(np.int64)).max(initial=0)) // max(1, every & -every)
    return next(bits for bits in (8, 16, 32) if largest < 2 ** (bits - 1) or bits == 32)


def _effective_weight(layer: Layer, parts: list[Float]) -> tuple[Float, Any]:
    """The weight of the forward pass, and what its gradient needs."""
    if not isinstance(layer.weight, IntegerTensor):
        return parts[0], None
    low, high = weight_limits(layer.weight.bits)
    scale = step_by_row(_scale(parts[2], layer.weight))
    steps = parts[0] / scale
    integers = np.clip(np.rint(steps), low, high)
    inside = (steps >= low) & (steps <= high)
    return integers * scale, (inside, integers - steps * inside, scale)


def _is_fixed(stored: IntegerTensor) -> bool:
    """Whether scales are powers of two, one for each neuron: any change would be a jump."""
    return stored.scale.ndim > 0 and bool((np.frexp(stored.scale)[0] == 0.5).all())


def _scale(logarithm: Float, stored: IntegerTensor) -> Float:
    """The scale now, in float16 if it was."""
    if _is_fixed(stored):
        return stored.scale
    scale = np.asarray(np.exp(logarithm), np.float32)
    return as_half(scale) if np.array_equal(stored.scale, as_half(stored.scale)) else scale


def _weight_gradients(gradient: Float, layer: Layer, parts: list[Float], tape: Any) -> list[Float]:
    """Of the weight and, for integers, of the logarithm of their scale."""
    if tape is None:
        return [gradient]
    inside, of_scale, scale = tape
    assert isinstance(layer.weight, IntegerTensor)
    if _is_fixed(layer.weight):
        return [gradient * inside, np.zeros_like(parts[2])]
    of_log = gradient * of_scale * scale
    return [gradient * inside, of_log.sum(axis=1) if parts[2].ndim else of_log.sum()]


def _rounded(value: Float, rounding: Rounding) -> tuple[Float, npt.NDArray[np.bool_]]:
    """The value on its grid, and where it lies within its range."""
    scale, zero = np.float32(rounding.scale), np.float32(rounding.zero_point)
    top = np.float32(2**rounding.bits - 1)
    steps = np.rint(value / scale)
    stored = np.clip(steps, -zero, top - zero)
    return stored * scale, stored == steps


def _activate(layer: Layer, before: Float) -> Float:
    return Activation.of(str(layer.activation))(before)


def _derivative(layer: Layer, before: Float) -> npt.NDArray[Any]:
    """Of the activation; by central differences where there is no shorter way."""
    match layer.activation:
        case "ReLU":
            return before > 0
        case "Hardtanh":
            return np.abs(before) < 1
        case "Tanh":
            tanh = np.tanh(before)
            return 1 - tanh * tanh
    ahead, behind = _activate(layer, before + _HALF_STEP), _activate(layer, before - _HALF_STEP)
    return (ahead - behind) / (2 * _HALF_STEP)
