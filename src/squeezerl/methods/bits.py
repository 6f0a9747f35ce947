"""Low bits: weights in 8 to 2 bits or three levels, with the first layer's input scaled."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self, final

import numpy as np

from squeezerl.methods.base import ExpectedLayer, Given, Need, Spec, check_keep, register_spec
from squeezerl.methods.calibration import Calibration, range_of, values_seen
from squeezerl.methods.integers import (
    Scales,
    affine_rounding,
    as_half,
    centered_outputs,
    expect_integers,
    in_float,
    integer_bias,
    integer_weight,
    least_scale,
    scale_features,
    short_rounding,
    symmetric_rounding,
)
from squeezerl.methods.reconstruction import equalized, reconstructed
from squeezerl.network.arithmetic import rounded
from squeezerl.network.network import (
    TERNARY_BITS,
    Float,
    IntegerTensor,
    Layer,
    Network,
    Rounding,
    as_float,
)
from squeezerl.records import MethodRecord

Weights = Literal["8", "7", "6", "5", "4", "3", "2", "ternary"]
_TERNARY = "ternary"
_COLORS = {"8": "#009E73", "4": "#0072B2", "3": "#CC79A7", "2": "#D55E00", _TERNARY: "#E69F00"}
_MARKERS = {"8": "P", "4": "X", "3": "p", "2": "h", _TERNARY: "d"}
_BIAS_BITS = 16
# A bias that needs more bits than these gets coarser weights in its row instead: all biases of a
# layer share one step, and the others would become coarse with it.
_MOST_BITS = 20


@final
@register_spec
@dataclass(frozen=True, kw_only=True)
class Bits(Spec):
    """Post-training quantization of the weights to few bits, and of the values to 8.

    Args:
        weights: bits of each weight, from 8 to 2, or "ternary" for -1, 0 and 1 times a scale.
        scales: one for each output neuron ("channel"), or one for each layer and as few bits as
            will do for all other numbers, too ("tensor"), or as that, but with a power of two for
            each output neuron, which takes 6 bits ("shift").
        activations: bits of what enters a layer, or "float" to round weights alone.
        inputs: whether each feature of the observation has a scale of its own, which becomes part
            of the normaliser ("feature"), or all have one ("tensor").
        rounding: "gptq" chooses scales, integers and biases so that each layer gives what it gave
            in the states that the agent visits; "nearest" rounds each weight for itself.
        calibration: how the ranges of activations are found: see `range_of`.
        equalize: scale hidden features so that weights and activations use their integers better.
        keep: names of layers that stay in float.
    """

    kind = "bits"
    aliases: ClassVar = {"int8": "bits:8", "int4": "bits:4"}
    positional = ("weights", "scales")
    needs: ClassVar[frozenset[Need]] = frozenset({"observations"})
    gives_integers = takes_integers = True

    weights: Weights
    scales: Scales = "channel"
    activations: Literal["8", "float"] = "8"
    inputs: Literal["feature", "tensor"] = "feature"
    rounding: Literal["gptq", "nearest"] = "gptq"
    calibration: Calibration = "minmax"
    equalize: bool = True
    keep: tuple[str, ...] = ()

    @property
    def record(self) -> MethodRecord:
        """See `Spec`."""
        words = self.weights if self.weights == _TERNARY else f"{self.weights} bits"
        scales = {"channel": "", "tensor": "one scale per layer", "shift": "shifts"}[self.scales]
        return MethodRecord(
            name=f"bits-{self.weights}" + (f"-{self.scales}" if scales else ""),
            label=words + (f", {scales}" if scales else ""),
            short=words + (f", {self.scales}" if scales else ""),
            group="quantization",
            color=_COLORS.get(self.weights, "#56B4E9"),
            marker=_MARKERS.get(self.weights, "*"),
            dash={"channel": "-", "tensor": ":", "shift": "--"}[self.scales],
        )

    @property
    def weight_bits(self) -> float:
        """Bits of each weight as `IntegerTensor` has them."""
        return TERNARY_BITS if self.weights == _TERNARY else int(self.weights)

    @classmethod
    def candidates(cls) -> Sequence[Self]:
        """See `Spec`."""
        return (cls(weights="8"), cls(weights="4"))

    def apply(self, network: Network, given: Given) -> Network:
        """See `Spec`."""
        check_keep(self.keep, network)
        network = self._prepared(centered_outputs(in_float(network), self.keep), given)
        names = {network.input_of(index) for index in range(len(network.layers))}
        values = values_seen(network, given.observations, names)
        made = network
        for index, (name, layer) in enumerate(network.named_layers.items()):
            if name in self.keep:
                continue
            value = network.input_of(index)
            now = values_seen(made, given.observations, {value})[value]
            rounding = self._rounding(network, index, values[value])
            roundings = dict(made.roundings)
            if rounding is not None:
                roundings[value] = rounding
                integers, scale = rounded(now, rounding)
                now = integers.astype(np.float32) * scale
            layers = list(made.layers)
            layers[index] = self._quantized(layer, values[value], now, rounding)
            made = made.replace(layers=tuple(layers), roundings=roundings)
        return made

    def expect(self, layers: Sequence[ExpectedLayer]) -> list[ExpectedLayer]:
        """See `Spec`."""
        return expect_integers(
            layers,
            per_channel=self.scales != "tensor",
            keep=self.keep,
            weight_dtype=_TERNARY if self.weights == _TERNARY else f"int{self.weights}",
        )

    def _prepared(self, network: Network, given: Given) -> Network:
        """The same policy, with features that use the integers well."""
        if self.equalize:
            names = {network.input_of(index) for index in range(1, len(network.layers))}
            network = equalized(network, values_seen(network, given.observations, names))
        first = network.input_of(0)
        seen = values_seen(network, given.observations, {first})[first]
        if "layer0" in self.keep or self.inputs == "tensor":
            return network
        return scale_features(network, seen.min(axis=0), seen.max(axis=0), short=self._is_short)

    @property
    def _is_short(self) -> bool:
        return self.scales != "channel"

    def _rounding(self, network: Network, index: int, values: Float) -> Rounding | None:
        """Of what enters a layer."""
        if self.activations == "float":
            return None
        if index == 0 and self.inputs == "feature":
            return short_rounding(-1.0, 1.0) if self._is_short else symmetric_rounding(1.0)
        low, high = range_of(values, self.calibration)
        return short_rounding(low, high) if self._is_short else affine_rounding(low, high)

    def _quantized(
        self, layer: Layer, values: Float, now: Float, rounding: Rounding | None
    ) -> Layer:
        """The layer in integers, for what it took and what it takes now, both (n, in)."""
        bits, least = self.weight_bits, least_scale(as_float(layer.bias), rounding, bits=_MOST_BITS)
        if self.rounding == "gptq":
            layer = reconstructed(layer, values, now, scales=self.scales, bits=bits, least=least)
        else:
            weight = integer_weight(
                as_float(layer.weight), scales=self.scales, bits=bits, least=least
            )
            layer = dataclasses.replace(layer, weight=weight)
        if rounding is None:
            return dataclasses.replace(layer, bias=as_half(as_float(layer.bias)))
        assert isinstance(layer.weight, IntegerTensor)
        bias = integer_bias(
            as_float(layer.bias), layer.weight, rounding, bits=8 if self._is_short else _BIAS_BITS
        )
        return dataclasses.replace(layer, bias=bias)
