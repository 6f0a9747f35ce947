"""A network as a sequence of calls of the kernels in `kernels.c`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from squeezerl.errors import FormatError
from squeezerl.network.activations import Activation
from squeezerl.network.arithmetic import fused_step, fused_value, tanh_steps
from squeezerl.network.network import (
    ACTION,
    LOG_DEVIATION,
    OBSERVATION,
    DynamicRounding,
    IntegerTensor,
    Layer,
    Network,
    Rounding,
    as_float,
)

Array = npt.NDArray[Any]
BLOCK = 16

# Activation → kernel.
_KERNELS = {
    "ReLU": "relu",
    "Tanh": "tanh_each",
    "ELU": "elu",
    "LeakyReLU": "leaky_relu",
    "Sigmoid": "sigmoid",
    "Softplus": "softplus",
    "SELU": "selu",
    "SiLU": "silu",
    "GELU": "gelu",
    "GELUTanh": "gelu_tanh",
    "Mish": "mish",
    "Hardtanh": "clamp",
    "Softsign": "softsign",
    "PReLU": "leaky_relu",
}
# What `tanh_steps` names → kernel, and the name of its constant.
_TANH_STEPS = {
    np.tanh: ("tanh_each",),
    np.multiply: ("multiply", "head_half_range"),
    np.add: ("add", "head_center"),
}


@dataclass(frozen=True, eq=False)
class Step:
    """One call of a kernel.

    Args:
        kernel: its name.
        sizes: outputs and inputs of a layer, or the number of values.
        arrays: constants by name, in the order of the kernel's arguments. Integer weights are int8
            of shape (outputs, inputs), and without a zero point.
        numbers: constants in single precision, behind the arrays.
        packing: the bits of the weights, if there are fewer than 8, and their zero point.
    """

    kernel: str
    sizes: tuple[int, ...]
    arrays: dict[str, Array]
    numbers: tuple[float, ...] = ()
    packing: tuple[float, int] | None = None

    def with_arrays(self, *arrays: Array) -> Step:
        """The same call with other arrays."""
        return dataclasses.replace(self, arrays=dict(zip(self.arrays, arrays, strict=True)))


def steps_of(network: Network) -> list[Step]:
    """What turns an observation into an action, call by call.

    Raises:
        FormatError: if the network rounds in a way that no method does.
    """
    lowering = _Lowering(network)
    lowering.end(OBSERVATION)
    if network.normalizer is not None:
        normalizer = network.normalizer
        lowering.elementwise("subtract", normalizer_mean=as_float(normalizer.mean))
        lowering.end("normalizer.center")
        factors = as_float(normalizer.inverse_std)
        lowering.elementwise("multiply", normalizer_factor=factors)
        lowering.end("normalizer.scale")
        lowering.elementwise("clamp", -normalizer.clip, normalizer.clip)
        lowering.end("normalizer.clip")
    for index, layer in enumerate(network.layers):
        if layer.skip:
            lowering.join(index)
        lowering.linear(index, layer)
        lowering.end(f"layer{index}")
        if layer.activation is not None:
            if lowering.fused != f"activation{index}":
                lowering.activation(index, layer.activation)
            lowering.end(f"activation{index}")
    lowering.head()
    return _joined(lowering.steps)


def _joined(steps: Sequence[Step]) -> list[Step]:
    """The same with fewer calls, to the bit.

    Rounding to integers from 0 upwards does what a ReLU before it does.
    """
    found: list[Step] = []
    for step in steps:
        kernels = [before.kernel for before in found[-2:]] + [step.kernel]
        if kernels[1:] == ["relu", "quantize"] and step.numbers[1] == 0:
            found[-1] = step
        elif kernels == ["subtract", "multiply", "clamp"]:
            mean, factor = found[-2].arrays, found[-1].arrays
            found[-2:] = [Step("normalize", step.sizes, mean | factor, step.numbers)]
        else:
            found.append(step)
    return found


class _Lowering:
    """The steps in the making; `rounding` is that of the latest value if it is in integers.

    `fused` names the value that the latest layer gives as steps of its rounding.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self.steps: list[Step] = []
        self._size = math.prod(network.observation_shape)
        self._rounding: Rounding | DynamicRounding | None = None
        self.fused: str | None = None
        self._weights = {
            network.input_of(index): layer.weight for index, layer in enumerate(network.layers)
        }
        self._skips = [index for index, layer in enumerate(network.layers) if layer.skip]

    def elementwise(self, kernel: str, *numbers: float, **arrays: Array) -> None:
        self.steps.append(Step(kernel, (self._size,), arrays, numbers))

    def end(self, value: str) -> None:
        """The latest result is this value of the network's chain; round it if that is due."""
        if self._skips and value == self._network.input_of(0):
            self.elementwise("keep")
        rounding = self._network.roundings.get(value)
        self._rounding = None
        if rounding is None or any(value == self._network.before(index) for index in self._skips):
            return  # a skip takes the value before it is rounded
        if rounding.bits > 8:
            raise FormatError(f"{value} has {rounding.bits} bits; C holds 8 at most")
        levels = float(2**rounding.bits - 1)
        is_integer = isinstance(self._weights.get(value), IntegerTensor)
        if is_integer:
            self._rounding = rounding
        if isinstance(rounding, Rounding):
            kernel = "quantize" if is_integer else "round_values"
            if value == self.fused:
                kernel = "store" if is_integer else "round_steps"
            self.elementwise(kernel, rounding.scale, float(rounding.zero_point), levels)
        elif is_integer:
            self.elementwise("quantize_row", levels)
        else:
            raise FormatError(f"{value} is rounded at run time, but a layer in float takes it")

    def join(self, index: int) -> None:
        """The input of the first layer comes behind the latest value."""
        features = self._network.layers[0].in_features
        self._size += features
        self.steps.append(Step("join", (self._size, features), {}))
        self.end(f"skip{index}")

    def linear(self, index: int, layer: Layer) -> None:
        name = f"layer{index}"
        sizes = layer.out_features, layer.in_features
        self._size = layer.out_features
        weight, rounding = layer.weight, self._rounding
        if rounding is None or not isinstance(weight, IntegerTensor):
            arrays = {
                f"{name}_weight": as_float(layer.weight),
                f"{name}_bias": as_float(layer.bias),
            }
            self.steps.append(Step("float_layer", sizes, arrays))
            return
        centered = weight.centered
        if np.abs(centered.astype(np.int64)).sum(axis=1).max() * 255 > 2**31 - 1 or not (
            centered.min() >= -127 and centered.max() <= 127
        ):
            raise FormatError(f"the weights of {name} do not fit int8, or their sums int32")
        weights = {f"{name}_weight": centered.astype(np.int8)}
        scale = np.broadcast_to(weight.scale, sizes[:1])
        is_integer = isinstance(layer.bias, IntegerTensor)
        if isinstance(rounding, Rounding):
            offset = -rounding.zero_point * centered.sum(axis=1, dtype=np.int64)
            if isinstance(layer.bias, IntegerTensor):
                offset += layer.bias.centered
            step = np.float32(rounding.scale) * scale
            self.fused = fused_value(self._network, index)
            if self.fused is not None:
                after = self._network.roundings[self.fused]
                assert isinstance(after, Rounding)
                step = np.broadcast_to(fused_step(layer, rounding.scale, after), sizes[:1])
            if (np.abs(offset) + 255 * np.abs(centered).sum(axis=1) < 2**31).all():
                kernel, offset = "integer_layer", offset.astype(np.int32)
            else:
                kernel, offset = "wide_layer", offset.astype(np.float64)
            arrays = {f"{name}_offset": offset, f"{name}_step": step}
        elif is_integer:
            raise FormatError(f"{name} is rounded at run time, and its bias is in integers")
        else:
            kernel, arrays = "dynamic_layer", {f"{name}_step": np.ascontiguousarray(scale)}
        packing = None
        if weight.bits < 8 and (weight.zero_point == weight.zero_point.flat[0]).all():
            packing = weight.bits, int(weight.zero_point.flat[0])
        self.steps.append(Step(kernel, sizes, weights | arrays, packing=packing))
        if not is_integer:
            self.elementwise("add", **{f"{name}_bias": as_float(layer.bias)})

    def activation(self, index: int, text: str) -> None:
        activation = Activation.of(text)
        if activation.is_learned and len(activation.parameters) > 1:
            slopes = np.array(activation.parameters, np.float32)
            self.elementwise("leaky_relu_each", **{f"layer{index}_slope": slopes})
        else:
            self.elementwise(_KERNELS[activation.name], *activation.parameters)

    def sample(self) -> None:
        """The noise, times a deviation, is added to the outputs."""
        head, width = self._network.head, self._network.noise_width
        assert width is not None
        self._size = width
        if head.has_own_deviation:
            self.elementwise("draw_own", *map(float, LOG_DEVIATION))
        elif head.deviation is not None:
            self.elementwise("draw", head_deviation=head.deviation)
        else:
            self.elementwise("draw_as_is")
        self.end("head.sample")

    def head(self) -> None:
        head = self._network.head
        if head.sampling is not None:
            self.sample()
        if head.kind == "argmax":
            first = 0
            for index, size in enumerate(self._network.choices or ()):
                self.steps.append(Step("argmax", (size, first), {}, (index,)))
                first += size
            return
        if head.kind == "clip":
            self._bounds("clamp", head_low=head.low, head_high=head.high)
            self.end(ACTION)
            return
        if head.clip_mean is not None:
            self.elementwise("clamp", -head.clip_mean, head.clip_mean)
        for value, operation, numbers in tanh_steps(head):
            kernel, *names = _TANH_STEPS[operation]
            self.elementwise(kernel, **dict(zip(names, numbers, strict=True)))
            self.end(value)

    def _bounds(self, kernel: str, **arrays: Array) -> None:
        """With one pair of bounds for all values where they are the same."""
        if all((array == array[0]).all() for array in arrays.values()):
            self.elementwise(kernel, *(float(array[0]) for array in arrays.values()))
        else:
            self.elementwise(f"{kernel}_each", **arrays)


