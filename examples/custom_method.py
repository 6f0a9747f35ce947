"""Teach SqueezeRL a compression method of your own: low-rank factors.

The weights between two hidden layers are replaced by the product of two thin matrices, which is the
best approximation of its rank (truncated singular value decomposition; Eckart and Young 1936). In
the network these are two layers with no activation between them. This file is all that it takes:

    squeezerl --plugin examples/custom_method.py compress demo --recipe lowrank:0.8 -o small
    squeezerl --plugin examples/custom_method.py squeeze demo -o out
    squeezerl --plugin examples/custom_method.py study run STUDY.yaml  # methods: [lowrank, ptdq]

A plain `squeezerl evaluate small` would not know the method, and an artifact is read only where it
can be audited; policy.onnx itself runs anywhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, final

import numpy as np

from squeezerl.errors import CompressionError, SpecError
from squeezerl.methods.base import ExpectedLayer, Given, Spec, register_spec
from squeezerl.network.network import Layer, Network, as_float
from squeezerl.records import MethodRecord


@final
@register_spec
@dataclass(frozen=True, kw_only=True)
class LowRank(Spec):
    """Factor every layer that leads from hidden neurons to hidden neurons.

    Args:
        ratio: share of each such layer's singular values to leave out, above 0 and below 1.
    """

    kind = "lowrank"
    positional = ("ratio",)  # lowrank:0.8
    swept = "ratio"  # - lowrank: {percent: [80, 90]} in a study's file

    ratio: float

    def __post_init__(self) -> None:
        if not 0 < self.ratio < 1:
            raise SpecError(f"lowrank: ratio {self.ratio} is not above 0 and below 1")

    @property
    def record(self) -> MethodRecord:
        """How tables and figures show it."""
        return MethodRecord(
            name="lowrank",
            label="low-rank factors",
            short="low rank",
            group="pruning",
            color="#56B4E9",
            marker="p",
        )

    @classmethod
    def candidates(cls) -> Sequence[Self]:
        """What `squeeze` tries; with less left out, square layers would grow."""
        return [cls(ratio=ratio) for ratio in (0.6, 0.7, 0.8, 0.9)]

    def apply(self, network: Network, given: Given) -> Network:
        """The network with two layers for each one between hidden neurons."""
        if len(network.layers) < 3:
            raise CompressionError("lowrank needs a policy with two hidden layers or more")
        first, *inner, last = network.layers
        factors = [factor for layer in inner for factor in self._factors(layer)]
        return network.replace(layers=(first, *factors, last))

    def expect(self, layers: Sequence[ExpectedLayer]) -> list[ExpectedLayer]:
        """The layers that the audit must find, for the layers before this step."""
        expected = [layers[0]]
        for layer in layers[1:-1]:
            rank = self._rank(layer.in_features, layer.out_features)
            expected.append(dataclasses.replace(layer, out_features=rank))
            expected.append(dataclasses.replace(layer, in_features=rank))
        named = enumerate([*expected, layers[-1]])
        return [dataclasses.replace(layer, name=f"layer{index}") for index, layer in named]

    def _rank(self, in_features: int, out_features: int) -> int:
        return max(1, round(min(in_features, out_features) * (1 - self.ratio)))

    def _factors(self, layer: Layer) -> tuple[Layer, Layer]:
        rank = self._rank(layer.in_features, layer.out_features)
        left, values, right = np.linalg.svd(as_float(layer.weight).astype(np.float64))
        # Each factor gets the roots of the singular values, so that both are of the same size.
        roots = np.sqrt(values[:rank])
        inner = Layer(
            weight=(roots[:, np.newaxis] * right[:rank]).astype(np.float32),
            bias=np.zeros(rank, np.float32),
        )
        outer = Layer(
            weight=(left[:, :rank] * roots).astype(np.float32),
            bias=layer.bias,
            activation=layer.activation,
        )
        return inner, outer
