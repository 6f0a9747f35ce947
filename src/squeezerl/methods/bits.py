"""Low bits: weights in 8 to 2 bits or three levels, with the first layer's input scaled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self, final

import numpy as np

from squeezerl.methods.base import ExpectedLayer, Given, Need, Spec, check_keep, register_spec
from squeezerl.methods.calibration import values_seen
from squeezerl.methods.integers import (
    affine_rounding,
    expect_integers,
    fold_feature_ranges,
    symmetric_rounding,
    with_integer_layers,
)
from squeezerl.network.network import TERNARY_BITS, AnyRounding, Network
from squeezerl.records import MethodRecord

Weights = Literal["8", "7", "6", "5", "4", "3", "2", "ternary"]
_TERNARY = "ternary"
_COLORS = {"8": "#009E73", "4": "#0072B2", "3": "#CC79A7", "2": "#D55E00", _TERNARY: "#E69F00"}
_MARKERS = {"8": "P", "4": "X", "3": "p", "2": "h", _TERNARY: "d"}
# Half range of a feature that never varied: what it does later hardly weighs.
_LEAST_HALF_RANGE = np.float32(1e-6)


@final
@register_spec
@dataclass(frozen=True, kw_only=True)
class Bits(Spec):
    """Post-training quantization of the weights to few bits, and of the values to 8.

    Args:
        weights: bits of each weight, from 8 to 2, or "ternary" for -1, 0 and 1 times a scale.
        scales: one for each output neuron ("channel") or one for each layer ("tensor").
        activations: bits of what enters a layer, or "float" to round weights alone.
        inputs: whether each feature of the observation has a scale of its own, which becomes part
            of the normaliser ("feature"), or all have one ("tensor").
        keep: names of layers that stay in float.
    """

    kind = "bits"
    aliases: ClassVar = {"int8": "bits:8", "int4": "bits:4"}
    positional = ("weights", "scales")
    needs: ClassVar[frozenset[Need]] = frozenset({"observations"})
    gives_integers = True

    weights: Weights
    scales: Literal["channel", "tensor"] = "channel"
    activations: Literal["8", "float"] = "8"
    inputs: Literal["feature", "tensor"] = "feature"
    keep: tuple[str, ...] = ()

    @property
    def record(self) -> MethodRecord:
        """See `Spec`."""
        words = self.weights if self.weights == _TERNARY else f"{self.weights} bits"
        per_tensor = self.scales == "tensor"
        return MethodRecord(
            name=f"bits-{self.weights}" + ("-tensor" if per_tensor else ""),
            label=words + (", one scale per layer" if per_tensor else ""),
            short=words + (" per layer" if per_tensor else ""),
            group="quantization",
            color=_COLORS.get(self.weights, "#56B4E9"),
            marker=_MARKERS.get(self.weights, "*"),
            dash=":" if per_tensor else "-",
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
        network = self._with_scaled_inputs(network, given)
        return with_integer_layers(
            network,
            self._roundings(network, given),
            per_channel=self.scales == "channel",
            bits=self.weight_bits,
            keep=self.keep,
        )

    def expect(self, layers: Sequence[ExpectedLayer]) -> list[ExpectedLayer]:
        """See `Spec`."""
        return expect_integers(
            layers,
            per_channel=self.scales == "channel",
            keep=self.keep,
            weight_dtype=_TERNARY if self.weights == _TERNARY else f"int{self.weights}",
        )

    def _with_scaled_inputs(self, network: Network, given: Given) -> Network:
        """Each feature that enters the first layer fills [-1, 1], as far as it was seen."""
        first = network.input_of(0)
        seen = values_seen(network, given.observations, {first})[first]
        if "layer0" in self.keep or self.inputs == "tensor" or self.activations == "float":
            return network
        low, high = seen.min(axis=0), seen.max(axis=0)
        half_range = np.maximum((high - low) / 2, _LEAST_HALF_RANGE)
        return fold_feature_ranges(network, (low + high) / 2, half_range)

    def _roundings(self, network: Network, given: Given) -> dict[str, AnyRounding]:
        """Of what enters each integer layer."""
        if self.activations == "float":
            return {}
        inputs = {
            network.input_of(index)
            for index, name in enumerate(network.named_layers)
            if name not in self.keep
        }
        roundings: dict[str, AnyRounding] = {
            name: affine_rounding(float(values.min()), float(values.max()))
            for name, values in values_seen(network, given.observations, inputs).items()
        }
        if self.inputs == "feature" and "layer0" not in self.keep:
            roundings[network.input_of(0)] = symmetric_rounding(1.0)
        return roundings