def host_steps(steps: Sequence[Step]) -> list[Step]:
    """The same calls with the kernels of host.c: arrays in blocks of 16 outputs, the rest zeros.

    A layer of integers becomes its exact sums, "sums", and what is made of them, or "requantize"
    where that is the integers of the next layer.
    """
    found: list[Step] = []
    rest = list(steps)
    while rest:
        step = rest.pop(0)
        arrays = list(step.arrays.values())
        if step.kernel == "float_layer":
            weight = _padded(arrays[0])
            blocks = weight.reshape(-1, BLOCK, weight.shape[1]).swapaxes(1, 2)
            found.append(step.with_arrays(blocks, _padded(arrays[1])))
        elif step.kernel in _RESCALING:
            found += _integer_steps(step, rest)
        else:
            found.append(step.with_arrays(*map(_padded, arrays)))
    return found


_RESCALING = {
    "integer_layer": "rescale",
    "wide_layer": "rescale_wide",
    "dynamic_layer": "rescale_row",
}


def _integer_steps(step: Step, rest: list[Step]) -> list[Step]:
    """The sums of a layer and what is made of them; takes away the steps that are part of it."""
    outputs = step.sizes[:1]
    (name, weight), *others = step.arrays.items()
    rows = _padded(_padded(weight).T).T
    blocks = rows.reshape(-1, BLOCK, rows.shape[1] // 4, 4).swapaxes(1, 2)
    row_sum = {name.replace("weight", "row_sum"): _padded(weight.sum(axis=1, dtype=np.int32))}
    sums = Step("sums", step.sizes, {name: blocks} | row_sum)
    arrays = {name: _padded(array) for name, array in others}
    if step.kernel == "dynamic_layer":
        arrays |= row_sum
    following = rest[0] if rest else None
    if step.kernel == "integer_layer" and following and following.kernel in ("quantize", "store"):
        scale = following.numbers[0] if following.kernel == "quantize" else 1.0
        rest.pop(0)
        numbers = (scale, *following.numbers[1:])
        return [Step("requantize", step.sizes, sums.arrays | arrays, numbers)]
    if step.kernel == "dynamic_layer":
        bias = rest.pop(0)
        arrays |= {name: _padded(array) for name, array in bias.arrays.items()}
    return [sums, Step(_RESCALING[step.kernel], outputs, arrays)]


def _padded(array: Array) -> Array:
    """With zeros behind its rows, up to a multiple of 16."""
    return np.pad(array, [(0, -len(array) % BLOCK)] + [(0, 0)] * (array.ndim - 1))
